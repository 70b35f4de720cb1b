//! `docker/build-push-action`: an image from a Dockerfile by the platform's own builder, pushed under each tag.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use controller::chain;
use registry::Reference;
use registry::build::{Build, Built, build};
use registry::client::Auth;
use serde_json::json;

use super::{Call, files};

pub(super) async fn run(call: &mut Call<'_>) -> Result<(), String> {
    let Some(builder) = call.job.run.shared.config.builder.clone() else {
        return Err(
            "this platform cannot build images: its sandbox is not available on this machine".to_owned()
        );
    };
    check_platforms(call)?;
    let workspace = call.job.directories.workspace.clone();
    let context = files::inside(&workspace, call.input("context").unwrap_or("."))?;
    let dockerfile = call.input("file").map(|file| relative(call, &workspace, &context, file)).transpose()?;
    let tags: Vec<Reference> = call
        .items("tags")
        .iter()
        .map(|tag| tag.parse::<Reference>().map_err(|error| format!("the tag `{tag}`: {error}")))
        .collect::<Result<_, _>>()?;
    let push = call.flag("push", false)?;
    if push && tags.is_empty() {
        return Err("`push` needs at least one tag".to_owned());
    }
    let log = call.log.clone();
    let mut request = Build {
        context,
        dockerfile,
        build_args: pairs(&call.lines("build-args"))?,
        target: call.input("target").map(str::to_owned),
        tags: Vec::new(),
        labels: pairs(&call.lines("labels"))?,
        pull: Auth::Token(call.job.token.clone()),
        push: None,
        epoch_s: commit_time(call),
        no_cache: call.flag("no-cache", false)?,
        log: Arc::new(move |line| log.line(line)),
    };
    let mut built: Option<Built> = None;
    for (registry, tags) in by_registry(&tags) {
        request.tags = tags;
        request.push = if push { Some(credentials(call, &registry)?) } else { None };
        // The second registry finds every layer in the cache of the first build.
        let done = build(&request, &builder.images, &builder.launcher).await;
        built = Some(done.map_err(|error| chain(&error))?);
    }
    let built = match built {
        Some(built) => built,
        None => build(&request, &builder.images, &builder.launcher).await.map_err(|error| chain(&error))?,
    };
    for warning in &built.warnings {
        call.job.annotate("warning", warning);
    }
    let digest = built.digest.to_string();
    call.output("imageid", built.image_id.to_string());
    call.output("metadata", json!({ "containerimage.digest": digest }).to_string());
    call.output("digest", digest);
    Ok(())
}

/// Only this machine's own platform can be built: there is no emulation.
fn check_platforms(call: &Call<'_>) -> Result<(), String> {
    let own = format!("linux/{}", registry::image::architecture());
    match call.items("platforms").iter().find(|platform| **platform != own) {
        Some(other) => Err(format!("`platforms: {other}` cannot be built here: only {own} can")),
        None => Ok(()),
    }
}

/// The Dockerfile's path, which the workflow gives from the workspace and the builder wants from the context.
fn relative(
    call: &Call<'_>,
    workspace: &std::path::Path,
    context: &std::path::Path,
    file: &str,
) -> Result<PathBuf, String> {
    let path = files::inside(workspace, file)?;
    match path.strip_prefix(context) {
        Ok(inner) => Ok(inner.to_path_buf()),
        Err(_) => Err(format!(
            "`file: {file}` is outside of the context {:?}",
            call.input("context").unwrap_or(".")
        )),
    }
}

/// The registries of the tags, in their order, each with its tags.
fn by_registry(tags: &[Reference]) -> Vec<(String, Vec<Reference>)> {
    let mut groups: Vec<(String, Vec<Reference>)> = Vec::new();
    for tag in tags {
        match groups.iter_mut().find(|(registry, _)| *registry == tag.registry) {
            Some((_, group)) => group.push(tag.clone()),
            None => groups.push((tag.registry.clone(), vec![tag.clone()])),
        }
    }
    groups
}

/// What a login left for the registry. The platform's own takes tokens as they are.
fn credentials(call: &Call<'_>, registry: &str) -> Result<Auth, String> {
    match call.job.registries.get(registry) {
        Some((_, password)) if registry == call.job.run.shared.config.registry => {
            Ok(Auth::Token(password.clone()))
        }
        Some((user, password)) => Ok(Auth::Basic { user: user.clone(), password: password.clone() }),
        None => Err(format!("not logged in to {registry}: docker/login-action must come before")),
    }
}

/// `NAME=value` lines.
fn pairs(lines: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pair = |line: &String| {
        let (name, value) = line.split_once('=').ok_or_else(|| format!("`{line}` is not NAME=value"))?;
        Ok((name.trim().to_owned(), value.to_owned()))
    };
    lines.iter().map(pair).collect()
}

/// The commit's time: the same commit makes the same image.
fn commit_time(call: &Call<'_>) -> u64 {
    let text = call.job.run.spec.payload["head_commit"]["timestamp"].as_str().unwrap_or_default();
    let time = text.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second());
    u64::try_from(time).unwrap_or(0)
}
