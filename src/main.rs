//! The `kairosroute` command. See `kairosroute help` and README.md.

use kairosroute::{commands, telemetry};
use std::process::ExitCode;

/// The request path allocates and frees small buffers from many threads; this allocator is fast for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A core dump would contain every key in memory.
    if let Err(error) = forbid_core_dumps() {
        eprintln!("kairosroute: core dumps could not be switched off: {error}");
        return ExitCode::FAILURE;
    }
    raise_open_files();
    // Huge pages would keep most of a small heap in memory unused. If they cannot be turned off, only memory is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let outcome = commands::run();
    telemetry::flush();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kairosroute: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn forbid_core_dumps() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Services are often started with a low limit that they may raise themselves.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let allowed = getrlimit(Resource::Nofile).maximum;
    // Where it cannot be raised, the limits of connections follow from the one there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: allowed, maximum: allowed });
}
