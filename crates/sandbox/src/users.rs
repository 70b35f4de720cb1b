//! From an image's `USER` to numbers, by the image's own `/etc/passwd` and `/etc/group`.

use std::path::{Path, PathBuf};

use crate::User;
use crate::host_base;

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    User(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    Group(String),
}

/// Resolves `user`, `uid`, `user:group` or `uid:gid`; the empty string is root.
pub fn resolve_user(layers: &[PathBuf], host_base: bool, text: &str) -> Result<User, UserError> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let passwd = file(layers, host_base, "passwd");
    let groups = file(layers, host_base, "group");
    let name = if user.is_empty() { "root" } else { user };
    let entry = line_of(&passwd, name);
    let number = |index: usize| entry.as_ref().and_then(|fields| fields.get(index)?.parse::<u32>().ok());
    let uid = number(2)
        .or_else(|| name.parse().ok())
        .or((name == "root").then_some(0))
        .ok_or_else(|| UserError::User(name.to_owned()))?;
    let gid = match group {
        None => number(3).unwrap_or(0),
        Some(group) => line_of(&groups, group)
            .and_then(|fields| fields.get(2)?.parse().ok())
            .or_else(|| group.parse().ok())
            .ok_or_else(|| UserError::Group(group.to_owned()))?,
    };
    let supplementary = match entry.as_ref().and_then(|fields| fields.first()) {
        Some(login) if group.is_none() => memberships(&groups, login, gid),
        _ => Vec::new(),
    };
    Ok(User { uid, gid, groups: supplementary })
}

fn file(layers: &[PathBuf], host_base: bool, name: &str) -> String {
    let found = layers.iter().find_map(|layer| std::fs::read_to_string(layer.join("etc").join(name)).ok());
    found.unwrap_or_else(|| match (host_base, name) {
        (false, _) => String::new(),
        (true, "passwd") => host_base::passwd(None),
        (true, _) => host_base::group(),
    })
}

/// The fields of the line whose name is `key`, or whose third field is that number.
fn line_of(text: &str, key: &str) -> Option<Vec<String>> {
    let fields = |line: &str| -> Vec<String> { line.split(':').map(str::to_owned).collect() };
    let all = || text.lines().map(fields).filter(|fields| fields.len() >= 3);
    all().find(|fields| fields[0] == key).or_else(|| all().find(|fields| fields[2] == key))
}

fn memberships(groups: &str, login: &str, gid: u32) -> Vec<u32> {
    let member =
        |line: &&str| line.rsplit(':').next().is_some_and(|all| all.split(',').any(|one| one == login));
    let number = |line: &str| line.split(':').nth(2)?.parse::<u32>().ok();
    groups.lines().filter(member).filter_map(number).filter(|one| *one != gid).collect()
}

/// The home directory of a user number in an image, `/` if the image does not know it.
pub fn home_of(layers: &[PathBuf], host_base: bool, uid: u32) -> PathBuf {
    let passwd = file(layers, host_base, "passwd");
    let home = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
        (fields.get(2) == Some(&uid.to_string().as_str())).then(|| fields.get(5).copied().map(Path::new))?
    });
    home.map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_groups() {
        let layer = tempfile::tempdir().unwrap();
        std::fs::create_dir(layer.path().join("etc")).unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(layer.path().join("etc").join(name), text).unwrap();
        write("passwd", "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n");
        write("group", "root:x:0:\nnode:x:1001:\naudio:x:29:node\n");
        let layers = [layer.path().to_owned()];
        let check = |text: &str, uid: u32, gid: u32, groups: &[u32]| {
            let user = resolve_user(&layers, false, text).unwrap();
            assert_eq!(user, User { uid, gid, groups: groups.to_vec() }, "{text}");
        };
        check("", 0, 0, &[]);
        check("node", 1000, 1001, &[29]);
        check("1000", 1000, 1001, &[29]);
        check("node:audio", 1000, 29, &[]);
        check("4711", 4711, 0, &[]);
        check("7:8", 7, 8, &[]);
        assert_eq!(
            resolve_user(&layers, false, "nobody").unwrap_err().to_string(),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert_eq!(home_of(&layers, false, 1000), Path::new("/home/node"));
        assert_eq!(resolve_user(&[], true, "node").unwrap().uid, 1000);
    }
}
