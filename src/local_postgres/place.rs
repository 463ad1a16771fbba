//! The place and owner of a private cluster. They are decided once for each data directory and never changed: a cluster
//! holds money, so it must never be replaced by an empty one, and a directory that another user created first must
//! never be used.

use super::programs::{Interrupt, run_as};
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, DirBuilder, Metadata, Permissions},
    io::{self, ErrorKind},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

/// Place of clusters whose user cannot reach the data directory (one below `/root`, for example).
const SHARED_HOME: &str = "/var/lib/kairosroute";

/// In the data directory: the path of a cluster in another place.
const RECORD: &str = "cluster-location";

/// The user the PostgreSQL programs run as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    fn current() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    fn owner(metadata: &Metadata) -> Self {
        Self { uid: metadata.uid(), gid: metadata.gid() }
    }

    fn is_root(self) -> bool {
        self.uid == 0
    }
}

/// A private directory (0700) for the cluster, and its owner.
#[derive(Clone, Debug)]
pub struct Place {
    pub home: PathBuf,
    pub account: Account,
}

/// Creates the data directory if it is missing and returns its absolute path. Under root other users can pass through
/// it but not list it, so the cluster's user can reach its part of it.
pub fn prepare_data_dir(path: &Path) -> anyhow::Result<PathBuf> {
    let cannot = || format!("cannot make the data directory {}", path.display());
    if !path.exists() {
        DirBuilder::new().recursive(true).create(path).with_context(cannot)?;
        let mode = if Account::current().is_root() { 0o711 } else { 0o700 };
        fs::set_permissions(path, Permissions::from_mode(mode)).with_context(cannot)?;
    }
    let path = fs::canonicalize(path).with_context(cannot)?;
    // pg_ctl puts the path between double quotes in a shell command.
    if path.as_os_str().as_bytes().iter().any(|byte| b"\"$`\\\n\r".contains(byte)) {
        bail!(
            "the data directory {} cannot be used: its path holds a character that shells interpret",
            path.display()
        );
    }
    Ok(path)
}

/// Finds the place of a data directory's cluster, or chooses and creates it.
pub async fn choose(data_dir: &Path) -> anyhow::Result<Place> {
    let inside = data_dir.join("postgres");
    if let Some(home) = recorded(data_dir)? {
        return existing(home);
    }
    if fs::symlink_metadata(&inside).is_ok() {
        return existing(inside);
    }
    let account = if Account::current().is_root() { postgres_account()? } else { Account::current() };
    if !Account::current().is_root() || can_pass(account, data_dir).await? {
        make_private_dir(&inside, account)?;
        return Ok(Place { home: inside, account });
    }
    let home = make_elsewhere(data_dir, account)?;
    fs::write(data_dir.join(RECORD), home.as_os_str().as_bytes())
        .context("recording where the cluster lies")?;
    Ok(Place { home, account })
}

/// A short private directory for the socket: the system allows 107 bytes for the whole path. Its name is
/// the same for the life of a cluster and another one for any cluster that comes after it.
pub fn socket_dir(cluster: &Path) -> anyhow::Result<PathBuf> {
    let inode = fs::metadata(cluster).context("looking at the cluster")?.ino();
    let name =
        format!("kairosroute-{}", fingerprint(&[cluster.as_os_str().as_bytes(), &inode.to_be_bytes()]));
    // Root's own /run: no other user can take the name first.
    let base = if Account::current().is_root() && Path::new("/run").is_dir() { "/run" } else { "/tmp" };
    Ok(Path::new(base).join(name))
}

/// Creates a directory that only `account` (and root) can enter, or checks that the existing one is such a directory.
pub fn make_private_dir(path: &Path, account: Account) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
    }
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    // Root's own and empty: created by us just now, or by a start that was interrupted here.
    let fresh = Account::current().is_root() && metadata.uid() == 0 && is_empty(path)?;
    if !metadata.is_dir() || (metadata.uid() != account.uid && !fresh) {
        bail!("{} belongs to somebody else; remove it and start again", path.display());
    }
    if metadata.uid() != account.uid {
        chown(path, Some(account.uid), Some(account.gid))
            .with_context(|| format!("cannot hand over {}", path.display()))?;
    }
    if metadata.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close {}", path.display()))?;
    }
    Ok(())
}

fn recorded(data_dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    match fs::read_to_string(data_dir.join(RECORD)) {
        Ok(path) => Ok(Some(PathBuf::from(path))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", data_dir.join(RECORD).display())),
    }
}

/// The programs run as the owner of the existing directory, whoever starts us; only root can be another user.
fn existing(home: PathBuf) -> anyhow::Result<Place> {
    let metadata = fs::symlink_metadata(&home)
        .with_context(|| format!("the local database {} is gone", home.display()))?;
    let current = Account::current();
    let owner = match Account::owner(&metadata) {
        owner if !owner.is_root() => owner,
        _ => postgres_account()?,
    };
    if !current.is_root() && owner.uid != current.uid {
        bail!("the local database {} belongs to another user (id {})", home.display(), owner.uid);
    }
    make_private_dir(&home, owner)?;
    Ok(Place { home, account: owner })
}

/// The first free name: a cluster whose data directory was removed stays there, unchanged.
fn make_elsewhere(data_dir: &Path, account: Account) -> anyhow::Result<PathBuf> {
    let parent = Path::new(SHARED_HOME);
    let cannot = || format!("cannot make {SHARED_HOME}");
    DirBuilder::new().recursive(true).create(parent).with_context(cannot)?;
    fs::set_permissions(parent, Permissions::from_mode(0o711)).with_context(cannot)?;
    let name = fingerprint(&[data_dir.as_os_str().as_bytes()]);
    for count in 1..=1000 {
        let home = parent.join(if count == 1 { name.clone() } else { format!("{name}-{count}") });
        if fs::symlink_metadata(&home).is_err() || is_empty(&home)? {
            make_private_dir(&home, account)?;
            return Ok(home);
        }
    }
    bail!("{SHARED_HOME} holds too many clusters of {}; remove the old ones", data_dir.display())
}

fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(path)?.next().is_none())
}

/// Tested by the system itself, as that user: access lists and mount options count too.
async fn can_pass(account: Account, directory: &Path) -> anyhow::Result<bool> {
    let arguments = ["-c".as_ref(), "cd -- \"$1\"".as_ref(), "sh".as_ref(), directory.as_os_str()];
    Ok(run_as(account, Path::new("/bin/sh"), arguments, "", Interrupt::WithUs).await?.status.success())
}

/// The user that the system's packages create for PostgreSQL.
fn postgres_account() -> anyhow::Result<Account> {
    let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    parse_account(&passwd, "postgres").context(
        "root may not run PostgreSQL and there is no user `postgres`; make one, or start as an ordinary user",
    )
}

fn parse_account(passwd: &str, name: &str) -> Option<Account> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2);
    let account = Account { uid: numbers.next()?.parse().ok()?, gid: numbers.next()?.parse().ok()? };
    (!account.is_root()).then_some(account)
}

/// 16 hexadecimal digits.
fn fingerprint(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update(b"\0");
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_read_from_passwd_and_is_never_root() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7::/:\npostgres:x:101:104:p,,:/var/lib:/bin/bash\n";
        assert_eq!(parse_account(passwd, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(parse_account(passwd, "root"), None);
        assert_eq!(parse_account(passwd, "nobody"), None);
    }

    #[test]
    fn a_private_directory_is_refused_when_it_is_a_link() {
        let root = std::env::temp_dir().join(format!("kairosroute-place-{}", std::process::id()));
        fs::create_dir_all(root.join("theirs")).unwrap();
        std::os::unix::fs::symlink(root.join("theirs"), root.join("ours")).unwrap();
        let refused = make_private_dir(&root.join("ours"), Account::current());
        make_private_dir(&root.join("fresh"), Account::current()).unwrap();
        let mode = fs::metadata(root.join("fresh")).unwrap().mode() & 0o777;
        fs::remove_dir_all(&root).unwrap();
        assert!(refused.unwrap_err().to_string().contains("belongs to somebody else"));
        assert_eq!(mode, 0o700);
    }

    #[test]
    fn a_path_that_a_shell_would_interpret_is_refused() {
        let path = std::env::temp_dir().join(format!("kairosroute-$place-{}", std::process::id()));
        let refused = prepare_data_dir(&path);
        fs::remove_dir(&path).unwrap();
        assert!(refused.is_err());
    }
}
