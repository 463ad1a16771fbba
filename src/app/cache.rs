//! Opens the response cache according to the settings.

use crate::{
    accounts::installation::Installation,
    cache::{Redis, ResponseCache},
    config::CacheSettings,
    domain::ambient::Ambient,
    store::Db,
};
use anyhow::Context;
use std::sync::Arc;

/// Redis if one is configured, else memory. It does not connect: an unreachable Redis does not prevent the start.
pub(super) fn open(
    settings: &CacheSettings,
    db: &Db,
    installation: &Arc<Installation>,
    ambient: &Ambient,
) -> anyhow::Result<ResponseCache> {
    let redis =
        settings.redis_url.as_ref().map(|url| Redis::new(url, settings.redis_timeout, db.runtime().clone()));
    let redis = redis.transpose().context("REDIS_URL")?;
    Ok(ResponseCache::new(settings.limits, redis, installation.clone(), ambient.clone()))
}
