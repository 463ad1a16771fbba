//! The HTTP side: finds the provider, checks the request, executes the reply. It must record every byte on the bill as
//! it passes it on, and notice at once when the client closes.

use super::{
    Settings,
    bill::{Call, Tally},
    cohere, control, errors, gemini, kinds, messages, openai, pacing, refuse,
    reply::{Reply, Step},
    request::{Asked, Request},
    responses,
    rows::{self, Format, Row},
    script::Script,
    shared::Shared,
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    body::SizedStream,
    dev::ServerHandle,
    http::{
        KeepAlive, StatusCode,
        header::{CONTENT_TYPE, HeaderName, HeaderValue},
    },
    rt::System,
    web,
};
use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::sleep;

const BODY_BYTES_MAX: usize = 128 << 20;

/// Serves until stopped; `listening` is notified when connections are accepted.
pub(super) fn run(
    settings: &Settings,
    shared: Arc<Shared>,
    obey_signals: bool,
    listening: impl FnOnce((SocketAddr, ServerHandle)),
) -> io::Result<()> {
    let shared = web::Data::from(shared);
    let app = move || {
        App::new()
            .app_data(shared.clone())
            .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
            .default_service(web::to(serve))
    };
    let server = HttpServer::new(app)
        .workers(settings.workers.max(1))
        .backlog(4096)
        .keep_alive(KeepAlive::Timeout(Duration::from_secs(120)))
        // A client may open connections ahead of its requests.
        .client_request_timeout(Duration::ZERO)
        // A client that closes its side has disconnected, even while nothing is being sent to it.
        .h1_allow_half_closed(false)
        .tcp_nodelay(true)
        .shutdown_timeout(1)
        .bind(settings.listen)?;
    let server = if obey_signals { server } else { server.disable_signals() };
    let address = server.addrs().first().copied().ok_or_else(|| io::Error::other("no address was bound"))?;
    System::new().block_on(async move {
        let running = server.run();
        listening((address, running.handle()));
        running.await
    })
}

async fn serve(shared: web::Data<Shared>, http: HttpRequest, body: web::Bytes) -> HttpResponse {
    let path = http.path();
    if let Some(name) = path.strip_prefix("/_simulator/") {
        return control::answer(&shared, http.method().as_str(), name, &body);
    }
    let (provider, rest) = path.get(1..).and_then(|path| path.split_once('/')).unwrap_or_default();
    let Some(row) = rows::find(provider) else {
        return HttpResponse::NotFound().body("no such provider is simulated\n");
    };
    let rest = path.get(path.len() - rest.len() - 1..).unwrap_or_default();
    let serial = shared.next_serial();
    let headers = headers(&http);
    let readable = kinds::readable(header(&http, "content-type"), &body);
    let parsed = Request::parse(&readable.json);
    let nothing = Request::default();
    let request = parsed.as_ref().unwrap_or(&nothing);
    let endpoint = endpoint(row, http.method().as_str(), rest, request);
    let leaked = refuse::leaks(row, endpoint.format(), request, &headers);
    let credential = credential(&http);
    let (model, streamed) = match endpoint.named() {
        Some((model, streamed)) => (model.to_owned(), streamed),
        None => (request.model(), request.is_true("stream")),
    };
    let call = Call {
        provider: provider.to_owned(),
        host: header(&http, "host").to_owned(),
        method: http.method().to_string(),
        path: http.uri().to_string(),
        authorization: credential.clone(),
        model: model.clone(),
        stream: streamed,
        headers: if shared.keep_bodies { headers.clone() } else { Vec::new() },
        leaked: leaked.clone(),
        ..Call::default()
    };
    let tally = shared.bill.open(call, if shared.keep_bodies { body.clone() } else { Bytes::new() });
    let script = match endpoint {
        Endpoint::Generate { .. } | Endpoint::Kind(_) => shared.next_script(row.id, request),
        Endpoint::Count { .. } => shared.coming_script(row.id),
        _ => shared.default_script(row.id),
    };
    let speaker = endpoint.format().map_or(row, |format| rows::speaker(row, format));
    let asked = Asked { row, speaker, script: &script, request, model, streamed, serial };
    let who = judge(speaker, &credential, &script, &leaked);
    let refused = |format, counting| {
        let (parsed, query) = (parsed.is_some(), http.query_string());
        let posted =
            refuse::Posted { asked: &asked, format, body: &body, parsed, headers: &headers, query, counting };
        refuse::first(&posted, &|id| shared.has_issued(row.id, id))
    };
    let reply = match endpoint {
        Endpoint::Generate { format, .. } => match who.or_else(|| refused(format, false)) {
            Some(refusal) => refusal,
            None => {
                shared.hold_back(&script).await;
                generated(&shared, format, asked)
            }
        },
        Endpoint::Count { format, .. } => match who.or_else(|| refused(format, true)) {
            Some(refusal) => refusal,
            None => {
                shared.hold_back(&script).await;
                counted(format, &asked)
            }
        },
        Endpoint::Kind(found) => of_kind(&shared, found, who, &asked, &readable, &tally).await,
        Endpoint::CheckKey { good } => check_key(who, rest, good),
        Endpoint::Free { body } => Reply::json(200, body.to_owned()),
        Endpoint::Unknown => errors::fault(row, 404, "Unknown request URL.", None),
    };
    play(reply, tally, serial)
}

/// The kind of answer of a path.
#[derive(Clone, Copy)]
enum Endpoint<'a> {
    /// An answer of a model; where the path names it, not the body, with that and whether it is streamed.
    Generate {
        format: Format,
        named: Option<(&'a str, bool)>,
    },
    /// The number of tokens of a prompt.
    Count {
        format: Format,
        named: Option<(&'a str, bool)>,
    },
    /// Anything but a conversation.
    Kind(kinds::Found<'a>),
    CheckKey {
        good: &'static str,
    },
    /// Needs no key.
    Free {
        body: &'static str,
    },
    Unknown,
}

/// The only place that maps a path to its answer.
fn endpoint<'a>(row: &'static Row, method: &str, path: &'a str, request: &Request<'_>) -> Endpoint<'a> {
    if let Some(found) = kinds::find(row, method, path, request) {
        return Endpoint::Kind(found);
    }
    let served = if method == "POST" { row.format_at(path) } else { None };
    match served {
        Some((format @ Format::Gemini, rest)) => match rest.rsplit_once(':') {
            Some((model, "generateContent")) => Endpoint::Generate { format, named: Some((model, false)) },
            Some((model, "streamGenerateContent")) => {
                Endpoint::Generate { format, named: Some((model, true)) }
            }
            Some((model, "countTokens")) => Endpoint::Count { format, named: Some((model, false)) },
            _ => Endpoint::Unknown,
        },
        Some((format, "")) => Endpoint::Generate { format, named: None },
        Some((format, _)) => Endpoint::Count { format, named: None },
        None if row.id == "cerebras" && path == "/public/v1/models" => {
            Endpoint::Free { body: r#"{"object":"list","data":[]}"# }
        }
        None => match row.key_checks.iter().find(|(m, p, _)| *m == method && *p == path) {
            Some((_, _, good)) => Endpoint::CheckKey { good },
            None => Endpoint::Unknown,
        },
    }
}

impl<'a> Endpoint<'a> {
    fn format(self) -> Option<Format> {
        match self {
            Endpoint::Generate { format, .. } | Endpoint::Count { format, .. } => Some(format),
            _ => None,
        }
    }

    fn named(self) -> Option<(&'a str, bool)> {
        match self {
            Endpoint::Generate { named, .. } | Endpoint::Count { named, .. } => named,
            Endpoint::Kind(found) => found.named().map(|model| (model, false)),
            _ => None,
        }
    }
}

fn generated(shared: &Shared, format: Format, asked: Asked<'_>) -> Reply {
    match format {
        Format::Chat => pacing::scripted(&openai::Answer::new(&asked)),
        Format::Messages => pacing::scripted(&messages::Answer(asked)),
        Format::Gemini => pacing::scripted(&gemini::Answer(asked)),
        Format::Cohere => pacing::scripted(&cohere::Answer(asked)),
        Format::Responses => {
            if asked.request.get("store") != Some("false") {
                shared.issue(asked.row.id, responses::id(asked.serial));
            }
            pacing::scripted(&responses::Answer(asked))
        }
    }
}

async fn of_kind(
    shared: &Shared,
    found: kinds::Found<'_>,
    who: Option<Reply>,
    asked: &Asked<'_>,
    body: &kinds::Readable<'_>,
    tally: &Tally,
) -> Reply {
    if let Some(refusal) = who.or_else(|| kinds::refused(found, asked.row, body)) {
        return refusal;
    }
    shared.hold_back(asked.script).await;
    let (reply, amounts) = kinds::scripted(found, asked, body);
    tally.book(amounts);
    reply
}

/// Free: nothing is booked.
fn counted(format: Format, asked: &Asked<'_>) -> Reply {
    match asked.script.status {
        200 if format == Format::Gemini => gemini::counted(asked.script),
        200 => messages::counted(asked.script),
        status => errors::fault(asked.speaker, status, "The request failed as scripted.", None),
    }
}

/// The error of the caller's credential, checked before the request itself.
fn judge(row: &Row, credential: &str, script: &Script, leaked: &[String]) -> Option<Reply> {
    if !leaked.is_empty() {
        return Some(errors::fault(row, 400, &format!("leaked field: {}", leaked.join(", ")), None));
    }
    if credential.is_empty() {
        return Some(errors::no_key(row));
    }
    let known = match &script.accepted_keys {
        Some(accepted) => accepted.iter().any(|key| key == credential),
        None => !credential.contains("bad") && !credential.contains("revoked"),
    };
    (!known).then(|| errors::bad_key(row))
}

fn check_key(who: Option<Reply>, path: &str, good: &str) -> Reply {
    match who {
        // This one answers the question instead of refusing it.
        Some(refusal) if path.ends_with("/check-api-key") && refusal.status == 401 => {
            Reply::json(200, r#"{"valid":false}"#.to_owned())
        }
        Some(refusal) => refusal,
        None => Reply::json(200, good.to_owned()),
    }
}

/// Sends the head and lets the body follow step by step.
fn play(reply: Reply, tally: Tally, serial: u64) -> HttpResponse {
    let good = reply.status < 400;
    tally.begin(reply.status, if good { reply.prompt_tokens } else { 0 });
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK));
    response.insert_header((CONTENT_TYPE, reply.content_type));
    response.insert_header(("x-request-id", format!("req_simulated{serial}")));
    for (name, value) in &reply.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            continue;
        };
        if name == CONTENT_TYPE {
            response.insert_header((name, value));
        } else {
            response.append_header((name, value));
        }
    }
    let length = reply.length;
    let body = body(Playing { steps: reply.steps.into(), tally });
    match length {
        Some(length) => response.body(SizedStream::new(length, body)),
        None => response.streaming(body),
    }
}

struct Playing {
    steps: VecDeque<Step>,
    tally: Tally,
}

fn body(playing: Playing) -> impl Stream<Item = io::Result<Bytes>> {
    unfold(playing, |mut playing| async move {
        while let Some(step) = playing.steps.pop_front() {
            match step {
                Step::Pause { ms } => sleep(Duration::from_millis(ms)).await,
                Step::Flush => tokio::task::yield_now().await,
                Step::Write { bytes, content_chunks, tokens } => {
                    playing.tally.add(content_chunks, tokens);
                    // A client may close as soon as it has the last byte, which is no cancellation.
                    if playing.steps.is_empty() {
                        playing.tally.finish();
                    }
                    return Some((Ok(bytes), playing));
                }
                Step::Cut => {
                    // What was handed over is written only while the body has nothing more to give.
                    sleep(Duration::from_millis(5)).await;
                    playing.tally.cut();
                    return Some((Err(io::Error::other("cut as scripted")), playing));
                }
            }
        }
        None
    })
}

fn headers(http: &HttpRequest) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    http.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn header<'a>(http: &'a HttpRequest, name: &str) -> &'a str {
    http.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The bare credential, whichever header it is in.
fn credential(http: &HttpRequest) -> String {
    let authorization = header(http, "authorization");
    let bearer = authorization.strip_prefix("Bearer ").unwrap_or(authorization);
    let found = [bearer, header(http, "x-api-key"), header(http, "x-goog-api-key")];
    found.into_iter().find(|key| !key.is_empty()).unwrap_or_default().to_owned()
}
