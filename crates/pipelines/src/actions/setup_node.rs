//! `actions/setup-node`: the Node.js of this machine. Another version is not installed: the step says which one there is.

use std::time::Duration;

use super::Call;
use crate::process;

/// `node --version` answers at once, or never.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn run(call: &mut Call<'_>) -> Result<(), String> {
    let environment = call.job.process_environment(&call.env);
    let path = environment.get("PATH").cloned().unwrap_or_default();
    let Some(node) = process::find("node", &path) else {
        return Err("Node.js is not installed on this machine: install the package `nodejs`".to_owned());
    };
    let mut command = tokio::process::Command::new(&node);
    command.arg("--version").env_clear().envs(&environment).kill_on_drop(true);
    let output = tokio::time::timeout(TIMEOUT, command.output()).await;
    let output = output.map_err(|_| "`node --version` does not end".to_owned())?;
    let output = output.map_err(|error| format!("cannot start {}: {error}", node.display()))?;
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let wanted = match (call.input("node-version"), call.input("node-version-file")) {
        (Some(version), _) => Some(version.to_owned()),
        (None, Some(file)) => Some(read_version(&call.job.directories.resolve(file))?),
        (None, None) => None,
    };
    call.log.line(&format!("Node.js {found} at {}", node.display()));
    let other = |wanted: &String| major(wanted).is_some_and(|number| Some(number) != major(&found));
    if let Some(wanted) = wanted.filter(other) {
        let message = format!("Node.js {wanted} is asked for; the machine has {found}, which is used");
        call.job.annotate("warning", &message);
    }
    call.output("node-version", found);
    call.output("cache-hit", "false");
    Ok(())
}

/// `.nvmrc`, `.node-version`, or `engines.node` of a `package.json`.
fn read_version(path: &std::path::Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if path.extension().is_some_and(|extension| extension == "json") {
        let package: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(package["engines"]["node"].as_str().unwrap_or_default().to_owned());
    }
    Ok(text.trim().to_owned())
}

/// The first number of a version or range; `lts/*` and `latest` have none.
fn major(version: &str) -> Option<u32> {
    let start = version.find(|c: char| c.is_ascii_digit())?;
    let digits: String = version[start..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn majors_of_versions_and_ranges() {
        for (version, expected) in [
            ("20", Some(20)),
            ("v20.11.1", Some(20)),
            (">=18", Some(18)),
            ("20.x", Some(20)),
            ("lts/*", None),
            ("", None),
        ] {
            assert_eq!(major(version), expected, "{version}");
        }
    }
}
