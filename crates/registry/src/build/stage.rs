//! One stage: the base image, then instruction by instruction.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sandbox::resolve_user;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::copy::{CopyError, Request, plan};
use super::layer::{self, Entries, Entry, Kind};
use super::run::{self, Scratch};
use super::tree::{Node, Tree};
use super::{BuildError, StepLog, Work, base_of, earlier_stage};
use crate::digest::Digest;
use crate::dockerfile::{Command, Copy, Dockerfile, DockerfileError, Instruction, Run, Step, expand};
use crate::image::{Descriptor, History, ImageConfig, OCI_LAYER_GZIP, architecture};
use crate::reference::Reference;
use crate::unpack::unpack;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Build arguments that need no `ARG` and never reach the image (Docker's list).
const PREDEFINED: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

pub(super) fn is_predefined(name: &str) -> bool {
    PREDEFINED.contains(&name)
}

/// A stage as far as it is built.
#[derive(Clone)]
pub(super) struct State {
    pub(super) image: ImageConfig,
    /// Lowest first.
    pub(super) layers: Vec<Piece>,
    pub(super) tree: Tree,
    pub(super) warnings: Vec<String>,
    pub(super) steps: usize,
    pub(super) cached: usize,
    /// Digest of everything that this state came from.
    key: Digest,
    arguments: BTreeMap<String, String>,
    /// A `CMD` of the base is dropped when the stage sets its own entry point.
    own_command: bool,
}

/// A layer: its directory, and its archive once it has one. What a `RUN` wrote is only archived if an image is made of it;
/// the files of a stage that others just copy from never are.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Piece {
    /// Of the step that made it; a base image's layer has its own digest here.
    key: Digest,
    /// Names the directory in the cache: the archive's digest, or, of what a command wrote, a name of its own.
    directory: Digest,
    packed: Option<Packed>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Packed {
    pub(super) layer: Descriptor,
    pub(super) diff_id: Digest,
}

impl State {
    pub(super) fn shell(&self) -> Vec<String> {
        self.image.config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_string(), "-c".to_string()])
    }

    /// What a `RUN` sees: arguments, and the image's variables over them.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let mut env: BTreeMap<String, String> = self.arguments.clone();
        env.insert("PATH".to_string(), DEFAULT_PATH.to_string());
        let own = self.image.config.env.iter().filter_map(|pair| pair.split_once('='));
        env.extend(own.map(|(name, value)| (name.to_string(), value.to_string())));
        env.into_iter().collect()
    }

    fn expand(&self, text: &str, line: usize) -> Result<String, DockerfileError> {
        let lookup = |name: &str| {
            let own = self.image.config.env(name).map(str::to_string);
            own.or_else(|| self.arguments.get(name).cloned())
        };
        expand(text, &lookup).map_err(|message| DockerfileError::new(line, message))
    }

    fn expand_all(&self, texts: &[String], line: usize) -> Result<Vec<String>, DockerfileError> {
        texts.iter().map(|text| self.expand(text, line)).collect()
    }

    fn absolute(&self, path: &str) -> String {
        let base = Path::new("/").join(&self.image.config.working_dir);
        let joined = base.join(path).display().to_string();
        // Joining drops what says "into this directory".
        let open = path.ends_with('/') || path == "." || path.ends_with("/.") || path.is_empty();
        if open && !joined.ends_with('/') { format!("{joined}/") } else { joined }
    }
}

/// Builds stage number `at`; stages before it are in `built`.
pub(super) async fn build(
    work: &Work<'_>,
    file: &Dockerfile,
    at: usize,
    built: &BTreeMap<usize, State>,
    log: &mut StepLog,
) -> Result<State, BuildError> {
    let stage = &file.stages[at];
    let base = base_of(stage, &work.global)?;
    let title = stage.name.clone().unwrap_or_else(|| format!("stage-{at}"));
    log.next(&format!("[{title} 1/{}] FROM {base}", stage.steps.len() + 1));
    let mut state = match earlier_stage(file, at, &base).and_then(|other| built.get(&other)) {
        Some(other) => State { warnings: Vec::new(), steps: 0, cached: 0, ..other.clone() },
        None => from_image(work, &base, stage.line, log).await?,
    };
    state.arguments = BTreeMap::new();
    state.own_command = false;
    for name in PREDEFINED {
        let given = work.request.build_args.get(name);
        state.arguments.extend(given.map(|value| (name.to_string(), value.clone())));
    }
    for (number, step) in stage.steps.iter().enumerate() {
        log.next(&format!("[{title} {}/{}] {}", number + 2, stage.steps.len() + 1, step.text));
        execute(work, file, at, built, &mut state, step, log).await?;
    }
    Ok(state)
}

async fn from_image(work: &Work<'_>, base: &str, line: usize, log: &StepLog) -> Result<State, BuildError> {
    let scratch =
        ImageConfig { architecture: architecture().into(), os: "linux".into(), ..ImageConfig::default() };
    let mut state = State {
        image: scratch,
        layers: Vec::new(),
        tree: Tree::default(),
        warnings: Vec::new(),
        steps: 0,
        cached: 0,
        key: Digest::of("scratch"),
        arguments: BTreeMap::new(),
        own_command: false,
    };
    if base == "scratch" {
        log.line("DONE");
        return Ok(state);
    }
    let reference: Reference =
        base.parse().map_err(|source| BuildError::Reference { line, text: base.to_string(), source })?;
    let pulled = work.images.ensure(&reference, &work.request.pull).await;
    let image = pulled.map_err(|source| BuildError::Image { line, source })?;
    if let Some(trigger) = image.config.config.on_build.first() {
        let message = format!("the base image {base} has ONBUILD {trigger}, which is not supported");
        return Err(DockerfileError::new(line, message).into());
    }
    if let Some(warning) = &image.substituted {
        log.line(&format!("WARNING: {warning}"));
        state.warnings.push(warning.clone());
    }
    log.line(&format!("resolve {reference}@{} done", image.digest));
    state.key = Digest::of(format!("{} {:?}", image.digest, image.config.rootfs.diff_ids));
    state.image = image.config;
    let packed = image.layers.into_iter().zip(state.image.rootfs.diff_ids.drain(..));
    state.layers = packed
        .map(|(layer, diff_id)| Piece {
            key: layer.digest.clone(),
            directory: layer.digest.clone(),
            packed: Some(Packed { layer, diff_id }),
        })
        .collect();
    state.tree = Tree { layers: image.layer_dirs, host: image.host_image.is_some() };
    Ok(state)
}

async fn execute(
    work: &Work<'_>,
    file: &Dockerfile,
    at: usize,
    built: &BTreeMap<usize, State>,
    state: &mut State,
    step: &Step,
    log: &StepLog,
) -> Result<(), BuildError> {
    match &step.instruction {
        Instruction::Run(command) => run_step(work, state, command, step, log).await,
        Instruction::Copy(copy) => copy_step(work, file, at, built, state, copy, step, log).await,
        Instruction::Add(copy) => copy_step(work, file, at, built, state, copy, step, log).await,
        Instruction::Workdir(path) => workdir_step(work, state, path, step, log).await,
        _ => {
            configure(work, state, step)?;
            state.key = Digest::of(format!("{} {}", state.key, json!(state.image.config)));
            history(work, state, step, true);
            Ok(())
        }
    }
}

async fn run_step(
    work: &Work<'_>,
    state: &mut State,
    command: &Run,
    step: &Step,
    log: &StepLog,
) -> Result<(), BuildError> {
    let facts = json!([
        state.key.to_string(),
        "RUN",
        format!("{:?}", command),
        state.environment(),
        state.image.config.user,
        state.image.config.working_dir,
        state.shell(),
    ]);
    let key = Digest::of(facts.to_string());
    if reuse(work, state, &key, step, log) {
        return Ok(());
    }
    let started = Instant::now();
    let (scratch, upper) = run::run(work.images, work.launcher, state, command, step.line, log).await?;
    // Two runs of one command need not write the same: each result has its own place.
    let directory = Digest::of(format!("{key} {:032x}", rand::random::<u128>()));
    work.images.adopt_layer(&upper, &directory, &key).map_err(BuildError::Store)?;
    drop(scratch);
    keep(work, state, Piece { key, directory, packed: None }, step)?;
    log.line(&format!("DONE {:.1}s", started.elapsed().as_secs_f64()));
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "a copy can come from the context, a stage or an image")]
async fn copy_step(
    work: &Work<'_>,
    file: &Dockerfile,
    at: usize,
    built: &BTreeMap<usize, State>,
    state: &mut State,
    copy: &Copy,
    step: &Step,
    log: &StepLog,
) -> Result<(), BuildError> {
    let line = step.line;
    let failed = |source| BuildError::Copy { line, source };
    let source = match &copy.from {
        None => None,
        Some(from) => Some(source_tree(work, file, at, built, &state.expand(from, line)?, line).await?),
    };
    let sources = state.expand_all(&copy.sources, line)?;
    let destination = state.absolute(&state.expand(&copy.destination, line)?);
    let mut inline = Vec::new();
    for heredoc in &copy.heredocs {
        let body =
            if heredoc.expand { expand_body(state, &heredoc.body, line)? } else { heredoc.body.clone() };
        inline.push((heredoc.name.clone(), body.into_bytes()));
    }
    let mode = copy.chmod.as_ref().map(|text| state.expand(text, line)).transpose()?;
    let mode = mode
        .map(|text| u32::from_str_radix(&text, 8).map_err(|_| failed(CopyError::Mode(text))))
        .transpose()?;
    let owner = match &copy.chown {
        None => (0, 0),
        Some(text) => {
            let text = state.expand(text, line)?;
            let user = resolve_user(&state.tree.layers, state.tree.host, &text)
                .map_err(|source| BuildError::User { line, user: text, source })?;
            (user.uid, user.gid)
        }
    };
    let request = Request {
        from: source.as_ref().unwrap_or(&work.context),
        ignore: source.is_none().then_some(&work.ignore),
        sources: &sources,
        inline,
        destination: &destination,
        into: &state.tree,
        owner,
        mode,
        add: matches!(step.instruction, Instruction::Add(_)),
    };
    let entries = plan(&request).map_err(failed)?;
    let content = layer::fingerprint(&entries).map_err(|source| BuildError::Layer { line, source })?;
    let key = Digest::of(format!("{} COPY {content}", state.key));
    if reuse(work, state, &key, step, log) {
        return Ok(());
    }
    let started = Instant::now();
    finish(work, state, &key, entries, step).await?;
    log.line(&format!("DONE {:.1}s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Variables in the body of a heredoc; quotes are text there.
fn expand_body(state: &State, body: &str, line: usize) -> Result<String, DockerfileError> {
    let quoted = body.replace('"', "\\\"");
    state.expand(&format!("\"{quoted}\""), line)
}

/// `--from=`: an earlier stage, or an image.
async fn source_tree(
    work: &Work<'_>,
    file: &Dockerfile,
    at: usize,
    built: &BTreeMap<usize, State>,
    from: &str,
    line: usize,
) -> Result<Tree, BuildError> {
    if let Some(stage) = earlier_stage(file, at, from).and_then(|other| built.get(&other)) {
        return Ok(stage.tree.clone());
    }
    let reference: Reference =
        from.parse().map_err(|source| BuildError::Reference { line, text: from.to_string(), source })?;
    let image = work.images.ensure(&reference, &work.request.pull).await;
    let image = image.map_err(|source| BuildError::Image { line, source })?;
    Ok(Tree { layers: image.layer_dirs, host: image.host_image.is_some() })
}

/// Sets the directory, and makes it if the image does not have it.
async fn workdir_step(
    work: &Work<'_>,
    state: &mut State,
    path: &str,
    step: &Step,
    log: &StepLog,
) -> Result<(), BuildError> {
    let line = step.line;
    let path = state.expand(path, line)?;
    let path = state.absolute(&path);
    let path = if path == "/" { path } else { path.trim_end_matches('/').to_string() };
    state.image.config.working_dir.clone_from(&path);
    state.key = Digest::of(format!("{} WORKDIR {path}", state.key));
    let failed = |source| BuildError::Layer { line, source };
    let target = state.tree.resolve(Path::new(&path)).map_err(failed)?;
    let mut entries = Entries::new();
    for part in target.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        if !matches!(state.tree.lookup(part).map_err(failed)?, Some(Node::Directory(_))) {
            let entry = Entry { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 };
            entries.insert(part.to_path_buf(), entry);
        }
    }
    if entries.is_empty() {
        history(work, state, step, true);
        return Ok(());
    }
    let key = state.key.clone();
    if !reuse(work, state, &key, step, log) {
        finish(work, state, &key, entries, step).await?;
        log.line("DONE");
    }
    Ok(())
}

/// Takes the step's layer from the cache, if it and its files are still there.
fn reuse(work: &Work<'_>, state: &mut State, key: &Digest, step: &Step, log: &StepLog) -> bool {
    state.steps += 1;
    if work.request.no_cache {
        return false;
    }
    let kept = fs::read(work.images.step_file(key)).ok();
    let Some(piece) = kept.and_then(|bytes| serde_json::from_slice::<Piece>(&bytes).ok()) else {
        return false;
    };
    let archived =
        piece.packed.as_ref().is_none_or(|packed| work.images.blob_file(&packed.layer.digest).is_file());
    let there = archived && work.images.layer_dir(&piece.directory).is_dir();
    if there {
        log.line("CACHED");
        state.cached += 1;
        add(work, state, piece, step);
    }
    there
}

/// Writes the step's files as a layer and remembers it under its key.
async fn finish(
    work: &Work<'_>,
    state: &mut State,
    key: &Digest,
    entries: Entries,
    step: &Step,
) -> Result<(), BuildError> {
    let line = step.line;
    let failed = |source| BuildError::Layer { line, source };
    let archive = work.images.temporary();
    let unpacked = Scratch(work.images.temporary());
    let (file, directory, epoch_s) = (archive.clone(), unpacked.0.clone(), work.request.epoch_s);
    let writing = tokio::task::spawn_blocking(move || write_both(&entries, epoch_s, &file, &directory));
    let written = writing.await.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)?;
    fs::rename(&archive, work.images.blob_file(&written.digest)).map_err(failed)?;
    let adopted = work.images.adopt_layer(&unpacked.0, &written.digest, &written.diff_id);
    adopted.map_err(BuildError::Store)?;
    let packed = Packed::of(written);
    let directory = packed.layer.digest.clone();
    keep(work, state, Piece { key: key.clone(), directory, packed: Some(packed) }, step)
}

/// Remembers the step's layer under its key, and puts it on the stage.
fn keep(work: &Work<'_>, state: &mut State, piece: Piece, step: &Step) -> Result<(), BuildError> {
    remember(work, &piece)?;
    add(work, state, piece, step);
    Ok(())
}

fn remember(work: &Work<'_>, piece: &Piece) -> Result<(), BuildError> {
    let bytes = serde_json::to_vec(piece).unwrap_or_default();
    work.images.write_file(&work.images.step_file(&piece.key), &bytes).map_err(BuildError::Store)
}

impl Packed {
    fn of(written: layer::Written) -> Packed {
        let layer = Descriptor::new(OCI_LAYER_GZIP, written.digest, written.size);
        Packed { layer, diff_id: written.diff_id }
    }
}

/// The archives of a finished stage, lowest first; those that are missing are made.
pub(super) async fn pack(work: &Work<'_>, layers: Vec<Piece>) -> Result<Vec<Packed>, BuildError> {
    let mut all = Vec::new();
    for mut piece in layers {
        if let Some(packed) = piece.packed {
            all.push(packed);
            continue;
        }
        let failed = BuildError::Pack;
        let (archive, directory) = (work.images.temporary(), work.images.layer_dir(&piece.directory));
        let (file, epoch_s) = (archive.clone(), work.request.epoch_s);
        let writing = tokio::task::spawn_blocking(move || {
            layer::write(&layer::from_upper(&directory)?, epoch_s, &file)
        });
        let written = writing.await.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)?;
        fs::rename(&archive, work.images.blob_file(&written.digest)).map_err(failed)?;
        let packed = Packed::of(written);
        piece.packed = Some(packed.clone());
        remember(work, &piece)?;
        all.push(packed);
    }
    Ok(all)
}

/// The archive, and the directory it unpacks to: the same code that will unpack it elsewhere.
fn write_both(
    entries: &Entries,
    epoch_s: u64,
    file: &PathBuf,
    directory: &Path,
) -> std::io::Result<layer::Written> {
    let written = layer::write(entries, epoch_s, file)?;
    fs::create_dir(directory)?;
    unpack(fs::File::open(file)?, directory).map_err(std::io::Error::other)?;
    Ok(written)
}

fn add(work: &Work<'_>, state: &mut State, piece: Piece, step: &Step) {
    state.key = piece.key.clone();
    state.tree.layers.insert(0, work.images.layer_dir(&piece.directory));
    state.layers.push(piece);
    history(work, state, step, false);
}

fn history(work: &Work<'_>, state: &mut State, step: &Step, empty_layer: bool) {
    let seconds = i64::try_from(work.request.epoch_s).unwrap_or_default();
    let created = jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string());
    state.image.created.clone_from(&created);
    let entry =
        History { created, created_by: step.text.clone(), empty_layer, comment: "portolan".to_string() };
    state.image.history.push(entry);
}

/// Instructions that only change the image's config or the build's variables.
fn configure(work: &Work<'_>, state: &mut State, step: &Step) -> Result<(), BuildError> {
    let line = step.line;
    match &step.instruction {
        Instruction::Arg(arguments) => {
            for (name, default) in arguments {
                let given = work.request.build_args.get(name).cloned();
                let value = match (given, default) {
                    (Some(value), _) => Some(value),
                    (None, Some(default)) => Some(state.expand(default, line)?),
                    (None, None) => work.global.get(name).cloned(),
                };
                state.arguments.extend(value.map(|value| (name.clone(), value)));
            }
        }
        Instruction::Env(pairs) => {
            let expanded: Result<Vec<_>, DockerfileError> = pairs
                .iter()
                .map(|(name, value)| Ok((state.expand(name, line)?, state.expand(value, line)?)))
                .collect();
            for (name, value) in expanded? {
                state.image.config.set_env(&name, &value);
            }
        }
        Instruction::Label(pairs) => {
            for (name, value) in pairs {
                let (name, value) = (state.expand(name, line)?, state.expand(value, line)?);
                state.image.config.labels.insert(name, value);
            }
        }
        Instruction::Expose(ports) => {
            for port in state.expand_all(ports, line)? {
                let port = if port.contains('/') { port } else { format!("{port}/tcp") };
                state.image.config.exposed_ports.insert(port, json!({}));
            }
        }
        Instruction::Volume(paths) => {
            for path in state.expand_all(paths, line)? {
                state.image.config.volumes.insert(path, json!({}));
            }
        }
        Instruction::Cmd(command) => {
            state.image.config.cmd = Some(words(state, command));
            state.own_command = true;
        }
        Instruction::Entrypoint(command) => {
            state.image.config.entrypoint = Some(words(state, command));
            if !state.own_command {
                state.image.config.cmd = None;
            }
        }
        Instruction::User(user) => state.image.config.user = state.expand(user, line)?,
        Instruction::Stopsignal(signal) => state.image.config.stop_signal = Some(state.expand(signal, line)?),
        Instruction::Shell(shell) => state.image.config.shell = Some(shell.clone()),
        Instruction::Healthcheck(check) => state.image.config.healthcheck = Some(check.clone()),
        Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_) => {}
    }
    Ok(())
}

fn words(state: &State, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) => [state.shell(), vec![text.clone()]].concat(),
    }
}
