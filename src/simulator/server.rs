//! The HTTP side: finds the provider, judges the request, plays the reply. It must book every byte's worth on
//! the bill as it hands it over, and notice at once when the client closes.

use super::{
    Settings,
    bill::{Bill, Call, Tally, locked},
    control, errors,
    openai::Answer,
    refuse,
    reply::{Reply, Step},
    request::ChatRequest,
    rows::{self, Row},
    script::Script,
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
use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::sleep};

const BODY_BYTES_MAX: usize = 128 << 20;

/// What all connections share.
pub(super) struct Shared {
    pub bill: Bill,
    pub gate: Gate,
    keep_bodies: bool,
    fallback: Arc<Script>,
    scripts: Mutex<Scripts>,
    serial: AtomicU64,
}

#[derive(Default)]
struct Scripts {
    queued: HashMap<String, VecDeque<Arc<Script>>>,
    defaults: HashMap<String, Arc<Script>>,
}

/// Holds replies back until they are released.
pub(super) struct Gate {
    releases: watch::Sender<u64>,
    waiting: AtomicUsize,
}

/// One more waits while this lives, even if its client leaves.
struct Waiting<'a>(&'a AtomicUsize);

/// Serves until stopped; `listening` is told once connections are accepted.
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
        // A client that closes its side has gone, even while nothing is being sent to it.
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

impl Shared {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            bill: Bill::default(),
            gate: Gate { releases: watch::Sender::new(0), waiting: AtomicUsize::new(0) },
            keep_bodies: settings.keep_bodies,
            fallback: Arc::new(settings.defaults.clone()),
            scripts: Mutex::default(),
            serial: AtomicU64::new(1),
        }
    }

    pub(super) fn enqueue(&self, provider: &str, script: Script) {
        locked(&self.scripts).queued.entry(provider.to_owned()).or_default().push_back(Arc::new(script));
    }

    pub(super) fn set_default(&self, provider: &str, script: Script) {
        locked(&self.scripts).defaults.insert(provider.to_owned(), Arc::new(script));
    }

    pub(super) fn clear(&self) {
        self.bill.clear();
        *locked(&self.scripts) = Scripts::default();
    }

    fn next_script(&self, provider: &str) -> Arc<Script> {
        let queued = locked(&self.scripts).queued.get_mut(provider).and_then(VecDeque::pop_front);
        queued.unwrap_or_else(|| self.default_script(provider))
    }

    fn default_script(&self, provider: &str) -> Arc<Script> {
        locked(&self.scripts).defaults.get(provider).unwrap_or(&self.fallback).clone()
    }
}

impl Gate {
    pub(super) fn release(&self) {
        self.releases.send_modify(|count| *count += 1);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    async fn pass(&self) {
        // Subscribed before it is counted: whoever sees the count can release it.
        let mut releases = self.releases.subscribe();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        // An error means the sender is gone, and `self` holds it.
        drop(releases.changed().await);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
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
    let serial = shared.serial.fetch_add(1, Ordering::Relaxed);
    let headers = headers(&http);
    let parsed = ChatRequest::parse(&body);
    let nothing = ChatRequest::default();
    let request = parsed.as_ref().unwrap_or(&nothing);
    let leaked = refuse::leaks(row, request, &headers);
    let credential = credential(&http);
    let call = Call {
        provider: provider.to_owned(),
        host: header(&http, "host").to_owned(),
        method: http.method().to_string(),
        path: http.uri().to_string(),
        authorization: credential.clone(),
        model: request.model(),
        stream: request.is_true("stream"),
        headers: if shared.keep_bodies { headers } else { Vec::new() },
        leaked: leaked.clone(),
        ..Call::default()
    };
    let tally = shared.bill.open(call, if shared.keep_bodies { body.clone() } else { Bytes::new() });
    let method = http.method().as_str();
    let reply = if method == "POST" && row.chat.contains(&rest) {
        let script = shared.next_script(row.id);
        let judged = judge(row, &credential, &script, &leaked)
            .or_else(|| {
                parsed.is_none().then(|| errors::fault(row, 400, "The body is not valid JSON.", None))
            })
            .or_else(|| refuse::first(row, request));
        match judged {
            Some(refusal) => refusal,
            None => {
                if script.gate {
                    shared.gate.pass().await;
                }
                if script.latency_ms > 0 {
                    sleep(Duration::from_millis(script.latency_ms)).await;
                }
                Answer::new(row, &script, request, serial).scripted()
            }
        }
    } else if let Some((_, _, good)) = row.key_checks.iter().find(|(m, p, _)| *m == method && *p == rest) {
        check_key(row, rest, &credential, &shared.default_script(row.id), &leaked, good)
    } else if row.id == "cerebras" && rest == "/public/v1/models" {
        Reply::json(200, r#"{"object":"list","data":[]}"#.to_owned())
    } else {
        errors::fault(row, 404, "Unknown request URL.", None)
    };
    play(reply, tally, serial)
}

/// What is wrong with who asks, before what is asked is looked at.
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

fn check_key(
    row: &Row,
    path: &str,
    credential: &str,
    script: &Script,
    leaked: &[String],
    good: &str,
) -> Reply {
    match judge(row, credential, script, leaked) {
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
