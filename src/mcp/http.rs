//! The HTTP layer of an MCP session: the gateway's own client instead of the SDK's. It writes the SDK's message, with
//! the arguments of a call as the model wrote them, byte for byte. It reads JSON or server-sent events, bounded for
//! each message and for the session, up to the one response that was requested: the SDK never receives a stream or an
//! unrequested message. Nothing here lives longer than the session, except the request that ends it at the server,
//! which has a few seconds.

use super::{
    Bounds,
    message::{self, Asked, Heard, Wanted},
};
use crate::{
    dialect::sse::{Frame, Splitter},
    domain::shares::Charge,
};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue},
};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, ErrorData, JsonRpcMessage, ServerJsonRpcMessage},
    transport::streamable_http_client::{
        HttpStatusError, SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sse_stream::Sse;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const BOTH: HeaderValue = HeaderValue::from_static("text/event-stream, application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// Headers that only the protocol itself may set.
const RESERVED: [HeaderName; 3] = [ACCEPT, SESSION, LAST_EVENT];
/// Requests of a server that are answered in one session. The gateway declares no client capabilities, so a correct
/// server sends few: pings.
const REPLIES_MAX: usize = 16;
const REPLY_TIME_MAX: Duration = Duration::from_secs(2);
/// How often a server may close its stream before the response and be called again later. Usually the time limit of the
/// call ends it earlier.
const RESUMES_MAX: usize = 1_000;
/// How long to wait before the next call: the time that the server requests, within these limits, else the last one.
const RESUME_WAIT_MIN: Duration = Duration::from_millis(50);
const RESUME_WAIT_MAX: Duration = Duration::from_secs(5);
const RESUME_WAIT: Duration = Duration::from_millis(500);
/// How long to wait for the end of an answered stream, so that its connection can be used for the next message.
const END_TIME_MAX: Duration = Duration::from_millis(20);

/// The HTTP client of one session: with the guarded resolver, or without it for the operator's servers.
#[derive(Clone)]
pub struct Guarded(Arc<Wire>);

struct Wire {
    client: Client,
    /// The session has ended; everything in progress ends.
    gone: CancellationToken,
    message_bytes_max: usize,
    memory: Arc<Charge>,
    /// Bytes that the server may still send in this session.
    bytes_left: AtomicUsize,
    replies_left: AtomicUsize,
}

type Error = StreamableHttpError<reqwest::Error>;
type Headers = HashMap<HeaderName, HeaderValue>;

/// The address of a session's messages, and their headers.
struct Route {
    uri: Arc<str>,
    session: Option<Arc<str>>,
    headers: Headers,
}

impl Guarded {
    /// Ends everything that it has started when `gone` is cancelled.
    pub fn new(client: Client, bounds: &Bounds, gone: CancellationToken) -> Self {
        Self(Arc::new(Wire {
            client,
            gone,
            message_bytes_max: bounds.message_bytes_max,
            memory: bounds.memory.clone(),
            bytes_left: AtomicUsize::new(bounds.session_bytes_max),
            replies_left: AtomicUsize::new(REPLIES_MAX),
        }))
    }
}

impl StreamableHttpClient for Guarded {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let wire = &*self.0;
        if let Some(name) = headers.keys().find(|name| RESERVED.contains(name)) {
            return Err(StreamableHttpError::ReservedHeaderConflict(name.to_string()));
        }
        let route = Route { uri, session, headers };
        // The SDK checks for the end of a session only between some of its messages.
        tokio::select! {
            biased;
            () = wire.gone.cancelled() => Err(StreamableHttpError::TransportChannelClosed),
            answered = wire.post(&route, &message) => answered,
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        auth: Option<String>,
        headers: Headers,
    ) -> Result<(), Error> {
        self.0.client.delete_session(uri, session, auth, headers).await
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session: Option<Arc<str>>,
        _last_event: Option<String>,
        _auth: Option<String>,
        _headers: Headers,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Error> {
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

impl Wire {
    async fn post(
        &self,
        route: &Route,
        message: &ClientJsonRpcMessage,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let posting = self.posting(route).headers(route.headers.iter().map(owned).collect());
        let response = posting.body(body_of(message)?).send().await?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND && route.session.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        let JsonRpcMessage::Request(request) = message else {
            // No reply is expected.
            return match status.is_success() {
                true => Ok(StreamableHttpPostResponse::Accepted),
                false => Err(HttpStatusError::new(status.as_u16(), None).into()),
            };
        };
        let asked = Asked { id: &request.id, wanted: wanted(&request.request) };
        let session = response.headers().get(SESSION).and_then(|value| value.to_str().ok());
        let session = session.map(str::to_owned);
        let content_type = content_type(&response);
        if status.is_success() && content_type.starts_with("text/event-stream") {
            let answer = self.answer_of_stream(route, response, &asked).await?;
            return Ok(StreamableHttpPostResponse::Json(answer, session));
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(HttpStatusError::new(status.as_u16(), None).into());
        }
        // A refusal may be a protocol error in a response of any status.
        if content_type.starts_with("application/json") {
            let body = self.body(response).await?;
            match message::read(&body, &asked, true)? {
                Heard::Answer(answer)
                    if status.is_success() || matches!(*answer, JsonRpcMessage::Error(_)) =>
                {
                    return Ok(StreamableHttpPostResponse::Json(*answer, session));
                }
                _ if status.is_success() => {
                    return Err(StreamableHttpError::UnexpectedServerResponse("no answer".into()));
                }
                _ => {}
            }
        }
        if matches!(request.request, ClientRequest::DiscoverRequest(_)) && status.is_client_error() {
            // A server that supports only the handshake may answer with any status.
            let error = ErrorData::invalid_request(format!("HTTP {status}"), None);
            let error = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
            return Ok(StreamableHttpPostResponse::Json(error, None));
        }
        match status == StatusCode::OK {
            true => Err(StreamableHttpError::UnexpectedContentType(None)),
            false => Err(HttpStatusError::new(status.as_u16(), None).into()),
        }
    }

    fn posting(&self, route: &Route) -> RequestBuilder {
        let posting = self.client.post(&*route.uri).header(ACCEPT, BOTH).header(CONTENT_TYPE, JSON);
        route.session.iter().fold(posting, |posting, id| posting.header(SESSION, &**id))
    }

    /// Reads a stream up to the requested response. A server may close it earlier, after it has sent an event id from
    /// which to continue.
    async fn answer_of_stream(
        &self,
        route: &Route,
        mut response: Response,
        asked: &Asked<'_>,
    ) -> Result<ServerJsonRpcMessage, Error> {
        let mut resume = Resume::default();
        for _ in 0..RESUMES_MAX {
            if let Some(answer) = self.read_stream(route, response, asked, &mut resume).await? {
                return Ok(answer);
            }
            let Some(last) = resume.last.clone() else { break };
            tokio::time::sleep(resume.wait()).await;
            response = self.reopen(route, last).await?;
        }
        Err(StreamableHttpError::UnexpectedEndOfStream)
    }

    /// The rest of a stream, after the event with this id.
    async fn reopen(&self, route: &Route, last: HeaderValue) -> Result<Response, Error> {
        let headers = route.headers.iter().filter(|(name, _)| !is_of_protocol(name) || **name == VERSION);
        let opening = self.client.get(&*route.uri).headers(headers.map(owned).collect());
        let opening = opening.header(ACCEPT, EVENTS).header(LAST_EVENT, last);
        let opening = route.session.iter().fold(opening, |opening, id| opening.header(SESSION, &**id));
        let response = opening.send().await?;
        match response.status() {
            StatusCode::OK if content_type(&response).starts_with("text/event-stream") => Ok(response),
            StatusCode::OK => Err(StreamableHttpError::UnexpectedContentType(None)),
            status => Err(HttpStatusError::new(status.as_u16(), None).into()),
        }
    }

    /// Reads one stream; `None`: it ended without the response.
    async fn read_stream(
        &self,
        route: &Route,
        mut response: Response,
        asked: &Asked<'_>,
        resume: &mut Resume,
    ) -> Result<Option<ServerJsonRpcMessage>, Error> {
        let mut splitter = Splitter::new(self.message_bytes_max);
        let mut memory = self.memory.another();
        loop {
            let mut events: Vec<Vec<u8>> = Vec::new();
            let each = |frame: Frame<'_>| {
                resume.note(frame);
                events.extend(frame.data().filter(|data| !data.is_empty()).map(|data| data.into_owned()));
            };
            let bytes = self.chunk(&mut response).await?;
            match &bytes {
                Some(bytes) => splitter.feed(bytes, each).map_err(|_| self.too_large())?,
                None => splitter.finish(each),
            }
            let waiting =
                events.iter().fold(splitter.buffered_bytes(), |sum, event| sum.saturating_add(event.len()));
            memory.cover(waiting).map_err(|_| self.too_large())?;
            for event in events {
                match message::read(&event, asked, false)? {
                    Heard::Answer(answer) => {
                        let end = async { while let Ok(Some(_)) = self.chunk(&mut response).await {} };
                        let _ = tokio::time::timeout(END_TIME_MAX, end).await;
                        return Ok(Some(*answer));
                    }
                    Heard::Request { id, is_ping } => self.reply(route, &id, is_ping).await,
                    Heard::Nothing => {}
                }
            }
            if bytes.is_none() {
                return Ok(None);
            }
        }
    }

    /// Answers a request of the server, one at a time: while the server does not accept the reply, nothing more is read
    /// from it.
    async fn reply(&self, route: &Route, id: &RawValue, is_ping: bool) {
        if !spend(&self.replies_left, 1) {
            return;
        }
        let said = match is_ping {
            true => r#""result":{}"#,
            false => r#""error":{"code":-32601,"message":"Method not found"}"#,
        };
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},{said}}}"#, id.get());
        // The other protocol headers describe the message that they came with.
        let headers = route.headers.iter().filter(|(name, _)| !is_of_protocol(name) || **name == VERSION);
        let posting = self.posting(route).headers(headers.map(owned).collect()).body(body);
        let _ = tokio::time::timeout(REPLY_TIME_MAX, posting.send()).await;
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let mut memory = self.memory.another();
        while let Some(bytes) = self.chunk(&mut response).await? {
            let length = body.len().saturating_add(bytes.len());
            if length > self.message_bytes_max || memory.cover(length).is_err() {
                return Err(self.too_large());
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    /// The only code that reads what a server sends.
    async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Error> {
        let bytes = response.chunk().await?;
        match bytes.as_ref().is_none_or(|bytes| spend(&self.bytes_left, bytes.len())) {
            true => Ok(bytes),
            false => Err(self.too_large()),
        }
    }

    fn too_large(&self) -> Error {
        StreamableHttpError::ResponseBodyTooLarge { max_size: self.message_bytes_max }
    }
}

/// How to continue a stream that the server closes.
#[derive(Default)]
struct Resume {
    /// The id of the last event that had one.
    last: Option<HeaderValue>,
    retry_ms: Option<u64>,
}

impl Resume {
    fn note(&mut self, frame: Frame<'_>) {
        if let Some(id) = frame.id().and_then(|id| HeaderValue::from_bytes(id).ok()) {
            self.last = Some(id);
        }
        self.retry_ms = frame.retry_ms().or(self.retry_ms);
    }

    fn wait(&self) -> Duration {
        let wait = self.retry_ms.map_or(RESUME_WAIT, Duration::from_millis);
        wait.clamp(RESUME_WAIT_MIN, RESUME_WAIT_MAX)
    }
}

/// Takes `count` from the remaining number, if enough is left.
pub fn spend(left: &AtomicUsize, count: usize) -> bool {
    left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(count)).is_ok()
}

fn owned((name, value): (&HeaderName, &HeaderValue)) -> (HeaderName, HeaderValue) {
    (name.clone(), value.clone())
}

fn is_of_protocol(name: &HeaderName) -> bool {
    name.as_str().starts_with("mcp-")
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

fn wanted(request: &ClientRequest) -> Wanted {
    let extensions = match request {
        ClientRequest::CallToolRequest(call) => &call.extensions,
        ClientRequest::ListToolsRequest(list) => &list.extensions,
        _ => return Wanted::Handshake,
    };
    extensions.get::<Wanted>().cloned().unwrap_or(Wanted::Handshake)
}

/// The message as the SDK writes it, except for the arguments of a call.
fn body_of(message: &ClientJsonRpcMessage) -> Result<Vec<u8>, serde_json::Error> {
    match message {
        JsonRpcMessage::Request(request) => match wanted(&request.request) {
            Wanted::Call { arguments, .. } => with_arguments(message, &arguments),
            _ => serde_json::to_vec(message),
        },
        _ => serde_json::to_vec(message),
    }
}

/// The message with the model's arguments instead of the SDK's.
fn with_arguments(
    message: &ClientJsonRpcMessage,
    arguments: &RawValue,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize, Deserialize)]
    struct Call<'a> {
        #[serde(borrow)]
        jsonrpc: &'a RawValue,
        #[serde(borrow)]
        id: &'a RawValue,
        #[serde(borrow)]
        method: &'a RawValue,
        #[serde(borrow)]
        params: BTreeMap<String, &'a RawValue>,
    }
    let text = serde_json::to_string(message)?;
    let mut call: Call<'_> = serde_json::from_str(&text)?;
    call.params.insert("arguments".to_owned(), arguments);
    serde_json::to_vec(&call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::message::Slot;
    use rmcp::model::{CallToolRequest, CallToolRequestParams, NumberOrString};

    #[test]
    fn arguments_leave_as_the_model_wrote_them() {
        let odd = r#"{"id":12345678901234567890123, "a": 1.0,"b":1e5, "c":"\ud83d \u00e3" }"#;
        let arguments: Arc<RawValue> = RawValue::from_string(odd.to_owned()).unwrap().into();
        let mut call = CallToolRequest::new(CallToolRequestParams::new("tide"));
        call.extensions.insert(Wanted::Call { arguments, answer: Slot::default() });
        let message =
            ClientJsonRpcMessage::request(ClientRequest::CallToolRequest(call), NumberOrString::Number(7));
        let body = String::from_utf8(body_of(&message).unwrap()).unwrap();
        assert!(body.contains(odd), "{body}");
        assert!(body.contains(r#""name":"tide""#) && body.contains(r#""id":7"#), "{body}");
    }
}
