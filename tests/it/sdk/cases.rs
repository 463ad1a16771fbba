//! The cases that each program of tests/sdk must report, by name.

use std::collections::BTreeSet;

/// Providers of the four wire formats that conversations are translated to.
const WIRES: &[&str] = &["openai", "anthropic", "google", "mistral"];

/// Cases that are reported once for each of [`WIRES`], and cases that are reported once.
pub struct Cases {
    each: &'static [&'static str],
    once: &'static [&'static str],
}

pub const CHAT: Cases = Cases {
    each: &[
        "text",
        "a_system_message",
        "stream_with_usage",
        "stream_without_usage",
        "tools_over_two_steps",
        "parallel_tools",
        "tools_streamed",
        "structured_output",
        "image_in",
        "a_bad_request",
        "a_rate_limit",
        "a_failure_in_a_stream",
    ],
    once: &[],
};

pub const RESPONSES: Cases = Cases {
    each: &[
        "text",
        "stream_events",
        "tools_over_two_steps",
        "tools_streamed",
        "structured_output",
        "image_in",
        "a_bad_request",
        "a_failure_in_a_stream",
    ],
    once: &[],
};

pub const KINDS: Cases = Cases {
    each: &["a_text_completion"],
    once: &[
        "embeddings_of_openai",
        "embeddings_of_google",
        "embeddings_of_mistral",
        "embeddings_of_cohere",
        "images_of_openai",
        "images_of_google",
        "images_of_xai",
        "an_image_is_edited",
        "speech_of_groq",
        "speech_of_mistral",
        "speech_of_google",
        "transcripts_of_openai",
        "transcripts_of_groq",
        "transcripts_of_mistral",
        "transcripts_of_google",
        "a_translation",
        "moderations",
        "models_are_listed_and_found",
        "a_refused_embedding_keeps_the_providers_words",
    ],
};

pub const MESSAGES: Cases = Cases {
    each: &[
        "text",
        "system_blocks",
        "the_stream_helper",
        "raw_events",
        "tools_over_two_steps",
        "parallel_tools",
        "tools_streamed",
        "image_in",
        "thinking",
        "thinking_is_given_back_with_the_tools",
        "structured_output",
        "tokens_are_counted",
        "a_bad_request",
        "a_rate_limit",
        "a_failure_in_a_stream",
    ],
    once: &[
        "models_are_listed_and_found",
        "an_unknown_model_is_not_found",
        "a_wrong_key_is_an_authentication_error",
    ],
};

pub const KAIROSROUTE: Cases = Cases {
    each: &["chat", "stream", "tools_over_two_steps", "a_text_completion"],
    once: &[
        "embeddings",
        "models_are_listed",
        "the_automatic_names_are_its_defaults",
        "a_rate_limit",
        "a_spent_budget",
        "a_wrong_key",
        "a_refused_request",
        "a_provider_that_fails",
        "a_failure_in_a_stream",
    ],
};

pub const INDOXHUB: Cases = Cases {
    each: &["chat", "a_stream", "a_text_completion"],
    once: &[
        "a_log_in",
        "a_wrong_key_is_told_with_its_reason",
        "a_lost_token_is_replaced",
        "embeddings",
        "images",
        "speech",
        "transcripts",
        "a_translation",
        "models_are_listed_and_found",
        "the_usage",
        "the_connection",
        "errors_are_of_the_kind_that_is_meant",
        "a_failure_in_a_stream",
        "further_arguments_reach_the_provider",
        "a_key_of_the_request",
        "a_refused_key_of_the_request_is_told_and_spends_nothing",
    ],
};

pub const SEALED: Cases =
    Cases { each: &[], once: &["a_sealed_credential", "a_credential_for_another_host"] };

pub const DEDALUS: Cases = Cases {
    each: &[
        "chat",
        "stream",
        "structured_output",
        "the_runner_with_two_tools_over_several_steps",
        "the_streaming_runner",
        "the_runner_with_two_tools_and_a_server",
        "the_streaming_runner_with_two_tools_and_a_server",
    ],
    once: &[
        "a_client_from_the_environment",
        "a_client_with_other_options",
        "embeddings",
        "images",
        "speech",
        "transcripts",
        "models_are_listed_and_found",
        "a_list_of_models_is_tried_in_order",
        "errors",
        "a_failure_in_a_stream",
        "a_key_in_the_headers",
        "a_key_from_the_environment",
        "another_provider_for_one_request",
        "a_refused_key_comes_back_with_the_providers_words",
        "an_unknown_provider_is_refused_with_the_list",
    ],
};

/// Fails unless exactly these were reported as successful.
pub fn each_is_told(cases: &Cases, told: &str) {
    let on_each =
        cases.each.iter().flat_map(|case| WIRES.iter().map(move |wire| format!("{case} on {wire}")));
    let expected: BTreeSet<String> =
        on_each.chain(cases.once.iter().map(|case| (*case).to_owned())).collect();
    let good: BTreeSet<String> =
        told.lines().filter_map(|line| line.strip_prefix("ok ")).map(str::to_owned).collect();
    assert_eq!(good, expected, "{told}");
}

#[test]
fn a_case_that_is_missing_or_new_is_noticed() {
    let cases = Cases { each: &["a"], once: &["b"] };
    let good = "ok a on openai\nok a on anthropic\nok a on google\nok a on mistral\nok b\n3 of 3 passed\n";
    each_is_told(&cases, good);
    for told in ["", &good.replace("ok b\n", ""), &format!("{good}ok c\n")] {
        assert!(std::panic::catch_unwind(|| each_is_told(&cases, told)).is_err(), "{told}");
    }
}
