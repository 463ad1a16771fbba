//! The version of this build. The release build sets the commit; a plain `cargo build` does not know it, so that a
//! commit alone causes no rebuild.

use std::sync::LazyLock;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub const COMMIT: &str = match option_env!("KAIROSROUTE_BUILD_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => "unknown",
};

/// As `kairosroute --version` prints it.
pub static LONG: LazyLock<String> = LazyLock::new(|| format!("{VERSION} (commit {COMMIT})"));
