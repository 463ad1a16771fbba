//! The real binary as a child process, for tests that need a process: kill -9, signals, exit codes, logs.

use super::{Client, Database, Stack, World, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Read, Write},
    ops::Deref,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

const BINARY: &str = env!("CARGO_BIN_EXE_kairosroute");

/// A separate gateway process beside a simulator in this process.
pub struct ChildStack {
    process: Process,
    world: World,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

struct Process {
    child: Child,
    log: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl ChildStack {
    pub async fn start_default() -> Self {
        Stack::builder().start_child().await
    }

    pub(super) async fn start(mut world: World) -> Self {
        let (process, client) = Process::start(world.env(), &[]).await;
        world.client = client;
        Self { process, world }
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// SIGSTOP: it is stopped until [`ChildStack::resume`].
    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// The exit status, once the process has ended.
    pub async fn wait(&mut self) -> ExitStatus {
        self.process.wait().await
    }

    /// Starts the binary again on the same database.
    pub async fn restart(&mut self) {
        let (process, client) = Process::start(self.world.env(), &[]).await;
        self.process = process;
        self.world.client = client;
    }

    /// Starts the binary again where no more files than this may be open.
    pub async fn restart_with_files(&mut self, files_max: u32) {
        self.terminate();
        self.wait().await;
        let script = format!("ulimit -n {files_max} && exec \"$0\" \"$@\"");
        let mut command = clean("/bin/sh", self.world.env());
        command.args(["-c", &script, BINARY, "serve"]);
        let (process, client) = Process::spawn(command).await;
        self.process = process;
        self.world.client = client;
    }

    /// A further process on the same database and providers.
    pub async fn second_process(&self, env: &[(&str, &str)]) -> SecondProcess {
        let (process, client) = Process::start(self.world.env(), env).await;
        SecondProcess { process, client }
    }

    /// Everything written to standard output and error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.process.log.lock().unwrap()).into_owned()
    }

    pub fn database(&self) -> &Database {
        &self.world.database
    }
}

/// One more gateway process; killed when dropped.
pub struct SecondProcess {
    process: Process,
    client: Client,
}

impl SecondProcess {
    /// SIGTERM, and the exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait().await
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }
}

impl Deref for SecondProcess {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Deref for ChildStack {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl Process {
    async fn start(env: &[(String, String)], more: &[(&str, &str)]) -> (Self, Client) {
        let mut command = clean(BINARY, env);
        command.envs(more.iter().copied()).arg("serve");
        Self::spawn(command).await
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn wait(&mut self) -> ExitStatus {
        wait_for("the gateway to end", async || self.child.try_wait().unwrap()).await
    }

    async fn spawn(mut command: Command) -> (Self, Client) {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            collect(child.stdout.take().unwrap(), log.clone()),
            collect(child.stderr.take().unwrap(), log.clone()),
        ];
        let mut process = Self { child, log, readers };
        let address = wait_for("the gateway to listen", async || {
            let text = String::from_utf8_lossy(&process.log.lock().unwrap()).into_owned();
            assert!(process.child.try_wait().unwrap().is_none(), "the gateway ended: {text}");
            let line = text.split("listens on http://").nth(1)?;
            line.split_once('\n')?.0.trim().parse().ok()
        })
        .await;
        (process, Client::of(address))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// Nothing of the tester's environment is passed to the binary.
fn clean(program: &str, env: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn collect(from: impl Read + Send + 'static, log: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            log.lock().unwrap().append(&mut line);
        }
    })
}

/// Runs a command to its end.
pub fn run_command(env: &[(String, String)], arguments: &[&str], input: &str) -> Output {
    let mut child = clean(BINARY, env).args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // A command that needs no input may have closed it already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
