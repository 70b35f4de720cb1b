//! The reference, built into a temporary folder: as a library in a Go program of ours, and as commands.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The command that is installed.
const KUSTOMIZE: &str = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1";

/// What of the reference could be had.
pub(crate) struct Reference {
    /// Keeps the programs until the end.
    _dir: TempDir,
    library: Option<PathBuf>,
    /// What to call each command, and its beginning.
    pub(crate) commands: Vec<(&'static str, Vec<String>)>,
}

/// What the library did in one process.
pub(crate) struct Built {
    pub(crate) time: Duration,
    pub(crate) bytes: usize,
    /// Of the texts one after the other, FNV-1a with 64 bits.
    pub(crate) hash: u64,
}

impl Reference {
    /// Builds what can be built and says what cannot.
    pub(crate) fn prepare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = library(dir.path()).map_err(|why| println!("no library to compare with: {why}")).ok();
        let mut commands = vec![];
        match run(Command::new("kubectl").args(["version", "--client"])) {
            Ok(_) => commands.push(("kubectl kustomize", vec!["kubectl".into(), "kustomize".into()])),
            Err(why) => println!("no `kubectl kustomize` to compare with: {why}"),
        }
        match run(go().args(["install", KUSTOMIZE]).env("GOBIN", dir.path())) {
            Ok(_) => {
                let program = dir.path().join("kustomize").display().to_string();
                commands.push(("kustomize build", vec![program, "build".into()]));
            }
            Err(why) => println!("no `kustomize build` to compare with: {why}"),
        }
        Self { _dir: dir, library, commands }
    }

    /// Builds directories of a tree on the disk, `place` (`disk` or `memory`) is where the library reads it.
    pub(crate) fn build(&self, place: &str, root: &Path, dirs: &[String]) -> Option<Built> {
        let mut command = Command::new(self.library.as_ref()?);
        command.args([place.as_ref(), root.as_os_str()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(dirs.join("\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "the reference fails on the bench's tree");
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let bytes = usize::try_from(numbers[1]).unwrap();
        Some(Built { time: Duration::from_nanos(numbers[0]), bytes, hash: numbers[2] })
    }
}

/// FNV-1a, to go on with.
pub(crate) fn hash(before: u64, text: &str) -> u64 {
    text.bytes().fold(before, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The hash of nothing.
pub(crate) const HASH_OF_NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

/// How long a command takes as a whole process: the median.
pub(crate) fn process(command: &[String], argument: &Path) -> Duration {
    const RUNS: usize = 15;
    let mut times = vec![];
    for _ in 0..RUNS {
        let start = Instant::now();
        run(Command::new(&command[0]).args(&command[1..]).arg(argument)).unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    times[RUNS / 2]
}

fn library(dir: &Path) -> Result<PathBuf, String> {
    let program = dir.join("reference");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/reference");
    run(go().args(["build", "-o"]).arg(&program).arg(".").current_dir(source))?;
    Ok(program)
}

/// Go where it usually is, should it not be on the path.
fn go() -> Command {
    let usual = Path::new("/usr/local/go/bin/go");
    Command::new(if usual.exists() { usual } else { Path::new("go") })
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(output) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}
