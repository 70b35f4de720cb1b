//! What the node says about the machine it is on.

use std::fs;

/// Processors that this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The machine's memory.
pub(crate) fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .map_or(1 << 30, |kb| kb * 1024)
}

/// The size of the file system that holds `path`.
pub(crate) fn storage_bytes(path: &std::path::Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |fs| fs.f_blocks * fs.f_frsize)
}

/// The kernel's release.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The distribution's name for people.
pub(crate) fn operating_system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// The machine's and the boot's identity; empty where the machine has none.
pub(crate) fn identity() -> (String, String) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    (read("/etc/machine-id"), read("/proc/sys/kernel/random/boot_id"))
}

/// The architecture in Go's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
