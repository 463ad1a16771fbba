//! Behind a pooler that gives each transaction another server connection: PgBouncer in transaction mode, if the system
//! has it.

use crate::harness::{ChildStack, Stack, hello, wait_until};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
};

/// A running PgBouncer; it ends with this value.
struct PgBouncer {
    child: Child,
    directory: PathBuf,
    port: u16,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    directories.map(|directory| directory.join("pgbouncer")).find(|program| program.is_file())
}

impl PgBouncer {
    /// Two server connections for all, so that transactions of several processes share them.
    async fn start(program: &Path, database: &str) -> Self {
        let server = std::env::var("KAIROSROUTE_TEST_DATABASE_URL").unwrap();
        let server = PgConnectOptions::from_str(&server).unwrap();
        let host = server
            .get_socket()
            .map_or_else(|| server.get_host().to_owned(), |socket| socket.display().to_string());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = std::env::temp_dir().join(format!("kairosroute-{database}"));
        fs::create_dir_all(&directory).unwrap();
        let settings = directory.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{database} = host={host} port={} user={} dbname={database}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 200\n\
             ignore_startup_parameters = extra_float_digits\n",
            server.get_port(),
            server.get_username(),
        );
        fs::write(&settings, text).unwrap();
        let mut command = Command::new(program);
        if rustix::process::geteuid().is_root() {
            // It does not run as root. The owner of the server may enter the directory of the server's socket.
            command.args(["-u", "postgres"]);
        }
        let child = command.arg("-q").arg(&settings).stdin(Stdio::null()).spawn().unwrap();
        let mut bouncer = Self { child, directory, port };
        wait_until("PgBouncer to listen", async || {
            assert!(bouncer.child.try_wait().unwrap().is_none(), "PgBouncer ended");
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        bouncer
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://kairosroute@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test]
async fn everything_works_behind_a_transaction_pooler() {
    let Some(program) = program() else {
        eprintln!("not run: this system has no pgbouncer");
        return;
    };
    let stack: ChildStack = Stack::builder().start_child().await;
    let name = stack.database().name.clone();
    let bouncer = PgBouncer::start(&program, &name).await;
    let url = bouncer.url(&name);
    let pooled = [("DATABASE_URL", url.as_str()), ("KAIROSROUTE_DATABASE_POOLER", "transaction")];
    let (first, second) = (stack.second_process(&pooled).await, stack.second_process(&pooled).await);
    // Accounts, keys and sessions: written by one process and read by the other.
    let customer = first.sign_up().await;
    stack.grant(&customer.organization_id, "1000").await;
    second.set_provider_keys(&customer, &json!({ "Groq": "gsk_own_key_of_theirs" })).await;
    let mut calls = tokio::task::JoinSet::new();
    for index in 0..60 {
        let client = [&*first, &*second][index % 2].clone();
        let (key, session) = (customer.key.clone(), customer.session.clone());
        calls.spawn(async move {
            match index % 3 {
                0 => client.chat(&key, &hello("openai/gpt-5.4-mini")).await,
                1 => client.chat(&key, &hello("groq/gpt-oss-120b")).await,
                _ => client.get("/api/usage", &session).await,
            }
        });
    }
    while let Some(reply) = calls.join_next().await {
        let reply = reply.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
    }
    let frames = first.stream(&customer.key, &hello("openai/gpt-5.4-mini")).await.rest().await;
    assert!(frames.last().unwrap().is_done(), "{frames:?}");
    let reply = second.chat(&customer.key, &hello("openai/gpt-5.4-mini")).await;
    second.receipt(&customer.key, reply.header("x-kairosroute-receipt")).await;
    assert_eq!(first.get("/readyz", "").await.status, 200);
    assert_eq!(first.post("/api/auth/logout", &customer.session, &json!({})).await.status, 204);
    wait_until("the session to be over", async || {
        second.get("/api/billing/balance", &customer.session).await.status == 401
    })
    .await;
    // Commands, too.
    let mut env = stack.env().to_vec();
    env.extend(pooled.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for command in ["migrate", "audit"] {
        let output = crate::harness::run_command(&env, &[command], "");
        assert!(output.status.success(), "{command}: {output:?}");
    }
    stack.no_hold_is_open().await;
    stack.audit_is_clean().await;
}
