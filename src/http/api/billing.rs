//! Money as customers see it, and entries as the operator makes them: thin over `billing::report` and
//! `billing::credit`.

use crate::{
    billing::{
        credit::{self, NewEntry},
        report::{self, Range, RangeError},
    },
    books::{entry::EntryKind, periods::Zone},
    domain::{
        ambient::Ambient,
        ids::{EntryId, OrgId},
        money::NanoUsd,
    },
    http::{
        api::export::{self, Pieces},
        error::{ApiError, Code},
        extract::{ACCOUNT_BODY_BYTES_MAX, Call, invalid_json},
        idempotent::{always, once},
    },
    store::{
        Db, Purpose, StoreError,
        idempotency::Holder,
        organizations,
        postings::{BALANCE_MAX, PostingOutcome},
        sessions::{Operator, Session},
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Entries on a page when the client does not say.
const PAGE_DEFAULT: i64 = 50;
/// Longest note and external identifier of a top-up.
const TEXT_BYTES_MAX: usize = 500;

/// `GET /api/billing/balance`.
pub async fn get_balance(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let db = call.state::<Db>()?.get_ref().clone();
    let pool = db.clone();
    let balance = db.run::<_, StoreError, _>(async move {
        report::balance(&mut *pool.acquire().await?, session.scope).await
    });
    Ok(HttpResponse::Ok().json(balance.await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerQuery {
    from: Option<String>,
    to: Option<String>,
    before: Option<String>,
    limit: Option<i64>,
    format: Option<String>,
}

/// `GET /api/billing/ledger?from&to&before&limit`, newest first; as CSV all entries of the range.
pub async fn list_entries(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let query: LedgerQuery = call.query()?;
    let now = call.state::<Ambient>()?.now();
    let range = Range::of_bookings(query.from.as_deref(), query.to.as_deref(), now)?;
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let csv = export::wants_csv(query.format.as_deref(), call.header("accept"))
        .ok_or_else(|| ApiError::invalid("format", "`format` must be json or csv"))?;
    if csv {
        if query.before.is_some() || query.limit.is_some() {
            let message = "The CSV form has all entries of the range: it takes no `before` and no `limit`";
            return Err(ApiError::invalid("format", message));
        }
        let write = async move |db: Db, pieces: Pieces| {
            let send = |piece| pieces.clone().send(piece);
            report::write_entries(&mut *db.acquire().await?, session.scope, range, send).await
        };
        return Ok(export::send_csv(&db, session.scope, "ledger.csv", write));
    }
    let before = match query.before.as_deref().map(str::parse::<EntryId>) {
        Some(Err(error)) => return Err(ApiError::invalid("before", error.to_string())),
        Some(Ok(id)) => Some(id),
        None => None,
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=report::PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("`limit` must be 1 to {}", report::PAGE_MAX)));
    }
    let pool = db.clone();
    let page = db.run::<_, StoreError, _>(async move {
        report::entries(&mut *pool.acquire().await?, session.scope, range, before, limit).await
    });
    Ok(HttpResponse::Ok().json(page.await.map_err(ApiError::of_report)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EntryBody {
    organization_id: String,
    /// `grant`, `topup`, `promotion`, `refund` or `adjustment`.
    kind: Option<String>,
    /// A decimal string or a JSON number, read as the digits that were sent and never as a float.
    amount_usd: Box<RawValue>,
    external_id: Option<String>,
    #[serde(alias = "note", default)]
    reason: String,
    /// Of promotional credit.
    expires_at: Option<String>,
}

/// `POST /api/billing/topups`: the operator gives credit; one `externalId` credits once. With an `externalId` it is a
/// payment, without one a grant.
pub async fn create_topup(call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let holder = Holder::of_operator(&operator);
    once(call, holder, ACCOUNT_BODY_BYTES_MAX, always, move |call| post_entry(call, operator, false)).await
}

/// `POST /api/billing/entries`: the operator posts an entry of a kind, with its reason. An entry is never changed: what
/// was wrong is put right by another one.
pub async fn create_entry(call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let holder = Holder::of_operator(&operator);
    once(call, holder, ACCOUNT_BODY_BYTES_MAX, always, move |call| post_entry(call, operator, true)).await
}

/// What an entry of the operator is made of, checked.
struct Wanted {
    organization: OrgId,
    kind: EntryKind,
    amount: NanoUsd,
    external_id: Option<String>,
    reason: String,
    expires_at: Option<OffsetDateTime>,
}

impl Wanted {
    fn of(body: EntryBody, names_kind: bool, now: OffsetDateTime) -> Result<Wanted, ApiError> {
        let kind = match body.kind.as_deref() {
            None if names_kind => return Err(ApiError::invalid("kind", kinds_text())),
            None if body.external_id.is_some() => EntryKind::Topup,
            None => EntryKind::Grant,
            Some(name) => EntryKind::by_name(name)
                .filter(|kind| credit::OPERATOR_KINDS.contains(kind))
                .ok_or_else(|| ApiError::invalid("kind", kinds_text()))?,
        };
        let digits = body.amount_usd.get().trim_matches('"');
        let amount = NanoUsd::parse(digits).ok().filter(|amount| {
            *amount > NanoUsd::ZERO || (kind == EntryKind::Adjustment && *amount < NanoUsd::ZERO)
        });
        let amount = amount.ok_or_else(|| {
            let message = match kind {
                EntryKind::Adjustment => "`amountUsd` must be a decimal number other than 0",
                _ => "`amountUsd` must be a decimal number above 0",
            };
            ApiError::invalid("amountUsd", message)
        })?;
        let organization = body.organization_id.parse().map_err(|_| ApiError::not_found("organization"))?;
        let is_bad = |text: &str| text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains('\0');
        if body.external_id.as_deref().is_some_and(is_bad) {
            return Err(ApiError::invalid("externalId", "`externalId` must be 1 to 500 bytes of text"));
        }
        if names_kind && body.reason.trim().is_empty() {
            return Err(ApiError::invalid("reason", "`reason` must say why the entry is made"));
        }
        if !body.reason.is_empty() && is_bad(&body.reason) {
            let param = if names_kind { "reason" } else { "note" };
            return Err(ApiError::invalid(param, format!("`{param}` must be at most 500 bytes of text")));
        }
        let expires_at = expiry(kind, body.expires_at.as_deref(), now)?;
        let (external_id, reason) = (body.external_id, body.reason);
        Ok(Wanted { organization, kind, amount, external_id, reason, expires_at })
    }
}

fn kinds_text() -> String {
    format!("`kind` must be one of {}", credit::OPERATOR_KINDS.map(EntryKind::as_str).join(", "))
}

/// Promotional credit has a date in the future, nothing else has one.
fn expiry(
    kind: EntryKind,
    text: Option<&str>,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, ApiError> {
    match (kind, text) {
        (EntryKind::Promotion, Some(text)) => {
            let at = Zone::utc().midnight(text, 1).or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok());
            at.filter(|at| *at > now).map(Some).ok_or_else(|| {
                let message = "`expiresAt` must be a date (YYYY-MM-DD, the last day of the credit) or an RFC 3339 \
                               time in the future";
                ApiError::invalid("expiresAt", message)
            })
        }
        (EntryKind::Promotion, None) => {
            Err(ApiError::invalid("expiresAt", "A promotion needs `expiresAt`, the last day of the credit"))
        }
        (_, Some(_)) => Err(ApiError::invalid("expiresAt", "Only a promotion takes `expiresAt`")),
        (_, None) => Ok(None),
    }
}

/// Posts an entry that the operator's dashboard asks for; its fields are those of `POST /api/billing/entries`.
pub async fn post_form(
    call: &Call,
    operator: Operator,
    body: serde_json::Value,
) -> Result<PostingOutcome, ApiError> {
    let now = call.state::<Ambient>()?.now();
    let body = serde_json::from_value(body).map_err(|error| invalid_json(&error))?;
    let (_, outcome) = post_wanted(call, operator, Wanted::of(body, true, now)?).await?;
    match outcome {
        PostingOutcome::Posted | PostingOutcome::Repeat => Ok(outcome),
        refused => Err(refusal(refused)),
    }
}

async fn post_entry(mut call: Call, operator: Operator, names_kind: bool) -> Result<HttpResponse, ApiError> {
    let now = call.state::<Ambient>()?.now();
    let wanted = Wanted::of(call.json().await?, names_kind, now)?;
    let (amount, kind) = (wanted.amount, wanted.kind);
    let (entry_id, outcome) = post_wanted(&call, operator, wanted).await?;
    let view = json!({ "entryId": entry_id, "kind": kind.as_str(), "amountUsd": amount.to_string() });
    match outcome {
        PostingOutcome::Posted => Ok(HttpResponse::build(StatusCode::CREATED).json(view)),
        PostingOutcome::Repeat => Ok(HttpResponse::Ok().json(json!({ "amountUsd": amount.to_string() }))),
        refused => Err(refusal(refused)),
    }
}

/// Why an entry was not posted.
fn refusal(outcome: PostingOutcome) -> ApiError {
    match outcome {
        PostingOutcome::NoAccount => ApiError::not_found("organization"),
        PostingOutcome::TooMuch | PostingOutcome::WrongWay => {
            let message = format!("`amountUsd` is too large: a balance can be at most {BALANCE_MAX} USD");
            ApiError::invalid("amountUsd", message)
        }
        PostingOutcome::Posted | PostingOutcome::Repeat | PostingOutcome::Conflict { .. } => {
            let message = "This `externalId` was credited with another amount or to another organization";
            ApiError::new(Code::Conflict, message).param("externalId")
        }
    }
}

async fn post_wanted(
    call: &Call,
    operator: Operator,
    wanted: Wanted,
) -> Result<(EntryId, PostingOutcome), ApiError> {
    let ambient = call.state::<Ambient>()?.get_ref().clone();
    let db = call.state::<Db>()?.get_ref().clone();
    let pool = db.clone();
    let outcome = db.run::<_, StoreError, _>(async move {
        let mut transaction = pool.begin().await?;
        let Some(scope) = organizations::find_scope(&mut transaction, wanted.organization).await? else {
            return Ok(None);
        };
        let actor = operator.user_id.to_string();
        let entry = NewEntry {
            kind: wanted.kind,
            amount: wanted.amount,
            external_id: wanted.external_id.as_deref(),
            reason: &wanted.reason,
            actor: &actor,
            expires_at: wanted.expires_at,
        };
        let posted = credit::post(&mut transaction, &ambient, scope, &entry).await?;
        transaction.commit().await?;
        Ok(Some(posted))
    });
    outcome.await?.ok_or_else(|| ApiError::not_found("organization"))
}

impl From<RangeError> for ApiError {
    fn from(error: RangeError) -> Self {
        let param = match error {
            RangeError::Syntax(param) => param,
            RangeError::Order => "from",
        };
        Self::invalid(param, error.to_string())
    }
}
