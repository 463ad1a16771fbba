//! Whatever a provider sends, see `read_and_written`.
#![no_main]

use kairosroute::dialect::Dialect;
use kairosroute_fuzz::read_and_written;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| read_and_written(Dialect::Completions, input.0, input.1));
