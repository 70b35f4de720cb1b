//! One step's process: in a process group of its own, with a clean environment, its output line by line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::log::LINE_LIMIT;

/// Between the polite signal and the one that cannot be refused.
const GRACE: Duration = Duration::from_secs(5);
/// After the end of a process, its output may still be open in a background process; what comes later is not waited for.
const DRAIN: Duration = Duration::from_millis(500);
/// Lines that wait for the log; the process waits beyond that.
const LINE_BUFFER: usize = 256;
/// The variable by which processes that outlive their step are found again; GitHub's runner uses it the same way.
pub(crate) const TRACKING: &str = "RUNNER_TRACKING_ID";

/// What to start.
pub(crate) struct Spec {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) directory: PathBuf,
    /// The whole environment.
    pub(crate) environment: BTreeMap<String, String>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Exited(i32),
    Cancelled,
    TimedOut,
}

/// Runs a process to its end, to `deadline` or until `cancel`; `line` gets each line of both outputs.
pub(crate) async fn run(
    spec: &Spec,
    deadline: Instant,
    cancel: &CancellationToken,
    mut line: impl FnMut(&str),
) -> std::io::Result<Outcome> {
    let mut command = Command::new(&spec.program);
    command.args(&spec.arguments).current_dir(&spec.directory).env_clear().envs(&spec.environment);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (sender, mut lines) = mpsc::channel(LINE_BUFFER);
    let readers = [
        child.stdout.take().map(|stream| tokio::spawn(read_lines(stream, sender.clone()))),
        child.stderr.take().map(|stream| tokio::spawn(read_lines(stream, sender))),
    ];
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let _guard = Group(group);
    let outcome = wait(&mut child, group, deadline, cancel, &mut lines, &mut line).await?;
    let drained = Instant::now() + DRAIN;
    while let Ok(Some(text)) = tokio::time::timeout_at(drained, lines.recv()).await {
        line(&text);
    }
    readers.into_iter().flatten().for_each(|reader| reader.abort());
    Ok(outcome)
}

async fn wait(
    child: &mut Child,
    group: Option<Pid>,
    deadline: Instant,
    cancel: &CancellationToken,
    lines: &mut mpsc::Receiver<String>,
    line: &mut impl FnMut(&str),
) -> std::io::Result<Outcome> {
    let (mut ended, mut kill_at) = (None, None);
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                return Ok(ended.unwrap_or_else(|| Outcome::Exited(exit_code(status))));
            }
            Some(text) = lines.recv() => line(&text),
            () = cancel.cancelled(), if ended.is_none() => {
                ended = Some(Outcome::Cancelled);
                kill_at = Some(signal(group, Signal::SIGTERM));
            }
            () = tokio::time::sleep_until(deadline), if ended.is_none() => {
                ended = Some(Outcome::TimedOut);
                kill_at = Some(signal(group, Signal::SIGTERM));
            }
            () = tokio::time::sleep_until(kill_at.unwrap_or(deadline)), if kill_at.is_some() => {
                kill_at = Some(signal(group, Signal::SIGKILL));
            }
        }
    }
}

/// Signals a group; gives the time of the next, stronger one.
fn signal(group: Option<Pid>, signal: Signal) -> Instant {
    if let Some(group) = group {
        // A group that is already gone is what was wanted.
        killpg(group, signal).ok();
    }
    Instant::now() + GRACE
}

/// Ends the group when the future is dropped, which happens when the platform stops.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            killpg(group, Signal::SIGKILL).ok();
        }
    }
}

/// As shells count: 128 and the signal for a process that was killed.
fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

async fn read_lines(mut stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 8 << 10]);
    loop {
        let read = stream.read(&mut chunk).await.unwrap_or(0);
        buffer.extend_from_slice(&chunk[..read]);
        let mut start = 0;
        while let Some(end) = buffer[start..].iter().position(|byte| *byte == b'\n') {
            if lines.send(text(&buffer[start..start + end])).await.is_err() {
                return;
            }
            start += end + 1;
        }
        buffer.drain(..start);
        if !buffer.is_empty() && (read == 0 || buffer.len() >= LINE_LIMIT) {
            let line = text(&buffer);
            buffer.clear();
            if lines.send(line).await.is_err() {
                return;
            }
        }
        if read == 0 {
            return;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned()
}

/// Ends all processes that carry `tracking` in their environment: what a job left running, or what a crash of the
/// platform left behind. `tracking` may be a prefix.
pub(crate) fn end_tracked(tracking: &str) {
    let wanted = format!("{TRACKING}={tracking}");
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(wanted.as_bytes())) {
            nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

/// Finds a program on a `PATH`.
pub(crate) fn find(program: &str, path: &str) -> Option<PathBuf> {
    path.split(':').map(|directory| Path::new(directory).join(program)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, seconds: f64, cancel: &CancellationToken) -> (Outcome, Vec<String>) {
        let path = std::env::var("PATH").unwrap();
        let spec = Spec {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            directory: "/".into(),
            environment: [("PATH".to_owned(), path)].into(),
        };
        let mut lines = Vec::new();
        let deadline = Instant::now() + Duration::from_secs_f64(seconds);
        let outcome = run(&spec, deadline, cancel, |line| lines.push(line.to_owned())).await.unwrap();
        (outcome, lines)
    }

    #[tokio::test]
    async fn output_and_exit_code_are_seen() {
        let cancel = CancellationToken::new();
        let (outcome, lines) = shell("echo one; echo two >&2; printf three; exit 3", 60.0, &cancel).await;
        assert_eq!(outcome, Outcome::Exited(3));
        let mut lines = lines;
        lines.sort();
        assert_eq!(lines, ["one", "three", "two"]);
        let (outcome, lines) = shell("head -c 100000 /dev/zero | tr '\\0' x; env", 60.0, &cancel).await;
        assert_eq!(outcome, Outcome::Exited(0));
        assert!(lines.iter().all(|line| line.len() <= LINE_LIMIT + (8 << 10)));
        assert!(lines.iter().all(|line| !line.starts_with("CARGO")), "the environment is clean");
    }

    #[tokio::test]
    async fn a_cancelled_or_late_process_ends_with_its_children() {
        let cancel = CancellationToken::new();
        let (outcome, _) = shell("sleep 1000 & sleep 1000", 0.2, &cancel).await;
        assert_eq!(outcome, Outcome::TimedOut);
        cancel.cancel();
        let started = Instant::now();
        let (outcome, _) = shell("sleep 1000", 60.0, &cancel).await;
        assert_eq!(outcome, Outcome::Cancelled);
        assert!(started.elapsed() < GRACE);
    }
}
