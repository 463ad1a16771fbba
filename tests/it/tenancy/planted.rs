//! Planted routes without a check, to show that the checker notices them: one does not authenticate, the other accepts
//! any session.

use crate::harness::Client;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use kairosroute::domain::ids::ApiKeyId;
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::ops::Deref;

/// The server of the planted routes; it ends with the test.
pub struct Planted {
    client: Client,
    handle: actix_web::dev::ServerHandle,
}

impl Deref for Planted {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

#[allow(clippy::disallowed_methods)] // that these are not in the product's table is the point
pub async fn start(options: PgConnectOptions) -> Planted {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let pool = web::Data::new(PgPoolOptions::new().max_connections(2).connect_lazy_with(options));
            let server = HttpServer::new(move || {
                App::new()
                    .app_data(pool.clone())
                    .route("/planted/open/{key}", web::delete().to(open))
                    .route("/planted/foreign/{key}", web::delete().to(foreign))
            })
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
            let address = server.addrs()[0];
            let server = server.run();
            sender.send((address, server.handle())).ok().unwrap();
            server.await.unwrap();
        });
    });
    let (address, handle) = receiver.await.unwrap();
    Planted { client: Client::of(address), handle }
}

async fn rename(connection: &mut PgConnection, id: &str) {
    let id: ApiKeyId = id.parse().unwrap();
    sqlx::query("UPDATE api_key SET name = name || '!' WHERE id = $1")
        .bind(id.0)
        .execute(connection)
        .await
        .unwrap();
}

async fn open(pool: web::Data<PgPool>, id: web::Path<String>) -> HttpResponse {
    rename(&mut pool.acquire().await.unwrap(), &id).await;
    HttpResponse::Ok().finish()
}

async fn foreign(pool: web::Data<PgPool>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    match token.and_then(|token| token.strip_prefix("Bearer krs_")) {
        None => HttpResponse::Unauthorized().finish(),
        Some(_) => {
            rename(&mut pool.acquire().await.unwrap(), &id).await;
            HttpResponse::Ok().finish()
        }
    }
}
