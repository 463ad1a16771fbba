//! Sends traces to the operator's collector, if an address is configured. Traces that cannot be sent are counted and
//! dropped.

use crate::{
    config::Config,
    domain::{ambient::Ambient, ids::InstanceId, secret::Secret},
    gateway::traces::{Batch, Exporter, Settings, Traces},
    store::Db,
};
use anyhow::Context;
use reqwest::{Client, Url};
use std::time::Duration;

const SEND_TIME_MAX: Duration = Duration::from_secs(5);

/// The collector.
struct Collector {
    client: Client,
    address: Url,
    headers: Vec<(String, Secret)>,
}

/// The sender runs on the database runtime, not on the workers.
pub(super) fn start(
    config: &Config,
    db: &Db,
    ambient: &Ambient,
    instance: InstanceId,
) -> anyhow::Result<Option<Traces>> {
    let Some(address) = &config.otlp_endpoint else { return Ok(None) };
    // The collector may be reached by https.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let collector = Collector {
        client: Client::builder().build().context("the HTTP client for traces")?,
        address: address.clone(),
        headers: config.otlp_headers.clone(),
    };
    let settings = Settings { sample_percent: config.trace_percent, instance: instance.0.to_string() };
    let (traces, exporter) = Traces::new(settings, ambient.clone());
    db.runtime().spawn(send(exporter, collector));
    Ok(Some(traces))
}

async fn send(mut exporter: Exporter, collector: Collector) {
    let mut was_away = false;
    while let Some(batch) = exporter.next().await {
        let sent = collector.post(&batch).await;
        if let Err(reason) = &sent {
            exporter.note_lost(&batch);
            // Logged once for each outage.
            if !was_away {
                tracing::warn!(error.cause = %reason, "traces cannot be sent");
            }
        }
        was_away = sent.is_err();
    }
}

impl Collector {
    async fn post(&self, batch: &Batch) -> Result<(), String> {
        let mut request = self
            .client
            .post(self.address.clone())
            .timeout(SEND_TIME_MAX)
            .header("content-type", "application/json")
            .body(batch.body.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value.expose());
        }
        // Without the address, which may hold a credential.
        let response = request.send().await.map_err(|error| error.without_url().to_string())?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(format!("the collector answers {}", response.status().as_u16())),
        }
    }
}
