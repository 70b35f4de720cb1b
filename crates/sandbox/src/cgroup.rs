//! Resource limits through control groups, version 1 or 2, by their files alone.
//!
//! Everything is made below `portolan/<name>` of each hierarchy, so a sweep knows what is ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Limits;

const ROOT: &str = "/sys/fs/cgroup";
/// Period over which the processor quota counts, in microseconds; Kubernetes' own choice.
const PERIOD_US: u64 = 100_000;

/// The control groups of one owner, such as one node.
#[derive(Clone, Debug)]
pub struct Cgroups {
    version: Version,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What a control group's processes use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the group was made, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory without the page cache that can be given up.
    pub memory_bytes: u64,
    /// Processes that the kernel killed for memory.
    pub oom_kills: u64,
}

impl Cgroups {
    /// Whether limits can be enforced on this machine.
    pub fn available() -> bool {
        version().is_some_and(|version| {
            roots(version).iter().all(|root| {
                rustix::fs::access(root, rustix::fs::Access::WRITE_OK).is_ok()
                    && !rustix::fs::statvfs(root)
                        .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
            })
        })
    }

    /// The groups of `name`, swept of what an earlier run left; `None` where limits cannot be enforced.
    pub fn open(name: &str) -> Option<Cgroups> {
        let cgroups = Cgroups { version: version()?, name: name.to_owned() };
        for directory in cgroups.bases() {
            fs::create_dir_all(&directory).ok()?;
        }
        if cgroups.version == Version::Two {
            for path in [PathBuf::from(ROOT), Path::new(ROOT).join("portolan"), cgroups.bases()[0].clone()] {
                fs::write(path.join("cgroup.subtree_control"), "+cpu +memory +pids").ok()?;
            }
        }
        cgroups.sweep();
        Some(cgroups)
    }

    /// Makes the group `id` with limits; the directories are for [`crate::Spec::cgroup`].
    pub fn create(&self, id: &str, limits: &Limits) -> io::Result<Vec<PathBuf>> {
        self.remove(id);
        let directories: Vec<PathBuf> = self.bases().iter().map(|base| base.join(id)).collect();
        for directory in &directories {
            fs::create_dir_all(directory)?;
        }
        let shares = limits.cpu_request_millis.map(|millis| (millis * 1024 / 1000).max(2));
        let quota = limits.cpu_millis.map(|millis| (millis * PERIOD_US / 1000).max(1000));
        let set = |file: &str, value: Option<String>| -> io::Result<()> {
            let Some(value) = value else { return Ok(()) };
            let Some(directory) = directories.iter().find(|one| one.join(file).exists()) else {
                return Ok(());
            };
            fs::write(directory.join(file), value)
        };
        match self.version {
            Version::One => {
                set("memory.limit_in_bytes", limits.memory_bytes.map(|bytes| bytes.to_string()))?;
                set("cpu.cfs_period_us", quota.map(|_| PERIOD_US.to_string()))?;
                set("cpu.cfs_quota_us", quota.map(|quota| quota.to_string()))?;
                set("cpu.shares", shares.map(|shares| shares.to_string()))?;
            }
            Version::Two => {
                set("memory.max", limits.memory_bytes.map(|bytes| bytes.to_string()))?;
                set("memory.oom.group", limits.memory_bytes.map(|_| "1".to_owned()))?;
                set("cpu.max", quota.map(|quota| format!("{quota} {PERIOD_US}")))?;
                set("cpu.weight", shares.map(|shares| (1 + (shares - 2) * 9999 / 262_142).to_string()))?;
            }
        }
        set("pids.max", limits.pids.map(|pids| pids.to_string()))?;
        Ok(directories)
    }

    /// What the group `id` uses now; zero for what this machine does not count.
    pub fn usage(&self, id: &str) -> Usage {
        let read = |file: &str| {
            self.bases().iter().find_map(|base| fs::read_to_string(base.join(id).join(file)).ok())
        };
        let number = |file: &str| read(file).and_then(|text| text.trim().parse::<u64>().ok());
        let field = |file: &str, key: &str| {
            read(file).and_then(|text| {
                let line = text
                    .lines()
                    .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned));
                line?.trim().parse::<u64>().ok()
            })
        };
        let idle = field(
            "memory.stat",
            if self.version == Version::One { "total_inactive_file" } else { "inactive_file" },
        );
        let (memory, cpu_nanos, oom_kills) = match self.version {
            Version::One => (
                number("memory.usage_in_bytes"),
                number("cpuacct.usage"),
                field("memory.oom_control", "oom_kill"),
            ),
            Version::Two => (
                number("memory.current"),
                field("cpu.stat", "usage_usec").map(|micros| micros * 1000),
                field("memory.events", "oom_kill"),
            ),
        };
        Usage {
            cpu_nanos: cpu_nanos.unwrap_or(0),
            memory_bytes: memory.unwrap_or(0).saturating_sub(idle.unwrap_or(0)),
            oom_kills: oom_kills.unwrap_or(0),
        }
    }

    /// Removes the group `id`; one that still has processes stays for the next sweep.
    pub fn remove(&self, id: &str) {
        for base in self.bases() {
            let _ = fs::remove_dir(base.join(id));
        }
    }

    /// Removes all groups that have no process, and the owner's own directory if none is left.
    pub fn close(&self) {
        self.sweep();
        for base in self.bases() {
            let _ = fs::remove_dir(base);
        }
    }

    /// Removes all groups that have no process.
    pub fn sweep(&self) {
        for base in self.bases() {
            for entry in fs::read_dir(base).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    fn bases(&self) -> Vec<PathBuf> {
        roots(self.version).iter().map(|root| root.join("portolan").join(&self.name)).collect()
    }
}

fn version() -> Option<Version> {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return Some(Version::Two);
    }
    Path::new(ROOT).join("memory/cgroup.procs").exists().then_some(Version::One)
}

/// The hierarchies that limits are spread over; version 1 has one per controller that is mounted.
fn roots(version: Version) -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    match version {
        Version::Two => vec![root.to_owned()],
        Version::One => {
            let mounted = ["memory", "cpu", "cpuacct", "pids"].map(|name| root.join(name));
            let mut roots: Vec<PathBuf> = Vec::new();
            for path in mounted {
                // `cpu` and `cpuacct` are often two names of one directory.
                let real = fs::canonicalize(&path).unwrap_or(path);
                if real.join("cgroup.procs").exists() && !roots.contains(&real) {
                    roots.push(real);
                }
            }
            roots
        }
    }
}
