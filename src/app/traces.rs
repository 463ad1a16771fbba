//! Starts what sends traces, where the operator has configured an address for them.

use crate::{
    config::Config,
    domain::{ambient::Ambient, ids::InstanceId},
    gateway::traces::{Settings, Traces},
    store::Db,
};
use anyhow::Context;

/// The exporter runs beside the database's tasks, away from the workers.
pub(super) fn start(
    config: &Config,
    db: &Db,
    ambient: &Ambient,
    instance: InstanceId,
) -> anyhow::Result<Option<Traces>> {
    let Some(address) = &config.otlp_endpoint else { return Ok(None) };
    // The collector may be reached by https.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().build().context("the HTTP client for traces")?;
    let settings = Settings {
        address: address.clone(),
        headers: config.otlp_headers.clone(),
        sample_percent: config.trace_percent,
        instance: instance.0.to_string(),
    };
    let (traces, exporter) = Traces::new(settings, ambient.clone());
    db.runtime().spawn(exporter.run(client));
    Ok(Some(traces))
}
