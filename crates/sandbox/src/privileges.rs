//! Giving up privileges: user, groups, capabilities, in the order the kernel wants.

use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::{Capabilities, User};

/// What container runtimes agree to leave to a container.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Becomes `user` with the capabilities that are left to it. Last step before the program runs.
/// `many_users` is what [`has_id_range`] says.
pub(crate) fn drop_to(
    user: &User,
    capabilities: &Capabilities,
    no_new_privs: bool,
    many_users: bool,
) -> io::Result<()> {
    if many_users {
        let kept = kept(capabilities);
        for one in CapabilitySet::all().difference(kept).iter() {
            // Unknown to this kernel: it cannot be held either.
            let _ = rustix::thread::remove_capability_from_bounding_set(one);
        }
        let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups)?;
        let gid = Gid::from_raw(user.gid);
        setresgid(gid, gid, gid)?;
        let uid = Uid::from_raw(user.uid);
        setresuid(uid, uid, uid)?;
        if user.uid == 0 {
            let kept = kept & rustix::thread::capabilities(None)?.permitted;
            let sets =
                CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
            rustix::thread::set_capabilities(None, sets)?;
        }
    } else if user.uid != 0 || user.gid != 0 {
        // Only one user exists in this namespace, so the process gets a namespace in which that one user
        // carries the wanted number. Its files belong to that number too.
        let (outer_uid, outer_gid) = (Uid::effective(), Gid::effective());
        unshare(CloneFlags::CLONE_NEWUSER)?;
        map_self(user.uid, outer_uid.as_raw(), user.gid, outer_gid.as_raw())?;
    }
    if no_new_privs {
        rustix::thread::set_no_new_privs(true)?;
    }
    Ok(())
}

/// Writes the maps of the user namespace this process has just made: one user, one group.
pub(crate) fn map_self(uid: u32, outer_uid: u32, gid: u32, outer_gid: u32) -> io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {outer_uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {outer_gid} 1"))
}

/// Whether this user namespace has more users than the one of its maker.
pub(crate) fn has_id_range() -> io::Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    let ids: u64 = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    Ok(ids > 1)
}

fn kept(changes: &Capabilities) -> CapabilitySet {
    let all = |names: &[String]| names.iter().any(|name| name == "ALL");
    let mut kept = CapabilitySet::empty();
    if all(&changes.add) {
        kept = CapabilitySet::all();
    } else if !all(&changes.drop) {
        DEFAULT.iter().filter_map(|name| by_name(name)).for_each(|one| kept |= one);
    }
    changes.drop.iter().filter_map(|name| by_name(name)).for_each(|one| kept -= one);
    changes.add.iter().filter_map(|name| by_name(name)).for_each(|one| kept |= one);
    kept
}

fn by_name(name: &str) -> Option<CapabilitySet> {
    CapabilitySet::from_name(name.strip_prefix("CAP_").unwrap_or(name))
}
