//! The shared states of rate and concurrency limits: the shares of the processes and the use in the last minute. The
//! arithmetic is in `limits::pool`; this module reads a state under its row's lock and writes it back.

use super::{OrgScope, StoreError};
use crate::limits::{Grant, Kind, Pool, Report};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// The counted unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Metric {
    Requests = 1,
    Tokens = 2,
    Concurrent = 3,
}

impl Metric {
    pub fn kind(self) -> Kind {
        match self {
            Metric::Requests | Metric::Tokens => Kind::Rate,
            Metric::Concurrent => Kind::Concurrency,
        }
    }
}

/// One limit: its owner and its unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PoolKey {
    pub scope: OrgScope,
    /// An API key, the organization, or an end user of a key.
    pub subject: Uuid,
    pub metric: Metric,
}

/// The report of one process for one pool, and its request for units.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub key: PoolKey,
    pub limit: i64,
    pub report: Report,
}

/// Renews the shares of one process, in the caller's transaction. The results have the order of the renewals; each key
/// may occur once. Times are the database's.
pub async fn renew(
    connection: &mut PgConnection,
    instance: Uuid,
    renewals: &[Renewal],
) -> Result<Vec<Grant>, StoreError> {
    let org: Vec<Uuid> = renewals.iter().map(|renewal| renewal.key.scope.uuid()).collect();
    let subject: Vec<Uuid> = renewals.iter().map(|renewal| renewal.key.subject).collect();
    let metric: Vec<i16> = renewals.iter().map(|renewal| renewal.key.metric as i16).collect();
    let mut states = read(connection, &org, &subject, &metric).await?;
    if states.len() < renewals.len() {
        sqlx::query!(
            "INSERT INTO rate_pool (org_id, subject_id, metric)
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[]) ON CONFLICT DO NOTHING",
            &org,
            &subject,
            &metric,
        )
        .execute(&mut *connection)
        .await?;
        states = read(connection, &org, &subject, &metric).await?;
    }
    let mut grants = Vec::with_capacity(renewals.len());
    let mut written: Vec<String> = Vec::with_capacity(renewals.len());
    for renewal in renewals {
        let known = states.iter().find(|state| state.is_of(&renewal.key));
        let now_ms = states.iter().map(|state| state.now_ms).max().unwrap_or(0);
        let mut pool = known.map(State::pool).unwrap_or_default();
        let kind = renewal.key.metric.kind();
        grants.push(pool.renew(kind, renewal.limit, now_ms, instance.as_u128(), &renewal.report));
        written.push(serde_json::to_string(&pool).map_err(|error| StoreError::Refused(error.to_string()))?);
    }
    sqlx::query!(
        "UPDATE rate_pool p SET state = n.state, updated_at = now()
         FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[]) AS n (org_id, subject_id, metric, state)
         WHERE p.org_id = n.org_id AND p.subject_id = n.subject_id AND p.metric = n.metric",
        &org,
        &subject,
        &metric,
        &written,
    )
    .execute(connection)
    .await?;
    Ok(grants)
}

/// Removes the states of limits that nobody has used since `before`.
pub async fn prune(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM rate_pool WHERE (org_id, subject_id, metric) IN (
             SELECT org_id, subject_id, metric FROM rate_pool WHERE updated_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}

struct State {
    org_id: Uuid,
    subject_id: Uuid,
    metric: i16,
    state: String,
    now_ms: i64,
}

impl State {
    fn is_of(&self, key: &PoolKey) -> bool {
        (self.org_id, self.subject_id, self.metric) == (key.scope.uuid(), key.subject, key.metric as i16)
    }

    /// A state that cannot be read loses the use of one minute, and nothing else.
    fn pool(&self) -> Pool {
        serde_json::from_str(&self.state).unwrap_or_else(|error| {
            tracing::error!(error.cause = %error, "the state of a rate limit cannot be read: it begins anew");
            Pool::default()
        })
    }
}

async fn read(
    connection: &mut PgConnection,
    org: &[Uuid],
    subject: &[Uuid],
    metric: &[i16],
) -> Result<Vec<State>, StoreError> {
    Ok(sqlx::query_as!(
        State,
        r#"SELECT p.org_id, p.subject_id, p.metric, p.state,
                  (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS "now_ms!"
           FROM rate_pool p
           JOIN unnest($1::uuid[], $2::uuid[], $3::smallint[]) AS n (org_id, subject_id, metric)
               ON p.org_id = n.org_id AND p.subject_id = n.subject_id AND p.metric = n.metric
           ORDER BY p.org_id, p.subject_id, p.metric FOR UPDATE OF p"#,
        org,
        subject,
        metric,
    )
    .fetch_all(connection)
    .await?)
}
