//! Usage reports, as JSON or CSV: thin over `billing::report`.

use crate::{
    billing::report::{self, Range},
    domain::ambient::Ambient,
    http::{error::ApiError, extract::Call},
    store::{Db, Purpose, StoreError, sessions::Session, usage::GroupBy},
};
use actix_web::HttpResponse;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageQuery {
    from: Option<String>,
    to: Option<String>,
    #[serde(alias = "groupBy")]
    group_by: Option<String>,
    format: Option<String>,
}

/// `GET /api/usage?from&to&group_by=day|model|provider|key|byok|category|kind`; CSV by `format=csv` or `Accept`.
pub async fn get_usage(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let query: UsageQuery = call.query()?;
    let range = Range::parse(query.from.as_deref(), query.to.as_deref(), call.state::<Ambient>()?.now())?;
    let group_by = report::parse_group_by(query.group_by.as_deref().unwrap_or("day")).ok_or_else(|| {
        let known = GroupBy::ALL.map(GroupBy::as_str).join(", ");
        ApiError::invalid("group_by", format!("`group_by` must be one of {known}"))
    })?;
    let csv = match query.format.as_deref() {
        Some("csv") => true,
        Some("json") => false,
        Some(_) => return Err(ApiError::invalid("format", "`format` must be json or csv")),
        None => call.header("accept").is_some_and(|accept| accept.starts_with("text/csv")),
    };
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let report = db.run::<_, StoreError, _>(async move {
        report::usage(&mut *pool.acquire().await?, session.scope, range, group_by).await
    });
    let report = report.await.map_err(ApiError::of_report)?;
    Ok(if csv {
        HttpResponse::Ok().content_type("text/csv; charset=utf-8").body(report.to_csv())
    } else {
        HttpResponse::Ok().json(report)
    })
}
