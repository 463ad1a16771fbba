//! Simulated providers on loopback: what a provider sends, byte by byte, and what it would bill for it. They serve the
//! demo, the load tests and, above all, the tests about money, where [`Simulator::bill`] is the oracle. This crate must
//! therefore never import anything of the gateway: its frames are literal templates and its token counts come from the
//! [`Script`], so that an error in our own types cannot be hidden here as well.
//!
//! A request to `http://address/<provider>/...` is answered in that provider's format. Facts about the providers (what
//! they refuse, where usage is, how errors look) were read in their SDKs and documentation.

mod bill;
mod cohere;
mod control;
mod counts;
mod errors;
mod gemini;
mod json;
mod kinds;
mod messages;
mod openai;
mod pacing;
mod refuse;
mod reply;
mod request;
mod responses;
mod rows;
mod script;
mod server;
mod shared;
#[cfg(test)]
mod tests;

pub use bill::Call;
pub use kinds::{Amounts, KindScript};
pub use script::{Citation, Script, ToolCall, UsagePlace};

use shared::Shared;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

/// How to run the simulated providers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    pub workers: usize,
    /// The answer of a provider without a queued or default script.
    pub defaults: Script,
    /// Keep bodies and headers in the bill. Off for load, where they would be the largest cost.
    pub keep_bodies: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            workers: 1,
            defaults: Script::default(),
            keep_bodies: true,
        }
    }
}

/// Running simulated providers, on their own threads. Dropping it stops them and closes their connections.
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    handle: actix_web::dev::ServerHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Simulator {
    /// Returns once the address accepts connections.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(&settings));
        let (listening, started) = mpsc::channel();
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name("simulator".into())
            .spawn(move || server::run(&settings, served, false, |running| drop(listening.send(running))))?;
        match started.recv() {
            Ok((address, handle)) => Ok(Self { shared, address, handle, thread: Some(thread) }),
            // The thread ended before it listened: its result states the reason.
            Err(mpsc::RecvError) => match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => Err(io::Error::other("the simulator stopped before it listened")),
            },
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The provider's base URL for settings: the path of its public one, after `/<provider>`. A provider that is not
    /// simulated gets `/v1`.
    pub fn base_url(&self, provider: &str) -> String {
        let base = rows::find(provider).map_or("/v1", |row| row.base);
        format!("http://{}/{provider}{base}", self.address)
    }

    /// The next request for an answer of `provider`, in any wire format, uses this script; several queue up in order.
    pub fn enqueue(&self, provider: &str, script: Script) {
        self.shared.enqueue(provider, script);
    }

    /// The answers of `provider` to requests that offer tools: the step whose number equals the number of answers that
    /// the conversation already contains. An agent's conversation therefore continues in order, whatever else the agent
    /// requests.
    pub fn set_plan(&self, provider: &str, steps: Vec<Script>) {
        self.shared.set_plan(provider, steps);
    }

    /// The answer of `provider` while nothing is queued for it.
    pub fn set_default(&self, provider: &str, script: Script) {
        self.shared.set_default(provider, script);
    }

    /// Every received request, in order of arrival, with its progress. The last 100,000 are kept.
    pub fn bill(&self) -> Vec<Call> {
        self.shared.bill.calls()
    }

    /// Clears the bill, the queued scripts and the defaults.
    pub fn clear(&self) {
        self.shared.clear();
    }

    /// Releases all replies that wait at the gate. Later ones wait again.
    pub fn release(&self) {
        self.shared.gate.release();
    }

    /// How many replies wait at the gate.
    pub fn waiting(&self) -> usize {
        self.shared.gate.waiting()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // The call sends the command; the thread ends after it was executed.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Serves until the process is asked to stop (SIGINT, SIGTERM). Prints nothing.
pub fn run_blocking(settings: Settings) -> io::Result<()> {
    let shared = Arc::new(Shared::new(&settings));
    server::run(&settings, shared, true, drop)
}
