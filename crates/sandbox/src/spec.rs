//! What an isolated process is made of, as plain data: it crosses from the caller to the launcher as JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One isolated process. `Spec::default()` runs nothing; set at least `scratch`, `args` and either `layers` or `host_base`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spec {
    /// Directory of this sandbox alone. The launcher makes what it needs in it; `upper/` below it holds
    /// everything that the process wrote to its root (an overlay's upper directory, so a layer's difference).
    pub scratch: PathBuf,
    /// Unpacked image layers, top first. Whiteouts are overlayfs whiteouts.
    pub layers: Vec<PathBuf>,
    /// Lay the machine's own `/usr` (read-only) and a minimal `/etc` below the layers.
    pub host_base: bool,
    /// Mounted in order, after the root, `/proc`, `/sys` and `/dev`.
    pub mounts: Vec<Mount>,
    /// Program and arguments; a program without `/` is looked up in the `PATH` of `env`.
    pub args: Vec<String>,
    /// The whole environment, nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Made if it is missing, as an image's `WORKDIR` is.
    pub cwd: PathBuf,
    pub user: User,
    pub hostname: String,
    /// Content of `/etc/resolv.conf`; `None` keeps the image's (with [`Network::Host`]: takes the machine's).
    pub resolv_conf: Option<String>,
    /// Content of `/etc/hosts`; `None` gives one with `localhost` and the host name.
    pub hosts: Option<String>,
    pub network: Network,
    pub limits: Limits,
    /// Directories made by [`crate::Cgroups::create`] which the process joins before it runs.
    pub cgroup: Vec<PathBuf>,
    pub no_new_privs: bool,
    pub capabilities: Capabilities,
    pub read_only_root: bool,
    /// Standard input is a terminal that becomes the controlling one.
    pub terminal: bool,
}

impl Spec {
    /// Where the files that the process wrote to its root are found.
    pub fn upper(&self) -> PathBuf {
        self.scratch.join("upper")
    }
}

/// A file or directory of the machine (or a fresh tmpfs) at a path inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    pub kind: MountKind,
    /// Absolute path inside; missing directories (or the file) are made.
    pub target: PathBuf,
    pub read_only: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// Bind mount of an existing file or directory.
    Bind(PathBuf),
    /// Fresh memory-backed directory, with a size limit in bytes.
    Tmpfs { size_bytes: Option<u64> },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A fresh network namespace with nothing but the loopback device.
    #[default]
    None,
    /// The network of the caller.
    Host,
    /// A network namespace by the path of its handle, such as `/proc/7/fd/12`.
    Namespace(PathBuf),
}

/// Upper bounds, enforced through [`crate::Cgroups`] where the machine allows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Relative weight of the processor under contention, in thousandths of a processor requested.
    pub cpu_request_millis: Option<u64>,
    pub pids: Option<u64>,
}

/// Changes to the default capability list (the one container runtimes agree on), names without `CAP_`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Capabilities {
    pub add: Vec<String>,
    pub drop: Vec<String>,
}

/// A further process in a running sandbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EnterSpec {
    /// Process id of the sandbox's first process, as [`crate::Child::pid`] gives it.
    pub pid: u32,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    pub user: User,
    pub cgroup: Vec<PathBuf>,
    pub no_new_privs: bool,
    pub capabilities: Capabilities,
    /// Standard input is a terminal that becomes the controlling one.
    pub terminal: bool,
}
