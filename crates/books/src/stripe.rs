//! Stripe's webhooks: the check of their signature, and the effect of an event on money. Amounts come only from the
//! signed event. Sources: docs.stripe.com/webhooks (signatures), /api/events, /api/checkout/sessions,
//! /api/payment_intents, /api/refunds, /api/disputes.

use hmac::{Hmac, KeyInit, Mac};
use kairosroute_domain::money::NanoUsd;
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How old a signature may be, in seconds; Stripe's own libraries use the same.
pub const TOLERANCE_S: i64 = 300;
/// Nano-USD in a cent.
const NANO_PER_CENT: i64 = 10_000_000;
/// Maximum signatures examined in one header: Stripe sends one for each live secret.
const SIGNATURES_MAX: usize = 8;

/// Why an event is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EventError {
    #[error("the Stripe-Signature header is missing or cannot be read")]
    Malformed,
    #[error("the signature is older or newer than {TOLERANCE_S} seconds")]
    Stale,
    #[error("the signature is not ours")]
    Forged,
    #[error("the event cannot be read: {0}")]
    Unreadable(String),
}

/// Checks `Stripe-Signature` over the received body; any of the secrets may have signed.
pub fn verify(header: &str, body: &[u8], secrets: &[&str], now_unix_s: i64) -> Result<(), EventError> {
    let mut time = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", value)) => time = value.parse::<i64>().ok(),
            Some(("v1", value)) if signatures.len() < SIGNATURES_MAX => signatures.push(value),
            _ => {}
        }
    }
    let time = time.ok_or(EventError::Malformed)?;
    if signatures.is_empty() {
        return Err(EventError::Malformed);
    }
    let mut is_ours = false;
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| EventError::Malformed)?;
        mac.update(time.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        for signature in &signatures {
            is_ours |= bool::from(expected.as_bytes().ct_eq(signature.as_bytes()));
        }
    }
    match is_ours {
        true if now_unix_s.abs_diff(time) > TOLERANCE_S.unsigned_abs() => Err(EventError::Stale),
        true => Ok(()),
        false => Err(EventError::Forged),
    }
}

/// The header that Stripe would send; for simulated events.
pub fn sign(secret: &str, body: &[u8], unix_s: i64) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{unix_s}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={unix_s},v1={hex}")
}

/// Money that an event moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Money {
    pub movement: MoneyMovement,
    /// Above zero.
    pub amount: NanoUsd,
    /// The identifier that is booked once: the payment, the refund, the dispute and its direction.
    pub external_id: String,
    /// The payment it belongs to.
    pub payment_intent: String,
    /// Chosen by the gateway when the payment began; absent in events about a payment.
    pub organization: Option<String>,
    /// Customer and payment method that may be charged again.
    pub saved: Option<(String, String)>,
}

/// The direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoneyMovement {
    Paid,
    Refunded,
    Disputed,
    /// The dispute was won.
    DisputeReversed,
}

/// The content of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// In the order in which it is booked.
    Money(Vec<Money>),
    /// A payment method that may be charged again.
    Saved { organization: String, customer: String, payment_method: Option<String> },
    /// An automatic payment that was declined.
    Declined { organization: String, reason: String },
    /// Not one of ours, or in another currency: nothing is booked.
    Ignored(&'static str),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Object { id: String },
}

impl Reference {
    fn id(self) -> String {
        match self {
            Reference::Id(id) | Reference::Object { id } => id,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    kairosroute_organization: Option<String>,
}

#[derive(Deserialize)]
struct Object {
    id: String,
    #[serde(default)]
    amount: Option<i64>,
    #[serde(default)]
    amount_received: Option<i64>,
    #[serde(default)]
    amount_total: Option<i64>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    payment_status: Option<String>,
    #[serde(default)]
    payment_intent: Option<Reference>,
    #[serde(default)]
    payment_method: Option<Reference>,
    #[serde(default)]
    customer: Option<Reference>,
    #[serde(default)]
    setup_future_usage: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    last_payment_error: Option<PaymentError>,
}

#[derive(Deserialize)]
struct PaymentError {
    #[serde(default)]
    code: Option<String>,
}

/// Reads an event whose signature was verified.
pub fn read(body: &[u8]) -> Result<Event, EventError> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|error| EventError::Unreadable(error.to_string()))?;
    let object = envelope.data.object;
    let organization =
        object.metadata.as_ref().and_then(|metadata| metadata.kairosroute_organization.clone());
    match envelope.kind.as_str() {
        // A payment is booked when its money has arrived: both events name the same payment, which is booked once.
        "payment_intent.succeeded" => {
            let id = object.id.clone();
            let amount = object.amount_received;
            paid(&object, amount, id, organization)
        }
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            if object.payment_status.as_deref() != Some("paid") {
                return Ok(Event::Ignored("the session is not paid"));
            }
            match object.payment_intent.as_ref().map(reference) {
                Some(id) => {
                    let amount = object.amount_total;
                    paid(&object, amount, id, organization)
                }
                None => Ok(Event::Ignored("the session has no payment")),
            }
        }
        "payment_intent.payment_failed" => Ok(match organization {
            Some(organization) => Event::Declined {
                organization,
                reason: object.last_payment_error.and_then(|error| error.code).unwrap_or_default(),
            },
            None => Event::Ignored("the payment is not ours"),
        }),
        "setup_intent.succeeded" => Ok(match (organization, object.customer) {
            (Some(organization), Some(customer)) => Event::Saved {
                organization,
                customer: customer.id(),
                payment_method: object.payment_method.map(Reference::id),
            },
            _ => Event::Ignored("the payment method is not ours"),
        }),
        "refund.created" | "refund.updated" | "charge.refund.updated" => {
            if object.status.as_deref() != Some("succeeded") {
                return Ok(Event::Ignored("the refund has not succeeded"));
            }
            about_payment(object, MoneyMovement::Refunded, "refund")
        }
        "charge.dispute.funds_withdrawn" => about_payment(object, MoneyMovement::Disputed, "dispute"),
        "charge.dispute.funds_reinstated" => {
            about_payment(object, MoneyMovement::DisputeReversed, "dispute_reversal")
        }
        _ => Ok(Event::Ignored("events of this type move no money")),
    }
}

fn reference(reference: &Reference) -> String {
    match reference {
        Reference::Id(id) | Reference::Object { id } => id.clone(),
    }
}

fn is_dollars(currency: Option<&str>) -> bool {
    currency.is_some_and(|currency| currency.eq_ignore_ascii_case("usd"))
}

fn nano(cents: Option<i64>) -> Option<NanoUsd> {
    cents.filter(|cents| *cents > 0)?.checked_mul(NANO_PER_CENT).map(NanoUsd)
}

fn paid(
    object: &Object,
    cents: Option<i64>,
    payment_intent: String,
    organization: Option<String>,
) -> Result<Event, EventError> {
    let Some(organization) = organization else { return Ok(Event::Ignored("the payment is not ours")) };
    if !is_dollars(object.currency.as_deref()) {
        return Ok(Event::Ignored("the payment is not in US dollars"));
    }
    let Some(amount) = nano(cents) else { return Ok(Event::Ignored("the amount is not above zero")) };
    Ok(Event::Money(vec![Money {
        movement: MoneyMovement::Paid,
        amount,
        external_id: format!("stripe:{payment_intent}"),
        payment_intent,
        organization: Some(organization),
        saved: match (&object.customer, &object.payment_method, object.setup_future_usage.as_deref()) {
            (Some(customer), Some(method), Some("off_session")) => {
                Some((reference(customer), reference(method)))
            }
            _ => None,
        },
    }]))
}

fn about_payment(object: Object, movement: MoneyMovement, prefix: &str) -> Result<Event, EventError> {
    if !is_dollars(object.currency.as_deref()) {
        return Ok(Event::Ignored("not in US dollars"));
    }
    let (Some(amount), Some(payment)) = (nano(object.amount), object.payment_intent) else {
        return Ok(Event::Ignored("it names no payment or no amount"));
    };
    Ok(Event::Money(vec![Money {
        movement,
        amount,
        external_id: format!("stripe:{prefix}:{}", object.id),
        payment_intent: payment.id(),
        organization: None,
        saved: None,
    }]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &str = "whsec_test";

    #[test]
    fn only_a_fresh_signature_of_ours_over_these_bytes_passes() {
        let body = br#"{"id":"evt_1"}"#;
        let header = sign(SECRET, body, 1_000);
        let check = |header: &str, body: &[u8], secrets: &[&str], now| verify(header, body, secrets, now);
        assert_eq!(check(&header, body, &[SECRET], 1_300), Ok(()));
        assert_eq!(check(&header, body, &["whsec_new", SECRET], 1_000), Ok(()), "while secrets are changed");
        assert_eq!(check(&header, body, &[SECRET], 1_301), Err(EventError::Stale));
        assert_eq!(check(&header, body, &[SECRET], 699), Err(EventError::Stale));
        assert_eq!(check(&header, br#"{"id":"evt_2"}"#, &[SECRET], 1_000), Err(EventError::Forged));
        assert_eq!(check(&header, body, &["whsec_other"], 1_000), Err(EventError::Forged));
        assert_eq!(check(&header, body, &[], 1_000), Err(EventError::Forged));
        let empty = sign("", body, 1_000);
        assert_eq!(
            check(&empty, body, &[""], 1_000),
            Err(EventError::Forged),
            "an empty secret signs nothing"
        );
        for bad in ["", "t=1", "v1=aa", "t=x,v1=aa", "garbage"] {
            assert_eq!(check(bad, body, &[SECRET], 1_000), Err(EventError::Malformed), "{bad}");
        }
        let moved = header.replace("t=1000", "t=1001");
        assert_eq!(check(&moved, body, &[SECRET], 1_000), Err(EventError::Forged), "the time is signed too");
        let several = format!("{header},v1=00,v0=11");
        assert_eq!(check(&several, body, &[SECRET], 1_000), Ok(()));
    }

    fn event(kind: &str, object: serde_json::Value) -> Event {
        read(json!({ "id": "evt_1", "type": kind, "data": { "object": object } }).to_string().as_bytes())
            .unwrap()
    }

    #[test]
    fn a_payment_is_one_event_of_money_however_it_is_reported() {
        let organization = json!({ "kairosroute_organization": "org_1" });
        let intent = event(
            "payment_intent.succeeded",
            json!({ "id": "pi_1", "amount": 9_999, "amount_received": 2_500, "currency": "usd", "metadata": organization }),
        );
        let session = event(
            "checkout.session.completed",
            json!({ "id": "cs_1", "amount_total": 2_500, "currency": "usd", "payment_status": "paid",
                    "payment_intent": "pi_1", "metadata": organization }),
        );
        assert_eq!(intent, session);
        let Event::Money(money) = intent else { panic!("{intent:?}") };
        assert_eq!(money[0].amount, NanoUsd(25_000_000_000));
        assert_eq!(money[0].external_id, "stripe:pi_1");
    }

    #[test]
    fn what_is_not_paid_not_ours_or_not_in_dollars_moves_nothing() {
        let organization = json!({ "kairosroute_organization": "org_1" });
        for (kind, object) in [
            (
                "payment_intent.succeeded",
                json!({ "id": "pi", "amount_received": 5, "currency": "eur", "metadata": organization }),
            ),
            (
                "payment_intent.succeeded",
                json!({ "id": "pi", "amount_received": 5, "currency": "usd", "metadata": {} }),
            ),
            (
                "payment_intent.succeeded",
                json!({ "id": "pi", "amount_received": 0, "currency": "usd", "metadata": organization }),
            ),
            (
                "payment_intent.succeeded",
                json!({ "id": "pi", "amount_received": -5, "currency": "usd", "metadata": organization }),
            ),
            (
                "payment_intent.succeeded",
                json!({ "id": "pi", "amount": 5, "currency": "usd", "metadata": organization }),
            ),
            (
                "checkout.session.completed",
                json!({ "id": "cs", "amount_total": 5, "currency": "usd", "payment_status": "unpaid", "payment_intent": "pi", "metadata": organization }),
            ),
            (
                "refund.created",
                json!({ "id": "re", "amount": 5, "currency": "usd", "status": "pending", "payment_intent": "pi" }),
            ),
            ("customer.created", json!({ "id": "cus" })),
        ] {
            assert!(matches!(event(kind, object), Event::Ignored(_)), "{kind}");
        }
        assert!(read(b"{}").is_err());
    }

    #[test]
    fn refunds_and_disputes_name_their_payment() {
        let object = json!({ "id": "dp_1", "amount": 700, "currency": "usd", "status": "succeeded", "payment_intent": { "id": "pi_1" } });
        for (kind, movement) in [
            ("refund.created", MoneyMovement::Refunded),
            ("charge.dispute.funds_withdrawn", MoneyMovement::Disputed),
            ("charge.dispute.funds_reinstated", MoneyMovement::DisputeReversed),
        ] {
            let Event::Money(money) = event(kind, object.clone()) else { panic!("{kind}") };
            assert_eq!((money[0].movement, money[0].amount.0), (movement, 7_000_000_000));
            assert_eq!((money[0].payment_intent.as_str(), &money[0].organization), ("pi_1", &None));
        }
    }
}
