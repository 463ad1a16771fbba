//! Credit that customers buy, against a simulated Stripe over real HTTP: pages for payments, payments with a saved
//! method, and signed events that arrive late, twice, out of order or forged.

use crate::harness::{Customer, Stack, wait_until};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use kairosroute::{books::stripe::sign, config::Config, domain::ambient::Ambient};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
};

const SECRET: &str = "whsec_simulated";

/// A call that the simulated Stripe received: its path, its form, its idempotency key.
#[derive(Clone, Debug)]
struct Called {
    path: String,
    form: Vec<(String, String)>,
    idempotency_key: String,
}

impl Called {
    fn field(&self, name: &str) -> &str {
        self.form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }
}

/// A simulated Stripe that records its calls and declines if configured.
#[derive(Clone)]
pub struct SimulatedStripe {
    base: String,
    calls: Arc<Mutex<Vec<Called>>>,
    declines: Arc<Mutex<bool>>,
}

impl SimulatedStripe {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stripe = Self { base, calls: Arc::default(), declines: Arc::default() };
        let serving = stripe.clone();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    let serving = serving.clone();
                    App::new().default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
                        let serving = serving.clone();
                        async move { serving.answer(&request, &body) }
                    }))
                });
                server.workers(1).listen(listener).unwrap().run().await.unwrap();
            });
        });
        stripe
    }

    fn answer(&self, request: &HttpRequest, body: &[u8]) -> HttpResponse {
        let header =
            |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        if header("authorization") != "Bearer sk_test_simulated" {
            return HttpResponse::Unauthorized()
                .json(json!({ "error": { "type": "invalid_request_error" } }));
        }
        let form =
            web::Query::<Vec<(String, String)>>::from_query(std::str::from_utf8(body).unwrap()).unwrap();
        let called = Called {
            path: request.path().to_owned(),
            form: form.into_inner(),
            idempotency_key: header("idempotency-key"),
        };
        self.calls.lock().unwrap().push(called);
        if *self.declines.lock().unwrap() {
            let error = json!({ "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds" });
            return HttpResponse::PaymentRequired().json(json!({ "error": error }));
        }
        match request.path() {
            "/v1/checkout/sessions" => HttpResponse::Ok()
                .json(json!({ "id": "cs_1", "url": "https://checkout.stripe.com/c/pay/cs_1" })),
            "/v1/payment_intents" => {
                HttpResponse::Ok().json(json!({ "id": "pi_auto", "status": "succeeded" }))
            }
            _ => HttpResponse::NotFound().json(json!({ "error": { "type": "invalid_request_error" } })),
        }
    }

    fn calls(&self) -> Vec<Called> {
        self.calls.lock().unwrap().clone()
    }
}

pub async fn stack_with(stripe: &SimulatedStripe) -> Stack {
    Stack::builder()
        .env("KAIROSROUTE_STRIPE_SECRET_KEY", "sk_test_simulated")
        .env("KAIROSROUTE_STRIPE_WEBHOOK_SECRET", SECRET)
        .env("KAIROSROUTE_STRIPE_BASE_URL", &stripe.base)
        .env("KAIROSROUTE_PUBLIC_URL", "https://gateway.example.com")
        .start()
        .await
}

fn now() -> i64 {
    Ambient::system().now().unix_timestamp()
}

async fn deliver_signed(stack: &Stack, body: &str, signature: &str) -> u16 {
    let request = stack.request("POST", "/webhooks/stripe").header("stripe-signature", signature);
    request.header("content-type", "application/json").body(body.as_bytes()).send().await.status
}

/// Delivers an event as Stripe does.
pub async fn deliver(stack: &Stack, kind: &str, object: &Value) -> u16 {
    let body = json!({ "id": "evt", "type": kind, "data": { "object": object } }).to_string();
    deliver_signed(stack, &body, &sign(SECRET, body.as_bytes(), now())).await
}

pub fn paid(customer: &Customer, id: &str, cents: i64) -> Value {
    json!({ "id": id, "object": "payment_intent", "amount": cents, "amount_received": cents, "currency": "usd",
            "customer": "cus_1", "payment_method": "pm_1", "setup_future_usage": "off_session",
            "metadata": { "kairosroute_organization": customer.organization_id } })
}

#[tokio::test]
async fn a_payment_is_credited_once_with_the_signed_amount_and_its_refund_and_dispute_are_booked() {
    let stripe = SimulatedStripe::start();
    let stack = stack_with(&stripe).await;
    let customer = stack.customer("0").await;
    let body = json!({ "amountUsd": "25", "savePaymentMethod": true });
    let page = stack.post("/api/billing/checkout", &customer.session, &body).await;
    assert_eq!(
        (page.status, page.json()["url"].as_str().unwrap()),
        (201, "https://checkout.stripe.com/c/pay/cs_1")
    );
    let call = stripe.calls().remove(0);
    assert_eq!(call.path, "/v1/checkout/sessions");
    assert_eq!(call.field("line_items[0][price_data][unit_amount]"), "2500");
    assert_eq!(
        call.field("payment_intent_data[metadata][kairosroute_organization]"),
        customer.organization_id
    );
    assert!(!call.idempotency_key.is_empty());
    assert_eq!(stack.account(&customer.organization_id).await.0, 0, "nothing before the event");

    // A refund and a dispute arrive before their payment, and everything three times.
    let refund = json!({ "id": "re_1", "amount": 500, "currency": "usd", "status": "succeeded", "payment_intent": "pi_1" });
    let dispute = json!({ "id": "dp_1", "amount": 1_000, "currency": "usd", "payment_intent": "pi_1" });
    let session = json!({ "id": "cs_1", "amount_total": 2_500, "currency": "usd", "payment_status": "paid",
                          "payment_intent": "pi_1", "metadata": { "kairosroute_organization": customer.organization_id } });
    for _ in 0..3 {
        assert_eq!(deliver(&stack, "refund.created", &refund).await, 200);
        assert_eq!(deliver(&stack, "checkout.session.completed", &session).await, 200);
        assert_eq!(deliver(&stack, "payment_intent.succeeded", &paid(&customer, "pi_1", 2_500)).await, 200);
        assert_eq!(deliver(&stack, "charge.dispute.funds_withdrawn", &dispute).await, 200);
    }
    assert_eq!(stack.account(&customer.organization_id).await.0, 10_000_000_000);
    assert_eq!(deliver(&stack, "charge.dispute.funds_reinstated", &dispute).await, 200);
    assert_eq!(stack.account(&customer.organization_id).await.0, 20_000_000_000);
    // The same payment with another amount or currency, or of another organization.
    let other = stack.customer("0").await;
    for object in [paid(&customer, "pi_1", 9_900), paid(&other, "pi_1", 2_500)] {
        assert_eq!(deliver(&stack, "payment_intent.succeeded", &object).await, 200);
    }
    let mut euros = paid(&customer, "pi_2", 2_500);
    euros["currency"] = json!("eur");
    assert_eq!(deliver(&stack, "payment_intent.succeeded", &euros).await, 200);
    assert_eq!(stack.account(&customer.organization_id).await.0, 20_000_000_000);
    assert_eq!(stack.account(&other.organization_id).await.0, 0);
    let month = stack.database.texts("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')").await.remove(0);
    let path = format!("/api/billing/statements/{month}");
    let statement = stack.get(&path, &customer.session).await.json();
    assert_eq!(statement["totals"]["topupsUsd"], "20", "{statement}");
    assert_eq!(statement["topups"].as_array().unwrap().len(), 4);
    stack.finish().await;
    println!(
        "bar 13: events three times, out of order, forged and of another currency: each payment credited once"
    );
}

#[tokio::test]
async fn only_a_fresh_event_of_ours_is_taken() {
    let stripe = SimulatedStripe::start();
    let stack = stack_with(&stripe).await;
    let customer = stack.customer("0").await;
    let body = json!({ "id": "evt", "type": "payment_intent.succeeded",
                       "data": { "object": paid(&customer, "pi_1", 2_500) } })
    .to_string();
    for signature in [
        String::new(),
        sign("whsec_other", body.as_bytes(), now()),
        sign("", body.as_bytes(), now()),
        sign(SECRET, b"{}", now()),
        sign(SECRET, body.as_bytes(), now() - 400),
    ] {
        assert_eq!(deliver_signed(&stack, &body, &signature).await, 400, "{signature}");
    }
    assert_eq!(stack.account(&customer.organization_id).await.0, 0);
    assert_eq!(deliver_signed(&stack, &body, &sign(SECRET, body.as_bytes(), now())).await, 200);
    assert_eq!(stack.account(&customer.organization_id).await.0, 25_000_000_000);
    stack.finish().await;
}

#[tokio::test]
async fn credit_below_the_threshold_is_topped_up_once_and_a_declined_card_switches_it_off() {
    let stripe = SimulatedStripe::start();
    let stack = stack_with(&stripe).await;
    let customer = stack.customer("0").await;
    let settings = json!({ "enabled": true, "thresholdUsd": "10", "amountUsd": "20" });
    let put = async |body: &Value| {
        stack.request("PUT", "/api/billing/auto-topup").bearer(&customer.session).json(body).send().await
    };
    assert_eq!(put(&settings).await.status, 409, "no payment method yet");
    assert_eq!(deliver(&stack, "payment_intent.succeeded", &paid(&customer, "pi_1", 500)).await, 200);
    assert_eq!(put(&settings).await.status, 200);
    let payments = kairosroute::billing::payments::top_up_due;
    let client = kairosroute::providers::stripe::Stripe::new(
        stripe.base.parse().unwrap(),
        kairosroute::domain::secret::Secret::new("sk_test_simulated".to_owned()),
    )
    .unwrap();
    let db = &stack.gateway().db;
    payments(db, &client).await.unwrap();
    assert_eq!(payments(db, &client).await.unwrap(), 0, "not again while it is on its way");
    let calls = stripe.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!((calls[0].field("amount"), calls[0].field("off_session")), ("2000", "true"));
    assert_eq!((calls[0].field("customer"), calls[0].field("payment_method")), ("cus_1", "pm_1"));
    assert_eq!(deliver(&stack, "payment_intent.succeeded", &paid(&customer, "pi_auto", 2_000)).await, 200);
    assert_eq!(stack.account(&customer.organization_id).await.0, 25_000_000_000);
    assert_eq!(payments(db, &client).await.unwrap(), 0, "there is enough");
    // Three declined payments.
    *stripe.declines.lock().unwrap() = true;
    let declined = json!({ "id": "pi_x", "last_payment_error": { "code": "card_declined" },
                           "metadata": { "kairosroute_organization": customer.organization_id } });
    for _ in 0..3 {
        stack.database.tamper("UPDATE auto_topup SET attempted_at = NULL, threshold = 100000000000").await;
        assert_eq!(payments(db, &client).await.unwrap(), 1);
        assert_eq!(deliver(&stack, "payment_intent.payment_failed", &declined).await, 200);
    }
    stack.database.tamper("UPDATE auto_topup SET attempted_at = NULL").await;
    assert_eq!(payments(db, &client).await.unwrap(), 0, "switched off");
    let view = stack.get("/api/billing/auto-topup", &customer.session).await.json();
    assert_eq!((&view["enabled"], &view["lastError"]), (&json!(false), &json!("card_declined")));
    wait_until("nothing to be open", async || stack.account(&customer.organization_id).await.1 == 0).await;
    stack.finish().await;
}

#[tokio::test]
async fn without_stripe_nothing_is_sold_and_an_empty_secret_is_refused() {
    let stack = Stack::start().await;
    let customer = stack.customer("0").await;
    let body = json!({ "amountUsd": "25" });
    assert_eq!(stack.post("/api/billing/checkout", &customer.session, &body).await.status, 403);
    assert_eq!(deliver(&stack, "payment_intent.succeeded", &paid(&customer, "pi_1", 500)).await, 404);
    for (key, secret) in [("sk_test", ""), ("sk_test", " "), ("", "whsec"), ("sk_test", ",")] {
        let variables = [
            ("DATABASE_URL", "postgres://localhost/x"),
            ("KAIROSROUTE_MASTER_KEYS", "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ("KAIROSROUTE_PUBLIC_URL", "https://gateway.example.com"),
            ("KAIROSROUTE_STRIPE_SECRET_KEY", key),
            ("KAIROSROUTE_STRIPE_WEBHOOK_SECRET", secret),
        ];
        let read = Config::read(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let error = read.err().unwrap_or_else(|| panic!("{key:?} {secret:?} was accepted"));
        assert!(error.to_string().contains("STRIPE_WEBHOOK_SECRET"), "{error}");
    }
    let reply = stack.post("/api/billing/checkout", &customer.session, &json!({ "amountUsd": "0" })).await;
    assert_eq!(reply.status, 403);
}
