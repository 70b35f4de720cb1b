//! One call of the `git` program: a clean environment, bounded output and time, and errors that say which operation failed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Output of one call: enough for the files of a large deploy repository, too little to fill the machine's memory.
pub const OUTPUT_LIMIT: usize = 256 << 20;
/// In the environment of every git process that is started here, so that a later host can tell them from others.
pub(crate) const MARK: &str = "PORTOLAN_GIT";
/// Errors are for people: more than this of standard error is never read by one.
const STDERR_LIMIT: usize = 16 << 10;
/// A local operation that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Why a git operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is missing or cannot be started.
    #[error("cannot start git: is the package `git` installed?")]
    Start(#[source] std::io::Error),
    /// The program ran and refused; `message` is its own, without the `fatal:` prefix.
    #[error("git {operation}: {message}")]
    Failed { operation: String, message: String },
    /// The program did not end in time.
    #[error("git {operation}: no answer after {seconds} s")]
    Timeout { operation: String, seconds: u64 },
    /// The output is larger than the limit in bytes.
    #[error("git {operation}: more than {limit} bytes of output")]
    TooLarge { operation: String, limit: usize },
    /// A revision, path or repository that does not exist.
    #[error("{0} not found")]
    NotFound(String),
    /// Compare-and-swap on a ref lost: the ref is not what the caller saw.
    #[error("{reference} has moved: {message}")]
    Conflict { reference: String, message: String },
    /// A revert that does not apply to the present content.
    #[error("does not apply cleanly: {0}")]
    Merge(String),
    /// A commit that would change nothing.
    #[error("nothing to commit: the content is already so")]
    NothingToCommit,
    /// A name that the host or git does not accept.
    #[error("{0}")]
    Invalid(String),
    /// A file of the host itself.
    #[error("{}: cannot read or write", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Git printed something unexpected.
    #[error("git {operation}: unexpected output")]
    Output { operation: String },
}

impl Error {
    /// Names the file of the host that failed.
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Error {
        Error::File { path: path.to_path_buf(), source }
    }
}

/// One call, to be completed with arguments and run with [`Call::output`] or [`Call::spawn`].
pub struct Call {
    directory: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Option<Bytes>,
    timeout: Duration,
}

impl Call {
    /// A call in `directory`: a bare repository, or a work tree.
    pub fn new(directory: &Path) -> Call {
        Call {
            directory: directory.to_path_buf(),
            arguments: Vec::new(),
            environment: Vec::new(),
            input: None,
            timeout: TIMEOUT,
        }
    }

    /// Adds arguments; the first one is the operation that errors name.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, arguments: I) -> Call {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable of the call.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Call {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Standard input; empty without it.
    #[must_use]
    pub fn input(mut self, input: impl Into<Bytes>) -> Call {
        self.input = Some(input.into());
        self
    }

    /// How long the call may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Call {
        self.timeout = timeout;
        self
    }

    /// Sends `token` to HTTP remotes. It travels in the environment: arguments are visible to every user of the machine.
    #[must_use]
    pub fn token(self, token: Option<&str>) -> Call {
        use base64::Engine as _;
        let Some(token) = token else { return self };
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
        self.env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {basic}"))
    }

    /// Runs to the end and gives standard output.
    pub async fn output(self) -> Result<Vec<u8>, Error> {
        let (operation, timeout) = (self.operation(), self.timeout);
        match tokio::time::timeout(timeout, self.run()).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { operation, seconds: timeout.as_secs() }),
        }
    }

    /// As [`Call::output`], as text without the last line end.
    pub async fn text(self) -> Result<String, Error> {
        let bytes = self.output().await?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
    }

    /// The prepared process, with pipes for all three streams; it is killed when dropped.
    pub fn spawn(&self) -> Result<tokio::process::Child, Error> {
        let mut command = Command::new("git");
        command.args(["-c", "safe.directory=*", "-c", "core.quotePath=false", "-c", "gc.auto=0"]);
        command.args(&self.arguments).current_dir(&self.directory).env_clear();
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        command.env("PATH", path).env("LC_ALL", "C.UTF-8").env("HOME", "/nonexistent");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CEILING_DIRECTORIES", "/").env(MARK, "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().map_err(Error::Start)
    }

    fn operation(&self) -> String {
        self.arguments
            .iter()
            .find(|a| !a.to_string_lossy().starts_with('-'))
            .map_or_else(String::new, |a| a.to_string_lossy().into_owned())
    }

    async fn run(self) -> Result<Vec<u8>, Error> {
        let operation = self.operation();
        let mut child = self.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = self.input.unwrap_or_default();
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A program that ends early closes its input; its exit status says why.
                stdin.write_all(&input).await.ok();
            }
        };
        let ((), output, errors) =
            tokio::join!(feed, read_limited(stdout, OUTPUT_LIMIT), read_limited(stderr, STDERR_LIMIT));
        let Some(output) = output.map_err(Error::Start)? else {
            return Err(Error::TooLarge { operation, limit: OUTPUT_LIMIT });
        };
        let status = child.wait().await.map_err(Error::Start)?;
        if status.success() {
            return Ok(output);
        }
        let errors = errors.ok().flatten().unwrap_or_default();
        Err(Error::Failed { operation, message: message_of(&errors, status) })
    }
}

/// What `git --version` says, or that it is missing: checked when the platform starts.
pub async fn version() -> Result<String, Error> {
    Call::new(Path::new("/")).args(["--version"]).text().await
}

/// The useful part of git's standard error.
pub(crate) fn message_of(stderr: &[u8], status: std::process::ExitStatus) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim_start_matches("fatal: ").trim_start_matches("error: ").trim())
        .filter(|line| !line.is_empty() && !line.starts_with("hint:"))
        .collect();
    if lines.is_empty() { status.to_string() } else { lines.join("; ") }
}

/// All of a stream, or `None` when it is longer than `limit`.
async fn read_limited(
    stream: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> Result<Option<Vec<u8>>, std::io::Error> {
    let Some(stream) = stream else { return Ok(Some(Vec::new())) };
    let mut buffer = Vec::new();
    stream.take(limit as u64 + 1).read_to_end(&mut buffer).await?;
    Ok((buffer.len() <= limit).then_some(buffer))
}
