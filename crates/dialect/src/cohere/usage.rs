//! Reads `usage`. The billed units are charged; the token counts beside them include the provider's own template. A
//! count of a wrong type makes the report missing, never zero.

use crate::json::{Kind, Raw};
use kairosroute_domain::usage::{Basis, Usage};

/// The largest accepted count; a report with a larger one is treated as broken.
const TOKENS_MAX: u64 = 1_000_000_000;

/// `None` if nothing can be billed from it.
pub(super) fn read(usage: Raw<'_>) -> Option<Usage> {
    let billed = usage.member("billed_units")?;
    let input = count(billed.member("input_tokens")?)?;
    let output = count(billed.member("output_tokens")?)?;
    let cached = match usage.member("cached_tokens").filter(|cached| !cached.is_null()) {
        Some(cached) => count(cached)?,
        None => 0,
    };
    // The cached tokens include the template, the billed ones do not.
    let cache_read = cached.min(input);
    Some(Usage {
        input: input.checked_sub(cache_read)?,
        cache_read,
        output,
        basis: Basis::Reported,
        ..Usage::default()
    })
}

/// A whole number, which this provider may write as `30.0`.
fn count(raw: Raw<'_>) -> Option<u64> {
    if raw.kind() != Kind::Number {
        return None;
    }
    let digits = match raw.get().split_once('.') {
        Some((digits, zeros)) if zeros.bytes().all(|byte| byte == b'0') => digits,
        Some(_) => return None,
        None => raw.get(),
    };
    digits.parse().ok().filter(|count| *count <= TOKENS_MAX)
}
