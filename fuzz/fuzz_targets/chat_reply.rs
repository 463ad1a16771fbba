//! The look at chat answers that pass through takes any bytes, and so do the edits made in them.
#![no_main]

use kairosroute::dialect::{
    json::{unescape, with_member},
    openai_chat::{prompt, reply, usage},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut text = Vec::new();
    if let Ok(seen) = reply::read(bytes, &mut text) {
        for outside in [false, true] {
            seen.usage.and_then(|raw| usage::read(raw, outside));
        }
    }
    with_member(bytes, "x_kairosroute", "{}");
    unescape(&text);
    reply::without_null_usage(bytes);
    prompt::read(bytes);
});
