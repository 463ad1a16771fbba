//! `GET /api/v1/user/usage`: the usage of the token's API key in the last 30 days, and the remaining credit of its
//! organization. Never the usage of other keys: the holder of a key may not be allowed to see that.

use crate::{
    billing::report::{self, Range, UsageLine},
    dialect::json::ObjectWriter,
    domain::{ambient::Ambient, money::NanoUsd},
    http::{error::ApiError, extract::Call},
    store::{Db, Purpose, StoreError, api_keys::Principal, usage::GroupBy},
};
use actix_web::HttpResponse;
use std::sync::Arc;

/// The groups, and the members that contain them.
const GROUPS: [(GroupBy, &str); 3] =
    [(GroupBy::Kind, "endpoints"), (GroupBy::Provider, "providers"), (GroupBy::Model, "models")];

/// The handler.
pub async fn get_usage(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let range = Range::parse(None, None, call.state::<Ambient>()?.now())?;
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let read = db.run::<_, StoreError, _>(async move {
        let mut connection = pool.acquire().await?;
        let (scope, key) = (principal.scope, principal.api_key_id);
        let mut reports = Vec::new();
        for group in GROUPS.map(|(group, _)| group).into_iter().chain([GroupBy::Day]) {
            reports.push(report::usage_of_key(&mut connection, scope, key, range, group).await?.rows);
        }
        Ok((reports, report::balance(&mut connection, scope).await?))
    });
    let (reports, balance) = read.await.map_err(ApiError::of_report)?;
    let mut out = ObjectWriter::new();
    let all = Sum::of(reports.first().map(Vec::as_slice).unwrap_or_default());
    out.raw("total_requests", &all.requests.to_string());
    out.raw("total_cost", &all.cost.to_string());
    out.raw("remaining_credits", &balance.available_usd.to_string());
    out.key("total_tokens").extend_from_slice(&all.tokens());
    for ((_, name), rows) in GROUPS.iter().zip(&reports) {
        let mut group = ObjectWriter::new();
        for row in rows {
            group.key(&row.key).extend_from_slice(&Sum::of(std::slice::from_ref(row)).told().end());
        }
        out.key(name).extend_from_slice(&group.end());
    }
    let days = reports.last().into_iter().flatten().map(|row| {
        let mut day = Sum::of(std::slice::from_ref(row)).told();
        day.text("date", &row.key);
        day.end()
    });
    let days: Vec<Vec<u8>> = days.collect();
    let list = out.key("daily_usage");
    list.push(b'[');
    list.extend_from_slice(&days.join(&b","[..]));
    list.push(b']');
    Ok(HttpResponse::Ok().content_type("application/json").body(out.end()))
}

/// Sums over rows.
struct Sum {
    requests: i64,
    input: i64,
    output: i64,
    cost: NanoUsd,
}

impl Sum {
    fn of(rows: &[UsageLine]) -> Self {
        let zero = Self { requests: 0, input: 0, output: 0, cost: NanoUsd::ZERO };
        rows.iter().fold(zero, |sum, row| {
            let cached = [row.cache_read_tokens, row.cache_write_tokens, row.cache_write1h_tokens];
            let input = cached.iter().fold(row.input_tokens, |sum, count| sum.saturating_add(*count));
            Self {
                requests: sum.requests.saturating_add(row.requests),
                input: sum.input.saturating_add(input),
                output: sum.output.saturating_add(row.output_tokens),
                cost: NanoUsd(sum.cost.0.saturating_add(row.charged_usd.0)),
            }
        })
    }

    fn tokens(&self) -> Vec<u8> {
        let mut out = ObjectWriter::new();
        out.raw("input", &self.input.to_string());
        out.raw("output", &self.output.to_string());
        out.raw("total", &self.input.saturating_add(self.output).to_string());
        out.end()
    }

    fn told(&self) -> ObjectWriter {
        let mut out = ObjectWriter::new();
        out.raw("requests", &self.requests.to_string());
        out.raw("cost", &self.cost.to_string());
        out.key("tokens").extend_from_slice(&self.tokens());
        out
    }
}
