//! State that all connections of the simulator share: the bill, the scripts, the gate, the created responses. It must
//! not know HTTP.

use super::{
    Settings,
    bill::{Bill, locked},
    request::Request,
    script::Script,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::sleep};

/// Older ones are forgotten, so that a long load run stays small.
const ISSUED_MAX: usize = 10_000;

/// What all connections share.
pub(super) struct Shared {
    pub bill: Bill,
    pub gate: Gate,
    pub keep_bodies: bool,
    fallback: Arc<Script>,
    scripts: Mutex<Scripts>,
    serial: AtomicU64,
    /// Provider and id of the responses from which a later request may continue.
    issued: Mutex<VecDeque<(&'static str, String)>>,
}

#[derive(Default)]
struct Scripts {
    queued: HashMap<String, VecDeque<Arc<Script>>>,
    defaults: HashMap<String, Arc<Script>>,
    plans: HashMap<String, Vec<Arc<Script>>>,
}

/// Holds replies back until they are released.
pub(super) struct Gate {
    releases: watch::Sender<u64>,
    waiting: AtomicUsize,
}

/// One more waits while this lives, even if its client leaves.
struct Waiting<'a>(&'a AtomicUsize);

impl Shared {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            bill: Bill::default(),
            gate: Gate { releases: watch::Sender::new(0), waiting: AtomicUsize::new(0) },
            keep_bodies: settings.keep_bodies,
            fallback: Arc::new(settings.defaults.clone()),
            scripts: Mutex::default(),
            serial: AtomicU64::new(1),
            issued: Mutex::default(),
        }
    }

    pub(super) fn enqueue(&self, provider: &str, script: Script) {
        locked(&self.scripts).queued.entry(provider.to_owned()).or_default().push_back(Arc::new(script));
    }

    pub(super) fn set_default(&self, provider: &str, script: Script) {
        locked(&self.scripts).defaults.insert(provider.to_owned(), Arc::new(script));
    }

    pub(super) fn set_plan(&self, provider: &str, steps: Vec<Script>) {
        let steps = steps.into_iter().map(Arc::new).collect();
        locked(&self.scripts).plans.insert(provider.to_owned(), steps);
    }

    pub(super) fn clear(&self) {
        self.bill.clear();
        *locked(&self.scripts) = Scripts::default();
        locked(&self.issued).clear();
    }

    pub(super) fn next_script(&self, provider: &str, request: &Request<'_>) -> Arc<Script> {
        if let Some(step) = self.planned(provider, request) {
            return step;
        }
        let queued = locked(&self.scripts).queued.get_mut(provider).and_then(VecDeque::pop_front);
        queued.unwrap_or_else(|| self.default_script(provider))
    }

    /// The result of `next_script`, without removing it.
    pub(super) fn coming_script(&self, provider: &str) -> Arc<Script> {
        let queued = locked(&self.scripts).queued.get(provider).and_then(|queue| queue.front().cloned());
        queued.unwrap_or_else(|| self.default_script(provider))
    }

    /// The current step of a conversation with tools, by the number of its answers; the last step stays.
    fn planned(&self, provider: &str, request: &Request<'_>) -> Option<Arc<Script>> {
        let scripts = locked(&self.scripts);
        let steps = scripts.plans.get(provider).filter(|_| request.offers_tools())?;
        steps.get(request.answers()).or(steps.last()).cloned()
    }

    /// Makes the ids of one answer.
    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// A later request to this provider may continue from this response.
    pub(super) fn issue(&self, provider: &'static str, id: String) {
        let mut issued = locked(&self.issued);
        if issued.len() >= ISSUED_MAX {
            issued.pop_front();
        }
        issued.push_back((provider, id));
    }

    pub(super) fn has_issued(&self, provider: &str, id: &str) -> bool {
        locked(&self.issued).iter().any(|(by, known)| *by == provider && known == id)
    }

    /// The silence before the head.
    pub(super) async fn hold_back(&self, script: &Script) {
        if script.gate {
            self.gate.pass().await;
        }
        if script.latency_ms > 0 {
            sleep(Duration::from_millis(script.latency_ms)).await;
        }
    }

    pub(super) fn default_script(&self, provider: &str) -> Arc<Script> {
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
        // Subscribed before it is counted: the reader of the count can release it.
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
