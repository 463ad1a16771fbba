//! Images, documents and audio, in every client's dialect to every provider that supports them.

use super::{CLIENTS, Client, Talk, provider, send, sent};
use crate::harness::Stack;
use serde_json::{Value, json};

const URL: &str = "https://example.org/tide.png";
const PDF: &str = "JVBERi0xLjQKJcOkw7zDtsOf";

/// A question with one more part.
fn with_part(client: Client, part: Value) -> Talk {
    let text = if client == Client::Responses { "input_text" } else { "text" };
    let mut talk = Talk::new(client, "?");
    talk.body[client.history()] =
        json!([{ "role": "user", "content": [{ "type": text, "text": "What is this?" }, part] }]);
    talk
}

fn picture_by_url(client: Client) -> Talk {
    with_part(
        client,
        match client {
            Client::Chat => json!({ "type": "image_url", "image_url": { "url": URL } }),
            Client::Responses => json!({ "type": "input_image", "image_url": URL }),
            Client::Messages => json!({ "type": "image", "source": { "type": "url", "url": URL } }),
        },
    )
}

fn document(client: Client) -> Talk {
    let data = format!("data:application/pdf;base64,{PDF}");
    with_part(
        client,
        match client {
            Client::Chat => json!({ "type": "file", "file": { "filename": "tides.pdf", "file_data": data } }),
            Client::Responses => json!({ "type": "input_file", "filename": "tides.pdf", "file_data": data }),
            Client::Messages => json!({ "type": "document", "title": "tides.pdf",
            "source": { "type": "base64", "media_type": "application/pdf", "data": PDF } }),
        },
    )
}

#[tokio::test]
async fn pictures_by_url_go_to_those_who_fetch_them() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for client in CLIENTS {
        for (model, place) in [
            ("openai/gpt-4o", "/messages/0/content/1/image_url/url"),
            ("openai/gpt-5.3-codex", "/input/0/content/1/image_url"),
            ("anthropic/claude-sonnet-4-6", "/messages/0/content/1/source/url"),
            ("mistral/mistral-large-4", "/messages/0/content/1/image_url/url"),
            ("cohere/command-a-plus", "/messages/0/content/1/image_url/url"),
        ] {
            let heard = picture_by_url(client).ask(&stack, &customer, model, false).await;
            assert_eq!(heard.status, 200, "{client:?} {model}: {}", heard.raw);
            let (call, body) = sent(&stack);
            let place =
                if call.path.ends_with("/responses") { "/input/0/content/1/image_url" } else { place };
            assert_eq!(body.pointer(place), Some(&json!(URL)), "{client:?} {model}: {}", call.body);
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn documents_go_to_those_who_read_them() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    let data = format!("data:application/pdf;base64,{PDF}");
    for client in CLIENTS {
        for (model, place, expected) in [
            ("openai/gpt-4o", "/messages/0/content/1/file/file_data", data.as_str()),
            ("openai/gpt-5.3-codex", "/input/0/content/1/file_data", data.as_str()),
            ("anthropic/claude-sonnet-4-6", "/messages/0/content/1/source/data", PDF),
            ("google/gemini-3.8-flash", "/contents/0/parts/1/inlineData/data", PDF),
        ] {
            let heard = document(client).ask(&stack, &customer, model, false).await;
            assert_eq!(heard.status, 200, "{client:?} {model}: {}", heard.raw);
            let (call, body) = sent(&stack);
            let place =
                if call.path.ends_with("/responses") { "/input/0/content/1/file_data" } else { place };
            assert_eq!(body.pointer(place), Some(&json!(expected)), "{client:?} {model}: {}", call.body);
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn sound_goes_to_those_who_hear_it() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    // Google's audio has no separate price in the catalogue: it is allowed on own keys.
    stack.set_provider_keys(&customer, &json!({ "Google": "own-google", "Mistral": "own-mistral" })).await;
    let sound =
        json!({ "type": "input_audio", "input_audio": { "data": "UklGRiQAAABXQVZF", "format": "wav" } });
    for (model, place, expected) in [
        ("openai/gpt-audio-1.5", "/messages/0/content/1/input_audio/data", "UklGRiQAAABXQVZF"),
        ("google/gemini-3.8-flash", "/contents/0/parts/1/inlineData/data", "UklGRiQAAABXQVZF"),
        ("google/gemini-3.8-flash", "/contents/0/parts/1/inlineData/mimeType", "audio/wav"),
        ("mistral/voxtral-small-latest", "/messages/0/content/1/input_audio/data", "UklGRiQAAABXQVZF"),
    ] {
        let heard = with_part(Client::Chat, sound.clone()).ask(&stack, &customer, model, false).await;
        assert_eq!(heard.status, 200, "{model}: {}", heard.raw);
        let (call, body) = sent(&stack);
        assert_eq!(body.pointer(place), Some(&json!(expected)), "{model}: {}", call.body);
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_a_provider_cannot_take_is_refused_by_name_and_nothing_is_sent() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    stack
        .set_provider_keys(&customer, &json!({ "Anthropic": "own-anthropic", "Cohere": "own-cohere" }))
        .await;
    let sound =
        json!({ "type": "input_audio", "input_audio": { "data": "UklGRiQAAABXQVZF", "format": "wav" } });
    let kept = |client| {
        with_part(
            client,
            match client {
                Client::Chat => json!({ "type": "file", "file": { "file_id": "file-abc" } }),
                Client::Responses => json!({ "type": "input_file", "file_id": "file-abc" }),
                Client::Messages => {
                    json!({ "type": "document", "source": { "type": "file", "file_id": "file_abc" } })
                }
            },
        )
    };
    let cases = [
        (with_part(Client::Chat, sound.clone()), "anthropic/claude-sonnet-4-6"),
        (with_part(Client::Chat, sound), "cohere/command-a-plus"),
        (document(Client::Messages), "cohere/command-a-plus"),
        (document(Client::Responses), "cohere/command-a-plus"),
        (kept(Client::Chat), "anthropic/claude-sonnet-4-6"),
        (kept(Client::Responses), "google/gemini-3.8-flash"),
        (kept(Client::Messages), "openai/gpt-4o"),
    ];
    // A platform key never gives access to objects that a provider stores; on a customer's own key the dialect can name
    // them.
    let own =
        json!({ "Anthropic": "sk-ant-own", "Google": "AQ.own", "OpenAI": "sk-proj-own", "Cohere": "own" });
    stack.set_provider_keys(&customer, &own).await;
    for (talk, model) in cases {
        for stream in [false, true] {
            let heard = talk.ask(&stack, &customer, model, stream).await;
            let message = heard.refused(400);
            let name = if talk.client == Client::Responses { "input" } else { "messages" };
            let is_named = message.contains(&format!("`{name}")) || message.contains("does not accept");
            assert!(is_named, "{:?} {model}: {message}", talk.client);
            assert!(stack.simulator.bill().is_empty(), "{:?} {model}: {message}", talk.client);
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_picture_of_unknown_data_is_no_panic() {
    let stack = Stack::start().await;
    let customer = stack.customer("1000").await;
    for url in ["data:", "data:image/png;base64,", "data:image/png,%00", "ftp://x", "", "data:;base64,AA=="] {
        for model in [
            "openai/gpt-4o",
            "anthropic/claude-sonnet-4-6",
            "google/gemini-3.8-flash",
            "cohere/command-a-plus",
        ] {
            for client in [Client::Chat, Client::Responses] {
                let part = match client {
                    Client::Chat => json!({ "type": "image_url", "image_url": { "url": url } }),
                    _ => json!({ "type": "input_image", "image_url": url }),
                };
                let mut body = with_part(client, part).body;
                body["model"] = json!(model);
                let heard = send(&stack, &customer, client, &body).await;
                let told = format!("{client:?} {} {url}: {}", provider(model), heard.raw);
                assert!(matches!(heard.status, 200 | 400), "{told}");
            }
        }
    }
    stack.finish().await;
}
