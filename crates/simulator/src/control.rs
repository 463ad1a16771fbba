//! The simulator's controls over HTTP, for tests that run it in another process. They are below `/_simulator/`, where
//! no provider is, and do not appear in the bill.

use super::{reply::JSON, script::Script, shared::Shared};
use actix_web::HttpResponse;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    provider: String,
    script: Script,
}

/// Answers `name`, the path below `/_simulator/`.
pub(super) fn answer(shared: &Shared, method: &str, name: &str, body: &[u8]) -> HttpResponse {
    match (method, name) {
        ("GET", "bill") => match serde_json::to_string(&shared.bill.calls()) {
            Ok(calls) => json(calls),
            Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
        },
        ("GET", "waiting") => json(shared.gate.waiting().to_string()),
        ("POST", "scripts") => ordered(body, |order| shared.enqueue(&order.provider, order.script)),
        ("PUT", "defaults") => ordered(body, |order| shared.set_default(&order.provider, order.script)),
        ("POST", "release") => {
            shared.gate.release();
            HttpResponse::NoContent().finish()
        }
        ("POST", "clear") => {
            shared.clear();
            HttpResponse::NoContent().finish()
        }
        _ => HttpResponse::NotFound().body("no such control\n"),
    }
}

fn ordered(body: &[u8], obey: impl FnOnce(Order)) -> HttpResponse {
    match serde_json::from_slice(body) {
        Ok(order) => {
            obey(order);
            HttpResponse::NoContent().finish()
        }
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}

fn json(body: String) -> HttpResponse {
    HttpResponse::Ok().content_type(JSON).body(body)
}
