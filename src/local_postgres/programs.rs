//! Finds PostgreSQL's programs and runs them as the user who owns the cluster, with an empty environment. PostgreSQL
//! refuses root, so under root the child process, and only it, becomes that user. A program of the cluster must never
//! run with root's groups or the gateway's environment (which contains keys).

use super::place::Account;
use anyhow::{Context, bail};
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};
use tokio::{io::AsyncWriteExt, process::Command};

/// The oldest major version the schema is tested to work with.
const MAJOR_MIN: u32 = 14;

/// Where packages and source builds put their programs, `*` standing for one directory's name or its rest.
const WELL_KNOWN: [&str; 4] =
    ["/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*"];

/// One installed PostgreSQL server.
#[derive(Debug)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// The first of `PATH` and the well-known places, newest first, that has the major version `wanted`,
    /// or any supported one when there is no cluster yet.
    pub async fn find(account: Account, wanted: Option<u32>) -> anyhow::Result<Self> {
        let mut too_old = None;
        for directory in candidates() {
            let major = match major_of(account, &directory).await {
                Ok(major) => major,
                Err(_) => continue,
            };
            if wanted.map_or(major >= MAJOR_MIN, |wanted| wanted == major) {
                return Ok(Self { directory });
            }
            too_old = too_old.max(Some(major));
        }
        match (wanted, too_old) {
            (Some(wanted), _) => bail!(
                "the local database was made by PostgreSQL {wanted}, which is not installed any more; install version {wanted} of its server"
            ),
            (None, Some(major)) => {
                bail!("PostgreSQL {major} is too old; install version {MAJOR_MIN} or newer")
            }
            (None, None) => bail!(
                "PostgreSQL is not installed: run `apt-get install postgresql`, `dnf install postgresql-server` or `apk add postgresql`, or set DATABASE_URL"
            ),
        }
    }

    /// Runs one program to its end; an error includes the last line of its output.
    pub async fn run<I, S>(
        &self,
        account: Account,
        program: &str,
        arguments: I,
        input: &str,
        interrupt: Interrupt,
    ) -> anyhow::Result<()>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let output = run_as(account, &self.directory.join(program), arguments, input, interrupt).await?;
        if output.status.success() {
            return Ok(());
        }
        bail!("PostgreSQL's {program} failed: {}", last_line(&output))
    }
}

/// Whether a Ctrl-C at the terminal also ends the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// Creating and starting a cluster: a program that stays would continue where the next start begins again.
    WithUs,
    /// Stopping it: an orderly shutdown continues to its end.
    Ignored,
}

/// Runs a program as `account` from `/`, with nothing of our environment.
pub async fn run_as<I, S>(
    account: Account,
    program: &Path,
    arguments: I,
    input: &str,
    interrupt: Interrupt,
) -> anyhow::Result<Output>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if interrupt == Interrupt::Ignored {
        command.process_group(0);
    }
    if rustix::process::geteuid().is_root() {
        // Setting the user as root also empties the supplementary groups.
        command.uid(account.uid).gid(account.gid);
    }
    let failed = || format!("cannot run {}", program.display());
    let mut child = command.spawn().with_context(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If a program ends without reading, its own output states the reason.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await.with_context(failed)
}

async fn major_of(account: Account, directory: &Path) -> anyhow::Result<u32> {
    let output = run_as(account, &directory.join("postgres"), ["--version"], "", Interrupt::WithUs).await?;
    parse_major(&String::from_utf8_lossy(&output.stdout)).context("no version")
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` is 15; a beta (`18beta1`) counts as its release.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = Vec::new();
    let in_path = std::env::split_paths(&path).collect::<Vec<_>>();
    for directory in in_path.into_iter().chain(WELL_KNOWN.iter().flat_map(|pattern| expand(pattern))) {
        // Some systems link only a few of the programs into PATH: the others lie beside the link's target.
        let Ok(pg_ctl) = fs::canonicalize(directory.join("pg_ctl")) else { continue };
        let Some(home) = pg_ctl.parent() else { continue };
        let complete = home.join("initdb").is_file() && home.join("postgres").is_file();
        if complete && !found.iter().any(|known| known == home) {
            found.push(home.to_owned());
        }
    }
    found
}

/// The directories a pattern with at most one `*` names, those with the highest numbers first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = fs::read_dir(format!("{parent}/")) else { return Vec::new() };
    let mut names: Vec<OsString> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.retain(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
    names.sort_by_key(|name| std::cmp::Reverse(number_in(name)));
    names.into_iter().map(|name| Path::new(parent).join(name).join(after.trim_start_matches('/'))).collect()
}

fn number_in(name: &OsStr) -> Option<u32> {
    name.to_str()?.trim_start_matches(|c: char| !c.is_ascii_digit()).split('.').next()?.parse().ok()
}

fn last_line(output: &Output) -> String {
    let said = [output.stderr.as_slice(), b"\n", output.stdout.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let errors = said.lines().rfind(|line| line.contains("error:") || line.contains("FATAL:"));
    let line = errors.or_else(|| said.lines().rfind(|line| !line.trim().is_empty()));
    line.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_major_version_is_read_from_every_form_of_the_version_line() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("postgres (PostgreSQL) 17.2"), Some(17));
        assert_eq!(parse_major("something else"), None);
    }

    #[test]
    fn the_newest_installation_is_tried_first_and_numbers_are_not_compared_as_text() {
        let root = std::env::temp_dir().join(format!("kairosroute-programs-{}", std::process::id()));
        for name in ["pgsql-9", "pgsql-17", "pgsql-16", "other-20"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let found = expand(&format!("{}/pgsql-*/bin", root.display()));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, ["17", "16", "9"].map(|major| root.join(format!("pgsql-{major}")).join("bin")));
    }
}
