//! The figures as Markdown tables: medians over the rounds, and ratios within a round.

use super::{
    measure::{Bench, Case, Round, Run},
    seed,
};
use anyhow::Context;
use std::{fs, path::Path, time::Duration};

/// Where and on what this was measured.
pub async fn machine(bench: &Bench<'_>, home: &Path) -> anyhow::Result<()> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let models: Vec<&str> = cpus.lines().filter(|line| line.starts_with("model name")).collect();
    let model = models.first().and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let settings = bench.books.durability().await?;
    let (gateway, nginx) = (version("kairosroute", env!("CARGO_PKG_VERSION")), nginx_version()?);
    println!("- {} × {model}, Linux {}", models.len(), kernel.trim());
    println!("- {gateway}, {nginx}");
    println!(
        "- PostgreSQL: private cluster of `kairosroute serve` on {}, fsync={}, synchronous_commit={}",
        file_system(home)?,
        settings.fsync,
        settings.synchronous_commit
    );
    println!(
        "- {} organizations with credit, {} with a key of their own; unary answer of {} bytes",
        seed::PLATFORM_ORGANIZATIONS,
        seed::BYOK_ORGANIZATIONS,
        bench.answer_bytes().await?
    );
    Ok(())
}

fn version(name: &str, number: &str) -> String {
    format!("{name} {number}")
}

fn nginx_version() -> anyhow::Result<String> {
    let output = std::process::Command::new("nginx").arg("-v").output()?;
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(text.rsplit_once(": ").map_or(text.clone(), |(_, version)| version.to_owned()))
}

/// The kind of file system a directory lies on: on one in memory, durability would cost nothing.
fn file_system(path: &Path) -> anyhow::Result<String> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    let found = mounts
        .lines()
        .filter_map(mount)
        .filter(|(at, _)| path.starts_with(at))
        .max_by_key(|(at, _)| at.len());
    Ok(found.context("no mount point")?.1)
}

/// CPU per unary request.
pub fn cpu(rounds: &[Round]) {
    println!("\n### CPU per unary request, 16 clients\n");
    println!(
        "| | µs per request | × nginx | aim | PostgreSQL µs | WAL bytes | requests/s |\n|---|---|---|---|---|---|---|"
    );
    cpu_row(rounds, Case::Nginx, Case::Nginx, "nginx", "");
    cpu_row(rounds, Case::Byok, Case::Nginx, "(a) own provider key", "≤ 2.0, not above 2.7");
    cpu_row(rounds, Case::Platform, Case::Nginx, "(b) platform key, ledger", "≤ 3.5, not above 5.0");
    cpu_row(rounds, Case::PlatformMany, Case::Nginx, "the same over 2,000 organizations", "");
}

/// CPU per streamed answer.
pub fn streams(gap_ms: u64, rounds: &[Round]) {
    println!("\n### CPU per stream of 50 chunks, {gap_ms} ms between chunks, 16 clients\n");
    println!(
        "| | µs per stream | × nginx | aim | PostgreSQL µs | WAL bytes | streams/s |\n|---|---|---|---|---|---|---|"
    );
    cpu_row(rounds, Case::NginxStream, Case::NginxStream, "nginx", "");
    let aim = if gap_ms > 0 { "≤ 2.5, not above 3.5" } else { "" };
    cpu_row(rounds, Case::ByokStream, Case::NginxStream, "(c) own provider key", aim);
    cpu_row(rounds, Case::PlatformStream, Case::NginxStream, "platform key, ledger", "");
}

fn cpu_row(rounds: &[Round], case: Case, base: Case, name: &str, aim: &str) {
    let ratios = rounds.iter().filter_map(|round| {
        let cost = |case| find(round, case).map(|run| run.cpu_per_request().as_secs_f64());
        Some(cost(case)? / cost(base)?)
    });
    let ratios: Vec<f64> = ratios.collect();
    println!(
        "| {name} | {} | {:.2} ({:.2}–{:.2}) | {aim} | {} | {} | {:.0} |",
        micros(duration_median(rounds, case, Run::cpu_per_request)),
        median(ratios.clone()),
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
        micros(duration_median(rounds, case, Run::database_cpu_per_request)),
        wal_bytes(rounds, case),
        median(runs(rounds, case).map(Run::per_second).collect()),
    );
}

/// The median of the bytes that the cluster wrote to its log for each request.
fn wal_bytes(rounds: &[Round], case: Case) -> u64 {
    let mut values: Vec<u64> = runs(rounds, case).map(Run::wal_bytes_per_request).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Latency beside the straight way to the provider and the way through nginx.
pub fn latency((clients, latency_ms): (usize, u64), rounds: &[Round]) {
    println!("\n### Latency, {clients} client(s), provider answers after {latency_ms} ms\n");
    println!(
        "| | p50 µs | added to direct | added to nginx | p99 µs | added to direct | added to nginx | requests/s |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let at = |case, percent| duration_median(rounds, case, |run: &Run| run.outcome.percentile(percent));
    for (case, name) in [
        (Case::Direct, "direct"),
        (Case::Nginx, "nginx"),
        (Case::Byok, "own provider key"),
        (Case::PlatformMany, "platform key, ledger"),
    ] {
        let cells: Vec<String> = [50, 99]
            .into_iter()
            .flat_map(|percent| {
                let own = at(case, percent);
                let beside = |base| added(own, at(base, percent));
                [micros(own), beside(Case::Direct), beside(Case::Nginx)]
            })
            .collect();
        let rate = median(runs(rounds, case).map(Run::per_second).collect());
        println!("| {name} | {} | {rate:.0} |", cells.join(" | "));
    }
}

/// Settled requests per second.
pub fn settled(rounds: &[Round]) {
    println!("\n### Settled requests over {} organizations, 128 clients\n", seed::PLATFORM_ORGANIZATIONS);
    println!(
        "| settled/s | aim | gateway µs | PostgreSQL µs | WAL bytes | p50 ms | p99 ms |\n|---|---|---|---|---|---|---|"
    );
    let at =
        |percent| duration_median(rounds, Case::PlatformMany, |run: &Run| run.outcome.percentile(percent));
    println!(
        "| {:.0} | ≥ 2,000, not below 1,000 | {} | {} | {} | {:.1} | {:.1} |",
        median(runs(rounds, Case::PlatformMany).map(Run::per_second).collect()),
        micros(duration_median(rounds, Case::PlatformMany, Run::cpu_per_request)),
        micros(duration_median(rounds, Case::PlatformMany, Run::database_cpu_per_request)),
        wal_bytes(rounds, Case::PlatformMany),
        at(50).as_secs_f64() * 1e3,
        at(99).as_secs_f64() * 1e3,
    );
}

fn runs(rounds: &[Round], case: Case) -> impl Iterator<Item = &Run> {
    rounds.iter().filter_map(move |round| find(round, case))
}

fn find(round: &Round, case: Case) -> Option<&Run> {
    round.iter().find(|run| run.case == case)
}

fn duration_median(rounds: &[Round], case: Case, of: impl Fn(&Run) -> Duration) -> Duration {
    let mut values: Vec<Duration> = runs(rounds, case).map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn micros(duration: Duration) -> String {
    format!("{:.0}", duration.as_secs_f64() * 1e6)
}

fn added(own: Duration, base: Duration) -> String {
    format!("{:+.0}", (own.as_secs_f64() - base.as_secs_f64()) * 1e6)
}
