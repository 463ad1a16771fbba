//! Measures what the gateway costs beside nginx as a plain reverse proxy, in the same run, over the same
//! simulated provider. Method and figures: docs/performance.md. Run through `benches/load.sh`.
//! It must never measure against a database that may forget: the settings are read back and printed.

mod client;
mod cpu;
mod instructions;
mod measure;
mod report;
mod seed;
mod targets;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use measure::{Bench, Case, Parties, Size};
use std::{
    cell::Cell,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

#[derive(Parser)]
#[command(about = "Compares the gateway with nginx over a simulated provider")]
struct Arguments {
    /// Rounds of each comparison; the median is reported.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Divides the number of requests.
    #[arg(long, default_value_t = 1)]
    shorten: usize,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Measures this gateway instead of the one built with this program.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Keeps one case running for a profiler and prints the gateway's process id.
    #[arg(long, value_enum)]
    profile: Option<Case>,
    #[arg(long, default_value_t = 30)]
    profile_seconds: u64,
    #[arg(long, default_value_t = 16)]
    profile_clients: usize,
    /// Counts the instructions of a request under valgrind instead, and compares them with those in this file.
    #[arg(long)]
    instructions: Option<PathBuf>,
    /// Writes the counts to that file.
    #[arg(long, requires = "instructions")]
    write: bool,
    /// Given by `cargo bench`, and by nobody else: other ways of running all targets measure nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Cpu,
    Streams,
    Latency,
    Settled,
}

fn main() -> anyhow::Result<()> {
    // Tools that list or run every target pass arguments of their own.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("this is measured by `benches/load.sh`");
        return Ok(());
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let home = std::env::temp_dir().join(format!("kairosroute-load-{}", std::process::id()));
    std::fs::create_dir(&home).with_context(|| home.display().to_string())?;
    // The cluster's user, another one than root, has to pass through.
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let measured = LocalSet::new().block_on(&runtime, execute(&arguments, &home));
    if measured.is_ok() {
        std::fs::remove_dir_all(&home)?;
    } else {
        eprintln!("what the processes left is in {}", home.display());
    }
    measured
}

/// Whatever happens in between, the processes are stopped in order: a gateway that is killed leaves its cluster
/// running, and so does nginx its workers.
async fn execute(arguments: &Arguments, home: &Path) -> anyhow::Result<()> {
    let built = Path::new(env!("CARGO_BIN_EXE_kairosroute"));
    let binary = arguments.binary.as_deref().unwrap_or(built);
    let simulator = targets::simulator(binary).await?;
    if let Some(counts) = &arguments.instructions {
        return instructions::compare(binary, home, simulator, counts, arguments.write).await;
    }
    let nginx = targets::Nginx::start(home, simulator.address).await?;
    let gateway = match targets::Gateway::start(binary, home, simulator.address).await {
        Ok(gateway) => gateway,
        Err(error) => {
            nginx.process.stop().await?;
            return Err(error);
        }
    };
    let parties = Parties { simulator, nginx, gateway };
    let mut terminate = signal(SignalKind::terminate())?;
    let measured = tokio::select! {
        measured = measure(arguments, home, &parties) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("terminated")),
    };
    parties.gateway.process.stop().await?;
    parties.nginx.process.stop().await?;
    parties.simulator.stop().await?;
    measured
}

async fn measure(arguments: &Arguments, home: &Path, parties: &Parties) -> anyhow::Result<()> {
    let mut books = seed::Books::join(&parties.gateway.data_dir).await?;
    eprintln!("making {} organizations", seed::PLATFORM_ORGANIZATIONS + seed::BYOK_ORGANIZATIONS);
    let keys = books.seed(seed::PLATFORM_ORGANIZATIONS).await?;
    let bench = Bench { parties, keys, turn: Cell::new(0), books };
    match arguments.profile {
        Some(case) => {
            let time = Duration::from_secs(arguments.profile_seconds);
            bench.keep_running(case, arguments.profile_clients.max(1), time).await?;
        }
        None => measure_parts(&bench, arguments, home).await?,
    }
    bench.books.leave().await
}

async fn measure_parts(bench: &Bench<'_>, arguments: &Arguments, home: &Path) -> anyhow::Result<()> {
    let size = Size { rounds: arguments.rounds.max(1), shorten: arguments.shorten.max(1) };
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    report::machine(bench, home).await?;
    if wants(Part::Cpu) {
        report::cpu(&bench.unary_cpu(size).await?);
    }
    if wants(Part::Streams) {
        for gap_ms in [1, 0] {
            report::streams(gap_ms, &bench.stream_cpu(size, gap_ms).await?);
        }
    }
    if wants(Part::Latency) {
        for latency in [(1, 0), (64, 0), (64, 50)] {
            report::latency(latency, &bench.latency(size, latency).await?);
        }
    }
    if wants(Part::Settled) {
        report::settled(&bench.settled(size).await?);
    }
    match bench.books.drifts().await? {
        0 => println!("\nThe books after all of this: 0 drifts."),
        drifts => bail!("the books have {drifts} drift(s)"),
    }
    Ok(())
}
