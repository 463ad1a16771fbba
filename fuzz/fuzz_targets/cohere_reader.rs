//! Whatever a provider sends, see `read_only`.
#![no_main]

use kairosroute::dialect::Dialect;
use kairosroute_fuzz::read_only;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| read_only(Dialect::Cohere, input.0, input.1));
