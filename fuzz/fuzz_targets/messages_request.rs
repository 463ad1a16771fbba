//! The reader of Messages requests takes any bytes, and what it accepts can be passed on and translated.
#![no_main]

use kairosroute::{
    dialect::{Dialect, Limits, Target, messages},
    domain::provider::ProviderId,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(provider) = ProviderId::by_id("anthropic") else { return };
    let Ok(request) = messages::read_for_count(bytes, &Limits::default()) else { return };
    for upstream_model in ["claude-opus-5-5", "claude-sonnet-4-6", "claude-3-haiku-20240307"] {
        let target = Target {
            provider,
            upstream_model,
            dialect: Dialect::Messages,
            flags: None,
            output_tokens_max: None,
            seed: "s",
        };
        let _ = request.encode(&target);
        let _ = messages::write(request.canonical(), &target);
    }
});
