//! The processes under test: the simulated provider, nginx as a plain reverse proxy, and the gateway on a
//! private cluster. Each is a child of this process and ends with it; nothing else is touched.

use super::{client, cpu};
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How long a process may take to start or to stop.
const TRANSITION_MAX: Duration = Duration::from_secs(90);
/// The same for one that valgrind runs.
const COUNTED_TRANSITION_MAX: Duration = Duration::from_secs(600);
/// When this handler is called, valgrind writes the counts since the last call and starts anew.
const COUNTED_HANDLER: &str = "http::health::alive";
pub const COUNTED_PATH: &str = "/healthz";

/// A child process that answers HTTP.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Process {
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// Asks the process to stop and waits for it.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw).context("the process id")?;
        kill_process(pid, Signal::TERM)?;
        timeout(COUNTED_TRANSITION_MAX, self.child.wait()).await.context("a process did not stop")??;
        Ok(())
    }
}

/// The simulated providers: the upstream of everything.
pub async fn simulator(binary: &Path) -> anyhow::Result<Process> {
    let address = free_address()?;
    let child = command(binary)
        .args(["simulate", "--lean", "--workers", "1", "--listen"])
        .arg(address.to_string())
        .stdout(Stdio::null())
        .spawn()?;
    listening(address).await?;
    Ok(Process { child, address })
}

/// Says what the simulated OpenAI answers from now on.
pub async fn set_script(simulator: SocketAddr, script: serde_json::Value) -> anyhow::Result<()> {
    let order = serde_json::json!({ "provider": "openai", "script": script });
    client::send("PUT", simulator, "/_simulator/defaults", &order.to_string()).await
}

/// nginx with one port for unary answers and one, unbuffered, for streams.
pub struct Nginx {
    pub process: Process,
    pub streams: SocketAddr,
}

impl Nginx {
    pub async fn start(home: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let home = home.join("nginx");
        fs::create_dir_all(&home)?;
        let (unary, streams) = (free_address()?, free_address()?);
        let configuration = home.join("nginx.conf");
        fs::write(&configuration, nginx_configuration(&home, upstream, unary, streams))?;
        let child = command(Path::new("nginx"))
            .arg("-p")
            .arg(&home)
            .arg("-c")
            .arg(&configuration)
            .spawn()
            .context("nginx could not be started; is it installed?")?;
        listening(unary).await?;
        Ok(Self { process: Process { child, address: unary }, streams })
    }

    /// The processes that carry traffic.
    pub fn workers(&self) -> anyhow::Result<Vec<u32>> {
        cpu::children_of(self.process.pid()?)
    }
}

/// The fastest fair setting: connections kept to both sides, no log, as many workers as the gateway has.
fn nginx_configuration(home: &Path, upstream: SocketAddr, unary: SocketAddr, streams: SocketAddr) -> String {
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let home = home.display();
    format!(
        "{user}
daemon off;
worker_processes 2;
pid {home}/pid;
error_log {home}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    upstream provider {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    server {{
        listen {unary};
        location / {{ proxy_pass http://provider; }}
    }}
    server {{
        listen {streams};
        location / {{ proxy_pass http://provider; proxy_buffering off; }}
    }}
}}
"
    )
}

/// The gateway and its private cluster.
pub struct Gateway {
    pub process: Process,
    pub data_dir: PathBuf,
}

impl Gateway {
    pub async fn start(binary: &Path, home: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        Self::launch(command(binary), home, upstream, TRANSITION_MAX).await
    }

    /// With one worker, under valgrind, which counts its instructions and writes them to `counts`.
    pub async fn start_counted(
        binary: &Path,
        home: &Path,
        upstream: SocketAddr,
        counts: &Path,
    ) -> anyhow::Result<Self> {
        let mut valgrind = command(Path::new("valgrind"));
        valgrind
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--dump-before=*{COUNTED_HANDLER}*"))
            .arg(format!("--callgrind-out-file={}", counts.display()))
            .arg(binary)
            .env("KAIROSROUTE_WORKERS", "1");
        Self::launch(valgrind, home, upstream, COUNTED_TRANSITION_MAX).await
    }

    async fn launch(
        mut program: Command,
        home: &Path,
        upstream: SocketAddr,
        within: Duration,
    ) -> anyhow::Result<Self> {
        let data_dir = home.join("data");
        let mut child = program
            .arg("serve")
            .env("KAIROSROUTE_LISTEN", "127.0.0.1:0")
            .env("KAIROSROUTE_METRICS_LISTEN", "off")
            .env("KAIROSROUTE_DATA_DIR", &data_dir)
            .env("OPENAI_BASE_URL", format!("http://{upstream}/openai/v1"))
            .env("OPENAI_API_KEY", "sk-platform")
            .stdout(Stdio::piped())
            .stderr(fs::File::create(home.join("gateway.log"))?)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let address = timeout(within, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, address)) = line.split_once("listens on http://") {
                    return Ok(address.trim().parse()?);
                }
            }
            bail!("the gateway ended before it listened; see {}", home.join("gateway.log").display())
        })
        .await
        .context("the gateway did not start")??;
        // Its output is read to the end, or a full pipe would stop it.
        tokio::task::spawn_local(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { process: Process { child, address }, data_dir })
    }

    /// Every process of the private cluster.
    pub fn database_pids(&self) -> anyhow::Result<Vec<u32>> {
        let path = self.data_dir.join("postgres/data/postmaster.pid");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let postmaster = text.lines().next().and_then(|line| line.trim().parse().ok());
        let postmaster = postmaster.context("postmaster.pid")?;
        let mut pids = cpu::children_of(postmaster)?;
        pids.push(postmaster);
        Ok(pids)
    }
}

/// A command that sees no settings but those given here.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    for name in ["PATH", "HOME", "USER", "LANG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

async fn listening(address: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + TRANSITION_MAX;
    while TcpStream::connect(address).await.is_err() {
        if Instant::now() > deadline {
            bail!("nothing listens on {address}");
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
