//! One cluster: created once, started, used again if it already runs, stopped. A cluster is complete or absent, never
//! half created. Only PostgreSQL's own programs write files in it, so the cluster's user cannot redirect a write of
//! root.

use super::{
    DATABASE, connect_options,
    place::{self, Account, Place},
    programs::{Interrupt, Programs},
};
use anyhow::{Context, bail};
use sqlx::{Connection, PgConnection};
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// Only the name of the socket: the cluster listens on no network.
pub const PORT: u16 = 5432;

/// How long a start (which may be a recovery) and a shutdown may take.
const WAIT_SECONDS_MAX: u64 = 120;
const START_ATTEMPTS_MAX: u32 = 6;

/// Durability settings are explicit because the cluster holds money. The log keeps a week, and for an error only the
/// message: no statement and no detail, which would show rows.
const SETTINGS: [&str; 17] = [
    "listen_addresses=''",
    "unix_socket_permissions=0700",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=64MB",
    "max_connections=50",
    "wal_compression=on",
    "jit=off",
    "logging_collector=on",
    "log_directory=log",
    "log_filename=server-%a.log",
    "log_truncate_on_rotation=on",
    "log_rotation_age=1d",
    "log_rotation_size=0",
    "log_error_verbosity=terse",
    "log_min_error_statement=panic",
];

/// A cluster that exists, running or not.
#[derive(Debug)]
pub struct Server {
    account: Account,
    programs: Programs,
    cluster: PathBuf,
    start_log: PathBuf,
}

/// The content of `postmaster.pid` for a running server.
#[derive(PartialEq, Eq, Debug)]
pub struct Postmaster {
    pub pid: u32,
    /// Missing for the first moments of a start.
    socket_dir: Option<PathBuf>,
}

impl Server {
    /// Finds the data directory's cluster or creates it.
    pub async fn prepare(data_dir: &Path) -> anyhow::Result<Self> {
        let Place { home, account } = place::choose(data_dir).await?;
        let cluster = home.join("data");
        let major = cluster_major(&cluster)?;
        let programs = Programs::find(account, major).await?;
        if major.is_none() {
            initialise(&programs, account, &home, &cluster).await?;
        }
        Ok(Self { account, programs, cluster, start_log: home.join("start.log") })
    }

    /// Returns with a server that accepts connections, and the directory of its socket.
    pub async fn ensure_running(&self) -> anyhow::Result<PathBuf> {
        let mut failure = anyhow::anyhow!("the server ends as soon as it runs");
        for _ in 0..START_ATTEMPTS_MAX {
            if let Some(socket_dir) = self.adopt().await? {
                return Ok(socket_dir);
            }
            match self.launch().await {
                Ok(()) => {}
                Err(refused) => {
                    failure = refused;
                    // Children of a killed server need a moment to notice; until then no server can start.
                    sleep(Duration::from_millis(500)).await;
                }
            }
        }
        Err(failure.context(format!("the local PostgreSQL does not start; see {}", self.start_log.display())))
    }

    /// Ends every session, writes everything out, and removes the socket's directory.
    pub async fn stop(&self, socket_dir: &Path) -> anyhow::Result<()> {
        if self.live_postmaster().is_some() {
            self.control("stop", &["-m".as_ref(), "fast".as_ref()], Interrupt::Ignored).await?;
        }
        // It stays if other files are in it: nothing depends on its absence.
        let _ = fs::remove_dir(socket_dir);
        Ok(())
    }

    /// The running server of exactly this cluster. Another process that got the number of a dead server does not count.
    pub fn live_postmaster(&self) -> Option<Postmaster> {
        let postmaster = parse_postmaster(&fs::read_to_string(self.pid_file()).ok()?)?;
        let arguments = fs::read(format!("/proc/{}/cmdline", postmaster.pid)).ok()?;
        let ours = self.cluster.as_os_str().as_bytes();
        arguments.split(|byte| *byte == 0).any(|argument| argument == ours).then_some(postmaster)
    }

    async fn launch(&self) -> anyhow::Result<()> {
        self.clear_foreign_pid_file();
        let socket_dir = place::socket_dir(&self.cluster)?;
        place::make_private_dir(&socket_dir, self.account)?;
        let mut settings = format!("-c unix_socket_directories={} -c port={PORT}", socket_dir.display());
        for setting in SETTINGS {
            settings.push_str(" -c ");
            settings.push_str(setting);
        }
        let log = self.start_log.as_os_str();
        self.control("start", &["-l".as_ref(), log, "-o".as_ref(), settings.as_ref()], Interrupt::WithUs)
            .await
    }

    async fn control(&self, action: &str, arguments: &[&OsStr], interrupt: Interrupt) -> anyhow::Result<()> {
        let seconds = WAIT_SECONDS_MAX.to_string();
        let mut all: Vec<&OsStr> = vec![action.as_ref(), "-D".as_ref(), self.cluster.as_os_str()];
        all.extend(["-w".as_ref(), "-t".as_ref(), OsStr::new(&seconds)]);
        all.extend(arguments);
        self.programs.run(self.account, "pg_ctl", all, "", interrupt).await
    }

    /// The socket's directory of a server that runs, once it accepts connections (it may be recovering);
    /// none when no server runs or it ends meanwhile.
    async fn adopt(&self) -> anyhow::Result<Option<PathBuf>> {
        let deadline = Instant::now() + Duration::from_secs(WAIT_SECONDS_MAX);
        let mut failure = "it has not opened its socket".to_owned();
        while let Some(live) = self.live_postmaster() {
            if let Some(socket_dir) = live.socket_dir {
                place::make_private_dir(&socket_dir, self.account)?;
                let options = connect_options(&socket_dir);
                match timeout(Duration::from_secs(5), PgConnection::connect_with(&options)).await {
                    Ok(Ok(connection)) => {
                        connection.close().await.context("closing the first connection")?;
                        return Ok(Some(socket_dir));
                    }
                    Ok(Err(error)) => failure = error.to_string(),
                    Err(_) => failure = "it does not answer".to_owned(),
                }
            }
            if Instant::now() > deadline {
                bail!("the local PostgreSQL (process {}) accepts no connection: {failure}", live.pid);
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(None)
    }

    /// After a reboot the number in the file can belong to any process of the same user, and PostgreSQL would treat
    /// that process as a live server. Called only when no server of this cluster runs; if one has left children,
    /// PostgreSQL finds them by their shared memory and refuses.
    fn clear_foreign_pid_file(&self) {
        let content = fs::read_to_string(self.pid_file()).unwrap_or_default();
        let taken =
            parse_postmaster(&content).is_some_and(|dead| Path::new(&format!("/proc/{}", dead.pid)).is_dir());
        if taken {
            let _ = fs::remove_file(self.pid_file());
        }
    }

    fn pid_file(&self) -> PathBuf {
        self.cluster.join("postmaster.pid")
    }
}

/// The version that made the cluster; none when there is no cluster yet.
fn cluster_major(cluster: &Path) -> anyhow::Result<Option<u32>> {
    if fs::symlink_metadata(cluster).is_err() {
        return Ok(None);
    }
    let version = fs::read_to_string(cluster.join("PG_VERSION"))
        .with_context(|| format!("{} is not a PostgreSQL cluster", cluster.display()))?;
    Ok(Some(version.trim().parse().context("reading PG_VERSION")?))
}

/// Created beside its final place and renamed when it is complete. Everyone who can reach the socket is admitted: only
/// the cluster's user and root can enter the socket's directory. The gateway's role is an ordinary one.
async fn initialise(
    programs: &Programs,
    account: Account,
    home: &Path,
    cluster: &Path,
) -> anyhow::Result<()> {
    let unfinished = home.join("data.new");
    if fs::symlink_metadata(&unfinished).is_ok() {
        fs::remove_dir_all(&unfinished).context("removing a cluster that was never finished")?;
    }
    let mut arguments: Vec<&OsStr> = vec!["-D".as_ref(), unfinished.as_os_str()];
    arguments.extend(
        [
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            "--no-instructions",
        ]
        .map(OsStr::new),
    );
    programs.run(account, "initdb", arguments, "", Interrupt::WithUs).await?;
    let arguments = [
        "--single".as_ref(),
        "-D".as_ref(),
        unfinished.as_os_str(),
        "-c".as_ref(),
        "exit_on_error=on".as_ref(),
        "postgres".as_ref(),
    ];
    let input = format!("CREATE ROLE {DATABASE} LOGIN;\nCREATE DATABASE {DATABASE} OWNER {DATABASE};\n");
    programs.run::<_, &OsStr>(account, "postgres", arguments, &input, Interrupt::WithUs).await?;
    fs::rename(&unfinished, cluster).context("putting the new cluster in its place")?;
    fs::File::open(home)?.sync_all().context("keeping the new cluster's name")
}

/// Lines of the file: process id, data directory, start time, port, socket directory, …
fn parse_postmaster(content: &str) -> Option<Postmaster> {
    let mut lines = content.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    let socket_dir = lines.nth(3).filter(|path| path.starts_with('/')).map(PathBuf::from);
    Some(Postmaster { pid, socket_dir })
}
