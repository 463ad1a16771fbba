//! Tests of the table and its dispatch.

use super::{dispatch::dispatch, *};
use crate::http::extract::Call;
use actix_web::{FromRequest, http::StatusCode, test::TestRequest, web};
use futures_util::FutureExt;

#[test]
fn no_method_and_path_stand_twice_in_the_table() {
    for (index, route) in ROUTES.iter().enumerate() {
        let twice = ROUTES
            .iter()
            .skip(index + 1)
            .any(|other| other.path == route.path && other.method == route.method);
        assert!(!twice, "{} {}", route.method, route.path);
    }
}

fn call() -> Call {
    let (request, mut payload) = TestRequest::default().to_http_parts();
    let payload = web::Payload::from_request(&request, &mut payload).now_or_never().unwrap().unwrap();
    Call::new(request, payload)
}

#[test]
fn a_panic_in_a_handler_is_one_500_in_the_rows_envelope() {
    static BROKEN: Route = Route {
        method: Method::GET,
        path: "/broken",
        envelope: Envelope::Anthropic,
        endpoint: Public(|_| Box::pin(async { panic!("planted") })),
    };
    let response = dispatch(&BROKEN, call()).now_or_never().unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
