//! The reference implementation, asked for the same tree: `kubectl kustomize`, or a program that stays up.
//!
//! `PORTOLAN_ORACLE` names such a program: it reads the path of a directory from each line of its input and answers
//! with a line `ok LENGTH` or `err LENGTH` and that many bytes. It saves the start of a process for each case.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// The oldest kustomize to compare with.
const OLDEST: (u32, u32) = (5, 5);

pub(crate) enum Oracle {
    Kubectl,
    Server { child: Child, input: ChildStdin, output: BufReader<ChildStdout> },
}

/// A build's output, or why it failed.
pub(crate) type Outcome = Result<String, String>;

impl Oracle {
    /// The reference on this machine, or why there is none to compare with.
    pub(crate) fn start() -> Result<Self, String> {
        if let Some(program) = std::env::var_os("PORTOLAN_ORACLE") {
            let mut child = Command::new(program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| format!("PORTOLAN_ORACLE does not start: {error}"))?;
            let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            return Ok(Self::Server { child, input, output: BufReader::new(output) });
        }
        let version = kubectl_version()?;
        if version < OLDEST {
            return Err(format!("the kustomize of kubectl is {version:?}, older than {OLDEST:?}"));
        }
        Ok(Self::Kubectl)
    }

    pub(crate) fn build(&mut self, dir: &Path) -> Outcome {
        match self {
            Self::Kubectl => kubectl_build(dir),
            Self::Server { input, output, .. } => {
                writeln!(input, "{}", dir.display()).unwrap();
                input.flush().unwrap();
                let mut line = String::new();
                output.read_line(&mut line).unwrap();
                let (status, length) = line.trim().split_once(' ').expect("an answer of the reference");
                let mut text = vec![0; length.parse().unwrap()];
                output.read_exact(&mut text).unwrap();
                let text = String::from_utf8_lossy(&text).into_owned();
                if status == "ok" { Ok(text) } else { Err(text) }
            }
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        if let Self::Server { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn kubectl_build(dir: &Path) -> Outcome {
    let output = Command::new("kubectl").arg("kustomize").arg(dir).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn kubectl_version() -> Result<(u32, u32), String> {
    let output = Command::new("kubectl").args(["version", "--client", "-o", "json"]).output();
    let output = output.map_err(|_| "kubectl is not installed".to_owned())?;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let version = found["kustomizeVersion"].as_str().unwrap_or_default().to_owned();
    let mut numbers = version.trim_start_matches('v').split('.').map(|number| number.parse().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => Err(format!("kubectl does not say which kustomize it has: {version:?}")),
    }
}
