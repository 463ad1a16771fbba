//! Sums of usage: the job that keeps them in steps of 15 minutes, and the reports that read them. A report is exact at
//! every moment: for steps whose rows changed since they were summed, the database reads the rows themselves.

use super::{OrgScope, StoreError, zone_days};
use crate::{
    books::cover::Cover,
    domain::{
        ids::{ApiKeyId, UserId},
        money::NanoUsd,
    },
};
use futures_util::TryStreamExt;
use sqlx::PgConnection;
use std::future::Future;
use time::OffsetDateTime;
use uuid::Uuid;

/// The properties by which usage is summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupBy {
    Day,
    Hour,
    Month,
    Model,
    Provider,
    /// API key.
    Key,
    /// The person who created the API key.
    Member,
    Byok,
    Category,
    /// The endpoint that was called.
    Kind,
    Status,
}

impl GroupBy {
    pub const ALL: [GroupBy; 11] = [
        GroupBy::Day,
        GroupBy::Hour,
        GroupBy::Month,
        GroupBy::Model,
        GroupBy::Provider,
        GroupBy::Key,
        GroupBy::Member,
        GroupBy::Byok,
        GroupBy::Category,
        GroupBy::Kind,
        GroupBy::Status,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            GroupBy::Day => "day",
            GroupBy::Hour => "hour",
            GroupBy::Month => "month",
            GroupBy::Model => "model",
            GroupBy::Provider => "provider",
            GroupBy::Key => "key",
            GroupBy::Member => "member",
            GroupBy::Byok => "byok",
            GroupBy::Category => "category",
            GroupBy::Kind => "kind",
            GroupBy::Status => "status",
        }
    }

    /// Groups by steps of time.
    pub fn is_time(self) -> bool {
        matches!(self, GroupBy::Day | GroupBy::Hour | GroupBy::Month)
    }
}

/// The filters of summed usage. An absent filter matches everything.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    pub api_key: Option<ApiKeyId>,
    pub member: Option<UserId>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub byok: Option<bool>,
    pub category: Option<String>,
    pub kind: Option<String>,
    pub status: Option<String>,
}

/// How usage is summed.
#[derive(Clone, Debug)]
pub struct Grouping {
    pub first: GroupBy,
    pub second: Option<GroupBy>,
    /// The beginnings of the steps of time, in order, where one of the two is time.
    pub steps: Vec<OffsetDateTime>,
}

/// Sums over one group, named as `Usage` names its buckets. Those of tokens do not overlap, but `reasoning` is part
/// of `output`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UsageSum {
    /// The group's value; empty where it is a step of time.
    pub key: String,
    pub second_key: String,
    /// The step of time it is of, counted from zero.
    pub step: Option<usize>,
    /// A request with several turns counts in the step of its first turn.
    pub requests: i64,
    pub turns: i64,
    pub input: i64,
    pub cache_read: i64,
    pub cache_write: i64,
    pub cache_write_1h: i64,
    pub output: i64,
    pub reasoning: i64,
    pub audio_input: i64,
    pub image_input: i64,
    pub audio_output: i64,
    pub image_output: i64,
    pub images: i64,
    pub input_images: i64,
    pub characters: i64,
    pub audio_ms: i64,
    pub searches: i64,
    pub queries: i64,
    pub pages: i64,
    pub cost: NanoUsd,
    pub charge: NanoUsd,
}

/// How a range is read, as `usage_parts` takes it.
pub(super) struct Parts {
    pub day_phases: Vec<i16>,
    pub day_firsts: Vec<OffsetDateTime>,
    pub day_pasts: Vec<OffsetDateTime>,
    pub step_firsts: Vec<OffsetDateTime>,
    pub step_pasts: Vec<OffsetDateTime>,
}

impl Parts {
    pub fn of(cover: &Cover) -> Parts {
        Parts {
            day_phases: cover.days.iter().map(|days| days.phase).collect(),
            day_firsts: cover.days.iter().map(|days| days.first).collect(),
            day_pasts: cover.days.iter().map(|days| days.past).collect(),
            step_firsts: cover.steps.iter().map(|steps| steps.first).collect(),
            step_pasts: cover.steps.iter().map(|steps| steps.past).collect(),
        }
    }
}

/// Sums an organization's usage of `from..to` in groups, in the order of their values, at most `limit` of them.
pub async fn sum(
    connection: &mut PgConnection,
    scope: OrgScope,
    range: (OffsetDateTime, OffsetDateTime),
    grouping: &Grouping,
    filter: &UsageFilter,
    limit: i64,
) -> Result<Vec<UsageSum>, StoreError> {
    let mut sums = Vec::new();
    let push = |sum| {
        sums.push(sum);
        std::future::ready(true)
    };
    sum_each(connection, scope, range, grouping, filter, limit, push).await?;
    Ok(sums)
}

/// The same, group by group as the database sends them, until `each` returns that no more is wanted.
pub async fn sum_each<F>(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (OffsetDateTime, OffsetDateTime),
    grouping: &Grouping,
    filter: &UsageFilter,
    limit: i64,
    mut each: impl FnMut(UsageSum) -> F,
) -> Result<(), StoreError>
where
    F: Future<Output = bool>,
{
    let kept = match grouping.steps.is_empty() {
        true => Vec::new(),
        false => zone_days::list_summed(connection, scope).await?,
    };
    let parts = Parts::of(&Cover::new((from, to), &grouping.steps, &kept));
    let mut rows = sqlx::query!(
        r#"SELECT CASE $4::text
                      WHEN 'model' THEN s.model
                      WHEN 'provider' THEN s.provider
                      WHEN 'key' THEN 'key_' || replace(s.api_key_id::text, '-', '')
                      WHEN 'member' THEN COALESCE('usr_' || replace(s.member_id::text, '-', ''), '')
                      WHEN 'byok' THEN CASE WHEN s.byok THEN 'true' ELSE 'false' END
                      WHEN 'kind' THEN s.kind
                      WHEN 'status' THEN s.status
                      WHEN 'category' THEN s.category
                      ELSE '' END AS "key!",
                  CASE $5::text
                      WHEN 'model' THEN s.model
                      WHEN 'provider' THEN s.provider
                      WHEN 'key' THEN 'key_' || replace(s.api_key_id::text, '-', '')
                      WHEN 'member' THEN COALESCE('usr_' || replace(s.member_id::text, '-', ''), '')
                      WHEN 'byok' THEN CASE WHEN s.byok THEN 'true' ELSE 'false' END
                      WHEN 'kind' THEN s.kind
                      WHEN 'status' THEN s.status
                      WHEN 'category' THEN s.category
                      ELSE '' END AS "second_key!",
                  -- The step that the bucket begins in; one that the range cuts belongs to its first step.
                  CASE WHEN cardinality($6::timestamptz[]) > 0
                       THEN GREATEST(width_bucket(s.bucket, $6::timestamptz[]), 1) ELSE 0 END AS "step!",
                  sum(s.requests)::bigint AS "requests!", sum(s.turns)::bigint AS "turns!",
                  sum(s.input_tokens)::bigint AS "input!",
                  sum(s.cache_read_tokens)::bigint AS "cache_read!",
                  sum(s.cache_write_tokens)::bigint AS "cache_write!",
                  sum(s.cache_write_1h_tokens)::bigint AS "cache_write_1h!",
                  sum(s.output_tokens)::bigint AS "output!", sum(s.reasoning_tokens)::bigint AS "reasoning!",
                  sum(s.audio_input_tokens)::bigint AS "audio_input!",
                  sum(s.image_input_tokens)::bigint AS "image_input!",
                  sum(s.audio_output_tokens)::bigint AS "audio_output!",
                  sum(s.image_output_tokens)::bigint AS "image_output!",
                  sum(s.images)::bigint AS "images!",
                  sum(s.input_images)::bigint AS "input_images!",
                  sum(s.characters)::bigint AS "characters!",
                  sum(s.audio_ms)::bigint AS "audio_ms!",
                  sum(s.searches)::bigint AS "searches!",
                  sum(s.queries)::bigint AS "queries!",
                  sum(s.pages)::bigint AS "pages!",
                  sum(s.cost)::bigint AS "cost!", sum(s.charge)::bigint AS "charge!"
           FROM usage_parts($1, $2, $3, $16, $17, $18, $19, $20) s
           WHERE ($7::uuid IS NULL OR s.api_key_id = $7)
             AND ($8::uuid IS NULL OR s.member_id = $8)
             AND ($9::text IS NULL OR s.model = $9)
             AND ($10::text IS NULL OR s.provider = $10)
             AND ($11::bool IS NULL OR s.byok = $11)
             AND ($12::text IS NULL OR s.category = $12)
             AND ($13::text IS NULL OR s.kind = $13)
             AND ($14::text IS NULL OR s.status = $14)
           GROUP BY 1, 2, 3
           ORDER BY 3, 1, 2 LIMIT $15"#,
        scope.uuid(),
        from,
        to,
        grouping.first.as_str(),
        grouping.second.map_or("", GroupBy::as_str),
        &grouping.steps,
        filter.api_key.map(|key| key.0),
        filter.member.map(|member| member.0),
        filter.model,
        filter.provider,
        filter.byok,
        filter.category,
        filter.kind,
        filter.status,
        limit,
        &parts.day_phases,
        &parts.day_firsts,
        &parts.day_pasts,
        &parts.step_firsts,
        &parts.step_pasts,
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let sum = UsageSum {
            key: row.key,
            second_key: row.second_key,
            step: usize::try_from(row.step).ok().and_then(|step| step.checked_sub(1)),
            requests: row.requests,
            turns: row.turns,
            input: row.input,
            cache_read: row.cache_read,
            cache_write: row.cache_write,
            cache_write_1h: row.cache_write_1h,
            output: row.output,
            reasoning: row.reasoning,
            audio_input: row.audio_input,
            image_input: row.image_input,
            audio_output: row.audio_output,
            image_output: row.image_output,
            images: row.images,
            input_images: row.input_images,
            characters: row.characters,
            audio_ms: row.audio_ms,
            searches: row.searches,
            queries: row.queries,
            pages: row.pages,
            cost: NanoUsd(row.cost),
            charge: NanoUsd(row.charge),
        };
        if !each(sum).await {
            break;
        }
    }
    Ok(())
}

/// The result of one step of the job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RolledUp {
    /// Notes of changed steps that were removed.
    pub notes: usize,
}

/// Sums the usage of steps that changed and are over, in the caller's transaction; up to `notes_max` notes. `None`:
/// another process is at it.
pub async fn roll_up(connection: &mut PgConnection, notes_max: i64) -> Result<Option<RolledUp>, StoreError> {
    if !try_lock(connection).await? {
        return Ok(None);
    }
    // Only records of changes that are visible here are removed; a row whose record is not visible is summed again with
    // it.
    let notes = sqlx::query!(
        "DELETE FROM usage_touched WHERE id IN (
             SELECT id FROM usage_touched WHERE bucket <= now() - interval '15 minutes' ORDER BY id LIMIT $1)
         RETURNING org_id, bucket",
        notes_max,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut steps: Vec<(Uuid, OffsetDateTime)> =
        notes.iter().map(|note| (note.org_id, note.bucket)).collect();
    steps.sort_unstable();
    steps.dedup();
    let orgs: Vec<Uuid> = steps.iter().map(|step| step.0).collect();
    let buckets: Vec<OffsetDateTime> = steps.iter().map(|step| step.1).collect();
    if !steps.is_empty() {
        sum_steps(connection, &orgs, &buckets).await?;
        sum_days(connection, &orgs, &buckets).await?;
    }
    Ok(Some(RolledUp { notes: notes.len() }))
}

/// Until the transaction ends, no other process changes sums. `false`: another one does.
pub(super) async fn try_lock(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let is_ours = sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock(7241906355) AS "is_ours!""#);
    Ok(is_ours.fetch_one(connection).await?)
}

/// Replaces the sums of these steps. Steps whose rows were dropped are unchanged.
async fn sum_steps(
    connection: &mut PgConnection,
    orgs: &[Uuid],
    buckets: &[OffsetDateTime],
) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM usage_rollup r USING unnest($1::uuid[], $2::timestamptz[]) AS s (org_id, bucket)
         WHERE r.org_id = s.org_id AND r.bucket = s.bucket AND first_id_at(s.bucket) >= (SELECT kept_from('usage'))",
        orgs,
        buckets,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO usage_rollup (org_id, bucket, api_key_id, member_id, provider, model, byok, category, kind, status,
                                   turns, requests, input_tokens, cache_read_tokens, cache_write_tokens,
                                   cache_write_1h_tokens, output_tokens, reasoning_tokens, audio_input_tokens,
                                   image_input_tokens, audio_output_tokens, image_output_tokens, images, input_images,
                                   characters, audio_ms, searches, queries, pages, cost, charge)
         SELECT s.org_id, s.bucket, u.api_key_id, min(k.created_by::text)::uuid, u.provider, u.model, u.byok,
                COALESCE(u.category, ''), u.kind, u.status, count(*), count(*) FILTER (WHERE u.turn = 0),
                sum(u.input_tokens), sum(u.cache_read_tokens), sum(u.cache_write_tokens), sum(u.cache_write_1h_tokens),
                sum(u.output_tokens), sum(u.reasoning_tokens), sum(u.audio_input_tokens), sum(u.image_input_tokens),
                sum(u.audio_output_tokens), sum(u.image_output_tokens), sum(u.images), sum(u.input_images),
                sum(u.characters), sum(u.audio_ms), sum(u.searches), sum(u.queries), sum(u.pages),
                COALESCE(sum(u.cost), 0), sum(u.charge)
         FROM unnest($1::uuid[], $2::timestamptz[]) AS s (org_id, bucket)
         JOIN LATERAL (
             SELECT * FROM usage u
             WHERE u.org_id = s.org_id AND u.request_id >= first_id_at(s.bucket)
               AND u.request_id < first_id_at(s.bucket + interval '15 minutes')
             OFFSET 0
         ) u ON true
         LEFT JOIN api_key k ON k.org_id = s.org_id AND k.id = u.api_key_id
         WHERE first_id_at(s.bucket) >= (SELECT kept_from('usage'))
         GROUP BY s.org_id, s.bucket, u.api_key_id, u.provider, u.model, u.byok, COALESCE(u.category, ''), u.kind,
                  u.status",
        orgs,
        buckets,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces the sums of the days of these steps.
async fn sum_days(
    connection: &mut PgConnection,
    orgs: &[Uuid],
    buckets: &[OffsetDateTime],
) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM usage_day d USING unnest($1::uuid[], $2::timestamptz[]) AS s (org_id, bucket)
         WHERE d.org_id = s.org_id AND d.bucket = day_of(s.bucket)",
        orgs,
        buckets,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO usage_day (org_id, bucket, api_key_id, member_id, provider, model, byok, category, kind, status,
                                turns, requests, input_tokens, cache_read_tokens, cache_write_tokens,
                                cache_write_1h_tokens, output_tokens, reasoning_tokens, audio_input_tokens,
                                image_input_tokens, audio_output_tokens, image_output_tokens, images, input_images,
                                characters, audio_ms, searches, queries, pages, cost, charge)
         SELECT r.org_id, s.day, r.api_key_id, min(r.member_id::text)::uuid, r.provider, r.model, r.byok, r.category,
                r.kind, r.status, sum(r.turns), sum(r.requests), sum(r.input_tokens), sum(r.cache_read_tokens),
                sum(r.cache_write_tokens), sum(r.cache_write_1h_tokens), sum(r.output_tokens), sum(r.reasoning_tokens),
                sum(r.audio_input_tokens), sum(r.image_input_tokens), sum(r.audio_output_tokens),
                sum(r.image_output_tokens), sum(r.images), sum(r.input_images), sum(r.characters), sum(r.audio_ms),
                sum(r.searches), sum(r.queries), sum(r.pages), sum(r.cost), sum(r.charge)
         FROM (SELECT DISTINCT org_id, day_of(bucket) AS day
               FROM unnest($1::uuid[], $2::timestamptz[]) AS u (org_id, bucket)) s
         JOIN LATERAL (
             SELECT * FROM usage_rollup r
             WHERE r.org_id = s.org_id AND r.bucket >= s.day AND r.bucket < s.day + interval '24 hours'
             OFFSET 0
         ) r ON true
         GROUP BY r.org_id, s.day, r.api_key_id, r.provider, r.model, r.byok, r.category, r.kind, r.status",
        orgs,
        buckets,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a step before a moment has still to be summed: its rows must not be dropped.
pub async fn is_behind(connection: &mut PgConnection, before: OffsetDateTime) -> Result<bool, StoreError> {
    let behind = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM usage_touched WHERE bucket < $1) AS "behind!""#,
        before
    );
    Ok(behind.fetch_one(connection).await?)
}
