//! The actions that workflows name with `uses:`, one file each, natively: no marketplace, no container, no JavaScript.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::contexts::State;
use crate::job::{JobRun, StepEnd};
use crate::log::Log;

mod artifacts;
mod build_push;
mod cache;
mod checkout;
mod docker_login;
mod files;
mod metadata;
mod setup_buildx;
mod setup_node;

/// One action. The table is what the parser of `uses:`, the error for unknown actions and the checks of inputs know.
struct Native {
    /// Without the version: all versions are one implementation.
    name: &'static str,
    /// Inputs that have an effect.
    inputs: &'static [&'static str],
    /// Inputs that are accepted and mean nothing here.
    ignored: &'static [&'static str],
    run: for<'a, 'b> fn(&'a mut Call<'b>) -> BoxFuture<'a, Result<(), String>>,
}

const ACTIONS: [Native; 11] = [
    Native {
        name: "actions/checkout",
        inputs: &["repository", "ref", "token", "path", "fetch-depth", "persist-credentials"],
        ignored: &["clean", "fetch-tags", "show-progress", "set-safe-directory", "submodules", "lfs"],
        run: |call| Box::pin(checkout::run(call)),
    },
    Native {
        name: "actions/setup-node",
        inputs: &["node-version", "node-version-file"],
        ignored: &[
            "cache",
            "cache-dependency-path",
            "check-latest",
            "architecture",
            "always-auth",
            "package-manager-cache",
        ],
        run: |call| Box::pin(setup_node::run(call)),
    },
    Native {
        name: "actions/cache",
        inputs: &["path", "key", "restore-keys", "fail-on-cache-miss", "lookup-only"],
        ignored: &["upload-chunk-size", "enableCrossOsArchive", "save-always"],
        run: |call| Box::pin(cache::run(call)),
    },
    Native {
        name: "actions/cache/restore",
        inputs: &["path", "key", "restore-keys", "fail-on-cache-miss", "lookup-only"],
        ignored: &["enableCrossOsArchive"],
        run: |call| Box::pin(cache::restore_only(call)),
    },
    Native {
        name: "actions/cache/save",
        inputs: &["path", "key"],
        ignored: &["upload-chunk-size", "enableCrossOsArchive"],
        run: |call| Box::pin(cache::save_only(call)),
    },
    Native {
        name: "actions/upload-artifact",
        inputs: &["name", "path", "if-no-files-found", "overwrite"],
        ignored: &["retention-days", "compression-level", "include-hidden-files"],
        run: |call| Box::pin(artifacts::upload(call)),
    },
    Native {
        name: "actions/download-artifact",
        inputs: &["name", "path"],
        ignored: &["merge-multiple"],
        run: |call| Box::pin(artifacts::download(call)),
    },
    Native {
        name: "docker/login-action",
        inputs: &["registry", "username", "password"],
        ignored: &["ecr", "logout"],
        run: |call| Box::pin(docker_login::run(call)),
    },
    Native {
        name: "docker/setup-buildx-action",
        inputs: &[],
        ignored: &[
            "version",
            "driver",
            "driver-opts",
            "buildkitd-flags",
            "install",
            "use",
            "platforms",
            "cleanup",
        ],
        run: |call| Box::pin(setup_buildx::run(call)),
    },
    Native {
        name: "docker/metadata-action",
        inputs: &["images", "tags", "flavor", "labels", "sep-tags", "sep-labels"],
        ignored: &["context", "github-token", "annotations", "bake-target"],
        run: |call| Box::pin(metadata::run(call)),
    },
    Native {
        name: "docker/build-push-action",
        inputs: &[
            "context",
            "file",
            "push",
            "tags",
            "build-args",
            "labels",
            "target",
            "no-cache",
            "platforms",
        ],
        ignored: &[
            "cache-from",
            "cache-to",
            "load",
            "provenance",
            "sbom",
            "pull",
            "builder",
            "github-token",
            "outputs",
        ],
        run: |call| Box::pin(build_push::run(call)),
    },
];

/// One use of an action.
struct Call<'a> {
    job: &'a mut JobRun,
    inputs: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
    log: Log,
}

/// What an action left to be done after all steps.
pub(crate) enum Post {
    SaveCache(cache::Entry),
}

/// Runs an action with evaluated inputs.
pub(crate) async fn run(
    job: &mut JobRun,
    uses: &str,
    inputs: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<StepEnd, String> {
    let name = uses.split('@').next().unwrap_or_default();
    let Some(action) = ACTIONS.iter().find(|action| action.name.eq_ignore_ascii_case(name)) else {
        let known: Vec<&str> = ACTIONS.iter().map(|action| action.name).collect();
        return Err(format!("the action `{uses}` is not available here; these are: {}", known.join(", ")));
    };
    for input in inputs.keys() {
        if action.ignored.iter().any(|known| known.eq_ignore_ascii_case(input)) {
            job.log.line(&format!("the input `{input}` has no effect here"));
        } else if !action.inputs.iter().any(|known| known.eq_ignore_ascii_case(input)) {
            job.annotate("warning", &format!("unexpected input `{input}` of {name}"));
        }
    }
    let inputs = inputs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let log = job.log.clone();
    let mut call = Call { job, inputs, env, outputs: BTreeMap::new(), log };
    let outcome = tokio::select! {
        result = (action.run)(&mut call) => Ok(result?),
        () = cancel.cancelled() => Err(State::Cancelled),
        () = tokio::time::sleep_until(deadline) => Err(State::Failure),
    };
    let outputs = std::mem::take(&mut call.outputs);
    match outcome {
        Ok(()) => Ok(StepEnd { state: State::Success, outputs }),
        Err(State::Failure) => Err("The step took longer than its timeout allows.".to_owned()),
        Err(state) => Ok(StepEnd { state, outputs }),
    }
}

/// Does what an action left to be done.
pub(crate) async fn finish(job: &mut JobRun, post: Post, state: State) {
    match post {
        Post::SaveCache(entry) if state == State::Success => {
            job.log.line(&format!("##[group]Save cache {}", entry.key));
            let result = cache::save(&entry).await;
            job.log.line(&result.unwrap_or_else(|error| format!("the cache is not saved: {error}")));
            job.log.line("##[endgroup]");
        }
        // What a failed job made may be half of it.
        Post::SaveCache(_) => {}
    }
}

impl Call<'_> {
    /// An input; an empty one counts as not given.
    fn input(&self, name: &str) -> Option<&str> {
        self.inputs.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &str) -> Result<String, String> {
        self.input(name).map(str::to_owned).ok_or_else(|| format!("the input `{name}` is required"))
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.input(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(format!("the input `{name}` is `{other}`: it must be true or false")),
        }
    }

    /// The lines of an input, without empty ones.
    fn lines(&self, name: &str) -> Vec<String> {
        let lines = self.input(name).unwrap_or_default().lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// As [`Call::lines`], with commas as further ends.
    fn items(&self, name: &str) -> Vec<String> {
        let lines = self.lines(name);
        let items = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn output(&mut self, name: &str, value: impl Into<String>) {
        self.outputs.insert(name.to_owned(), value.into());
    }
}
