//! The usage explorer: one measure by one or two properties, with filters, as a chart and as a table whose cells link to
//! the requests behind them. The same rows are there as CSV and from the JSON API.

mod charts;
mod view_model;

use super::report;
use crate::{
    accounts::roles::Capability,
    billing::{
        report::Range,
        usage_report::{self, QueryError, UsageQuery, parse_group_by},
    },
    books::periods::{PeriodError, Step, Zone},
    dashboard::{
        form::Form,
        frame::{PageError, guarded, page, state},
        names::Names,
        routes::Visit,
    },
    domain::{ambient::Ambient, provider::ProviderId},
    http::api::export::{Pieces, send_csv},
    store::{
        Db, Purpose,
        rollups::{GroupBy, UsageFilter},
        sessions::Session,
    },
};
use actix_web::HttpResponse;
use time::OffsetDateTime;

/// What was asked for, checked.
pub(super) struct Question {
    pub range: Range,
    pub zone: Zone,
    pub zone_name: String,
    pub first: GroupBy,
    pub second: Option<GroupBy>,
    pub measure: Measure,
    pub filter: UsageFilter,
    pub is_compared: bool,
}

/// What is shown of each group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Charged,
    Cost,
    Requests,
    Tokens,
    Input,
    CacheRead,
    Output,
    Reasoning,
}

impl Measure {
    pub const ALL: [(Measure, &'static str, &'static str); 8] = [
        (Measure::Charged, "charged", "Charged"),
        (Measure::Cost, "cost", "Provider cost"),
        (Measure::Requests, "requests", "Requests"),
        (Measure::Tokens, "tokens", "Tokens, all"),
        (Measure::Input, "input", "Input tokens"),
        (Measure::CacheRead, "cache_read", "Input tokens from cache"),
        (Measure::Output, "output", "Output tokens"),
        (Measure::Reasoning, "reasoning", "Reasoning tokens"),
    ];

    pub fn name(self) -> &'static str {
        Measure::ALL.iter().find(|(measure, ..)| *measure == self).map_or("", |(_, name, _)| name)
    }

    pub fn words(self) -> &'static str {
        Measure::ALL.iter().find(|(measure, ..)| *measure == self).map_or("", |(_, _, words)| words)
    }

    pub fn is_money(self) -> bool {
        matches!(self, Measure::Charged | Measure::Cost)
    }
}

/// `GET /o/{org}/usage`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let now = state::<Ambient>(&visit.call)?.now();
    let question = question(&visit.form, &session, now)?;
    let query = question.query()?;
    let is_compared = question.is_compared;
    let (found, names) = report(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let found = usage_report::report(&mut connection, session.scope, &query, is_compared).await?;
        Ok((found, Names::read(&mut connection, &session).await?))
    })
    .await?;
    let base = visit.origin.base(&visit.call);
    let frame = visit.frame.titled("Usage");
    page(&view_model::usage_page(&frame, &visit.form, &question, (&found, &names), now, &base))
}

/// `GET /o/{org}/usage.csv`: the groups of the same question, all of them.
pub async fn export(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let now = state::<Ambient>(&visit.call)?.now();
    let query = question(&visit.form, &visit.who, now)?.query()?;
    let (db, scope) = (state::<Db>(&visit.call)?.with_purpose(Purpose::Reports), visit.who.scope);
    let write = async move |db: Db, pieces: Pieces| {
        let send = |piece| pieces.clone().send(piece);
        usage_report::write_csv(&mut *db.acquire().await?, scope, &query, send).await
    };
    Ok(guarded(send_csv(&db, scope, "usage.csv", write)))
}

impl Question {
    fn query(&self) -> Result<UsageQuery, PageError> {
        let query = UsageQuery::by(self.range, self.first)
            .in_zone(self.zone.clone(), &self.zone_name)
            .filtered(self.filter.clone());
        let query = match self.second {
            Some(second) => query.and_by(second).map_err(refused)?,
            None => query,
        };
        query.check().map_err(refused)?;
        Ok(query)
    }

    /// The names and beginnings of the steps of time, where the report goes by time.
    pub(super) fn steps(&self) -> Vec<(OffsetDateTime, String)> {
        let group = [Some(self.first), self.second].into_iter().flatten().find(|group| group.is_time());
        let step = match group {
            Some(GroupBy::Hour) => Step::Hour,
            Some(GroupBy::Month) => Step::Month,
            Some(_) => Step::Day,
            None => return Vec::new(),
        };
        let (from, to) = self.range.bounds();
        self.zone.steps(step, from, to).unwrap_or_default()
    }
}

fn refused(error: QueryError) -> PageError {
    let field = match &error {
        QueryError::Range(_) => "from",
        QueryError::Period(PeriodError::UnknownZone) => "tz",
        QueryError::Period(_) | QueryError::Groups => "group_by",
    };
    PageError::form(field, error.to_string())
}

fn question(form: &Form, session: &Session, now: OffsetDateTime) -> Result<Question, PageError> {
    let zone_name = form.given("tz").unwrap_or("UTC").to_owned();
    let zone = Zone::by_name(&zone_name).map_err(|error| refused(error.into()))?;
    let range = Range::parse_in(&zone, form.given("from"), form.given("to"), now)
        .map_err(|error| refused(error.into()))?;
    let known = GroupBy::ALL.map(GroupBy::as_str).join(", ");
    let mut groups = form.given("group_by").unwrap_or("day").split(',').chain(form.given("by")).map(|name| {
        parse_group_by(name.trim())
            .ok_or_else(|| PageError::form("group_by", format!("`group_by` must be one or two of {known}")))
    });
    let first = groups.next().transpose()?.unwrap_or(GroupBy::Day);
    let second = groups.next().transpose()?.filter(|second| *second != first);
    if groups.next().is_some() {
        return Err(refused(QueryError::Groups));
    }
    let named = form.given("measure").unwrap_or("charged");
    let measure = Measure::ALL.iter().find(|(_, name, _)| *name == named).ok_or_else(|| {
        let names: Vec<&str> = Measure::ALL.iter().map(|(_, name, _)| *name).collect();
        PageError::form("measure", format!("`measure` must be one of {}", names.join(", ")))
    })?;
    let is_compared = match form.given("compare") {
        None => false,
        Some("previous") => true,
        Some(_) => return Err(PageError::form("compare", "`compare` must be previous")),
    };
    let filter = filter(form, session)?;
    Ok(Question { range, zone, zone_name, first, second, measure: measure.0, filter, is_compared })
}

/// Who sees only its own API keys sees only their usage.
fn filter(form: &Form, session: &Session) -> Result<UsageFilter, PageError> {
    let sees_all = session.role.has_all_keys() || session.role.can(Capability::ReadMoney);
    let text = |name: &str| form.given(name).map(str::to_owned);
    let member = match form.given("member").map(str::parse).transpose() {
        Ok(member) => member,
        Err(_) => return Err(PageError::form("member", "`member` must be the id of a member")),
    };
    let provider = form.given("provider").map(|name| {
        ProviderId::by_name(name).map(|provider| provider.as_str().to_owned()).ok_or_else(|| {
            PageError::form("provider", format!("`provider` must be one of {}", ProviderId::ids().join(", ")))
        })
    });
    Ok(UsageFilter {
        api_key: form
            .given("key")
            .map(str::parse)
            .transpose()
            .map_err(|_| PageError::form("key", "`key` must be the id of an API key"))?,
        member: if sees_all { member } else { Some(session.user_id) },
        model: text("model"),
        provider: provider.transpose()?,
        byok: super::yes_or_no(form, "byok")?,
        category: text("category"),
        kind: text("kind"),
        status: text("status"),
    })
}
