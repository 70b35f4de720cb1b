//! Images from a Dockerfile. Every instruction that changes files becomes a layer, kept under a key made of everything
//! it depends on: the parent's key, the instruction with its variables replaced, and the content of the files it reads.
//! A second build of the same input therefore runs nothing.

mod copy;
mod layer;
mod run;
mod stage;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox::{Launcher, SpawnError, UserError};

use crate::client::Auth;
use crate::digest::Digest;
use crate::dockerfile::{
    Dockerfile, DockerfileError, Ignore, Instruction, MAX_DOCKERFILE_BYTES, Stage, expand,
};
use crate::image::architecture;
use crate::pull::{ImageError, Images};
use crate::reference::{Reference, ReferenceError};

pub use copy::CopyError;
use stage::State;
use tree::Tree;

/// The longest a single `RUN` may take: installing dependencies of a large project takes minutes, not hours.
pub const RUN_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Takes the build's log, line by line.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// What to build.
#[derive(Clone)]
pub struct Build {
    /// The directory that `COPY` reads.
    pub context: PathBuf,
    /// Relative to the context; `Dockerfile` if none.
    pub dockerfile: Option<PathBuf>,
    pub build_args: BTreeMap<String, String>,
    /// Name or number of the stage to build; the last one if none.
    pub target: Option<String>,
    pub tags: Vec<Reference>,
    pub labels: BTreeMap<String, String>,
    /// For base images that are not asked of the mirror.
    pub pull: Auth,
    /// Credentials to push every tag with; none: the image stays in the cache.
    pub push: Option<Auth>,
    /// Time of all files in new layers and of the image, in seconds since 1970 (`SOURCE_DATE_EPOCH`, or the commit's time).
    pub epoch_s: u64,
    /// Run everything anew.
    pub no_cache: bool,
    pub log: Log,
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Of the manifest.
    pub digest: Digest,
    /// Of the config, which Docker calls the image id.
    pub image_id: Digest,
    pub tags: Vec<Reference>,
    /// Substituted base images and the like, for people.
    pub warnings: Vec<String>,
    /// Steps that made a layer, and how many of them came from the cache.
    pub steps: usize,
    pub cached: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("reading {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0} is larger than {MAX_DOCKERFILE_BYTES} bytes")]
    TooLarge(PathBuf),
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
    #[error("{0}")]
    Ignore(String),
    #[error("Dockerfile line {line}: {text:?}")]
    Reference {
        line: usize,
        text: String,
        #[source]
        source: ReferenceError,
    },
    #[error("Dockerfile line {line}")]
    Image {
        line: usize,
        #[source]
        source: ImageError,
    },
    #[error("Dockerfile line {line}: COPY")]
    Copy {
        line: usize,
        #[source]
        source: CopyError,
    },
    #[error("Dockerfile line {line}: {user:?}")]
    User {
        line: usize,
        user: String,
        #[source]
        source: UserError,
    },
    #[error("Dockerfile line {line}: {command:?} ended with exit code {code}")]
    Exit { line: usize, command: String, code: i32 },
    #[error("Dockerfile line {line}: {command:?} took longer than {} minutes", RUN_TIMEOUT.as_secs() / 60)]
    Timeout { line: usize, command: String },
    #[error("Dockerfile line {line}: starting the command")]
    Spawn {
        line: usize,
        #[source]
        source: SpawnError,
    },
    #[error("writing the layer of Dockerfile line {line}")]
    Layer {
        line: usize,
        #[source]
        source: io::Error,
    },
    #[error("writing the image's layers")]
    Pack(#[source] io::Error),
    #[error("storing the image")]
    Store(#[source] ImageError),
}

/// Builds, and pushes if asked to.
///
/// # Errors
/// See [`BuildError`]; nothing is tagged or pushed then.
pub async fn build(request: &Build, images: &Images, launcher: &Launcher) -> Result<Built, BuildError> {
    let started = Instant::now();
    let name = request.dockerfile.clone().unwrap_or_else(|| PathBuf::from("Dockerfile"));
    let text = read_text(&request.context.join(&name))?;
    let file = Dockerfile::parse(&text)?;
    let ignore = read_ignore(&request.context, &name)?;
    let target = file.target(request.target.as_deref())?;
    let mut log = StepLog { log: request.log.clone(), number: 0 };
    log.next("[internal] load build definition from Dockerfile");
    log.line(&format!("transferring dockerfile: {}B done", text.len()));
    let global = global_arguments(&file, request)?;
    let wanted = needed(&file, target, &global)?;
    let context = Tree { layers: vec![request.context.clone()], host: false };
    let work = Work { request, images, launcher, ignore, context, global };
    let mut built: BTreeMap<usize, State> = BTreeMap::new();
    let mut warnings: Vec<String> = Vec::new();
    for stage in wanted {
        let state = stage::build(&work, &file, stage, &built, &mut log).await?;
        for warning in &state.warnings {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        built.insert(stage, state);
    }
    let (steps, cached) = built.values().fold((0, 0), |(s, c), state| (s + state.steps, c + state.cached));
    let state = built.remove(&target).ok_or_else(|| DockerfileError::new(1, "no stage was built"))?;
    warnings.extend(unused(&file, request));
    let (digest, image_id) = export(&work, state, &mut log).await?;
    for warning in &warnings {
        (request.log)(&format!("WARNING: {warning}"));
    }
    (request.log)(&format!(
        "built {} in {:.1}s: {cached} of {steps} layers from the cache",
        digest.short(),
        started.elapsed().as_secs_f64()
    ));
    Ok(Built { digest, image_id, tags: request.tags.clone(), warnings, steps, cached })
}

/// What every stage needs to know.
struct Work<'a> {
    request: &'a Build,
    images: &'a Images,
    launcher: &'a Launcher,
    ignore: Ignore,
    context: Tree,
    global: BTreeMap<String, String>,
}

/// Numbers steps as BuildKit's plain progress does.
struct StepLog {
    log: Log,
    number: usize,
}

impl StepLog {
    fn next(&mut self, title: &str) {
        self.number += 1;
        self.line(title);
    }

    fn line(&self, text: &str) {
        (self.log)(&format!("#{} {text}", self.number));
    }
}

/// Stores, tags and pushes the finished image.
async fn export(
    work: &Work<'_>,
    mut state: State,
    log: &mut StepLog,
) -> Result<(Digest, Digest), BuildError> {
    log.next("exporting to image");
    let request = work.request;
    let labels = request.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    state.image.config.labels.extend(labels);
    let started = Instant::now();
    let packed = stage::pack(work, state.layers).await?;
    log.line(&format!("exporting layers {:.1}s done", started.elapsed().as_secs_f64()));
    state.image.rootfs.diff_ids = packed.iter().map(|one| one.diff_id.clone()).collect();
    let layers = packed.into_iter().map(|one| one.layer).collect();
    let (digest, image_id) = work.images.store(&state.image, layers).map_err(BuildError::Store)?;
    log.line(&format!("writing image {image_id} done"));
    for tag in &request.tags {
        work.images.remember(tag, &digest).map_err(BuildError::Store)?;
        log.line(&format!("naming to {tag} done"));
        if let Some(auth) = &request.push {
            let started = Instant::now();
            work.images.push(&digest, tag, auth).await.map_err(BuildError::Store)?;
            log.line(&format!("pushing {tag} {:.1}s done", started.elapsed().as_secs_f64()));
        }
    }
    log.line("DONE");
    Ok((digest, image_id))
}

fn read_text(path: &Path) -> Result<String, BuildError> {
    let failed = |source| BuildError::File { path: path.to_path_buf(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_DOCKERFILE_BYTES as u64 {
        return Err(BuildError::TooLarge(path.to_path_buf()));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// `<Dockerfile>.dockerignore` if it exists, else `.dockerignore`.
fn read_ignore(context: &Path, dockerfile: &Path) -> Result<Ignore, BuildError> {
    let own = context.join(format!("{}.dockerignore", dockerfile.display()));
    let path = if own.is_file() { own } else { context.join(".dockerignore") };
    if !path.is_file() {
        return Ok(Ignore::default());
    }
    Ignore::parse(&read_text(&path)?).map_err(BuildError::Ignore)
}

/// Variables that exist before the first `FROM`, and that stages may ask for by `ARG`.
fn global_arguments(file: &Dockerfile, request: &Build) -> Result<BTreeMap<String, String>, BuildError> {
    let mut known = BTreeMap::new();
    for (os, arch, platform) in
        [("TARGETOS", "TARGETARCH", "TARGETPLATFORM"), ("BUILDOS", "BUILDARCH", "BUILDPLATFORM")]
    {
        known.insert(os.to_string(), "linux".to_string());
        known.insert(arch.to_string(), architecture().to_string());
        known.insert(platform.to_string(), format!("linux/{}", architecture()));
    }
    for (name, default) in &file.arguments {
        let given = request.build_args.get(name).cloned();
        let value = match (given, default) {
            (Some(value), _) => Some(value),
            (None, Some(default)) => {
                let value = expand(default, &|name| known.get(name).cloned());
                Some(value.map_err(|message| DockerfileError::new(1, format!("ARG {name}: {message}")))?)
            }
            (None, None) => None,
        };
        known.extend(value.map(|value| (name.clone(), value)));
    }
    Ok(known)
}

/// The stages that the target is made of, in order.
fn needed(
    file: &Dockerfile,
    target: usize,
    global: &BTreeMap<String, String>,
) -> Result<Vec<usize>, BuildError> {
    let mut wanted = vec![false; target + 1];
    wanted[target] = true;
    for at in (0..=target).rev() {
        if !wanted[at] {
            continue;
        }
        let stage = &file.stages[at];
        let copies = stage.steps.iter().filter_map(|step| match &step.instruction {
            Instruction::Copy(copy) => copy.from.clone(),
            _ => None,
        });
        let base = base_of(stage, global)?;
        for name in copies.chain([base]) {
            if let Some(other) = earlier_stage(file, at, &name) {
                wanted[other] = true;
            }
        }
    }
    Ok((0..=target).filter(|at| wanted[*at]).collect())
}

/// The stage before `at` that `name` means, by name or number.
fn earlier_stage(file: &Dockerfile, at: usize, name: &str) -> Option<usize> {
    let wanted = name.to_lowercase();
    let by_name = (0..at).rev().find(|other| file.stages[*other].name.as_deref() == Some(wanted.as_str()));
    by_name.or_else(|| name.parse().ok().filter(|other| *other < at))
}

/// The image or stage that `FROM` names.
fn base_of(stage: &Stage, global: &BTreeMap<String, String>) -> Result<String, BuildError> {
    let base = expand(&stage.base, &|name| global.get(name).cloned());
    let base = base.map_err(|message| DockerfileError::new(stage.line, message))?;
    if base.is_empty() {
        let message = format!("FROM {} names no image: a variable is empty", stage.base);
        return Err(DockerfileError::new(stage.line, message).into());
    }
    Ok(base)
}

/// Build arguments that no `ARG` asks for.
fn unused(file: &Dockerfile, request: &Build) -> Vec<String> {
    let steps = file.stages.iter().flat_map(|stage| &stage.steps);
    let inner = steps.filter_map(|step| match &step.instruction {
        Instruction::Arg(arguments) => Some(arguments),
        _ => None,
    });
    let asked: Vec<&String> = inner.flatten().chain(&file.arguments).map(|(name, _)| name).collect();
    let lost = request.build_args.keys().filter(|name| !asked.contains(name) && !stage::is_predefined(name));
    lost.map(|name| format!("build argument {name} is not used by the Dockerfile")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stages_of_the_target_are_built() {
        let file = Dockerfile::parse(
            "FROM a AS deps\nFROM b AS unused\nFROM deps AS build\nFROM c\nCOPY --from=build /x /x\nFROM d AS last\nCOPY --from=3 /x /\n",
        )
        .unwrap();
        let check = |target: &str, expected: &[usize]| {
            let target = file.target(Some(target)).unwrap();
            assert_eq!(needed(&file, target, &BTreeMap::new()).unwrap(), expected);
        };
        check("last", &[0, 2, 3, 4]);
        check("build", &[0, 2]);
        check("unused", &[1]);
    }
}
