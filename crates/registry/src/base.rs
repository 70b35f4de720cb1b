//! Host base images: what stands in for a well-known base image when no registry answers.
//!
//! Such an image has no layers. Its config carries [`HOST_IMAGE_LABEL`], and the sandbox lays the machine's `/usr` under
//! the container. What is true of the real image's config (variables, command, ports) is kept; entry points
//! that only exist inside the real image are not. Every use comes with a warning that names the substitution.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::image::{ImageConfig, RunConfig, architecture};
use crate::reference::Reference;

/// Label of an image that runs on the machine's own programs; its value is the image's short name.
pub const HOST_IMAGE_LABEL: &str = "dev.portolan.host-image";
/// Label with the version of the program that the image is about, as the program prints it.
pub const HOST_VERSION_LABEL: &str = "dev.portolan.host-version";

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where a program has to be, so that the container finds it: only `/usr` is laid under it.
const PLACES: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/local/sbin"];

/// An image made from this machine.
#[derive(Clone, Debug)]
pub struct HostImage {
    /// `node`, `postgres`, …
    pub name: String,
    pub config: ImageConfig,
    /// For build logs and pod events.
    pub warning: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BaseError {
    #[error("no base image of this machine stands in for {0}")]
    Unknown(String),
    #[error(
        "the base image {image} can only be made from this machine's {program}, which is not below /usr: \
         install the package {package}"
    )]
    Missing { image: String, program: String, package: String },
}

struct Known {
    name: &'static str,
    program: &'static str,
    /// Debian's package of the program.
    package: &'static str,
    version_argument: &'static str,
    command: &'static [&'static str],
    ports: &'static [&'static str],
    stop_signal: Option<&'static str>,
}

const KNOWN: [Known; 5] = [
    Known {
        name: "node",
        program: "node",
        package: "nodejs",
        version_argument: "--version",
        command: &["node"],
        ports: &[],
        stop_signal: None,
    },
    Known {
        name: "nginx",
        program: "nginx",
        package: "nginx",
        version_argument: "-v",
        command: &["nginx", "-g", "daemon off;"],
        ports: &["80/tcp"],
        stop_signal: Some("SIGQUIT"),
    },
    Known {
        name: "postgres",
        program: "postgres",
        package: "postgresql",
        version_argument: "--version",
        command: &["postgres"],
        ports: &["5432/tcp"],
        stop_signal: Some("SIGINT"),
    },
    Known {
        name: "debian",
        program: "bash",
        package: "bash",
        version_argument: "--version",
        command: &["bash"],
        ports: &[],
        stop_signal: None,
    },
    Known {
        name: "busybox",
        program: "sh",
        package: "dash",
        version_argument: "",
        command: &["sh"],
        ports: &[],
        stop_signal: None,
    },
];

/// The short name of the host image that can stand in for `reference`, if any.
pub fn stand_in(reference: &Reference) -> Option<&'static str> {
    let name = match reference.library_name() {
        Some(name) => name,
        None if reference.registry == "ghcr.io" && reference.repository == "cloudnative-pg/postgresql" => {
            "postgres"
        }
        None => return None,
    };
    KNOWN.iter().map(|known| known.name).find(|known| *known == name)
}

/// Makes the host image for `reference`; `reason` says why the real one is not used. Runs the program once for its
/// version, so it blocks.
///
/// # Errors
/// No host image stands in for it, or the program is not installed.
pub fn make(reference: &Reference, reason: &str) -> Result<HostImage, BaseError> {
    let unknown = || BaseError::Unknown(reference.familiar());
    let name = stand_in(reference).ok_or_else(unknown)?;
    let known = KNOWN.iter().find(|known| known.name == name).ok_or_else(unknown)?;
    let program = find(known.program).ok_or_else(|| BaseError::Missing {
        image: reference.familiar(),
        program: known.program.to_string(),
        package: known.package.to_string(),
    })?;
    let version = version(&program, known.version_argument);
    let mut run = RunConfig {
        env: vec![format!("PATH={}", path_with(&program))],
        cmd: Some(known.command.iter().map(ToString::to_string).collect()),
        exposed_ports: known.ports.iter().map(|port| (port.to_string(), json!({}))).collect(),
        stop_signal: known.stop_signal.map(str::to_string),
        ..RunConfig::default()
    };
    variables(&mut run, name, &version);
    run.labels.insert(HOST_IMAGE_LABEL.to_string(), name.to_string());
    if !version.is_empty() {
        run.labels.insert(HOST_VERSION_LABEL.to_string(), version.clone());
    }
    let config = ImageConfig {
        architecture: architecture().to_string(),
        os: "linux".to_string(),
        config: run,
        ..ImageConfig::default()
    };
    let having = if version.is_empty() { String::new() } else { format!(" ({version})") };
    let warning = format!(
        "{} is not available ({reason}): using this machine's {}{having} in its place",
        reference.familiar(),
        known.program,
    );
    Ok(HostImage { name: name.to_string(), config, warning })
}

/// The variables that the real image sets and that are true here.
fn variables(run: &mut RunConfig, name: &str, version: &str) {
    match name {
        "node" => run.set_env("NODE_VERSION", version.trim_start_matches('v')),
        "postgres" => {
            let number = version.rsplit(' ').find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
            run.set_env("PG_MAJOR", number.and_then(|n| n.split('.').next()).unwrap_or_default());
            run.set_env("LANG", "C.UTF-8");
            run.set_env("PGDATA", "/var/lib/postgresql/data");
        }
        _ => {}
    }
}

/// `/usr/bin/postgres` or Debian's `/usr/lib/postgresql/17/bin/postgres`, the highest version first.
fn find(program: &str) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    if program == "postgres" {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut numbers: Vec<u32> = versions
            .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
            .collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        places
            .extend(numbers.iter().map(|number| PathBuf::from(format!("/usr/lib/postgresql/{number}/bin"))));
    }
    places.iter().map(|place| place.join(program)).find(|path| path.is_file())
}

fn path_with(program: &Path) -> String {
    match program.parent().and_then(Path::to_str) {
        Some(directory) if !PATH.split(':').any(|known| known == directory) => format!("{PATH}:{directory}"),
        _ => PATH.to_string(),
    }
}

/// The first line that the program prints about its version; empty if it has none.
fn version(program: &Path, argument: &str) -> String {
    if argument.is_empty() {
        return String::new();
    }
    let Ok(output) = Command::new(program).arg(argument).output() else { return String::new() };
    // nginx prints it to standard error.
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_known_images_have_a_stand_in() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(stand_in(&text.parse().unwrap()), expected, "{text}");
        };
        check("node:20-slim", Some("node"));
        check("docker.io/library/postgres:16", Some("postgres"));
        check("ghcr.io/cloudnative-pg/postgresql:16.4", Some("postgres"));
        check("busybox", Some("busybox"));
        check("redis", None);
        check("localhost:7007/library/node", None);
        check("someone/node", None);
    }

    #[test]
    fn a_shell_image_names_what_it_stands_for() {
        let image = make(&"busybox:1.36".parse().unwrap(), "offline").unwrap();
        assert_eq!(image.config.config.labels[HOST_IMAGE_LABEL], "busybox");
        assert_eq!(image.config.config.cmd, Some(vec!["sh".to_string()]));
        assert_eq!(image.config.rootfs.diff_ids, []);
        assert_eq!(
            image.warning,
            "busybox:1.36 is not available (offline): using this machine's sh in its place"
        );
        let unknown = make(&"redis".parse().unwrap(), "offline").unwrap_err();
        assert_eq!(unknown, BaseError::Unknown("redis:latest".to_string()));
    }
}
