//! The reader of chat requests takes any bytes, plain or to be unfolded first, and what it accepts can be written for
//! every provider.
#![no_main]

use kairosroute::{
    dialect::{ClientRequest, Dialect, Limits, Target, normalize},
    domain::{kind::Kind, provider::ProviderId},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(plain) = normalize(Kind::Conversation(Dialect::Chat), bytes, &Limits::default()) else { return };
    let bytes = plain.as_deref().unwrap_or(bytes);
    let Ok(request) = ClientRequest::read(Dialect::Chat, bytes, &Limits::default()) else { return };
    let canonical = request.canonical().ok();
    for provider in ProviderId::all().filter(|provider| provider.path(Dialect::Chat).is_some()) {
        let target = Target {
            provider,
            upstream_model: "m",
            dialect: Dialect::Chat,
            flags: None,
            output_tokens_max: Some(100),
            seed: "s",
        };
        let _ = request.encode(&target);
        if let Some(canonical) = &canonical {
            let _ = kairosroute::dialect::write(canonical, &target);
        }
    }
});
