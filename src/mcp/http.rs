//! The wire below an MCP session: the SDK's own HTTP client behind our guarded one, with three differences. A call's
//! arguments leave as the model wrote them, byte for byte; answers are bounded by our own limit; and no stream is
//! opened for what a server would say by itself, since a session lives no longer than one request.

use crate::dialect::sse::Splitter;
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue},
};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, GetExtensions, JsonRpcMessage, ServerJsonRpcMessage},
    transport::streamable_http_client::{
        HttpStatusError, SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sse_stream::Sse;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    sync::Arc,
};

/// The largest message of a server.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

const BOTH: HeaderValue = HeaderValue::from_static("text/event-stream, application/json");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// The arguments of a call as the model wrote them: a JSON object.
#[derive(Clone)]
pub struct RawArguments(pub Arc<RawValue>);

/// One of the guarded clients.
#[derive(Clone)]
pub struct Guarded(pub Client);

type Error = StreamableHttpError<reqwest::Error>;
type Headers = HashMap<HeaderName, HeaderValue>;

impl StreamableHttpClient for Guarded {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        auth: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Error> {
        match raw_arguments(&message) {
            Some(arguments) => {
                let body = with_arguments(&message, &arguments.0)?;
                let posting =
                    self.0.post(&*uri).header(ACCEPT, BOTH).header(CONTENT_TYPE, "application/json");
                let posting = session.iter().fold(posting, |posting, id| posting.header(SESSION, &**id));
                let posting =
                    headers.into_iter().fold(posting, |posting, (name, value)| posting.header(name, value));
                answered(posting.body(body).send().await?, session.is_some()).await
            }
            None => {
                let max = MESSAGE_BYTES_MAX;
                self.0.post_message_with_max_sse_event_size(uri, message, session, auth, headers, max).await
            }
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        auth: Option<String>,
        headers: Headers,
    ) -> Result<(), Error> {
        self.0.delete_session(uri, session, auth, headers).await
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

fn raw_arguments(message: &ClientJsonRpcMessage) -> Option<RawArguments> {
    let JsonRpcMessage::Request(request) = message else { return None };
    let ClientRequest::CallToolRequest(call) = &request.request else { return None };
    call.extensions().get::<RawArguments>().cloned()
}

/// The message with other arguments than the SDK would write.
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

/// The answer to a call.
async fn answered(response: Response, in_session: bool) -> Result<StreamableHttpPostResponse, Error> {
    let status = response.status();
    if status == StatusCode::NOT_FOUND && in_session {
        return Err(StreamableHttpError::SessionExpired);
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    if status.is_success() && content_type.starts_with("text/event-stream") {
        return Ok(StreamableHttpPostResponse::Sse(events(response), None));
    }
    if !content_type.starts_with("application/json") {
        return Err(HttpStatusError::new(status.as_u16(), None).into());
    }
    let body = read(response).await?;
    match serde_json::from_slice::<ServerJsonRpcMessage>(&body) {
        // A refusal may come as an error of the protocol in an answer of any status.
        Ok(message @ JsonRpcMessage::Error(_)) => Ok(StreamableHttpPostResponse::Json(message, None)),
        Ok(message) if status.is_success() => Ok(StreamableHttpPostResponse::Json(message, None)),
        Err(unreadable) if status.is_success() => Err(unreadable.into()),
        _ => Err(HttpStatusError::new(status.as_u16(), None).into()),
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        if body.len().saturating_add(bytes.len()) > MESSAGE_BYTES_MAX {
            return Err(StreamableHttpError::ResponseBodyTooLarge { max_size: MESSAGE_BYTES_MAX });
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// The events of a stream; the last is an error when it breaks or one is too long.
fn events(response: Response) -> BoxStream<'static, Result<Sse, SseError>> {
    struct Reading {
        response: Option<Response>,
        splitter: Splitter,
        ready: VecDeque<Sse>,
    }
    let splitter = Splitter::new(MESSAGE_BYTES_MAX);
    let reading = Reading { response: Some(response), splitter, ready: VecDeque::new() };
    let next = |mut reading: Reading| async move {
        loop {
            if let Some(event) = reading.ready.pop_front() {
                return Some((Ok(event), reading));
            }
            let mut response = reading.response.take()?;
            let ready = &mut reading.ready;
            let mut each = |frame: crate::dialect::sse::Frame<'_>| {
                let data = frame.data().map(|data| String::from_utf8_lossy(&data).into_owned());
                ready.extend(data.map(|data| Sse::default().data(data)));
            };
            match response.chunk().await {
                Ok(Some(bytes)) => match reading.splitter.feed(&bytes, each) {
                    Ok(()) => reading.response = Some(response),
                    Err(too_long) => {
                        return Some((
                            Err(SseError::Body(Box::new(io::Error::other(too_long.to_string())))),
                            reading,
                        ));
                    }
                },
                Ok(None) => reading.splitter.finish(&mut each),
                Err(error) => return Some((Err(SseError::Body(Box::new(error))), reading)),
            }
        }
    };
    stream::unfold(reading, next).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::{CallToolRequest, CallToolRequestParams, NumberOrString};

    #[test]
    fn arguments_leave_as_the_model_wrote_them() {
        let odd = r#"{"id":12345678901234567890123, "a": 1.0,"b":1e5, "c":"\ud83d \u00e3" }"#;
        let arguments = RawArguments(RawValue::from_string(odd.to_owned()).unwrap().into());
        let mut call = CallToolRequest::new(CallToolRequestParams::new("tide"));
        call.extensions.insert(arguments);
        let message =
            ClientJsonRpcMessage::request(ClientRequest::CallToolRequest(call), NumberOrString::Number(7));
        let arguments = raw_arguments(&message).unwrap();
        let body = String::from_utf8(with_arguments(&message, &arguments.0).unwrap()).unwrap();
        assert!(body.contains(odd), "{body}");
        assert!(body.contains(r#""name":"tide""#) && body.contains(r#""id":7"#), "{body}");
    }
}
