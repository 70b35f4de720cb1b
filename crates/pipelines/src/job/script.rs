//! `run:` steps: a script file, a shell, and what the script tells the runner.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{JobRun, StepEnd};
use crate::commands;
use crate::contexts::State;
use crate::process::{self, Outcome, Spec};

/// Longest file that a step may write for the runner; GitHub's limit for outputs of a job.
const FILE_LIMIT: u64 = 1 << 20;
/// Variables that decide about the processes of all later steps, which a step may not set; GitHub refuses them too.
const PROTECTED: [&str; 2] = ["NODE_OPTIONS", "LD_PRELOAD"];

/// One script, evaluated.
pub(super) struct Script {
    pub(super) number: usize,
    pub(super) text: String,
    pub(super) shell: Option<String>,
    pub(super) directory: Option<String>,
    pub(super) env: BTreeMap<String, String>,
}

pub(super) async fn run(
    job: &mut JobRun,
    script: Script,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<StepEnd, String> {
    let directory = match &script.directory {
        Some(directory) => job.directories.resolve(&job.evaluate(directory)?),
        None => job.directories.workspace.clone(),
    };
    if !directory.is_dir() {
        return Err(format!("the working directory {} does not exist", directory.display()));
    }
    let file = job.directories.temp.join(format!("step-{}.sh", script.number));
    write(&file, script.text.as_bytes())?;
    let files = Files::create(&job.directories.temp, script.number)?;
    let mut environment = job.process_environment(&script.env);
    environment.extend(files.variables());
    let shell = script.shell.as_deref().map(|shell| job.evaluate(shell)).transpose()?;
    let (program, arguments) = command(shell.as_deref(), &file)?;
    let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
    if process::find(&program, path).is_none() && !program.contains('/') {
        return Err(format!("the shell `{program}` is not installed"));
    }
    job.log.line(&format!("##[group]Run {}", script.text.trim().lines().next().unwrap_or_default()));
    script.text.trim_end().lines().for_each(|line| job.log.line(line));
    job.log.line("##[endgroup]");
    let spec = Spec { program, arguments, directory, environment };
    let mut listener = Listener::default();
    let log = job.log.clone();
    let outcome = process::run(&spec, deadline, cancel, |line| listener.line(&log, line)).await;
    let outcome = outcome.map_err(|error| format!("cannot start `{}`: {error}", spec.program))?;
    for (level, message) in std::mem::take(&mut listener.annotations) {
        job.annotate_silently(&level, &message);
    }
    let mut outputs = listener.outputs;
    let read = files.read(job, &mut outputs);
    let state = match outcome {
        Outcome::Exited(0) => State::Success,
        Outcome::Exited(code) => {
            job.annotate("error", &format!("Process completed with exit code {code}."));
            State::Failure
        }
        Outcome::TimedOut => {
            job.annotate("error", "The step took longer than its timeout allows.");
            State::Failure
        }
        Outcome::Cancelled => State::Cancelled,
    };
    read?;
    Ok(StepEnd { state, outputs })
}

/// The program and arguments of a shell. Without a choice, errors of a line end the script; with `shell: bash`, also
/// those within a pipe: GitHub's own difference.
fn command(shell: Option<&str>, file: &Path) -> Result<(String, Vec<String>), String> {
    let template = match shell {
        None => "bash -e {0}",
        Some("bash") => "bash --noprofile --norc -eo pipefail {0}",
        Some("sh") => "sh -e {0}",
        Some("python") => "python3 {0}",
        Some(custom) if custom.contains("{0}") => custom,
        Some(other) => return Err(format!("the shell `{other}` is not supported")),
    };
    let file = file.to_string_lossy();
    let mut words = template.split_whitespace().map(|word| word.replace("{0}", &file));
    let program = words.next().unwrap_or_default();
    Ok((program, words.collect()))
}

/// The files by which a script hands values on.
struct Files {
    output: PathBuf,
    env: PathBuf,
    path: PathBuf,
    state: PathBuf,
    summary: PathBuf,
}

impl Files {
    fn create(temp: &Path, number: usize) -> Result<Files, String> {
        let file = |kind: &str| temp.join(format!("step-{number}.{kind}"));
        let files = Files {
            output: file("output"),
            env: file("env"),
            path: file("path"),
            state: file("state"),
            summary: file("summary"),
        };
        for path in [&files.output, &files.env, &files.path, &files.state, &files.summary] {
            write(path, b"")?;
        }
        Ok(files)
    }

    fn variables(&self) -> Vec<(String, String)> {
        let variable =
            |(name, path): (&str, &PathBuf)| (name.to_owned(), path.to_string_lossy().into_owned());
        let all = [
            ("GITHUB_OUTPUT", &self.output),
            ("GITHUB_ENV", &self.env),
            ("GITHUB_PATH", &self.path),
            ("GITHUB_STATE", &self.state),
            ("GITHUB_STEP_SUMMARY", &self.summary),
        ];
        all.into_iter().map(variable).collect()
    }

    /// What the script wrote: outputs of the step, variables and paths for later steps, and a summary beside the log.
    fn read(&self, job: &mut JobRun, outputs: &mut BTreeMap<String, String>) -> Result<(), String> {
        let pairs = |path: &Path, name: &str| {
            commands::parse_file(&read(path)?).map_err(|error| format!("{name}: {error}"))
        };
        outputs.extend(pairs(&self.output, "GITHUB_OUTPUT")?);
        for (name, value) in pairs(&self.env, "GITHUB_ENV")? {
            let upper = name.to_ascii_uppercase();
            if PROTECTED.contains(&upper.as_str())
                || upper.starts_with("GITHUB_")
                || upper.starts_with("RUNNER_")
            {
                job.annotate("warning", &format!("GITHUB_ENV: `{name}` cannot be set"));
            } else {
                job.env.insert(name, value);
            }
        }
        for line in read(&self.path)?.lines().filter(|line| !line.trim().is_empty()) {
            job.path.insert(0, line.trim().to_owned());
        }
        let summary = read(&self.summary)?;
        if !summary.is_empty() {
            let path = job.run.shared.log_path(&job.run.name, &job.id).with_extension("summary.md");
            let before = std::fs::read_to_string(&path).unwrap_or_default();
            write(&path, format!("{before}{}\n", job.log.masked(&summary)).as_bytes())?;
        }
        Ok(())
    }
}

/// Reads the output of a script for commands.
#[derive(Default)]
struct Listener {
    outputs: BTreeMap<String, String>,
    annotations: Vec<(String, String)>,
    /// Commands are off until this word is said.
    stopped: Option<String>,
}

impl Listener {
    fn line(&mut self, log: &crate::log::Log, line: &str) {
        let Some(command) = commands::parse(line) else { return log.line(line) };
        if let Some(word) = &self.stopped {
            if command.name == word.to_ascii_lowercase() {
                self.stopped = None;
            }
            return log.line(line);
        }
        match command.name.as_str() {
            "add-mask" => {
                log.mask(&command.value);
                log.line("::add-mask::***");
            }
            "error" | "warning" | "notice" => {
                let place = command
                    .property("file")
                    .map(|file| format!("{file}:{}: ", command.property("line").unwrap_or("1")));
                let message = format!("{}{}", place.unwrap_or_default(), command.value);
                log.line(&format!("##[{}]{message}", command.name));
                self.annotations.push((command.name, message));
            }
            "debug" => log.line(&format!("##[debug]{}", command.value)),
            "group" => log.line(&format!("##[group]{}", command.value)),
            "endgroup" => log.line("##[endgroup]"),
            "set-output" => {
                if let Some(name) = command.property("name") {
                    self.outputs.insert(name.to_owned(), command.value);
                }
            }
            "stop-commands" => self.stopped = Some(command.value),
            // Accepted as on GitHub, without effect on a `run` step.
            "save-state" | "echo" | "add-matcher" | "remove-matcher" => {}
            _ => log.line(line),
        }
    }
}

impl JobRun {
    /// An annotation whose line is already in the log.
    fn annotate_silently(&mut self, level: &str, message: &str) {
        if self.annotations.len() < super::ANNOTATION_LIMIT {
            let message = self.log.masked(message);
            let annotation = crate::api::Annotation { level: level.to_owned(), message };
            self.annotations.push(annotation.clone());
            self.run.tracker.job(&self.id, |status| status.annotations.push(annotation));
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_or(0, |facts| facts.len());
    if size > FILE_LIMIT {
        return Err(format!("a step wrote more than {FILE_LIMIT} bytes for the runner"));
    }
    // A script may remove its file; then it said nothing.
    Ok(std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default())
}

fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    std::fs::write(path, content).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
