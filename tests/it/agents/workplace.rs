//! A directory with a home and a project for one agent, removed when it is dropped.

use kairosroute::domain::ambient::Ambient;
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Output,
};
use tokio::process::Command;

pub struct Workplace {
    root: PathBuf,
}

impl Workplace {
    /// An empty home, and a project with the notes that the agent is to edit.
    pub fn new() -> Self {
        let name = Ambient::system().uuid().simple().to_string();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/agents").join(name);
        fs::create_dir_all(root.join("home")).unwrap();
        fs::create_dir_all(root.join("project")).unwrap();
        fs::write(root.join("project/notes.txt"), "The tide is low.\n").unwrap();
        Self { root }
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub fn project(&self, file: &str) -> PathBuf {
        self.root.join("project").join(file)
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.project(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// A program with an environment that contains only the program path.
    pub fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        command.env_clear().kill_on_drop(true);
        for name in ["PATH", "NO_PROXY", "no_proxy", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", self.home()).current_dir(self.root.join("project"));
        command.stdin(std::process::Stdio::null());
        command
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // Files that the agent still writes are removed by the next `cargo clean`.
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Runs it to its end; what it wrote, if it succeeded.
pub async fn succeed(mut command: Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().await.unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let (written, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}\n{written}\n{errors}");
    written.into_owned()
}

/// A program of the packages that `./test` installs, for this machine's platform.
pub fn installed(scope: &str, package: &str, path: &str) -> OsString {
    let directory = std::env::var_os("KAIROSROUTE_TEST_NODE_DIR").filter(|value| !value.is_empty());
    let directory = directory.unwrap_or_else(|| panic!("KAIROSROUTE_TEST_NODE_DIR is not set: run ./test"));
    let scope = Path::new(&directory).join("node_modules").join(scope);
    let entries =
        fs::read_dir(&scope).unwrap_or_else(|error| panic!("{}: {error}; run ./test", scope.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|entry| entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with(package)))
        .flat_map(|entry| programs(&entry, path))
        .collect();
    found.sort();
    found.into_iter().next().unwrap_or_else(|| panic!("{package} is not installed: run ./test")).into()
}

/// The place of `path` in a package; `*` stands for one directory.
fn programs(package: &Path, path: &str) -> Vec<PathBuf> {
    path.split('/').fold(vec![package.to_owned()], |places, part| {
        let below = |place: PathBuf| -> Vec<PathBuf> {
            if part == "*" {
                let entries = fs::read_dir(place).into_iter().flatten();
                entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
            } else {
                Some(place.join(part)).filter(|place| place.exists()).into_iter().collect()
            }
        };
        places.into_iter().flat_map(below).collect()
    })
}
