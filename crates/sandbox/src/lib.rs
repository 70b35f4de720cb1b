//! One isolated process: its own namespaces, root file system, mounts, identity and limits.
//!
//! The caller describes the process as a [`Spec`] and calls [`spawn`]. Namespaces can only be entered by a
//! process with a single thread, so the work is done by a *launcher*: the same program started again, whose
//! `main` calls [`init::main`] before any thread exists. The launcher lives as long as the process it started,
//! holds a socket to the caller and kills the process when that socket closes, so nothing outlives its owner.

mod abilities;
mod cgroup;
mod child;
mod fds;
mod host_base;
pub mod init;
mod privileges;
mod rootfs;
mod spec;
mod users;

pub use abilities::Abilities;
pub use cgroup::{Cgroups, Usage};
pub use child::{Child, Entered, Exit, Launcher, Output, SpawnError, Stdio, Terminal, enter, spawn};
pub use spec::{Capabilities, EnterSpec, Limits, Mount, MountKind, Network, Spec, User};
pub use users::{UserError, home_of, resolve_user};
