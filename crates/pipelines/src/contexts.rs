//! What expressions see: the contexts `github`, `env`, `vars`, `secrets`, `inputs`, `needs`, `strategy`, `matrix`, `job`,
//! `runner`, `steps`, and the functions that depend on them.

use std::path::{Path, PathBuf};

use dialect::actions::Environment;
use serde_json::{Map, Value, json};

use crate::api::RunSpec;

/// Files that `hashFiles` reads at most; a build tree that is matched by accident is an error, not an hour.
const HASH_FILE_LIMIT: usize = 50_000;

/// Values by context name, and the state that status functions ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contexts {
    pub(crate) values: Map<String, Value>,
    pub(crate) state: State,
    /// Where `hashFiles` looks; none before a job has a workspace.
    pub(crate) workspace: Option<PathBuf>,
}

/// How it went so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Success,
    Failure,
    Cancelled,
    /// A needed job was skipped: neither success nor failure.
    Skipped,
}

impl State {
    /// GitHub's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            State::Success => "success",
            State::Failure => "failure",
            State::Cancelled => "cancelled",
            State::Skipped => "skipped",
        }
    }
}

impl Contexts {
    /// Sets a context.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }
}

impl Environment for Contexts {
    fn context(&self, name: &str) -> Option<Value> {
        self.values.get(name).cloned()
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        Some(match name {
            "success" => Ok(json!(self.state == State::Success)),
            "failure" => Ok(json!(self.state == State::Failure)),
            "cancelled" => Ok(json!(self.state == State::Cancelled)),
            "always" => Ok(json!(true)),
            "hashfiles" => match &self.workspace {
                Some(workspace) => hash_files(workspace, arguments).map(Value::String),
                None => Err("there is no workspace here".to_owned()),
            },
            _ => return None,
        })
    }
}

/// The `github` context of a run, without the parts that belong to a job.
pub(crate) fn github(spec: &RunSpec, server_url: &str, token: &str) -> Value {
    let owner = spec.repository.split('/').next().unwrap_or_default();
    let (kind, name) = match spec.reference.strip_prefix("refs/tags/") {
        Some(tag) => ("tag", tag),
        None => ("branch", spec.reference.strip_prefix("refs/heads/").unwrap_or(&spec.reference)),
    };
    json!({
        "actor": spec.actor,
        "triggering_actor": spec.actor,
        "api_url": format!("{server_url}/api/v3"),
        "server_url": server_url,
        "event": spec.payload,
        "event_name": spec.event,
        "ref": spec.reference,
        "ref_name": name,
        "ref_type": kind,
        "ref_protected": false,
        "repository": spec.repository,
        "repository_owner": owner,
        "run_id": spec.run_id.to_string(),
        "run_number": spec.run_number.to_string(),
        "run_attempt": spec.attempt.to_string(),
        "sha": spec.sha,
        "token": token,
        "workflow": spec.workflow,
        "workflow_ref": format!("{}/{}@{}", spec.repository, spec.path, spec.reference),
        "workflow_sha": spec.sha,
        "head_ref": "",
        "base_ref": "",
        "job": "",
        "action": "",
        "workspace": "",
    })
}

/// SHA-256 over the SHA-256 of each matching file, in the order of their paths; empty if nothing matches.
fn hash_files(workspace: &Path, patterns: &[Value]) -> Result<String, String> {
    use aws_lc_rs::digest::{Context, SHA256, digest};
    let mut files = Vec::new();
    for pattern in patterns {
        let text = dialect::actions::text_of(pattern);
        let (negated, pattern) = text.strip_prefix('!').map_or((false, text.as_str()), |rest| (true, rest));
        let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build();
        let matcher = glob.map_err(|error| error.to_string())?.compile_matcher();
        if negated {
            files.retain(|path: &PathBuf| !matcher.is_match(path));
        } else {
            for path in walk(workspace)? {
                if matcher.is_match(&path) && !files.contains(&path) {
                    files.push(path);
                }
            }
        }
    }
    if files.is_empty() {
        return Ok(String::new());
    }
    files.sort();
    let mut all = Context::new(&SHA256);
    for path in files {
        let content =
            std::fs::read(workspace.join(&path)).map_err(|error| format!("{}: {error}", path.display()))?;
        all.update(digest(&SHA256, &content).as_ref());
    }
    Ok(all.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All files below a directory, relative to it; links are not followed.
fn walk(root: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut files, mut pending) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(root.join(&directory)).into_iter().flatten().flatten() {
            let path = directory.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != ".git" => pending.push(path),
                Ok(kind) if kind.is_file() => files.push(path),
                _ => {}
            }
            if files.len() > HASH_FILE_LIMIT {
                return Err(format!("more than {HASH_FILE_LIMIT} files"));
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_depend_on_matching_files_only() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        std::fs::write(directory.path().join("a.lock"), "1").unwrap();
        std::fs::write(directory.path().join("sub/b.lock"), "2").unwrap();
        let contexts = Contexts { workspace: Some(directory.path().into()), ..Contexts::default() };
        let hash = |expression: &str| dialect::actions::evaluate(expression, &contexts).unwrap();
        let before = hash("hashFiles('**/*.lock')");
        assert_eq!(before.as_str().unwrap().len(), 64);
        assert_eq!(hash("hashFiles('nothing')"), "");
        assert_eq!(hash("hashFiles('*.lock')"), hash("hashFiles('**/*.lock', '!sub/*')"));
        std::fs::write(directory.path().join("other"), "3").unwrap();
        assert_eq!(hash("hashFiles('**/*.lock')"), before);
        std::fs::write(directory.path().join("sub/b.lock"), "4").unwrap();
        assert_ne!(hash("hashFiles('**/*.lock')"), before);
    }
}
