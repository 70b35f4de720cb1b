//! The node as a process of its own, from both sides.
//!
//! The platform holds a [`Supervisor`], which starts `portolan node` and starts it again when it dies. That program
//! calls [`enter`] before any thread exists: it makes a process namespace and a mount namespace and starts itself
//! again inside, as process 1. When the platform dies, even by `kill -9`, the kernel ends the outer process
//! (parent-death signal), then process 1, and with it every process of every pod. A pipe as standard input says
//! the same once more, since a parent-death signal follows the thread that started the process.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Set for the process inside.
const INSIDE: &str = "PORTOLAN_NODE_INSIDE";
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A node that lived this long is started again at once.
const STEADY: Duration = Duration::from_secs(60);
/// A node that does not stop within this time is killed; its own grace for pods is shorter.
const STOP_LIMIT: Duration = Duration::from_secs(7);

/// Which side of the namespaces this process is on.
#[derive(Debug)]
pub enum Entered {
    /// The outer process: the node has ended; exit with this code.
    Outside(ExitCode),
    /// Process 1 inside: go on and call [`crate::run`].
    Inside,
}

#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error("the node cannot {step}")]
    Step { step: &'static str, source: io::Error },
}

fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> EnterError {
    move |error| EnterError::Step { step, source: error.into() }
}

/// First thing `portolan node` does, before any thread exists.
///
/// # Errors
/// The machine does not allow namespaces.
pub fn enter() -> Result<Entered, EnterError> {
    set_pdeathsig(Signal::SIGKILL).map_err(step("follow its parent's death"))?;
    if std::env::var_os(INSIDE).is_some() {
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing)
            .map_err(step("keep its mounts to itself"))?;
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), quiet, nothing).map_err(step("mount /proc"))?;
        return Ok(Entered::Inside);
    }
    // A terminal's Ctrl-C is for the platform, which stops the node in its own time.
    let _ = nix::unistd::setsid();
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let mut flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    let privileged = sandbox::Abilities::detect().privileged;
    if !privileged {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(step("make a process namespace of its own"))?;
    if !privileged {
        let map = || {
            std::fs::write("/proc/self/setgroups", "deny")?;
            std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
            std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
        };
        map().map_err(step("map its user"))?;
    }
    let mut inside = Command::new("/proc/self/exe");
    inside.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let mut inside = inside.spawn().map_err(step("start inside"))?;
    let status = inside.wait().map_err(step("wait for the process inside"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(Entered::Outside(ExitCode::from(code)))
}

/// Cancelled when the platform wants the node to stop, or is gone: its end of standard input is closed.
pub fn stop_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let token = stop.clone();
    std::thread::spawn(move || {
        let mut byte = [0u8; 1];
        while io::stdin().read(&mut byte).is_ok_and(|length| length > 0) {}
        token.cancel();
    });
    stop
}

/// What starts the node.
#[derive(Clone, Debug)]
pub struct Program {
    /// `/proc/self/exe` for the platform's own program.
    pub program: PathBuf,
    /// `["node", …]`.
    pub args: Vec<OsString>,
    /// Added to the platform's environment.
    pub env: Vec<(OsString, OsString)>,
}

/// A node that is kept running. Dropping it stops the node without waiting.
#[derive(Debug)]
pub struct Supervisor {
    stop: std::sync::mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Supervisor {
    /// Starts the node and keeps it running. The thread that does so lives as long as the node, since the
    /// parent-death signal follows it.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(program: Program) -> io::Result<Supervisor> {
        let (stop, stopped) = std::sync::mpsc::channel();
        let (done, ended) = mpsc::channel(1);
        std::thread::Builder::new().name("node-supervisor".into()).spawn(move || {
            keep(&program, &stopped);
            drop(done);
        })?;
        Ok(Supervisor { stop, ended })
    }

    /// Stops the node and its pods, within seconds.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        let _ = self.ended.recv().await;
    }
}

/// Starts the node again and again, with a growing pause, until told to stop (or until nobody can tell any more).
fn keep(program: &Program, stopped: &std::sync::mpsc::Receiver<()>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = std::time::Instant::now();
        match run_once(program, stopped) {
            Ok(true) => return,
            Ok(false) => tracing::warn!("a node ended; it is started again"),
            Err(error) => tracing::warn!(%error, "a node cannot be started"),
        }
        pause = if begun.elapsed() > STEADY { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        if !matches!(stopped.recv_timeout(pause), Err(std::sync::mpsc::RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// One life of the node; true if it ended because it was told to.
fn run_once(program: &Program, stopped: &std::sync::mpsc::Receiver<()>) -> io::Result<bool> {
    let mut child = Command::new(&program.program)
        .args(&program.args)
        .envs(program.env.iter().cloned())
        .stdin(Stdio::piped())
        .spawn()?;
    loop {
        let told = !matches!(
            stopped.recv_timeout(Duration::from_millis(100)),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        );
        if child.try_wait()?.is_some() {
            return Ok(told);
        }
        if told {
            break;
        }
    }
    drop(child.stdin.take());
    let deadline = std::time::Instant::now() + STOP_LIMIT;
    while child.try_wait()?.is_none() {
        if std::time::Instant::now() > deadline {
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}
