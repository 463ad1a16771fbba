//! Records what the simulated providers received and sent, while it happens: the oracle of the money tests. It must
//! never count what it was scripted to send instead of what it passed to the connection.

use super::kinds::Amounts;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Older calls are dropped, so that a long load run stays small.
const CALLS_MAX: usize = 100_000;

/// One request as the provider saw it, and how far its reply has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub provider: String,
    /// The `Host` header.
    pub host: String,
    pub method: String,
    /// With the query, if there is one.
    pub path: String,
    /// The bare credential, from whichever header it came in.
    pub authorization: String,
    pub model: String,
    pub stream: bool,
    /// With U+FFFD where it is not UTF-8.
    pub body: String,
    #[serde(skip)]
    pub body_bytes: Vec<u8>,
    /// All of them, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Our own field and header names that must not reach a provider.
    pub leaked: Vec<String>,
    /// 0 until the head of the reply is sent.
    pub status: u16,
    /// Booked when generation starts, with the head of a good reply; 0 for a failure.
    pub prompt_tokens: u64,
    /// Generated so far, reasoning included, whatever the provider's own usage leaves out.
    pub completion_tokens: u64,
    pub content_chunks_written: u64,
    /// What is billed besides tokens, booked with the head of a good reply.
    #[serde(default)]
    pub amounts: Amounts,
    /// The reply was sent to its end.
    pub finished: bool,
    /// The client closed before the end.
    pub cancelled: bool,
    /// When that was noticed, counted from the arrival of the request.
    pub closed_after_ms: Option<u64>,
}

/// All calls, in order of arrival.
#[derive(Default)]
pub(super) struct Bill {
    entries: Mutex<VecDeque<Arc<Entry>>>,
}

struct Entry {
    /// The fields of the request; those of the reply are in `progress`.
    request: Call,
    /// Kept separate from the request, because the text is created only when it is read.
    body: bytes::Bytes,
    arrived: Instant,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    status: u16,
    prompt_tokens: u64,
    completion_tokens: u64,
    content_chunks: u64,
    amounts: Amounts,
    ended: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    /// Because of our own script.
    Cut,
    Cancelled {
        after_ms: u64,
    },
}

/// Books one reply. If it is dropped before an end was booked, the client has closed.
pub(super) struct Tally(Arc<Entry>);

impl Bill {
    pub(super) fn open(&self, request: Call, body: bytes::Bytes) -> Tally {
        let entry = Arc::new(Entry { request, body, arrived: Instant::now(), progress: Mutex::default() });
        let mut entries = locked(&self.entries);
        if entries.len() >= CALLS_MAX {
            entries.pop_front();
        }
        entries.push_back(entry.clone());
        Tally(entry)
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        // The lock is not held while the bodies are copied.
        let entries: Vec<Arc<Entry>> = locked(&self.entries).iter().cloned().collect();
        entries.iter().map(|entry| entry.call()).collect()
    }

    pub(super) fn clear(&self) {
        locked(&self.entries).clear();
    }
}

impl Entry {
    fn call(&self) -> Call {
        let progress = *locked(&self.progress);
        Call {
            body: String::from_utf8_lossy(&self.body).into_owned(),
            body_bytes: self.body.to_vec(),
            status: progress.status,
            prompt_tokens: progress.prompt_tokens,
            completion_tokens: progress.completion_tokens,
            content_chunks_written: progress.content_chunks,
            amounts: progress.amounts,
            finished: progress.ended == Some(End::Finished),
            cancelled: matches!(progress.ended, Some(End::Cancelled { .. })),
            closed_after_ms: match progress.ended {
                Some(End::Cancelled { after_ms }) => Some(after_ms),
                _ => None,
            },
            ..self.request.clone()
        }
    }
}

impl Tally {
    /// The head goes out; a good reply has read its prompt.
    pub(super) fn begin(&self, status: u16, prompt_tokens: u64) {
        let mut progress = locked(&self.0.progress);
        progress.status = status;
        progress.prompt_tokens = prompt_tokens;
    }

    /// The units other than tokens that a reply about to begin is billed by.
    pub(super) fn book(&self, amounts: Amounts) {
        locked(&self.0.progress).amounts = amounts;
    }

    /// A part of the body was handed to the connection.
    pub(super) fn add(&self, content_chunks: u64, tokens: u64) {
        let mut progress = locked(&self.0.progress);
        progress.content_chunks += content_chunks;
        progress.completion_tokens += tokens;
    }

    pub(super) fn finish(&self) {
        self.end(End::Finished);
    }

    pub(super) fn cut(&self) {
        self.end(End::Cut);
    }

    /// The first end counts.
    fn end(&self, end: End) {
        locked(&self.0.progress).ended.get_or_insert(end);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let after_ms = u64::try_from(self.0.arrived.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.end(End::Cancelled { after_ms });
    }
}

/// A panic elsewhere leaves these plain values whole, so a poisoned lock is taken anyway.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
