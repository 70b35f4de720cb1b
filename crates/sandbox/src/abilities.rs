//! What this machine lets us isolate, found out once.

use std::fs;

use nix::unistd::Uid;
use rustix::thread::CapabilitySet;

use crate::{Cgroups, privileges};

/// What to do when user namespaces are refused.
pub(crate) const USER_NAMESPACE_REMEDY: &str = "Run as root, or allow unprivileged user namespaces \
    (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)";

/// What people are told where control groups cannot be written.
const NO_LIMITS: &str =
    "Resource limits are not enforced: no control group is writable. Run as root to have them.";
/// What people are told where a user namespace holds one user only.
const ONE_USER: &str = "Every file belongs to one user, since this is an ordinary user's session: programs that start \
    as root and change to another user fail. Run as root to have more users.";

/// What this machine allows, and in words what is missing.
#[derive(Clone, Debug)]
pub struct Abilities {
    /// Namespaces can be made without a user namespace of our own.
    pub privileged: bool,
    /// More than one user exists in our user namespace, so files may belong to different users.
    pub many_users: bool,
    /// User namespaces can be made.
    pub user_namespaces: bool,
    /// Limits of memory, processor and processes are enforced.
    pub limits: bool,
    /// One sentence for each thing that is missing, with its remedy.
    pub missing: Vec<String>,
}

impl Abilities {
    /// Looks at the machine without changing it.
    pub fn detect() -> Abilities {
        let privileged = may_mount();
        let user_namespaces = privileged || user_namespaces_allowed();
        let many_users = privileges::has_id_range().unwrap_or(false) && privileged;
        let limits = Cgroups::available();
        let mut missing = Vec::new();
        if !user_namespaces {
            missing.push(format!("Processes cannot be isolated. {USER_NAMESPACE_REMEDY}."));
        }
        if user_namespaces && !many_users {
            missing.push(ONE_USER.into());
        }
        if !limits {
            missing.push(NO_LIMITS.into());
        }
        Abilities { privileged, many_users, user_namespaces, limits, missing }
    }

    /// Whether anything can be isolated at all.
    pub fn usable(&self) -> bool {
        self.user_namespaces
    }
}

/// Whether this process may mount and make namespaces where it is.
pub(crate) fn may_mount() -> bool {
    Uid::effective().is_root()
        && rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

fn user_namespaces_allowed() -> bool {
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    number("/proc/sys/user/max_user_namespaces").is_none_or(|max| max > 0)
        && number("/proc/sys/kernel/unprivileged_userns_clone").is_none_or(|on| on > 0)
        && number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_none_or(|on| on == 0)
}
