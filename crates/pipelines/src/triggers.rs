//! From what happens in the git host to `WorkflowRun` objects. A run's name is made from what caused it, so that a hint
//! and a sweep that see the same push make the same object.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use controller::Propagation;
use git::Event;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{self, RunSpec, RunStatus, WORKFLOW_RUN};
use crate::forge::Error;
use crate::runner::Shared;
use crate::workflow::{self, Workflow};

/// Subject of the tokens that jobs get. What it pushes starts no workflow: a workflow that commits would never end.
pub(crate) const JOB_SUBJECT: &str = "system:workflow";
/// Where workflows are.
const DIRECTORY: &str = ".github/workflows";
/// Workflow files of one repository that are read.
const FILE_LIMIT: usize = 100;
/// Refs of one repository that a sweep looks at.
const REF_LIMIT: usize = 500;
/// Completed runs that are kept, besides the newest of each workflow and ref.
const RUN_LIMIT: usize = 1000;
/// After this many seconds, a second in which something was pushed is over, also on a clock that is a little off.
const SETTLED_S: i64 = 2;
/// A push whose record is missing for so long was interrupted before it was recorded.
const RECORD_TIMEOUT: Duration = Duration::from_secs(15);
/// Who pushed, when it was not recorded.
const UNKNOWN: &str = "unknown";
const ZERO: &str = "0000000000000000000000000000000000000000";
/// In the message of the pushed commit, these keep workflows from running.
const SKIP: [&str; 5] = ["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"];

/// A ref that moved.
struct Push {
    repository: String,
    reference: String,
    before: String,
    after: String,
    sender: String,
}

/// Acts on one hint. Errors are logged: the sweep comes anyway.
pub(crate) async fn on_event(shared: &Arc<Shared>, event: Event) {
    let repository = event.repository().to_owned();
    let result = match event {
        Event::Push { repository, reference, before, after, sender } => {
            on_push(shared, &Push { repository, reference, before, after, sender }).await
        }
        Event::Dispatch { .. } => on_dispatch(shared, event).await,
        Event::Repository { .. } | Event::Status { .. } => Ok(()),
    };
    if let Err(error) = result {
        tracing::warn!(repository, error = &error as &dyn std::error::Error, "cannot start workflows");
    }
}

/// What a sweep remembers of the one before.
#[derive(Default)]
struct Memory {
    /// When each repository was last pushed to: one without a push since then has nothing new.
    seen: HashMap<String, String>,
    /// Heads that nobody is recorded to have pushed, with the time since when: the record follows the push at once, so
    /// that only after a while it is lost.
    unrecorded: HashMap<(String, String), Instant>,
}

/// Compares, again and again, the heads of all repositories with the runs that there are.
pub(crate) async fn sweep(shared: Arc<Shared>) {
    let mut timer = tokio::time::interval(shared.config.sweep);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut memory = Memory::default();
    loop {
        timer.tick().await;
        forget_old(&shared).await;
        for organization in &shared.config.organizations {
            if let Err(error) = sweep_organization(&shared, organization, &mut memory).await {
                tracing::debug!(organization, error = &error as &dyn std::error::Error, "sweep");
            }
        }
    }
}

/// Removes completed runs beyond the limit, oldest first, with their logs and artifacts. The newest of each ref stays:
/// without it, a sweep would take the ref's head for a push that never ran.
async fn forget_old(shared: &Shared) {
    let runs = shared.config.cluster.watch(&WORKFLOW_RUN);
    let mut completed: Vec<Arc<Value>> = runs.list();
    completed.retain(|run| run["status"]["status"] == "completed");
    if completed.len() <= RUN_LIMIT {
        return;
    }
    let created = |run: &Value| run["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    completed.sort_by_key(|run| std::cmp::Reverse((created(run), run["spec"]["runNumber"].as_i64())));
    let mut newest: HashSet<String> = HashSet::new();
    for (index, run) in completed.iter().enumerate() {
        let spec = &run["spec"];
        let subject = json!([spec["repository"], spec["path"], spec["event"], spec["ref"]]).to_string();
        if newest.insert(subject) || index < RUN_LIMIT {
            continue;
        }
        let key = object::meta::key(run);
        let uid = object::meta::uid(run);
        let deleted =
            shared.config.cluster.delete(&WORKFLOW_RUN, &key, Some(uid), Propagation::Background).await;
        if let Err(error) = deleted {
            tracing::warn!(%error, run = key.name, "cannot remove an old run");
            continue;
        }
        for kind in ["logs", "artifacts"] {
            tokio::fs::remove_dir_all(shared.config.data.join(kind).join(&key.name)).await.ok();
        }
    }
}

async fn sweep_organization(
    shared: &Arc<Shared>,
    organization: &str,
    memory: &mut Memory,
) -> Result<(), Error> {
    for repository in shared.forge.list(&format!("/orgs/{organization}/repos")).await? {
        let Some(name) = repository["full_name"].as_str() else { continue };
        let pushed = repository["pushed_at"].as_str().unwrap_or_default().to_owned();
        if pushed.is_empty() || memory.seen.get(name) == Some(&pushed) {
            continue;
        }
        // The time has whole seconds: another push may still come in the same one.
        let settled = pushed.parse().is_ok_and(|time: jiff::Timestamp| {
            time.as_second() + SETTLED_S < jiff::Timestamp::now().as_second()
        });
        match sweep_repository(shared, name, &mut memory.unrecorded).await {
            Ok(true) if settled => {
                memory.seen.insert(name.to_owned(), pushed);
            }
            Ok(_) => {}
            // One repository that cannot be read does not keep the others from being looked at.
            Err(error) => {
                tracing::warn!(repository = name, error = &error as &dyn std::error::Error, "sweep")
            }
        }
    }
    Ok(())
}

/// Looks at all heads of a repository; false when one of them has to be looked at again.
async fn sweep_repository(
    shared: &Arc<Shared>,
    repository: &str,
    unrecorded: &mut HashMap<(String, String), Instant>,
) -> Result<bool, Error> {
    let mut complete = true;
    for (list, prefix) in [("branches", "refs/heads/"), ("tags", "refs/tags/")] {
        for entry in shared.forge.list(&format!("/repos/{repository}/{list}")).await?.iter().take(REF_LIMIT) {
            let (Some(name), Some(sha)) = (entry["name"].as_str(), entry["commit"]["sha"].as_str()) else {
                continue;
            };
            let reference = format!("{prefix}{name}");
            let path = format!("/repos/{repository}/activity?per_page=1&ref={reference}");
            let activity = shared.forge.get(&path).await?;
            let newest = activity.as_ref().map_or(&Value::Null, |list| &list[0]);
            let text = |value: &Value, otherwise: &str| value.as_str().unwrap_or(otherwise).to_owned();
            let mut push = Push {
                repository: repository.to_owned(),
                reference,
                before: text(&newest["before"], ZERO),
                after: sha.to_owned(),
                sender: text(&newest["actor"]["login"], UNKNOWN),
            };
            // An annotated tag is recorded under its own id, and does not move.
            let recorded = newest["after"] == sha || (list == "tags" && !newest.is_null());
            let subject = (format!("{repository} {}", push.reference), sha.to_owned());
            if recorded {
                unrecorded.remove(&subject);
            } else if unrecorded.entry(subject).or_insert_with(Instant::now).elapsed() < RECORD_TIMEOUT {
                complete = false;
                continue;
            } else {
                (push.before, push.sender) = (ZERO.to_owned(), UNKNOWN.to_owned());
            }
            on_push(shared, &push).await?;
        }
    }
    Ok(complete)
}

async fn on_push(shared: &Arc<Shared>, push: &Push) -> Result<(), Error> {
    let is_ref = push.reference.starts_with("refs/heads/") || push.reference.starts_with("refs/tags/");
    if !is_ref || push.after == ZERO || push.sender == JOB_SUBJECT {
        return Ok(());
    }
    let files = workflow_files(shared, &push.repository, &push.after).await?;
    if files.is_empty() {
        return Ok(());
    }
    let Some(commit) =
        shared.forge.get(&format!("/repos/{}/commits/{}", push.repository, push.after)).await?
    else {
        return Ok(());
    };
    let message = commit["commit"]["message"].as_str().unwrap_or_default();
    if SKIP.iter().any(|mark| message.contains(mark)) {
        return Ok(());
    }
    // An annotated tag was pushed under its own id; workflows run on the commit.
    let sha = commit["sha"].as_str().unwrap_or(&push.after).to_owned();
    let paths = changed_paths(shared, push, &commit).await?;
    let payload = push_payload(shared, push, &commit).await?;
    for (path, text) in files {
        let spec = RunSpec {
            repository: push.repository.clone(),
            path: path.clone(),
            event: "push".to_owned(),
            reference: push.reference.clone(),
            sha: sha.clone(),
            actor: push.sender.clone(),
            payload: payload.clone(),
            ..RunSpec::default()
        };
        match Workflow::parse(&path, &text) {
            Ok(workflow) => {
                let event = workflow::Event::Push { reference: &push.reference, paths: &paths };
                if workflow.triggers.matches(event) {
                    create(shared, RunSpec { workflow: workflow.name, ..spec }, "", None).await;
                }
            }
            // As on GitHub, a broken file is a failed run, so that someone sees it.
            Err(error) => {
                create(shared, RunSpec { workflow: path, ..spec }, "", Some(error.to_string())).await
            }
        }
    }
    Ok(())
}

async fn on_dispatch(shared: &Arc<Shared>, event: Event) -> Result<(), Error> {
    let Event::Dispatch { repository, workflow, event_type, reference, inputs, sender } = event else {
        return Ok(());
    };
    let Some(commit) = shared.forge.get(&format!("/repos/{repository}/commits/{reference}")).await? else {
        return Ok(());
    };
    let sha = commit["sha"].as_str().unwrap_or_default().to_owned();
    let repository_payload = shared.forge.get(&format!("/repos/{repository}")).await?.unwrap_or_default();
    // Each call is a run of its own, unlike a push, which happens once.
    let nonce = jiff::Timestamp::now().as_nanosecond().to_string();
    for (path, text) in workflow_files(shared, &repository, &sha).await? {
        let Ok(parsed) = Workflow::parse(&path, &text) else { continue };
        let (event, mut payload) = match &workflow {
            Some(wanted) if path.rsplit('/').next() == Some(wanted) || path == *wanted => (
                workflow::Event::WorkflowDispatch,
                json!({ "inputs": inputs, "ref": reference, "workflow": path }),
            ),
            Some(_) => continue,
            None => {
                let payload = json!({ "action": event_type, "client_payload": inputs, "branch": reference });
                (workflow::Event::RepositoryDispatch { event_type: &event_type }, payload)
            }
        };
        if !parsed.triggers.matches(event) {
            continue;
        }
        payload["repository"] = repository_payload.clone();
        payload["sender"] = json!({ "login": sender });
        let spec = RunSpec {
            repository: repository.clone(),
            workflow: parsed.name,
            path,
            event: if workflow.is_some() { "workflow_dispatch" } else { "repository_dispatch" }.to_owned(),
            reference: reference.clone(),
            sha: sha.clone(),
            actor: sender.clone(),
            inputs: with_defaults(parsed.triggers.workflow_dispatch.as_deref(), &inputs),
            payload,
            ..RunSpec::default()
        };
        create(shared, spec, &nonce, None).await;
    }
    Ok(())
}

/// Given inputs over the workflow's defaults.
fn with_defaults(defaults: Option<&[(String, Value)]>, given: &Value) -> Value {
    let mut inputs: serde_json::Map<String, Value> = defaults.unwrap_or_default().iter().cloned().collect();
    if let Value::Object(given) = given {
        inputs.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    Value::Object(inputs)
}

/// Makes the object of a run, unless it is there; with `broken`, one that has already failed.
async fn create(shared: &Arc<Shared>, mut spec: RunSpec, nonce: &str, broken: Option<String>) {
    let hash = hash(&[&spec.repository, &spec.path, &spec.event, &spec.reference, &spec.sha, nonce]);
    let stem = spec.path.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default();
    let name = format!(
        "{}-{}-{}",
        slug(spec.repository.rsplit('/').next().unwrap_or_default()),
        slug(stem),
        &hash[..10]
    );
    let cluster = &shared.config.cluster;
    let runs = cluster.watch(&WORKFLOW_RUN);
    runs.synced().await;
    if runs.get(&api::key(&name)).is_some() {
        return;
    }
    let of_workflow = |object: &Arc<Value>| {
        let same = object["spec"]["repository"] == spec.repository && object["spec"]["path"] == spec.path;
        if same { object["spec"]["runNumber"].as_i64() } else { None }
    };
    spec.run_number = runs.list().iter().filter_map(of_workflow).max().unwrap_or(0) + 1;
    // GitHub's run ids are numbers; eight hexadecimal digits fit every reader's integer.
    spec.run_id = i64::from_str_radix(&hash[..8], 16).unwrap_or(1);
    spec.attempt = 1;
    match cluster.create(&WORKFLOW_RUN, &api::object(&name, &spec)).await {
        Ok(object) => {
            tracing::info!(run = name, workflow = spec.workflow, sha = spec.sha, "workflow run created");
            if let Some(message) = broken {
                fail(shared, &object, message).await;
            }
        }
        Err(error) if error.is_already_exists() => {}
        Err(error) => tracing::warn!(%error, run = name, "cannot create the workflow run"),
    }
}

async fn fail(shared: &Shared, object: &Value, message: String) {
    let status = RunStatus {
        status: "completed".into(),
        conclusion: Some("startup_failure".into()),
        message: Some(message),
        attempt: 1,
        completed_at: Some(controller::now()),
        ..RunStatus::default()
    };
    if let Err(error) = shared.config.cluster.write_status(&WORKFLOW_RUN, object, &json!(status)).await {
        tracing::warn!(%error, "cannot write the status of a run");
    }
}

async fn workflow_files(
    shared: &Shared,
    repository: &str,
    sha: &str,
) -> Result<Vec<(String, String)>, Error> {
    let list = shared.forge.get(&format!("/repos/{repository}/contents/{DIRECTORY}?ref={sha}")).await?;
    let mut files = Vec::new();
    for entry in list.as_ref().and_then(Value::as_array).into_iter().flatten().take(FILE_LIMIT) {
        let path = entry["path"].as_str().unwrap_or_default();
        let is_workflow = entry["type"] == "file" && (path.ends_with(".yaml") || path.ends_with(".yml"));
        if is_workflow && let Some(text) = shared.forge.file(repository, path, sha).await? {
            files.push((path.to_owned(), text));
        }
    }
    Ok(files)
}

/// Files that differ from before the push; of a new ref, those of its newest commit.
async fn changed_paths(shared: &Shared, push: &Push, commit: &Value) -> Result<Vec<String>, Error> {
    let compared = if push.before == ZERO {
        None
    } else {
        let range = format!("{}...{}", push.before, push.after);
        shared.forge.get(&format!("/repos/{}/compare/{range}", push.repository)).await?
    };
    let files = compared.as_ref().map_or(&commit["files"], |compared| &compared["files"]);
    let names = |file: &Value| {
        [file["filename"].as_str().map(str::to_owned), file["previous_filename"].as_str().map(str::to_owned)]
    };
    Ok(files.as_array().into_iter().flatten().flat_map(names).flatten().collect())
}

/// `github.event` of a push, as far as workflows use it.
async fn push_payload(shared: &Shared, push: &Push, commit: &Value) -> Result<Value, Error> {
    let repository = shared.forge.get(&format!("/repos/{}", push.repository)).await?;
    let inner = &commit["commit"];
    let head = json!({
        "id": commit["sha"],
        "message": inner["message"],
        "timestamp": inner["committer"]["date"],
        "author": inner["author"],
        "committer": inner["committer"],
        "url": commit["html_url"],
    });
    Ok(json!({
        "ref": push.reference,
        "before": push.before,
        "after": push.after,
        "created": push.before == ZERO,
        "deleted": false,
        "head_commit": head,
        "repository": repository.unwrap_or_default(),
        "pusher": { "name": push.sender },
        "sender": { "login": push.sender },
    }))
}

/// SHA-256 over parts, each ended by a NUL, in hexadecimal.
pub(crate) fn hash(parts: &[&str]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Letters, digits and dashes, short enough for an object's name.
fn slug(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = text.chars().map(plain).take(40).collect();
    text.trim_matches('-').to_owned()
}
