//! The receipt member of an answer: its provider, its cost, and the id of its receipt.

use super::{ServedBy, Total};
use crate::domain::{
    ids::{ReceiptId, RequestId},
    money::NanoUsd,
};
use serde::Serialize;
use serde_json::value::RawValue;

/// `x_kairosroute` as JSON. Amounts are numbers of at most nine decimals.
pub fn note(request_id: RequestId, requested: &str, served: &ServedBy, total: &Total) -> String {
    #[derive(Serialize)]
    struct Note<'a> {
        provider: &'a str,
        cost_usd: &'a RawValue,
        savings_usd: &'a RawValue,
        routed_from: &'a str,
        byok: bool,
        receipt_id: ReceiptId,
        charged_usd: &'a RawValue,
        provider_cost_usd: Option<&'a RawValue>,
        margin_usd: &'a RawValue,
    }
    let number = |amount: NanoUsd| RawValue::from_string(amount.to_string()).unwrap_or_default();
    let charge = number(total.charge);
    let cost = total.cost.map(number);
    let margin = number(total.margin);
    let savings = number(total.savings);
    let note = Note {
        provider: served.provider,
        cost_usd: &charge,
        savings_usd: &savings,
        routed_from: requested,
        byok: total.byok,
        receipt_id: request_id.receipt(),
        charged_usd: &charge,
        provider_cost_usd: cost.as_deref(),
        margin_usd: &margin,
    };
    serde_json::to_string(&note).unwrap_or_else(|_| "null".to_owned())
}
