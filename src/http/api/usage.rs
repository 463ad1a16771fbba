//! Usage reports, as JSON or CSV: thin over `billing::usage_report`.

use crate::{
    accounts::roles::Role,
    billing::{
        report::Range,
        usage_report::{self, QueryError, UsageQuery, parse_group_by},
    },
    books::periods::{PeriodError, Zone},
    domain::ambient::Ambient,
    http::{
        api::export::{self, Pieces},
        error::ApiError,
        extract::Call,
    },
    store::{
        Db, Purpose, StoreError,
        rollups::{GroupBy, UsageFilter},
        sessions::Session,
    },
};
use actix_web::HttpResponse;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
    #[serde(alias = "groupBy")]
    group_by: Option<String>,
    /// `previous`: beside the span of the same length before.
    compare: Option<String>,
    format: Option<String>,
    key: Option<String>,
    member: Option<String>,
    model: Option<String>,
    provider: Option<String>,
    byok: Option<bool>,
    category: Option<String>,
    kind: Option<String>,
    status: Option<String>,
}

/// `GET /api/usage?from&to&tz&group_by&compare` and a filter for each property; CSV by `format=csv` or `Accept`.
pub async fn get_usage(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let mut parameters: Parameters = call.query()?;
    let csv = export::wants_csv(parameters.format.as_deref(), call.header("accept"))
        .ok_or_else(|| ApiError::invalid("format", "`format` must be json or csv"))?;
    let compared = match parameters.compare.as_deref() {
        None => false,
        Some("previous") => true,
        Some(_) => return Err(ApiError::invalid("compare", "`compare` must be previous")),
    };
    let now = call.state::<Ambient>()?.now();
    if session.role == Role::Member {
        // A member sees what its own API keys used, and no more.
        let own = session.user_id.to_string();
        if parameters.member.as_ref().is_some_and(|member| *member != own) {
            return Err(ApiError::not_found("member"));
        }
        parameters.member = Some(own);
    }
    let query = query(&parameters, now)?;
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    want_zone_days(call.state::<Db>()?.get_ref(), session, &query, now).await;
    if csv {
        let write = async move |db: Db, pieces: Pieces| {
            let send = |piece| pieces.clone().send(piece);
            usage_report::write_csv(&mut *db.acquire().await?, session.scope, &query, send).await
        };
        return Ok(export::send_csv(&db, session.scope, "usage.csv", write));
    }
    let pool = db.clone();
    let report = db.run::<_, StoreError, _>(async move {
        usage_report::report(&mut *pool.acquire().await?, session.scope, &query, compared).await
    });
    Ok(HttpResponse::Ok().json(report.await.map_err(ApiError::of_report)?))
}

/// The report itself does not depend on it.
async fn want_zone_days(db: &Db, session: Session, query: &UsageQuery, now: time::OffsetDateTime) {
    let phases = query.zone_days_wanted();
    if phases.is_empty() {
        return;
    }
    let pool = db.clone();
    let noted = db.run::<_, StoreError, _>(async move {
        let mut transaction = pool.begin().await?;
        usage_report::want_zone_days(&mut transaction, session.scope, &phases, now).await?;
        transaction.commit().await
    });
    if let Err(error) = noted.await {
        tracing::warn!(org.id = %session.scope.org_id(), %error, "the days of a time zone cannot be noted");
    }
}

fn query(parameters: &Parameters, now: time::OffsetDateTime) -> Result<UsageQuery, ApiError> {
    let zone_name = parameters.tz.as_deref().unwrap_or("UTC");
    let zone = Zone::by_name(zone_name).map_err(QueryError::from)?;
    let range = Range::parse_in(&zone, parameters.from.as_deref(), parameters.to.as_deref(), now)?;
    let mut groups = parameters.group_by.as_deref().unwrap_or("day").split(',').map(|name| {
        parse_group_by(name.trim()).ok_or_else(|| {
            let known = GroupBy::ALL.map(GroupBy::as_str).join(", ");
            ApiError::invalid("group_by", format!("`group_by` must be one or two of {known}"))
        })
    });
    let first = groups.next().transpose()?.unwrap_or(GroupBy::Day);
    let second = groups.next().transpose()?;
    if groups.next().is_some() {
        return Err(QueryError::Groups.into());
    }
    let mut query = UsageQuery::by(range, first).in_zone(zone, zone_name).filtered(filter(parameters)?);
    if let Some(second) = second {
        query = query.and_by(second)?;
    }
    query.check()?;
    Ok(query)
}

fn filter(parameters: &Parameters) -> Result<UsageFilter, ApiError> {
    let key = parameters.key.as_deref().map(str::parse).transpose();
    let member = parameters.member.as_deref().map(str::parse).transpose();
    Ok(UsageFilter {
        api_key: key.map_err(|error| ApiError::invalid("key", format!("`key`: {error}")))?,
        member: member.map_err(|error| ApiError::invalid("member", format!("`member`: {error}")))?,
        model: parameters.model.clone(),
        provider: parameters.provider.clone(),
        byok: parameters.byok,
        category: parameters.category.clone(),
        kind: parameters.kind.clone(),
        status: parameters.status.clone(),
    })
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let param = match &error {
            QueryError::Range(_) => "from",
            QueryError::Period(PeriodError::UnknownZone) => "tz",
            QueryError::Period(_) | QueryError::Groups => "group_by",
        };
        Self::invalid(param, error.to_string())
    }
}
