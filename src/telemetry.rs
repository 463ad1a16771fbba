//! Log lines on standard error. A line is handed to a writer thread through a bounded channel and dropped when
//! that is full: a slow terminal must not slow a request. Lines never hold bodies, keys, prompts or addresses.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Lines waiting to be written.
const LINES_MAX: usize = 8_192;

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Text,
    Json,
}

/// Starts logging; a second call in one process (tests) changes nothing. `filter` is a level or
/// `target=level` pairs.
pub fn start(filter: &str, format: Format) -> anyhow::Result<()> {
    // The SDK that speaks MCP puts messages and addresses into its lines.
    // The HTTP server reports malformed requests of strangers as errors of its own.
    let targets = filter
        .parse::<Targets>()?
        .with_target("rmcp", LevelFilter::OFF)
        .with_target("actix_http", LevelFilter::OFF);
    let (lines, inbox) = sync_channel(LINES_MAX);
    let layer = tracing_subscriber::fmt::layer().with_writer(Lines(lines)).with_ansi(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => layer.boxed(),
        Format::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let layer = layer.with_filter(targets);
    if tracing_subscriber::registry().with(layer).try_init().is_ok() {
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&inbox))?;
    }
    Ok(())
}

fn write(inbox: &Receiver<Vec<u8>>) {
    let mut out = io::stderr();
    for line in inbox {
        // Where the log itself cannot be written there is nobody to tell.
        let _ = out.write_all(&line);
    }
}

#[derive(Clone)]
struct Lines(SyncSender<Vec<u8>>);

/// One line being formatted; sent whole when dropped.
struct Line {
    text: Vec<u8>,
    to: SyncSender<Vec<u8>>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { text: Vec::with_capacity(256), to: self.0.clone() }
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
        // Full: the line is lost, the request is not held up.
        let _ = self.to.try_send(std::mem::take(&mut self.text));
    }
}
