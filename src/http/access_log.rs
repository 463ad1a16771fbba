//! One log line for each request, with the target `kairosroute::access`: who called what, who answered, and how long it
//! took. The line of a stream is written at its end. It holds ids, names of the catalogue and numbers; never a body, a
//! key, a query or an address.

use crate::domain::ids::{ApiKeyId, OrgId};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    http::{
        Method,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
    web::Bytes,
};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

/// The caller's own id of a request: it is kept beside ours, in the log and in the answer.
const CLIENT_ID: HeaderName = HeaderName::from_static("x-client-request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROVIDER: HeaderName = HeaderName::from_static("x-kairosroute-provider");
const MODEL: HeaderName = HeaderName::from_static("x-kairosroute-model");
const BYOK: HeaderName = HeaderName::from_static("x-kairosroute-byok");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-kairosroute-attempts");
const COST: HeaderName = HeaderName::from_static("x-kairosroute-cost");
const CLIENT_ID_BYTES_MAX: usize = 128;
/// The status of a request whose client left before there was an answer, as nginx has it.
const CLIENT_LEFT: u16 = 499;

/// Who calls, noted beside the request once that is known.
#[derive(Clone, Copy)]
pub struct Caller {
    pub org: OrgId,
    /// `None`: a person's session.
    pub api_key: Option<ApiKeyId>,
}

/// Notes who calls.
pub fn note_caller(request: &HttpRequest, caller: Caller) {
    request.extensions_mut().insert(caller);
}

/// The line of one request. It is written when this is dropped.
pub struct Line {
    method: Method,
    route: &'static str,
    started: Instant,
    client_id: Option<HeaderValue>,
    /// Until there is an answer.
    request: Option<HttpRequest>,
    caller: Option<Caller>,
    answer: Option<Answer>,
}

/// What an answer says about itself.
struct Answer {
    status: u16,
    head_ms: u64,
    headers: Headers,
}

#[derive(Default)]
struct Headers {
    request_id: Option<HeaderValue>,
    provider: Option<HeaderValue>,
    model: Option<HeaderValue>,
    byok: Option<HeaderValue>,
    attempts: Option<HeaderValue>,
    cost: Option<HeaderValue>,
}

impl Headers {
    fn of(headers: &HeaderMap) -> Self {
        let get = |name: HeaderName| headers.get(name).cloned();
        Self {
            request_id: get(REQUEST_ID),
            provider: get(PROVIDER),
            model: get(MODEL),
            byok: get(BYOK),
            attempts: get(ATTEMPTS),
            cost: get(COST),
        }
    }
}

impl Line {
    /// A request has arrived at a route.
    pub fn begin(request: &HttpRequest, route: &'static str) -> Self {
        Self {
            method: request.method().clone(),
            route,
            started: Instant::now(),
            client_id: client_id(request),
            request: Some(request.clone()),
            caller: None,
            answer: None,
        }
    }

    /// There is an answer: the line is written now, or with the last byte of a stream.
    pub fn answered(mut self, mut response: HttpResponse) -> HttpResponse {
        if let Some(id) = &self.client_id {
            response.headers_mut().insert(CLIENT_ID, id.clone());
        }
        self.caller = caller(&self.request.take());
        self.answer = Some(Answer {
            status: response.status().as_u16(),
            head_ms: millis(self.started),
            headers: Headers::of(response.headers()),
        });
        match response.body().size() {
            BodySize::Stream => response.map_body(|_, body| BoxBody::new(Logged { body, _line: self })),
            BodySize::None | BodySize::Sized(_) => response,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.request.is_some() {
            self.caller = caller(&self.request.take());
        }
        let answer = self.answer.as_ref();
        let header = |pick: fn(&Headers) -> &Option<HeaderValue>| {
            text(answer.and_then(|answer| pick(&answer.headers).as_ref()))
        };
        tracing::info!(
            target: "kairosroute::access",
            {
            request.id = header(|headers| &headers.request_id),
            request.client_id = text(self.client_id.as_ref()),
            org.id = self.caller.map(|caller| tracing::field::display(caller.org)),
            api_key.id = self.caller.and_then(|caller| caller.api_key).map(tracing::field::display),
            http.method = self.method.as_str(),
            http.route = self.route,
            http.status = answer.map_or(CLIENT_LEFT, |answer| answer.status),
            provider.name = header(|headers| &headers.provider),
            model.id = header(|headers| &headers.model),
            byok = header(|headers| &headers.byok),
            attempts = header(|headers| &headers.attempts),
            charged_usd = header(|headers| &headers.cost),
            head_ms = answer.map(|answer| answer.head_ms),
            duration_ms = millis(self.started),
            },
            "request"
        );
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}

fn caller(request: &Option<HttpRequest>) -> Option<Caller> {
    request.as_ref().and_then(|request| request.extensions().get::<Caller>().copied())
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The caller's id, if it is short and made of visible characters.
fn client_id(request: &HttpRequest) -> Option<HeaderValue> {
    let headers = request.headers();
    let id = headers.get(REQUEST_ID).or_else(|| headers.get(CLIENT_ID))?;
    let is_plain = id.as_bytes().iter().all(u8::is_ascii_graphic);
    (is_plain && (1..=CLIENT_ID_BYTES_MAX).contains(&id.len())).then(|| id.clone())
}

/// The body of a stream, with the line that is written at its end.
struct Logged {
    body: BoxBody,
    _line: Line,
}

impl MessageBody for Logged {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn kept(name: &'static str, value: &'static str) -> Option<String> {
        let request = TestRequest::default().insert_header((name, value)).to_http_request();
        client_id(&request).map(|id| id.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_callers_id_is_kept_if_it_is_short_and_plain() {
        assert_eq!(kept("x-request-id", "trace-1/a"), Some("trace-1/a".to_owned()));
        assert_eq!(kept("x-client-request-id", "b"), Some("b".to_owned()));
        assert_eq!(kept("x-request-id", "two words"), None);
        assert_eq!(kept("x-request-id", ""), None);
        assert_eq!(kept("x-other", "a"), None);
        let long: &'static str = Box::leak("a".repeat(129).into_boxed_str());
        assert_eq!(kept("x-request-id", long), None);
    }

    #[test]
    fn an_answer_names_the_callers_id() {
        let request = TestRequest::default().insert_header(("x-request-id", "mine")).to_http_request();
        let response = Line::begin(&request, "/v1/models").answered(HttpResponse::Ok().finish());
        assert_eq!(response.headers().get("x-client-request-id").unwrap(), "mine");
    }
}
