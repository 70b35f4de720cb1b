//! The launcher: what runs between the caller and the isolated program.
//!
//! It has two halves. The *outer* one reads the specification from the socket that is its standard input, makes
//! the namespaces and starts the *inner* one as the first process of the new process namespace; then it waits
//! for that process, and for its caller's death. The inner half builds the root file system, gives up its
//! privileges and becomes the program. A third role, `enter`, joins a running sandbox.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitCode, ExitStatus};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use rustix::event::{PollFd, PollFlags};
use rustix::io::FdFlags;
use rustix::process::PidfdFlags;

use crate::child::{Exit, Report, STAGE};
use crate::{EnterSpec, Network, Spec, abilities, fds, privileges, rootfs};

/// A step that failed, in words for the user.
#[derive(Debug, thiserror::Error)]
#[error("{step}{source}{remedy}")]
pub(crate) struct StepError {
    step: String,
    source: io::Error,
    remedy: String,
}

/// Names the step in the error of an operation.
pub(crate) fn step<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> StepError {
    let step = format!("{}: ", step.into());
    move |source| StepError { step, source: source.into(), remedy: String::new() }
}

/// The launcher's `main`. Call it before any thread is started; it returns only when there is nothing left to do.
pub fn main() -> ExitCode {
    let stage = std::env::var(STAGE).unwrap_or_default();
    let result = match stage.split_once(':') {
        None if stage == "outer" => outer(),
        None if stage == "enter" => enter(),
        Some(("inner", number)) => match number.parse() {
            Ok(number) => return inner(number),
            Err(_) => return ExitCode::from(2),
        },
        _ => {
            let _ = writeln!(io::stderr(), "this command is internal: it starts isolated processes");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_lost_caller) => ExitCode::FAILURE,
    }
}

/// The socket to the caller, and the descriptors it sent for the program.
struct Caller {
    socket: UnixStream,
    stdio: [OwnedFd; 3],
}

impl Caller {
    fn meet<T: serde::de::DeserializeOwned>() -> io::Result<(Caller, T)> {
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let stdio = fds::receive_three(&socket)?;
        let mut line = String::new();
        BufReader::new(&socket).read_line(&mut line)?;
        let spec = serde_json::from_str(&line)?;
        Ok((Caller { socket, stdio }, spec))
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        let mut text = serde_json::to_vec(report)?;
        text.push(b'\n');
        (&self.socket).write_all(&text)
    }

    /// Reports the start, waits for the end (or for the caller's, which ends the process) and reports that.
    fn follow(&self, mut process: Process) -> io::Result<()> {
        self.report(&Report::Started { pid: process.id() })?;
        let pid = rustix::process::Pid::from_child(&process);
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        loop {
            let mut ready = [
                PollFd::new(&handle, PollFlags::IN),
                PollFd::new(&self.socket, PollFlags::IN | PollFlags::RDHUP),
            ];
            match rustix::event::poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            if !ready[0].revents().is_empty() {
                return self.report(&Report::Exited(exit_of(process.wait()?)));
            }
            process.kill()?;
            process.wait()?;
            return Ok(());
        }
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    let signal = status.signal();
    Exit { code: status.code().unwrap_or_else(|| 128 + signal.unwrap_or(9)), signal }
}

fn outer() -> io::Result<()> {
    let _ = nix::unistd::setsid();
    let (mut caller, spec) = Caller::meet::<Spec>()?;
    match start_inner(&mut caller, &spec) {
        Ok(process) => caller.follow(process),
        Err(error) => caller.report(&Report::Refused { message: error.to_string() }),
    }
}

/// Makes the namespaces and starts the inner half in them; returns when the program runs.
fn start_inner(caller: &mut Caller, spec: &Spec) -> Result<Process, StepError> {
    make_namespaces(spec)?;
    let (ours, theirs) = UnixStream::pair().map_err(step("make a socket"))?;
    rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).map_err(step("hand over a socket"))?;
    let [stdin, stdout, stderr] = caller.stdio.each_ref().map(OwnedFd::try_clone);
    let process = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .env(STAGE, format!("inner:{}", theirs.as_raw_fd()))
        .stdin(stdin.map_err(step("hand over standard input"))?)
        .stdout(stdout.map_err(step("hand over standard output"))?)
        .stderr(stderr.map_err(step("hand over standard error"))?)
        .spawn();
    drop(theirs);
    let null = File::open("/dev/null").map_err(step("open /dev/null"))?;
    caller.stdio = [clone_of(&null)?, clone_of(&null)?, clone_of(&null)?];
    let mut process = process.map_err(step("start the first process of a process namespace"))?;
    let answer = tell(&ours, spec);
    match answer {
        Ok(text) if text.is_empty() => Ok(process),
        Ok(text) => {
            let _ = process.wait();
            Err(StepError { step: String::new(), source: io::Error::other(text), remedy: String::new() })
        }
        Err(error) => {
            let _ = process.kill();
            let _ = process.wait();
            Err(step("hand over the specification")(error))
        }
    }
}

fn clone_of(file: &File) -> Result<OwnedFd, StepError> {
    file.as_fd().try_clone_to_owned().map_err(step("copy a descriptor"))
}

/// Sends the specification; the answer is empty when the program runs, else the reason why it does not.
fn tell(mut socket: &UnixStream, spec: &Spec) -> io::Result<String> {
    socket.write_all(&serde_json::to_vec(spec)?)?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

fn make_namespaces(spec: &Spec) -> Result<(), StepError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if !abilities::may_mount() {
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| StepError {
            step: "make a user namespace: ".into(),
            source: error.into(),
            remedy: format!(". {}", abilities::USER_NAMESPACE_REMEDY),
        })?;
        privileges::map_self(0, uid.as_raw(), 0, gid.as_raw()).map_err(step("map the user"))?;
    }
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    match &spec.network {
        Network::None => flags |= CloneFlags::CLONE_NEWNET,
        Network::Host => {}
        Network::Namespace(path) => {
            let handle = File::open(path).map_err(step(format!("open the network {}", path.display())))?;
            setns(handle, CloneFlags::CLONE_NEWNET).map_err(step("join the network"))?;
        }
    }
    unshare(flags).map_err(|error| StepError {
        step: "make namespaces: ".into(),
        source: error.into(),
        remedy: format!(". {}", abilities::USER_NAMESPACE_REMEDY),
    })
}

/// The inner half. On success it becomes the program and never returns.
fn inner(number: i32) -> ExitCode {
    let socket = fds::take_inherited(number);
    let _ = rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC);
    let mut socket = UnixStream::from(socket);
    let error = become_program(&mut socket);
    let _ = socket.write_all(error.to_string().as_bytes());
    ExitCode::from(127)
}

fn become_program(socket: &mut UnixStream) -> StepError {
    match prepare(socket) {
        Ok(spec) => exec(&spec),
        Err(error) => error,
    }
}

fn prepare(socket: &mut UnixStream) -> Result<Spec, StepError> {
    let mut text = String::new();
    socket.read_to_string(&mut text).map_err(step("read the specification"))?;
    let spec: Spec = serde_json::from_str(&text).map_err(step("read the specification"))?;
    for directory in &spec.cgroup {
        let file = directory.join("cgroup.procs");
        std::fs::write(&file, "0").map_err(step(format!("join {}", file.display())))?;
    }
    if !spec.hostname.is_empty() {
        nix::unistd::sethostname(&spec.hostname).map_err(step("set the host name"))?;
    }
    rootfs::build_and_enter(&spec)?;
    if spec.terminal {
        nix::unistd::setsid().map_err(step("start a session"))?;
        rustix::process::ioctl_tiocsctty(io::stdin()).map_err(step("take the terminal"))?;
    }
    let many_users = privileges::has_id_range().map_err(step("read the user map"))?;
    privileges::drop_to(&spec.user, &spec.capabilities, spec.no_new_privs, many_users)
        .map_err(step("change the user"))?;
    // Last: a change of user clears it.
    set_pdeathsig(Signal::SIGKILL).map_err(step("follow the launcher's death"))?;
    std::env::set_current_dir(&spec.cwd).map_err(step(format!("enter {}", spec.cwd.display())))?;
    Ok(spec)
}

fn exec(spec: &Spec) -> StepError {
    let Some((program, args)) = spec.args.split_first() else {
        return step("start")(io::Error::other("no program is given"));
    };
    let error = Command::new(program).args(args).env_clear().envs(spec.env.iter().cloned()).exec();
    exec_error(program, error)
}

/// In the words that users know from container runtimes.
fn exec_error(program: &str, error: io::Error) -> StepError {
    if error.kind() == io::ErrorKind::NotFound && !program.contains('/') {
        return step(format!("exec: \"{program}\""))(io::Error::other("executable file not found in $PATH"));
    }
    step(format!("exec: \"{program}\""))(error)
}

fn enter() -> io::Result<()> {
    let _ = nix::unistd::setsid();
    let (caller, spec) = Caller::meet::<EnterSpec>()?;
    match start_entered(&caller, &spec) {
        Ok(process) => {
            let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
            let caller = Caller { socket: caller.socket, stdio: [null()?, null()?, null()?] };
            caller.follow(process)
        }
        Err(error) => caller.report(&Report::Refused { message: error.to_string() }),
    }
}

fn start_entered(caller: &Caller, spec: &EnterSpec) -> Result<Process, StepError> {
    let open = |kind: &str| {
        let path = PathBuf::from(format!("/proc/{}/ns/{kind}", spec.pid));
        File::open(path).map_err(step("open the sandbox"))
    };
    for directory in &spec.cgroup {
        let file = directory.join("cgroup.procs");
        std::fs::write(&file, "0").map_err(step(format!("join {}", file.display())))?;
    }
    let user = open("user")?;
    // Asked now: after joining, `/proc` is the sandbox's and does not show this process.
    let many_users = privileges::has_id_range().map_err(step("read the user map"))?;
    let same_user = same_file(&user, Path::new("/proc/self/ns/user")).map_err(step("look at the sandbox"))?;
    let kinds = [
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    let mut handles = Vec::new();
    for (kind, flag) in kinds {
        handles.push((open(kind)?, flag));
    }
    for (handle, flag) in handles {
        setns(handle, flag).map_err(step("join the sandbox"))?;
    }
    let cwd = if spec.cwd.as_os_str().is_empty() { Path::new("/") } else { &spec.cwd };
    std::env::set_current_dir(cwd).map_err(step(format!("enter {}", cwd.display())))?;
    if same_user {
        privileges::drop_to(&spec.user, &spec.capabilities, spec.no_new_privs, many_users)
            .map_err(step("change the user"))?;
    } else {
        setns(user, CloneFlags::CLONE_NEWUSER).map_err(step("join the sandbox's user"))?;
    }
    let Some((program, args)) = spec.args.split_first() else {
        return Err(step("start")(io::Error::other("no program is given")));
    };
    let [stdin, stdout, stderr] = caller.stdio.each_ref().map(OwnedFd::try_clone);
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(spec.env.iter().cloned())
        .stdin(stdin.map_err(step("hand over standard input"))?)
        .stdout(stdout.map_err(step("hand over standard output"))?)
        .stderr(stderr.map_err(step("hand over standard error"))?);
    if spec.terminal {
        fds::with_controlling_terminal(&mut command);
    }
    command.spawn().map_err(|error| exec_error(program, error))
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (one, other) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
