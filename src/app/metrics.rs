//! The listener of `/metrics`: a separate address that clients do not reach.

use super::listen;
use crate::gateway::Gateway;
use actix_web::{App as HttpApp, HttpResponse, HttpServer, dev::Server, web};
use anyhow::Context;
use std::{net::SocketAddr, sync::Arc};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[allow(clippy::disallowed_methods)] // not the API: a listener of its own with one page
pub(super) fn serve(listen_on: SocketAddr, gateway: Arc<Gateway>) -> anyhow::Result<(SocketAddr, Server)> {
    let listener = listen(listen_on).context("KAIROSROUTE_METRICS_LISTEN")?;
    let address = listener.local_addr()?;
    let gateway = web::Data::from(gateway);
    let server = HttpServer::new(move || {
        HttpApp::new().app_data(gateway.clone()).route(
            "/metrics",
            web::get().to(|gateway: web::Data<Gateway>| async move {
                HttpResponse::Ok().content_type(OPEN_METRICS).body(gateway.exposition())
            }),
        )
    })
    .workers(1)
    .disable_signals()
    .listen(listener)?
    .run();
    Ok((address, server))
}
