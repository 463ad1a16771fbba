//! These tests start real servers, in their own directories that they remove again.

use super::*;
use crate::store;
use sqlx::{Connection, PgConnection};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::atomic::{AtomicU32, Ordering},
};

/// A directory that is gone at the end, with whatever server still runs for it.
struct Scratch {
    root: PathBuf,
}

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("kairosroute-local-{}-{count}", std::process::id()));
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        Self { root }
    }

    fn data_dir(&self) -> PathBuf {
        self.root.join("state")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let elsewhere = fs::read_to_string(self.data_dir().join("cluster-location")).map(PathBuf::from);
        for home in [Ok(self.data_dir().join("postgres")), elsewhere].into_iter().flatten() {
            let pid = fs::read_to_string(home.join("data/postmaster.pid"));
            if let Some(pid) = pid.ok().and_then(|content| content.lines().next()?.parse().ok()) {
                kill(pid, rustix::process::Signal::QUIT);
            }
            let _ = fs::remove_dir_all(home);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn pid(postgres: &LocalPostgres) -> u32 {
    postgres.server.live_postmaster().unwrap().pid
}

async fn connect(postgres: &LocalPostgres) -> PgConnection {
    PgConnection::connect_with(&postgres.connect_options()).await.unwrap()
}

async fn execute(postgres: &LocalPostgres, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(&mut connect(postgres).await).await.map(|_| ())
}

fn status_line(pid: u32, name: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_cluster_is_durable_private_and_kept_over_a_stop() {
    let scratch = Scratch::new();
    let postgres = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    let durability = store::durability(&mut connect(&postgres).await).await.unwrap();
    assert_eq!((durability.fsync.as_str(), durability.synchronous_commit.as_str()), ("on", "on"));
    execute(&postgres, "CREATE TABLE kept (id int)").await.unwrap();
    assert!(execute(&postgres, "COPY kept FROM PROGRAM 'true'").await.is_err(), "the role is a superuser");

    let server = pid(&postgres);
    for path in [&postgres.socket_dir, &scratch.data_dir().join("postgres")] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700, "{}", path.display());
    }
    assert!(postgres.socket_dir.as_os_str().len() < 60);
    let environment = fs::read(format!("/proc/{server}/environ")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environment).contains("CARGO"), "our environment reached the server");
    if is_root() {
        let owner = fs::metadata(scratch.data_dir().join("postgres")).unwrap();
        assert!(owner.uid() != 0 && owner.gid() != 0);
        assert_eq!(status_line(server, "Uid"), vec![owner.uid().to_string(); 4]);
        assert_eq!(status_line(server, "Gid"), vec![owner.gid().to_string(); 4]);
        assert!(status_line(server, "Groups").is_empty(), "root's groups reached the server");
        assert!(rustix::process::geteuid().is_root(), "the gateway itself became somebody else");
    }

    let socket_dir = postgres.socket_dir.clone();
    postgres.stop().await.unwrap();
    assert!(!socket_dir.exists());
    assert!(!scratch.data_dir().join("postgres/data/postmaster.pid").exists());
    let again = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    execute(&again, "INSERT INTO kept VALUES (1)").await.unwrap();
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_outlived_its_gateway_is_adopted_and_stopped_in_the_end() {
    let scratch = Scratch::new();
    let postgres = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    let before = pid(&postgres);
    drop(postgres);
    let again = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    assert_eq!(pid(&again), before);
    execute(&again, "SELECT 1").await.unwrap();
    again.stop().await.unwrap();
    assert!(!scratch.data_dir().join("postgres/data/postmaster.pid").exists());
}

#[tokio::test]
async fn one_serve_holds_a_data_directory_and_other_commands_join_it() {
    let scratch = Scratch::new();
    let serve = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    let refused = LocalPostgres::start(&scratch.data_dir()).await.err().unwrap().to_string();
    assert!(refused.contains("another `kairosroute serve`") && !refused.contains('\n'), "{refused}");

    let command = LocalPostgres::attach_or_start(&scratch.data_dir()).await.unwrap();
    assert_eq!(pid(&command), pid(&serve));
    command.stop().await.unwrap();
    execute(&serve, "SELECT 1").await.unwrap();

    let command = LocalPostgres::attach_or_start(&scratch.data_dir()).await.unwrap();
    serve.stop().await.unwrap();
    execute(&command, "SELECT 1").await.unwrap();
    command.stop().await.unwrap();
    assert!(!scratch.data_dir().join("postgres/data/postmaster.pid").exists());
}

#[tokio::test]
async fn a_server_that_was_killed_starts_again_even_when_its_number_is_taken() {
    let scratch = Scratch::new();
    let postgres = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    execute(&postgres, "CREATE TABLE kept (id int)").await.unwrap();
    kill(pid(&postgres), rustix::process::Signal::KILL);
    drop(postgres);
    let postgres = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    execute(&postgres, "SELECT id FROM kept").await.unwrap();
    postgres.stop().await.unwrap();

    let pid_file = scratch.data_dir().join("postgres/data/postmaster.pid");
    fs::write(&pid_file, format!("{}\n/x\n0\n5432\n/tmp\n\n0 0\nready\n", std::process::id())).unwrap();
    let postgres = LocalPostgres::attach_or_start(&scratch.data_dir()).await.unwrap();
    execute(&postgres, "SELECT id FROM kept").await.unwrap();
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_data_directory_that_the_server_cannot_reach_has_its_cluster_elsewhere_for_good() {
    let scratch = Scratch::new();
    fs::set_permissions(&scratch.root, Permissions::from_mode(0o700)).unwrap();
    let record = scratch.data_dir().join("cluster-location");
    let postgres = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    execute(&postgres, "CREATE TABLE kept (id int)").await.unwrap();
    postgres.stop().await.unwrap();
    if !is_root() {
        assert!(!record.exists());
        return;
    }
    let first = PathBuf::from(fs::read_to_string(&record).unwrap());
    assert_eq!(fs::metadata(&first).unwrap().mode() & 0o777, 0o700);
    let again = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    execute(&again, "SELECT id FROM kept").await.unwrap();
    again.stop().await.unwrap();

    // The keys are lost with the data directory: a new one could not open the old rows.
    fs::remove_dir_all(scratch.data_dir()).unwrap();
    let fresh = LocalPostgres::start(&scratch.data_dir()).await.unwrap();
    assert!(execute(&fresh, "SELECT id FROM kept").await.is_err());
    fresh.stop().await.unwrap();
    let second = PathBuf::from(fs::read_to_string(&record).unwrap());
    assert_ne!(first, second);

    fs::remove_dir_all(&first).unwrap();
    fs::remove_dir_all(&second).unwrap();
    fs::write(&record, first.as_os_str().as_encoded_bytes()).unwrap();
    let gone = LocalPostgres::start(&scratch.data_dir()).await.err().unwrap();
    assert!(format!("{gone:#}").contains("is gone"), "{gone:#}");
}
