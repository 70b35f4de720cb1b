//! `RUN`: a command in a sandbox on the stage's layers; what it wrote is the layer.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sandbox::{Launcher, Mount, MountKind, Network, Spec, Stdio, home_of, resolve_user, spawn};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use super::stage::State;
use super::{BuildError, RUN_TIMEOUT, StepLog};
use crate::dockerfile::{Command, Run};
use crate::pull::Images;

/// Longest line of output that is logged whole; what is beyond it comes as the next line.
const MAX_LOG_LINE_BYTES: usize = 8 << 10;

/// Files that tell a container about itself: the sandbox's, not the image's.
const OWN_FILES: [&str; 6] = ["proc", "sys", "dev", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// A directory that goes when the step ends, however it ends.
pub(super) struct Scratch(pub(super) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // The kernel's own directories there have no permission bits, which stops everyone but root.
        for work in ["work/work", "work-usr/work"] {
            let _ = fs::set_permissions(self.0.join(work), fs::Permissions::from_mode(0o700));
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the command; the second of the result is the directory, inside the first, with what it wrote.
pub(super) async fn run(
    images: &Images,
    launcher: &Launcher,
    state: &State,
    run: &Run,
    line: usize,
    log: &StepLog,
) -> Result<(Scratch, PathBuf), BuildError> {
    let failed = |source| BuildError::Layer { line, source };
    let scratch = Scratch(images.temporary());
    fs::create_dir_all(&scratch.0).map_err(failed)?;
    let spec = spec(images, &scratch, state, run, line)?;
    let (stdio, output) = Stdio::piped().map_err(failed)?;
    let spawned = spawn(launcher, &spec, stdio).await;
    let mut child = spawned.map_err(|source| BuildError::Spawn { line, source })?;
    let started = Instant::now();
    let streams = async {
        tokio::join!(forward(output.stdout, started, log), forward(output.stderr, started, log));
    };
    let ended = tokio::time::timeout(RUN_TIMEOUT, async { tokio::join!(child.wait(), streams).0 }).await;
    let command = shown(&run.command);
    let Ok(exit) = ended else { return Err(BuildError::Timeout { line, command }) };
    let exit = exit.map_err(|source| BuildError::Spawn { line, source })?;
    if exit.code != 0 {
        log.line(&format!("ERROR: exit code {}", exit.code));
        return Err(BuildError::Exit { line, command, code: exit.code });
    }
    let upper = spec.upper();
    remove_own(&upper).map_err(failed)?;
    Ok((scratch, upper))
}

/// Removes what the sandbox put there. Its `usr`, made for every host base, is no change if it is empty.
fn remove_own(upper: &Path) -> std::io::Result<()> {
    for path in OWN_FILES.map(|own| upper.join(own)) {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path)?,
            Ok(_) => fs::remove_file(&path)?,
            Err(_) => {}
        }
    }
    let kept = [ErrorKind::NotFound, ErrorKind::DirectoryNotEmpty, ErrorKind::NotADirectory];
    match fs::remove_dir(upper.join("usr")) {
        Err(error) if !kept.contains(&error.kind()) => Err(error),
        _ => Ok(()),
    }
}

fn spec(
    images: &Images,
    scratch: &Scratch,
    state: &State,
    run: &Run,
    line: usize,
) -> Result<Spec, BuildError> {
    let failed = |source| BuildError::Layer { line, source };
    let text = state.image.config.user.clone();
    let user = resolve_user(&state.tree.layers, state.tree.host, &text)
        .map_err(|source| BuildError::User { line, user: text, source })?;
    let args = match &run.command {
        Command::Exec(words) => words.clone(),
        Command::Shell(script) => [state.shell(), vec![script.clone()]].concat(),
    };
    let mut env = state.environment();
    if !env.iter().any(|(name, _)| name == "HOME") {
        let home = home_of(&state.tree.layers, state.tree.host, user.uid);
        env.push(("HOME".to_string(), home.display().to_string()));
    }
    let mut mounts = Vec::new();
    for cache in &run.caches {
        let source = images.mount_dir(&cache.id);
        fs::create_dir_all(&source).map_err(failed)?;
        let target = Path::new("/").join(&state.image.config.working_dir).join(&cache.target);
        mounts.push(Mount { kind: MountKind::Bind(source), target, read_only: false });
    }
    Ok(Spec {
        scratch: scratch.0.clone(),
        layers: state.tree.layers.clone(),
        host_base: state.tree.host,
        mounts,
        args,
        env,
        cwd: Path::new("/").join(&state.image.config.working_dir),
        user,
        hostname: "build".to_string(),
        network: if run.no_network { Network::None } else { Network::Host },
        ..Spec::default()
    })
}

/// Copies output to the log, with the seconds since the start, as BuildKit does.
async fn forward(from: impl AsyncRead + Unpin, started: Instant, log: &StepLog) {
    let mut reader = BufReader::with_capacity(MAX_LOG_LINE_BYTES, from);
    let mut line = Vec::new();
    while let Ok(chunk) = reader.fill_buf().await {
        let ended = chunk.is_empty();
        let (taken, complete) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (chunk.len(), ended || line.len() + chunk.len() >= MAX_LOG_LINE_BYTES),
        };
        line.extend_from_slice(&chunk[..taken]);
        reader.consume(taken);
        if complete && !line.is_empty() {
            let text = String::from_utf8_lossy(&line);
            log.line(&format!("{:.3} {}", started.elapsed().as_secs_f64(), text.trim_end()));
            line.clear();
        }
        if ended {
            break;
        }
    }
}

fn shown(command: &Command) -> String {
    match command {
        Command::Shell(script) => script.trim().to_string(),
        Command::Exec(words) => words.join(" "),
    }
}
