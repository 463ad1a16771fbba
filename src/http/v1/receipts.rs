//! `GET /v1/receipts/{id}`: what was decided and done for one request of the caller's organization. Every API key of the
//! organization reads it, and every session but a member's, which reads those of its own API keys.

use crate::{
    accounts::roles::Role,
    domain::ids::{ReceiptId, RequestId, UserId},
    gateway::Gateway,
    http::{error::ApiError, extract::Call, routes::Reader},
    store::{OrgScope, StoreError, receipts, sessions::Session},
};
use actix_web::HttpResponse;
use std::time::Duration;

/// A receipt is written just after its answer: one that is not there yet is looked for again after each of these.
const WAITS_MS: [u64; 5] = [40, 80, 160, 320, 400];

/// Whose receipts a reader may see.
#[derive(Clone, Copy, Debug)]
pub enum Readable {
    /// All of its organization.
    Organization,
    /// Those of the API keys that this person made.
    MadeBy(UserId),
}

impl Readable {
    pub fn of(session: &Session) -> Self {
        match session.role {
            Role::Member => Self::MadeBy(session.user_id),
            Role::Owner | Role::Admin | Role::Billing | Role::Viewer => Self::Organization,
        }
    }
}

/// The receipt as it was written, by its own id or its request's. One of another organization is not found.
pub async fn get_receipt(call: Call, reader: Reader) -> Result<HttpResponse, ApiError> {
    let id = call.path("id");
    let by_request = || id.parse::<RequestId>().map(RequestId::receipt);
    let id = id.parse::<ReceiptId>().or_else(|_| by_request()).map_err(|_| not_found())?;
    let (scope, readable) = match &reader {
        Reader::Key(principal) => (principal.scope, Readable::Organization),
        Reader::Session(session) => (session.scope, Readable::of(session)),
    };
    answer(&call, scope, readable, id).await
}

/// Answers with a receipt, and waits a moment for one that is being written.
pub async fn answer(
    call: &Call,
    scope: OrgScope,
    readable: Readable,
    id: ReceiptId,
) -> Result<HttpResponse, ApiError> {
    let db = call.state::<Gateway>()?.db.clone();
    for wait in WAITS_MS.map(Some).into_iter().chain([None]) {
        let reading = db.clone();
        let found = db.run::<_, StoreError, _>(async move {
            let mut connection = reading.acquire().await?;
            match readable {
                Readable::Organization => receipts::get(&mut connection, scope, None, id).await,
                Readable::MadeBy(user) => receipts::get_by_maker(&mut connection, scope, user, id).await,
            }
        });
        if let Some(document) = found.await? {
            return Ok(HttpResponse::Ok().content_type("application/json").body(document));
        }
        if let Some(wait) = wait {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }
    Err(not_found())
}

fn not_found() -> ApiError {
    ApiError::not_found("receipt").hint(
        "Send the id in `X-KairosRoute-Receipt` or `x-request-id` of an answer to your organization; receipts are kept for a limited time",
    )
}
