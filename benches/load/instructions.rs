//! Counts the instructions that the gateway executes for a request, under valgrind's callgrind, and compares them with
//! the counts in the repository. Counts hardly depend on what else the machine does. The difference between a run of
//! 2 N and one of N requests is taken, so that start-up and warm-up are not in it.

use super::{
    client::{self, Load},
    measure::{GATEWAY_PATH, STREAM, STREAM_CHUNKS, UNARY, body},
    seed,
    targets::{self, Gateway, Process},
};
use anyhow::{Context, bail};
use serde_json::json;
use std::{fmt::Write, fs, net::SocketAddr, path::Path, sync::Arc};

/// Connections that the requests come over.
const CLIENTS: usize = 16;
/// Requests before the first count: connections, caches and buffers are there then.
const WARM_UP: usize = 160;
const MODEL: &str = "openai/gpt-4o-mini";
/// A count may differ from the one in the repository by this much, in percent.
const TOLERANCE_PERCENT: u64 = 4;

/// One kind of request, its name in the file of counts, and the N of its two runs.
struct Case {
    name: &'static str,
    own_key: bool,
    stream: bool,
    requests: usize,
}

const CASES: [Case; 4] = [
    Case { name: "own-key-unary", own_key: true, stream: false, requests: 800 },
    Case { name: "platform-unary", own_key: false, stream: false, requests: 800 },
    Case { name: "own-key-stream-of-50-chunks", own_key: true, stream: true, requests: 160 },
    Case { name: "platform-stream-of-50-chunks", own_key: false, stream: true, requests: 160 },
];

/// Counts every case and compares the counts with those in `file`, or writes them there.
pub async fn compare(
    binary: &Path,
    home: &Path,
    simulator: Process,
    file: &Path,
    write: bool,
) -> anyhow::Result<()> {
    let parts = home.join("callgrind");
    let gateway = Gateway::start_counted(binary, home, simulator.address, &parts).await?;
    let counted = count_all(&gateway, simulator.address, &parts).await;
    gateway.process.stop().await?;
    simulator.stop().await?;
    let counted = counted?;
    if write {
        let mut text = String::new();
        for (name, instructions) in &counted {
            writeln!(text, "{name} {instructions}")?;
        }
        return Ok(fs::write(file, text)?);
    }
    let recorded = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut differing = 0;
    for (name, instructions) in counted {
        let before = recorded.lines().filter_map(|line| line.split_once(' ')).find(|(of, _)| *of == name);
        let before: u64 = before.context(name)?.1.trim().parse().context(name)?;
        let difference = instructions.abs_diff(before).saturating_mul(100);
        if difference > before.saturating_mul(TOLERANCE_PERCENT) {
            println!("{name}: the file says {before}: outside of {TOLERANCE_PERCENT} %");
            differing += 1;
        }
    }
    match differing {
        0 => Ok(()),
        count => bail!("{count} count(s) differ; if that is meant, write the new ones with --write"),
    }
}

async fn count_all(
    gateway: &Gateway,
    simulator: SocketAddr,
    parts: &Path,
) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let mut books = seed::Books::join(&gateway.data_dir).await?;
    let keys = books.seed(seed::BYOK_ORGANIZATIONS).await?;
    books.leave().await?;
    let mut counter = Counter { gateway, parts, taken: 0 };
    let mut counted = Vec::new();
    for case in CASES {
        let chunks: Vec<String> = (0..STREAM_CHUNKS).map(|index| format!(" word{index}")).collect();
        let script = if case.stream { json!({ "chunks": chunks, "chunk_gap_ms": 0 }) } else { json!({}) };
        targets::set_script(simulator, script).await?;
        let body = body(MODEL, case.stream);
        let address = gateway.process.address;
        let keys = if case.own_key { &keys.byok } else { &keys.platform };
        let requests = keys.iter().map(|key| client::post(address, GATEWAY_PATH, key, &body)).collect();
        let expected = if case.stream { STREAM } else { UNARY };
        let load = Load { address, requests: Arc::new(requests), clients: CLIENTS, count: WARM_UP, expected };
        client::run(&load, 0).await?;
        counter.take().await?;
        client::run(&Load { count: case.requests, ..load.clone() }, 0).await?;
        let once = counter.take().await?;
        client::run(&Load { count: case.requests * 2, ..load }, 0).await?;
        let twice = counter.take().await?;
        let requests = u64::try_from(case.requests)?;
        let each = twice.saturating_sub(once) / requests;
        println!("{} {each} instructions per request", case.name);
        counted.push((case.name, each));
    }
    Ok(counted)
}

/// Takes the counts of a gateway that callgrind runs.
struct Counter<'a> {
    gateway: &'a Gateway,
    parts: &'a Path,
    taken: usize,
}

impl Counter<'_> {
    /// The instructions of all threads since the last call.
    async fn take(&mut self) -> anyhow::Result<u64> {
        client::send("GET", self.gateway.process.address, targets::COUNTED_PATH, "").await?;
        self.taken += 1;
        let part = self.parts.with_extension(self.taken.to_string());
        let text = fs::read_to_string(&part).with_context(|| part.display().to_string())?;
        let mut totals = text.lines().rev().filter_map(|line| line.split_once(": "));
        let total = totals.find(|(name, _)| matches!(*name, "totals" | "summary")).context("no totals")?;
        total.1.trim().parse().context("the totals")
    }
}
