//! The caller's side: starting the launcher, telling it what to run, hearing how it ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio as StdStdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::Winsize;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};

use crate::{EnterSpec, Spec, fds};

/// Name of the variable that tells the launcher which of its halves it is.
pub(crate) const STAGE: &str = "PORTOLAN_SANDBOX_STAGE";

/// The program that calls [`crate::init::main`], and the arguments that lead it there.
#[derive(Clone, Debug)]
pub struct Launcher {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

impl Launcher {
    /// The running program itself, started with `args`.
    pub fn this_program(args: &[&str]) -> Launcher {
        Launcher { program: PathBuf::from("/proc/self/exe"), args: args.iter().map(OsString::from).collect() }
    }
}

/// Descriptors for the process; `None` is `/dev/null`.
#[derive(Debug, Default)]
pub struct Stdio {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// The reading ends of a process's output.
#[derive(Debug)]
pub struct Output {
    pub stdout: pipe::Receiver,
    pub stderr: pipe::Receiver,
}

impl Stdio {
    /// No input, and pipes for both outputs. Must be called within a tokio runtime.
    pub fn piped() -> io::Result<(Stdio, Output)> {
        let (stdout, out) = io::pipe()?;
        let (stderr, err) = io::pipe()?;
        let output = Output {
            stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
            stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
        };
        Ok((Stdio { stdin: None, stdout: Some(out.into()), stderr: Some(err.into()) }, output))
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, or 128 + the signal's number.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("cannot start the launcher {program}")]
    Launch { program: String, source: io::Error },
    #[error("lost the launcher while it {doing}")]
    Lost { doing: &'static str, source: io::Error },
    /// The launcher's own words: which step failed and why.
    #[error("{0}")]
    Refused(String),
}

/// What the launcher tells its caller, one JSON document per line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Started { pid: u32 },
    Refused { message: String },
    Exited(Exit),
}

/// A running sandbox. Dropping it kills the process.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    launcher: tokio::process::Child,
    reports: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    /// The launcher kills its process when this end closes.
    _lifeline: OwnedWriteHalf,
}

/// A further process started in a sandbox by [`enter`]; it behaves as a [`Child`] does.
pub type Entered = Child;

/// Starts `spec` and returns once its program runs (or could not be run).
pub async fn spawn(launcher: &Launcher, spec: &Spec, stdio: Stdio) -> Result<Child, SpawnError> {
    launch(launcher, "outer", spec, stdio).await
}

/// Runs a further process in the sandbox whose first process is `spec.pid`.
pub async fn enter(launcher: &Launcher, spec: &EnterSpec, stdio: Stdio) -> Result<Entered, SpawnError> {
    launch(launcher, "enter", spec, stdio).await
}

impl Child {
    /// Process id of the sandbox's first process, in the caller's process namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the first process; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.pid, signal);
    }

    /// Waits for the end. May be called again after it was cancelled.
    pub async fn wait(&mut self) -> Result<Exit, SpawnError> {
        let doing = "waited for the process";
        let line = self.reports.next_line().await.map_err(|source| SpawnError::Lost { doing, source })?;
        let _ = self.launcher.wait().await;
        match line.as_deref().map(serde_json::from_str) {
            Some(Ok(Report::Exited(exit))) => Ok(exit),
            Some(Ok(Report::Refused { message })) => Err(SpawnError::Refused(message)),
            // The launcher itself was killed, which takes its process along.
            _ => Ok(Exit { code: 137, signal: Some(9) }),
        }
    }
}

/// Sends a signal to a sandbox's first process by the id from [`Child::pid`].
pub(crate) fn signal_process(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
    {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

async fn launch(
    launcher: &Launcher,
    stage: &str,
    spec: &impl Serialize,
    stdio: Stdio,
) -> Result<Child, SpawnError> {
    let lost = |doing| move |source| SpawnError::Lost { doing, source };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(lost("was given a socket"))?;
    let failed = |source| SpawnError::Launch { program: launcher.program.display().to_string(), source };
    let process = tokio::process::Command::new(&launcher.program)
        .args(&launcher.args)
        .env(STAGE, stage)
        .stdin(StdStdio::from(OwnedFd::from(theirs)))
        .stdout(StdStdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map_err(failed)?;
    let pick = |fd: &Option<OwnedFd>| -> io::Result<OwnedFd> {
        fd.as_ref().map_or_else(|| null.as_fd().try_clone_to_owned(), OwnedFd::try_clone)
    };
    let three = [pick(&stdio.stdin), pick(&stdio.stdout), pick(&stdio.stderr)];
    let [stdin, stdout, stderr] = three.map(|fd| fd.map_err(failed));
    let (stdin, stdout, stderr) = (stdin?, stdout?, stderr?);
    fds::send_three(&ours, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
        .map_err(lost("took descriptors"))?;
    drop((stdin, stdout, stderr, stdio));
    start(process, ours, spec).await
}

async fn start(
    process: tokio::process::Child,
    socket: std::os::unix::net::UnixStream,
    spec: &impl Serialize,
) -> Result<Child, SpawnError> {
    let lost = |doing| move |source| SpawnError::Lost { doing, source };
    socket.set_nonblocking(true).map_err(lost("was given a socket"))?;
    let socket = UnixStream::from_std(socket).map_err(lost("was given a socket"))?;
    let (read, mut write) = socket.into_split();
    let mut text = serde_json::to_vec(spec)
        .map_err(|error| SpawnError::Refused(format!("the specification cannot be written: {error}")))?;
    text.push(b'\n');
    write.write_all(&text).await.map_err(lost("read its specification"))?;
    let mut reports = BufReader::new(read).lines();
    let line = reports.next_line().await.map_err(lost("started the process"))?;
    match line.as_deref().map(serde_json::from_str) {
        Some(Ok(Report::Started { pid })) => Ok(Child { pid, launcher: process, reports, _lifeline: write }),
        Some(Ok(Report::Refused { message })) => Err(SpawnError::Refused(message)),
        _ => Err(SpawnError::Lost {
            doing: "started the process",
            source: io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a word"),
        }),
    }
}

/// A pseudo terminal: the caller's end, and descriptors for the process.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
}

impl Terminal {
    /// Opens one; the returned [`Stdio`] has the process's end three times.
    pub fn open() -> io::Result<(Terminal, Stdio)> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let path = Path::new(name.to_str().map_err(io::Error::other)?).to_owned();
        let slave = rustix::fs::open(
            path,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let stdio =
            Stdio { stdin: Some(slave.try_clone()?), stdout: Some(slave.try_clone()?), stderr: Some(slave) };
        Ok((Terminal { master }, stdio))
    }

    /// A descriptor to read from and write to.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.master.try_clone()
    }

    /// Tells the process its window's size in characters.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.master, size)?)
    }
}
