//! Whatever a client sends, its reader does not panic, and a request that was read can be passed on.
#![no_main]

use kairosroute::{
    dialect::{ClientRequest, Dialect, Limits, Target},
    domain::provider::ProviderId,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = ClientRequest::read(Dialect::Responses, bytes, &Limits::default()) else { return };
    for provider in ProviderId::all().filter(|provider| provider.path(Dialect::Responses).is_some()) {
        let target = Target {
            provider,
            upstream_model: "m",
            dialect: Dialect::Responses,
            flags: None,
            output_tokens_max: None,
            seed: "s",
        };
        let _ = request.encode(&target);
    }
    let _ = request.canonical();
    request.echo();
});
