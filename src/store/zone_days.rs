//! Sums of usage by the days of time zones, for organizations that read reports in them. A day is named by its phase:
//! the quarter of an hour in UTC with which it begins.

use super::{OrgScope, StoreError, rollups};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

/// Phases that are kept of one organization: summer and winter time of four zones.
const PHASES_MAX: i64 = 8;

/// The phases of which every day is summed.
pub async fn list_summed(connection: &mut PgConnection, scope: OrgScope) -> Result<Vec<i16>, StoreError> {
    let phases = sqlx::query_scalar!(
        "SELECT phase FROM usage_zone WHERE org_id = $1 AND is_summed ORDER BY phase",
        scope.uuid()
    );
    Ok(phases.fetch_all(connection).await?)
}

/// Has the job sum the days of these phases from now on, as long as there is room for them.
pub async fn want(
    connection: &mut PgConnection,
    scope: OrgScope,
    phases: &[i16],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO usage_zone (org_id, phase, wanted_at)
         SELECT $1, p.phase, $3 FROM unnest($2::smallint[]) AS p (phase)
         WHERE NOT EXISTS (SELECT 1 FROM usage_zone z WHERE z.org_id = $1 AND z.phase = p.phase)
         LIMIT GREATEST($4 - (SELECT count(*) FROM usage_zone z WHERE z.org_id = $1), 0)
         ON CONFLICT DO NOTHING",
        scope.uuid(),
        phases,
        now,
        PHASES_MAX,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sums up to `days_max` days of a phase that is not summed yet, in the caller's transaction. Returns whether there may
/// be more to do.
pub async fn sum_next(connection: &mut PgConnection, days_max: i32) -> Result<bool, StoreError> {
    if !rollups::try_lock(connection).await? {
        return Ok(false);
    }
    let next = sqlx::query!(
        r#"SELECT z.org_id, z.phase, now() AS "now!",
                  COALESCE(z.next_day, (
                      SELECT date_bin('1 day', min(r.bucket),
                                      timestamptz '2001-01-01 00:00:00+00' + z.phase * interval '15 minutes')
                      FROM usage_rollup r WHERE r.org_id = z.org_id)) AS day
           FROM usage_zone z WHERE NOT z.is_summed ORDER BY z.wanted_at, z.org_id, z.phase LIMIT 1"#
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(next) = next else { return Ok(false) };
    // Without a step there is no day: those that come are summed with their steps.
    let past = next.day.map_or(next.now, |day| day + Duration::days(i64::from(days_max)));
    if let Some(day) = next.day {
        sqlx::query!(
            r#"SELECT 1 AS "done!" FROM (
                   SELECT sum_zone_days(array_agg($1::uuid), array_agg($2::smallint), array_agg(
                       $3::timestamptz + number * interval '24 hours'))
                   FROM generate_series(0, $4::integer - 1) number) s"#,
            next.org_id,
            next.phase,
            day,
            days_max,
        )
        .fetch_one(&mut *connection)
        .await?;
    }
    sqlx::query!(
        "UPDATE usage_zone SET next_day = $3, is_summed = $4 WHERE org_id = $1 AND phase = $2",
        next.org_id,
        next.phase,
        past,
        past >= next.now,
    )
    .execute(connection)
    .await?;
    Ok(true)
}
