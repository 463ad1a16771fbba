//! CPU time of processes from the kernel. Linux only.

use anyhow::Context;
use std::{fs, time::Duration};

/// `/proc` counts in hundredths of a second on every Linux (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads of these processes, and of their children that have ended.
pub fn time_of(pids: &[u32]) -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for pid in pids {
        // A backend may end between the listing and this call: its time is then counted for its parent.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let fields = fields(&stat).context("/proc stat")?;
        ticks += [11, 12, 13, 14].iter().filter_map(|at| fields.get(*at)?.parse::<u32>().ok()).sum::<u32>();
    }
    Ok(TICK * ticks)
}

/// The running children of a process.
pub fn children_of(parent: u32) -> anyhow::Result<Vec<u32>> {
    let parent = parent.to_string();
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if fields(&stat).and_then(|fields| fields.get(1).copied()) == Some(parent.as_str()) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// The fields from the state on; the name before it may contain any text.
fn fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect())
}
