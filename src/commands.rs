//! The commands of the process: which parts each one starts, and what it prints for a person to read.

mod admin;
mod billing;
mod catalog;
mod demo;
mod health;
mod route;

use crate::{
    app::{self, DatabaseRuntime},
    billing::audit,
    config::{self, Config},
    domain::{ambient::Ambient, secret::Secret},
    http::openapi,
    local_postgres::LocalPostgres,
    mcp::sealed::Opener,
    simulator,
    store::{Db, DbLimits},
    telemetry,
    vault::KeyRing,
};
use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use sqlx::postgres::PgConnectOptions;
use std::{future::Future, net::SocketAddr, path::Path, process::ExitCode, str::FromStr};

#[derive(Parser)]
#[command(
    name = "kairosroute",
    version = config::build::LONG.as_str(),
    about = "A multi-tenant LLM routing gateway with bring-your-own-key"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The gateway. Without DATABASE_URL it keeps a private PostgreSQL under the data directory.
    Serve,
    /// The gateway with simulated providers, credit and a key to try it: no account, no internet.
    Demo,
    /// Only the simulated providers, for tests and load.
    Simulate {
        #[arg(long, default_value = "127.0.0.1:8090")]
        listen: SocketAddr,
        /// Worker threads.
        #[arg(long, default_value_t = 1)]
        workers: usize,
        /// Keep no bodies in the bill.
        #[arg(long)]
        lean: bool,
    },
    /// Applies pending migrations.
    Migrate,
    /// Checks every invariant of the ledger; exit 1 on any drift.
    Audit,
    /// Finance: recomputing charges, statements.
    Billing {
        #[command(subcommand)]
        action: billing::BillingAction,
    },
    /// The vault's master keys.
    Vault {
        #[command(subcommand)]
        action: admin::VaultAction,
    },
    /// The operator's work: accounts, platform keys, credit.
    Admin {
        #[command(subcommand)]
        action: admin::AdminAction,
    },
    /// The model catalogue: compare it with published price tables, and check it.
    Catalog {
        #[command(subcommand)]
        action: catalog::CatalogAction,
    },
    /// The router, without a gateway.
    Route {
        #[command(subcommand)]
        action: route::RouteAction,
    },
    /// Makes a private key for KAIROSROUTE_MCP_CREDENTIALS_KEY and prints it.
    McpKey,
    /// Asks the gateway on this machine whether it lives; exit 1 if not. For containers.
    Health,
    /// Prints the settings and their defaults, as in .env.example.
    ExampleEnv,
    /// Prints the OpenAPI document, as in docs/openapi.json.
    Openapi,
}

/// Reads the command line and runs one command.
pub fn run() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.command {
        Command::ExampleEnv => {
            print!("{}", config::example());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Openapi => {
            print!("{}", openapi::TEXT.as_str());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Route { action } => {
            route::run(action)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::McpKey => {
            println!("{}", Opener::generate()?.expose());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Simulate { listen, workers, lean } => {
            println!("simulated providers on http://{listen}");
            let settings = simulator::Settings {
                listen: *listen,
                workers: *workers,
                keep_bodies: !lean,
                ..simulator::Settings::default()
            };
            simulator::run_blocking(settings)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let config = Config::read(std::env::vars())?;
    if matches!(arguments.command, Command::Health) {
        health::run(config.listen)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Catalog { action } = &arguments.command {
        return catalog::run(action, config.catalog.as_deref());
    }
    let format = if config.log_json { telemetry::Format::Json } else { telemetry::Format::Text };
    telemetry::start(&config.log, format).context("KAIROSROUTE_LOG")?;
    actix_web::rt::System::new().block_on(execute(arguments.command, config))
}

async fn execute(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => serve(config).await?,
        Command::Demo => demo::run(config).await?,
        Command::Migrate => with_database(&config, |db| async move { app::migrate(&db).await }).await?,
        Command::Audit => return with_schema(&config, print_audit).await,
        Command::Billing { action } => return billing::run(&config, action).await,
        Command::Vault { action } => admin::vault(&config, action).await?,
        Command::Admin { action } => admin::run(&config, action).await?,
        Command::Simulate { .. }
        | Command::Catalog { .. }
        | Command::Health
        | Command::ExampleEnv
        | Command::Openapi
        | Command::McpKey
        | Command::Route { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let place = Place::of(&config, true).await?;
    let ring = place.key_ring(&config)?;
    let app = app::build(&config, place.options.clone(), ring, Ambient::system()).await;
    let served = match app {
        Ok(app) => {
            println!("KairosRoute listens on http://{}", app.address);
            app.run(stop_signal()?).await
        }
        Err(error) => Err(error),
    };
    place.leave().await?;
    served
}

/// The database a command works on: the configured one, or the private local one.
struct Place {
    options: PgConnectOptions,
    local: Option<LocalPostgres>,
}

impl Place {
    /// `serving`: one process per data directory; other commands attach to a running one.
    async fn of(config: &Config, serving: bool) -> anyhow::Result<Self> {
        if let Some(url) = &config.database_url {
            // The parser's message may repeat the URL, which holds a password.
            let options = PgConnectOptions::from_str(url.expose())
                .ok()
                .context("DATABASE_URL is not a PostgreSQL URL")?;
            return Ok(Self { options, local: None });
        }
        if !serving && !config.data_dir.exists() {
            bail!(
                "no installation in {}: run this where the gateway was started, or set KAIROSROUTE_DATA_DIR or DATABASE_URL",
                config.data_dir.display()
            );
        }
        let local = match serving {
            true => LocalPostgres::start(&config.data_dir).await?,
            false => LocalPostgres::attach_or_start(&config.data_dir).await?,
        };
        Ok(Self { options: local.connect_options(), local: Some(local) })
    }

    fn key_ring(&self, config: &Config) -> anyhow::Result<KeyRing> {
        let list = match (&config.master_keys, &self.local) {
            (Some(list), _) => list.clone(),
            (None, Some(_)) => local_master_keys(&config.data_dir)?,
            (None, None) => bail!("KAIROSROUTE_MASTER_KEYS is required with DATABASE_URL"),
        };
        KeyRing::parse(list.expose()).context("the master keys")
    }

    async fn leave(self) -> anyhow::Result<()> {
        match self.local {
            Some(local) => local.stop().await,
            None => Ok(()),
        }
    }
}

/// The key file of the local mode, made at its first start and readable by its owner alone.
fn local_master_keys(data_dir: &Path) -> anyhow::Result<Secret> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use std::{
        fs::OpenOptions,
        io::{ErrorKind, Write},
        os::unix::fs::OpenOptionsExt,
    };
    let path = data_dir.join("master-keys");
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            let line = format!("local1:{}\n", STANDARD.encode(Ambient::system().bytes::<32>()));
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).context("the local master key file"),
    }
    let text = std::fs::read_to_string(&path).context("the local master key file")?;
    Ok(Secret::new(text.trim().to_owned()))
}

/// Runs `work` on the command's database and leaves the database as it was found.
async fn with_database<T, F>(config: &Config, work: impl FnOnce(Db) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let place = Place::of(config, false).await?;
    let runtime = DatabaseRuntime::start()?;
    let db = runtime.open(place.options.clone(), DbLimits::of_command(app::pooler(config)))?;
    let outcome = work(db.clone()).await;
    db.close().await;
    drop(runtime);
    place.leave().await?;
    outcome
}

/// Runs `work` on a database whose schema is current.
async fn with_schema<T, F>(config: &Config, work: impl FnOnce(Db) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    with_database(config, |db| async move {
        db.schema().await?.check()?;
        work(db).await
    })
    .await
}

async fn print_audit(db: Db) -> anyhow::Result<ExitCode> {
    let auditing = db.clone();
    let drifts = db.run(async move { audit::audit(&mut *auditing.acquire().await?).await }).await?;
    for drift in &drifts {
        println!("{}: {}", drift.check, drift.row);
    }
    println!("{} drift(s)", drifts.len());
    Ok(if drifts.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Resolves at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
