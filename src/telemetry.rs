//! Log lines on standard error. Lines are collected in memory and one thread writes them, many at a time: neither a
//! system call nor a slow terminal delays a request. Lines are dropped, and counted, if too many are waiting. They
//! never contain bodies, keys, prompts or addresses.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Maximum bytes that may wait to be written.
const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the writer collects lines before it writes them.
const LINGER: Duration = Duration::from_millis(20);
/// A line longer than most.
const LINE_BYTES: usize = 512;

/// The log of this process, once it has started.
static LOG: OnceLock<Arc<Log>> = OnceLock::new();

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Text,
    Json,
}

/// Starts logging; a second call in one process (tests) changes nothing. `filter` is a level or
/// `target=level` pairs.
pub fn start(filter: &str, format: Format) -> anyhow::Result<()> {
    // The MCP SDK puts messages and addresses into its lines. The HTTP server reports malformed requests of unknown
    // clients as its own errors.
    let targets = filter
        .parse::<Targets>()?
        .with_target("rmcp", LevelFilter::OFF)
        .with_target("actix_http", LevelFilter::OFF);
    let log = Arc::new(Log::default());
    let layer = tracing_subscriber::fmt::layer().with_writer(Lines(log.clone())).with_ansi(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => layer.boxed(),
        Format::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let layer = layer.with_filter(targets);
    if tracing_subscriber::registry().with(layer).try_init().is_ok() {
        let _ = LOG.set(log.clone());
        std::thread::Builder::new().name("log".to_owned()).spawn(move || log.write_for_ever())?;
    }
    Ok(())
}

/// Writes the waiting lines. Must be called before the process ends.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.write_pending(&mut Vec::new());
    }
}

#[derive(Default)]
struct Log {
    pending: Mutex<Pending>,
    /// Wakes the writer.
    wake: Condvar,
    /// Held while lines are written, so that two writers keep their order.
    output: Mutex<()>,
}

#[derive(Default)]
struct Pending {
    text: Vec<u8>,
    dropped: u64,
    is_writer_idle: bool,
}

impl Log {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut pending = self.pending();
        if pending.text.len().saturating_add(line.len()) > PENDING_BYTES_MAX {
            pending.dropped = pending.dropped.saturating_add(1);
            return;
        }
        pending.text.extend_from_slice(line);
        if mem::take(&mut pending.is_writer_idle) {
            drop(pending);
            self.wake.notify_one();
        }
    }

    fn write_for_ever(&self) {
        let mut spare = Vec::new();
        loop {
            let mut pending = self.pending();
            while pending.text.is_empty() {
                pending.is_writer_idle = true;
                pending = self.wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            pending.is_writer_idle = false;
            drop(pending);
            std::thread::sleep(LINGER);
            self.write_pending(&mut spare);
        }
    }

    /// Writes the waiting lines; `spare` is an empty buffer that replaces theirs.
    fn write_pending(&self, spare: &mut Vec<u8>) {
        let _turn = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = {
            let mut pending = self.pending();
            mem::swap(&mut pending.text, spare);
            mem::take(&mut pending.dropped)
        };
        let mut out = io::stderr();
        // If the log itself cannot be written, there is no place for this error.
        let _ = out.write_all(spare);
        if dropped > 0 {
            let _ = writeln!(out, "{dropped} log lines were dropped: too many waited to be written");
        }
        spare.clear();
    }
}

#[derive(Clone)]
struct Lines(Arc<Log>);

/// One line being formatted; it joins the others when dropped.
struct Line {
    text: Vec<u8>,
    to: Arc<Log>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { text: Vec::with_capacity(LINE_BYTES), to: self.0.clone() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.to.push(&self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_counted() {
        let log = Log::default();
        let line = vec![b'x'; PENDING_BYTES_MAX / 2];
        for _ in 0..3 {
            log.push(&line);
        }
        let pending = log.pending();
        assert_eq!((pending.text.len(), pending.dropped), (PENDING_BYTES_MAX, 1));
    }
}
