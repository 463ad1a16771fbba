//! Money as customers see it, and credit as the operator gives it: thin over `billing::report` and
//! `store::topups`.

use crate::{
    billing::report::{self, Range, RangeError},
    domain::{
        ambient::Ambient,
        ids::{EntryId, OrgId},
        money::NanoUsd,
    },
    http::{
        error::{ApiError, Code},
        extract::{ACCOUNT_BODY_BYTES_MAX, Call},
        idempotent::{always, once},
    },
    store::{
        Db, Purpose, StoreError,
        audit_log::{self, AuditEntry},
        idempotency::Holder,
        organizations,
        sessions::{Operator, Session},
        topups::{self, BALANCE_MAX, Credit, CreditKind, CreditOutcome},
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

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
}

/// `GET /api/billing/ledger?from&to&before&limit`, newest first.
pub async fn list_entries(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let query: LedgerQuery = call.query()?;
    let now = call.state::<Ambient>()?.now();
    let range = Range::parse(query.from.as_deref(), query.to.as_deref(), now)?;
    let before = match query.before.as_deref().map(str::parse::<EntryId>) {
        Some(Err(error)) => return Err(ApiError::invalid("before", error.to_string())),
        Some(Ok(id)) => Some(id),
        None => None,
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=report::PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("`limit` must be 1 to {}", report::PAGE_MAX)));
    }
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let page = db.run::<_, StoreError, _>(async move {
        report::entries(&mut *pool.acquire().await?, session.scope, range, before, limit).await
    });
    Ok(HttpResponse::Ok().json(page.await.map_err(ApiError::of_report)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TopupBody {
    organization_id: String,
    /// A decimal string or a JSON number, read as the digits that were sent and never as a float.
    amount_usd: Box<RawValue>,
    external_id: Option<String>,
    #[serde(default)]
    note: String,
}

/// `POST /api/billing/topups`: the operator gives credit; one `externalId` credits once.
pub async fn create_topup(call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let holder = Holder::of_operator(&operator);
    once(call, holder, ACCOUNT_BODY_BYTES_MAX, always, move |call| add_credit(call, operator)).await
}

async fn add_credit(mut call: Call, operator: Operator) -> Result<HttpResponse, ApiError> {
    let ambient = call.state::<Ambient>()?.get_ref().clone();
    let db = call.state::<Db>()?.get_ref().clone();
    let body: TopupBody = call.json().await?;
    let digits = body.amount_usd.get().trim_matches('"');
    let amount = NanoUsd::parse(digits).ok().filter(|amount| *amount > NanoUsd::ZERO);
    let amount = amount
        .ok_or_else(|| ApiError::invalid("amountUsd", "`amountUsd` must be a decimal number above 0"))?;
    let org: OrgId = body.organization_id.parse().map_err(|_| ApiError::not_found("organization"))?;
    let too_long = |text: &str| text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains('\0');
    if body.external_id.as_deref().is_some_and(too_long) {
        return Err(ApiError::invalid("externalId", "`externalId` must be 1 to 500 bytes of text"));
    }
    if !body.note.is_empty() && too_long(&body.note) {
        return Err(ApiError::invalid("note", "`note` must be at most 500 bytes of text"));
    }
    let entry_id = EntryId(ambient.uuid());
    let pool = db.clone();
    let outcome = db.run::<_, StoreError, _>(async move {
        let mut transaction = pool.begin().await?;
        let Some(scope) = organizations::find_scope(&mut transaction, org).await? else {
            return Ok(CreditOutcome::NoAccount);
        };
        let external_id = body.external_id.as_deref();
        let kind = if external_id.is_some() { CreditKind::Topup } else { CreditKind::Grant };
        let credit = Credit { kind, amount, external_id, note: &body.note, entry_id, now: ambient.now() };
        let outcome = topups::grant(&mut transaction, scope, &credit).await?;
        if outcome == CreditOutcome::Posted {
            let (actor, subject) = (operator.user_id.to_string(), entry_id.to_string());
            let entry =
                AuditEntry { org: Some(org), actor: &actor, action: "credit.grant", subject: &subject };
            audit_log::insert(&mut transaction, &ambient, &entry).await?;
        }
        transaction.commit().await?;
        Ok(outcome)
    });
    let view = json!({ "entryId": entry_id, "amountUsd": amount.to_string() });
    match outcome.await? {
        CreditOutcome::Posted => Ok(HttpResponse::build(StatusCode::CREATED).json(view)),
        CreditOutcome::Repeat => Ok(HttpResponse::Ok().json(json!({ "amountUsd": amount.to_string() }))),
        CreditOutcome::Conflict { .. } => {
            let message = "This `externalId` was credited with another amount or to another organization";
            Err(ApiError::new(Code::Conflict, message).param("externalId"))
        }
        CreditOutcome::NoAccount => Err(ApiError::not_found("organization")),
        CreditOutcome::TooMuch => {
            let message = format!("`amountUsd` is too large: a balance can be at most {BALANCE_MAX} USD");
            Err(ApiError::invalid("amountUsd", message))
        }
    }
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
