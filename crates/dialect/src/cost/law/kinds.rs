//! Requests of other endpoint kinds, read and written for every provider that serves them.

use super::{Limits, check, repeated};
use crate::kinds::{At, read, texts};
use kairosroute_domain::{kind::Kind, provider::ProviderId};

const FORM: &str = "multipart/form-data; boundary=\"b\"";

fn run(kind: Kind, body: &[u8]) {
    if let Ok(request) = read(kind, FORM, body, &Limits::default()) {
        for serves in ProviderId::all().filter_map(|provider| provider.serves(kind)) {
            let _ = request.encode(&At { serves, model: "m", created: 0, on_platform: false });
        }
    }
    texts(kind, body);
}

#[test]
fn requests_of_other_kinds_cost_what_their_size_says() {
    #[allow(clippy::type_complexity)] // one table
    let cases: [(&str, Kind, usize, fn(usize) -> String); 7] = [
        ("inputs", Kind::Embeddings, 1000, |n| {
            format!(r#"{{"model":"m","input":[{}]}}"#, repeated(r#""a#""#, n))
        }),
        ("token lists", Kind::Embeddings, 1000, |n| {
            format!(r#"{{"model":"m","input":[{}]}}"#, repeated("[#]", n))
        }),
        ("documents", Kind::Rerank, 500, |n| {
            format!(r#"{{"model":"m","query":"q","documents":[{}]}}"#, repeated(r#""a#""#, n))
        }),
        ("documents of several fields", Kind::Rerank, 500, |n| {
            format!(r#"{{"model":"m","query":"q","documents":[{}]}}"#, repeated(r#"{"text":"a#"}"#, n))
        }),
        ("texts", Kind::Moderation, 500, |n| {
            format!(r#"{{"model":"m","input":[{}]}}"#, repeated(r#""a#""#, n))
        }),
        ("a long text", Kind::Speech, 5000, |n| {
            format!(r#"{{"model":"m","voice":"v","input":"{}"}}"#, "\\u00e9".repeat(n))
        }),
        ("null members", Kind::Images, 1000, |n| {
            format!(r#"{{"model":"m","prompt":"p",{}}}"#, repeated(r##""k#":null"##, n))
        }),
    ];
    for (name, kind, size, body) in cases {
        check(&format!("{kind:?}: {name}"), size, |size| run(kind, body(size).as_bytes()));
    }
}
