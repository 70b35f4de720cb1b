//! What a process left behind, as the kernel tells it: descendants, namespaces, mounts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: u32,
    started: u64,
    pub command: String,
}

/// Parent and start time (in clock ticks since boot) of a process.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything; fields are counted behind it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

fn all() -> Vec<u32> {
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Everything below a process, however deep, in whatever namespace.
pub fn descendants(root: u32) -> Vec<Process> {
    let parents: Vec<(u32, u32, u64)> = all()
        .into_iter()
        .filter_map(|pid| stat(pid).map(|(parent, started)| (pid, parent, started)))
        .collect();
    let mut below = BTreeSet::from([root]);
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent, _)| below.contains(parent) && !below.contains(pid))
            .map(|p| p.0)
            .collect();
        if more.is_empty() {
            break;
        }
        below.extend(more);
    }
    let found = parents.into_iter().filter(|(pid, ..)| *pid != root && below.contains(pid));
    found.map(|(pid, _, started)| Process { pid, started, command: command(pid) }).collect()
}

fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline"))
        .unwrap_or_default()
        .replace('\0', " ")
        .trim()
        .to_owned()
}

impl Process {
    pub fn is_alive(&self) -> bool {
        let running =
            |text: String| !text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
        stat(self.pid).is_some_and(|(_, started)| started == self.started)
            && fs::read_to_string(format!("/proc/{}/stat", self.pid)).is_ok_and(running)
    }
}

/// The namespaces of one kind (`net`, `mnt`, `pid`) that any thread of these processes is in and this test is not.
pub fn namespaces(kind: &str, processes: &[Process]) -> BTreeSet<String> {
    let mut found: BTreeSet<String> =
        processes.iter().flat_map(|process| of_threads(process.pid, kind)).collect();
    for mine in of_threads(std::process::id(), kind) {
        found.remove(&mine);
    }
    found
}

/// A thread may be in another network than its process: nodes hold their pods' network that way.
fn of_threads(pid: u32, kind: &str) -> BTreeSet<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let names = threads.filter_map(|thread| fs::read_link(thread.path().join("ns").join(kind)).ok());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Which of the namespaces still hold a thread, or are kept by a mount.
pub fn surviving(kind: &str, names: &BTreeSet<String>) -> Vec<String> {
    let held: BTreeSet<String> = all().into_iter().flat_map(|pid| of_threads(pid, kind)).collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    names.iter().filter(|name| held.contains(*name) || mounts.contains(name.as_str())).cloned().collect()
}

/// Mounts below a folder that this machine (not only some namespace) sees.
pub fn mounts_below(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder = folder.to_string_lossy().into_owned();
    text.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
}

/// Proportional and resident memory of a process, in KiB.
pub fn memory_kib(pid: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some((field("Pss:")?, field("Rss:")?))
}
