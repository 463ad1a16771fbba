//! Registers the route table, and what answers everything outside of it.

use super::{ROUTES, Route, dispatch::dispatch};
use crate::http::{
    cors,
    error::{ApiError, Code, Envelope},
    extract::Call,
    finish::{envelope_for, finished, refuse},
    unknown::{shortened, unknown_path},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::Method,
    web::{self, ServiceConfig},
};

/// Registers the table and what answers everything outside of it.
#[allow(clippy::disallowed_methods)] // the one place: it iterates the table
pub fn register(config: &mut ServiceConfig) {
    for (index, route) in ROUTES.iter().enumerate() {
        // A path is registered once, where it first occurs, with all its methods.
        if ROUTES.iter().take(index).any(|earlier| earlier.path == route.path) {
            continue;
        }
        let rows: Vec<&'static Route> = ROUTES.iter().filter(|other| other.path == route.path).collect();
        let reads = rows.iter().any(|row| row.method == Method::GET);
        let methods = rows.iter().map(|row| row.method.as_str()).chain(reads.then_some("HEAD"));
        let allowed = methods.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ");
        let mut resource = web::resource(route.path);
        for row in rows {
            // What is read can be asked about without being sent: the server leaves the body out.
            let head = (row.method == Method::GET).then_some(Method::HEAD);
            for method in head.into_iter().chain([row.method.clone()]) {
                let answer = move |request, payload| dispatch(row, Call::new(request, payload));
                resource = resource.route(web::method(method).to(answer));
            }
        }
        let options = allowed.clone();
        resource = resource.route(web::method(Method::OPTIONS).to(move |request: HttpRequest| {
            let mut response = HttpResponse::NoContent().insert_header(("allow", options.as_str())).finish();
            cors::preflight(&mut response, &request, cors::allowed(&request), &options);
            std::future::ready(finished(&request, response))
        }));
        let envelope = route.envelope;
        config.service(resource.default_service(web::to(move |request: HttpRequest| {
            let message = format!("{} does not take {}; use {allowed}", request.path(), request.method());
            let error = ApiError::new(Code::MethodNotAllowed, shortened(&message))
                .header("allow", &allowed)
                .envelope(envelope_for(&request, envelope));
            std::future::ready(refuse(&request, error))
        })));
    }
    config.default_service(web::to(|request: HttpRequest| {
        let error = unknown_path(&request).envelope(envelope_for(&request, Envelope::OpenAi));
        std::future::ready(refuse(&request, error))
    }));
}
