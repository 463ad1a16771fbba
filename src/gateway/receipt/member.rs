//! The receipt member of an answer: its provider, its cost, and the id of its receipt.

use super::{ServedBy, Total};
use crate::{
    dialect::json::push_text,
    domain::{ids::RequestId, money::NanoUsd},
};
use std::io::Write;

/// Bytes of a member beside the name that it was asked by.
const BYTES: usize = 320;

/// `x_kairosroute` as JSON. Amounts are numbers of at most nine decimals.
pub fn note(request_id: RequestId, requested: &str, served: &ServedBy, total: &Total) -> String {
    let mut out = Vec::with_capacity(BYTES + requested.len());
    let raw = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
    let amount = |out: &mut Vec<u8>, name: &str, amount: NanoUsd| {
        // Writing to memory cannot fail.
        let _ = write!(out, ",\"{name}\":{amount}");
    };
    raw(&mut out, "{\"provider\":");
    push_text(&mut out, served.provider);
    amount(&mut out, "cost_usd", total.charge);
    amount(&mut out, "savings_usd", total.savings);
    raw(&mut out, ",\"routed_from\":");
    push_text(&mut out, requested);
    raw(&mut out, if total.byok { ",\"byok\":true" } else { ",\"byok\":false" });
    let _ = write!(out, ",\"receipt_id\":\"{}\"", request_id.receipt());
    amount(&mut out, "charged_usd", total.charge);
    match total.cost {
        Some(cost) => amount(&mut out, "provider_cost_usd", cost),
        None => raw(&mut out, ",\"provider_cost_usd\":null"),
    }
    amount(&mut out, "margin_usd", total.margin);
    raw(&mut out, "}");
    // Nothing but text was written.
    String::from_utf8(out).unwrap_or_else(|_| "null".to_owned())
}
