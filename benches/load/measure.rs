//! What is measured, in which order. Contenders take turns within a round, so that whatever else the machine
//! does meets all of them; a ratio is always of two runs of the same round.

use super::{
    client::{self, Load, Outcome},
    cpu, seed,
    targets::{self, Gateway, Nginx, Process},
};
use anyhow::bail;
use kairosroute::domain::money::NanoUsd;
use serde_json::json;
use std::{cell::Cell, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Clients of the CPU figures.
const CPU_CLIENTS: usize = 16;
/// Content chunks of a streamed answer.
pub const STREAM_CHUNKS: usize = 50;
/// Clients of the throughput figure.
const SETTLED_CLIENTS: usize = 128;

pub const UNARY: &str = r#""object":"chat.completion""#;
pub const STREAM: &str = "data: [DONE]\n\n";

/// The processes.
pub struct Parties {
    pub simulator: Process,
    pub nginx: Nginx,
    pub gateway: Gateway,
}

/// Everything that takes part.
pub struct Bench<'a> {
    pub parties: &'a Parties,
    pub keys: seed::Keys,
    /// Requests sent so far: the next run goes on with the next organization.
    pub turn: Cell<usize>,
    pub books: seed::Books,
}

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    pub rounds: usize,
    pub shorten: usize,
}

/// One way for a request to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Case {
    Direct,
    Nginx,
    Byok,
    Platform,
    /// As `Platform`, over every organization: their keys and accounts are looked up again every few seconds.
    PlatformMany,
    NginxStream,
    ByokStream,
    PlatformStream,
}

/// What one run cost.
pub struct Run {
    pub case: Case,
    pub outcome: Outcome,
    /// CPU time of nginx's workers or of the gateway.
    pub cpu: Duration,
    /// CPU time of every process of the cluster.
    pub database_cpu: Duration,
    /// Bytes that the cluster wrote to its log.
    pub wal_bytes: u64,
}

/// The runs of one round, in turn.
pub type Round = Vec<Run>;

impl Run {
    pub fn cpu_per_request(&self) -> Duration {
        self.cpu / self.outcome.count().max(1)
    }

    pub fn database_cpu_per_request(&self) -> Duration {
        self.database_cpu / self.outcome.count().max(1)
    }

    pub fn wal_bytes_per_request(&self) -> u64 {
        self.wal_bytes / u64::from(self.outcome.count().max(1))
    }

    pub fn per_second(&self) -> f64 {
        f64::from(self.outcome.count()) / self.outcome.wall.as_secs_f64()
    }
}

impl Case {
    fn is_stream(self) -> bool {
        matches!(self, Case::NginxStream | Case::ByokStream | Case::PlatformStream)
    }
}

impl Bench<'_> {
    pub async fn unary_cpu(&self, size: Size) -> anyhow::Result<Vec<Round>> {
        self.script(json!({})).await?;
        let cases = [
            (Case::Nginx, 20_000),
            (Case::Byok, 20_000),
            (Case::Platform, 10_000),
            (Case::PlatformMany, 10_000),
        ];
        self.rounds(size, CPU_CLIENTS, &cases).await
    }

    /// Each chunk is a read and a write of its own when there is a gap between them.
    pub async fn stream_cpu(&self, size: Size, gap_ms: u64) -> anyhow::Result<Vec<Round>> {
        let chunks: Vec<String> = (0..STREAM_CHUNKS).map(|index| format!(" word{index}")).collect();
        self.script(json!({ "chunks": chunks, "chunk_gap_ms": gap_ms })).await?;
        let count = if gap_ms > 0 { 1_200 } else { 5_000 };
        let cases = [(Case::NginxStream, count), (Case::ByokStream, count), (Case::PlatformStream, count)];
        self.rounds(size, CPU_CLIENTS, &cases).await
    }

    pub async fn latency(
        &self,
        size: Size,
        (clients, latency_ms): (usize, u64),
    ) -> anyhow::Result<Vec<Round>> {
        self.script(json!({ "latency_ms": latency_ms })).await?;
        // Alone, each settled request waits for the disk twice.
        let (count, alone) = if clients == 1 { (2_000, 400) } else { (6_000, 6_000) };
        let cases =
            [(Case::Direct, count), (Case::Nginx, count), (Case::Byok, count), (Case::PlatformMany, alone)];
        self.rounds(size, clients, &cases).await
    }

    /// Each answer is one settled request: the charges that the answers named must be what the balances lost.
    pub async fn settled(&self, size: Size) -> anyhow::Result<Vec<Round>> {
        self.script(json!({})).await?;
        let mut rounds = Vec::new();
        self.run(Case::PlatformMany, CPU_CLIENTS, seed::PLATFORM_ORGANIZATIONS).await?;
        for _ in 0..size.rounds {
            let (before, _) = self.books.balance().await?;
            let run = self.run(Case::PlatformMany, SETTLED_CLIENTS, 20_000 / size.shorten).await?;
            let (after, held) = self.books.balance().await?;
            let mut charged = NanoUsd::ZERO;
            for cost in &run.outcome.charged {
                charged = charged.checked_add(NanoUsd::parse(cost)?)?;
            }
            if run.outcome.charged.len() != run.outcome.latencies.len()
                || before.checked_sub(after)? != charged
                || held != NanoUsd::ZERO
            {
                bail!("answers charged {charged}, balances {before} before, {after} after, {held} held");
            }
            rounds.push(vec![run]);
        }
        Ok(rounds)
    }

    /// Runs one case over and over.
    pub async fn keep_running(&self, case: Case, clients: usize, time: Duration) -> anyhow::Result<()> {
        let script = match case.is_stream() {
            true => json!({
                "chunks": (0..STREAM_CHUNKS).map(|index| format!(" word{index}")).collect::<Vec<_>>(),
                "chunk_gap_ms": 1,
            }),
            false => json!({}),
        };
        self.script(script).await?;
        println!("gateway {}", self.parties.gateway.process.pid()?);
        println!("nginx {:?}", self.parties.nginx.workers()?);
        let until = Instant::now() + time;
        while Instant::now() < until {
            let run = self.run(case, clients, clients * if case.is_stream() { 20 } else { 200 }).await?;
            println!("{} requests, {:.0} per second", run.outcome.count(), run.per_second());
        }
        Ok(())
    }

    /// One answer of the provider, in bytes of its body.
    pub async fn answer_bytes(&self) -> anyhow::Result<usize> {
        self.script(json!({})).await?;
        client::body_bytes(&self.load(Case::Direct, 1, 1)).await
    }

    async fn script(&self, script: serde_json::Value) -> anyhow::Result<()> {
        targets::set_script(self.parties.simulator.address, script).await
    }

    async fn rounds(
        &self,
        size: Size,
        clients: usize,
        cases: &[(Case, usize)],
    ) -> anyhow::Result<Vec<Round>> {
        for (case, count) in cases {
            // No measured request is the first of its process, its connections or its key.
            self.run(*case, clients, (count / 10).max(seed::PLATFORM_ORGANIZATIONS)).await?;
        }
        let mut rounds = Vec::new();
        for round in 0..size.rounds {
            let mut runs = Vec::new();
            for (case, count) in cases {
                runs.push(self.run(*case, clients, (count / size.shorten).max(clients)).await?);
            }
            eprintln!("{} clients, round {} of {}", clients, round + 1, size.rounds);
            rounds.push(runs);
        }
        Ok(rounds)
    }

    async fn run(&self, case: Case, clients: usize, count: usize) -> anyhow::Result<Run> {
        let load = self.load(case, clients, count);
        let measured = match case {
            Case::Nginx | Case::NginxStream => self.parties.nginx.workers()?,
            Case::Direct => vec![self.parties.simulator.pid()?],
            _ => vec![self.parties.gateway.process.pid()?],
        };
        let wal_before = self.books.wal_bytes().await?;
        let (before, database_before) = (cpu::time_of(&measured)?, self.database_cpu()?);
        let outcome = client::run(&load, self.turn.get()).await?;
        self.turn.set(self.turn.get() + count);
        let (after, database_after) = (cpu::time_of(&measured)?, self.database_cpu()?);
        Ok(Run {
            case,
            outcome,
            cpu: after.saturating_sub(before),
            database_cpu: database_after.saturating_sub(database_before),
            wal_bytes: self.books.wal_bytes().await?.saturating_sub(wal_before),
        })
    }

    fn database_cpu(&self) -> anyhow::Result<Duration> {
        cpu::time_of(&self.parties.gateway.database_pids()?)
    }

    fn load(&self, case: Case, clients: usize, count: usize) -> Load {
        let none = ["sk-own".to_owned()];
        let (address, path, model, keys) = match case {
            Case::Direct => (self.parties.simulator.address, UPSTREAM_PATH, "gpt-4o-mini", &none[..]),
            Case::Nginx => (self.parties.nginx.process.address, UPSTREAM_PATH, "gpt-4o-mini", &none[..]),
            Case::NginxStream => (self.parties.nginx.streams, UPSTREAM_PATH, "gpt-4o-mini", &none[..]),
            Case::Byok | Case::ByokStream => (
                self.parties.gateway.process.address,
                GATEWAY_PATH,
                "openai/gpt-4o-mini",
                &self.keys.byok[..],
            ),
            Case::Platform | Case::PlatformStream => {
                let few = self.keys.platform.get(..seed::BYOK_ORGANIZATIONS).unwrap_or_default();
                (self.parties.gateway.process.address, GATEWAY_PATH, "openai/gpt-4o-mini", few)
            }
            Case::PlatformMany => {
                let all = &self.keys.platform[..];
                (self.parties.gateway.process.address, GATEWAY_PATH, "openai/gpt-4o-mini", all)
            }
        };
        let stream = case.is_stream();
        let body = body(model, stream);
        let requests = keys.iter().map(|key| client::post(address, path, key, &body)).collect();
        let expected = if stream { STREAM } else { UNARY };
        Load { address, requests: Arc::new(requests), clients, count, expected }
    }
}

const UPSTREAM_PATH: &str = "/openai/v1/chat/completions";
pub const GATEWAY_PATH: &str = "/v1/chat/completions";

pub fn body(model: &str, stream: bool) -> String {
    let stream = if stream { r#""stream":true,"stream_options":{"include_usage":true},"# } else { "" };
    format!(
        r#"{{"model":"{model}",{stream}"max_tokens":256,"temperature":0.2,"messages":[{{"role":"system","content":"You are a helpful assistant that answers in one short sentence."}},{{"role":"user","content":"What does a reverse proxy do, and why would one put it before a model provider?"}}]}}"#
    )
}
