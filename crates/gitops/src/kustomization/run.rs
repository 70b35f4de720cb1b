//! One run: build, apply, prune, health; then one status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use controller::{EventType, Next, ReconcileError, now};
use object::{Key, Resource, kinds, meta};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::apply::{Action, ApplyError, Outcome, hash};
use super::health::{Verdict, judge};
use super::inventory::{self, Entry};
use super::render::{self, RenderError};
use super::{KustomizationReconciler, plan, source_key};
use crate::api::git_repository::GIT_REPOSITORY;
use crate::api::kustomization::{KUSTOMIZATION, Spec};
use crate::api::show_duration;
use crate::conditions::Status;
use crate::source::secret_field;

/// While health is waited for, changes of the objects are hints; this is for what no watch shows.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
/// Entries that `status.history` keeps: Flux's number.
const HISTORY_LIMIT: usize = 5;

/// Why a run failed: reason and text of the condition.
struct Failure {
    reason: &'static str,
    message: String,
}

/// What a run has found out so far.
struct Progress<'a> {
    object: &'a Value,
    spec: &'a Spec,
    revision: String,
    status: Status,
    digest: String,
    changed: bool,
}

impl KustomizationReconciler {
    /// Brings the cluster to what the source's artifact says.
    pub(super) async fn run(
        &self,
        object: &Value,
        spec: &Spec,
        source: &Value,
    ) -> Result<Next, ReconcileError> {
        let started = Instant::now();
        let revision = source["status"]["artifact"]["revision"].as_str().unwrap_or_default().to_owned();
        let mut status = self.status(object);
        status.value["lastAttemptedRevision"] = revision.as_str().into();
        let mut progress = Progress { object, spec, revision, status, digest: String::new(), changed: false };
        let outcome = self.steps(&mut progress, source).await;
        let Progress { mut status, revision, digest, changed, .. } = progress;
        let key = meta::key(object);
        let (next, event) = match outcome {
            Ok(Some(wait)) => (Next::After(wait), None),
            Ok(None) => {
                let message = format!("Applied revision: {revision}");
                status.value["lastAppliedRevision"] = revision.as_str().into();
                status.succeed("ReconciliationSucceeded", &message);
                let next = show_duration(spec.interval());
                let text = format!(
                    "Reconciliation finished in {}, next run in {next}",
                    show_duration(started.elapsed())
                );
                let news = changed || object["status"]["lastAppliedRevision"] != revision.as_str();
                let event = news.then_some((EventType::Normal, "ReconciliationSucceeded", text));
                (Next::After(jittered(spec.interval())), event)
            }
            Err(failure) => {
                self.forget_health(&key);
                status.fail(failure.reason, &failure.message);
                let event = Some((EventType::Warning, failure.reason, failure.message));
                (Next::After(spec.retry_interval()), event)
            }
        };
        if !digest.is_empty() && !self.drift.is_waiting(&key) {
            let reason = meta_reason(&status.value);
            note_history(&mut status.value, &digest, &revision, &reason, started.elapsed(), changed);
        }
        self.cluster.write_status(&KUSTOMIZATION, object, &status.value).await?;
        if let Some((event_type, reason, message)) = event {
            self.recorder.record(object, event_type, reason, &message).await;
        }
        Ok(next)
    }

    /// Build, apply, prune, health. `Some`: look again after this time.
    async fn steps(&self, progress: &mut Progress<'_>, source: &Value) -> Result<Option<Duration>, Failure> {
        let (object, spec) = (progress.object, progress.spec);
        let objects = self.build(object, spec, source, &progress.revision).await?;
        progress.digest = digest(&objects);
        let outcomes = self
            .applier
            .apply(&objects, spec.force)
            .await
            .map_err(|error| self.apply_failed(object, &error))?;
        for outcome in &outcomes {
            self.drift.follow(&outcome.resource);
        }
        progress.changed = self.tell_changes(object, &outcomes).await;
        let entries: Vec<Entry> = outcomes.iter().map(|outcome| outcome.entry.clone()).collect();
        let old = inventory::read(&progress.status.value);
        progress.status.value["inventory"] = inventory::write(&entries);
        if spec.prune {
            self.prune(progress, &plan::stale(&old, &entries), &entries).await?;
        }
        self.health(progress, &outcomes).await
    }

    async fn build(
        &self,
        object: &Value,
        spec: &Spec,
        source: &Value,
        revision: &str,
    ) -> Result<Arc<Vec<Value>>, Failure> {
        let key = meta::key(object);
        let artifact_failed = |message: String| Failure { reason: "ArtifactFailed", message };
        let commit = revision.rsplit_once("sha1:").map(|(_, commit)| commit);
        let commit =
            commit.ok_or_else(|| artifact_failed(format!("revision '{revision}' names no commit")))?;
        let snapshot = self.sources.snapshot(&source_key(&key, spec), source, commit).await;
        let snapshot =
            snapshot.map_err(|error| artifact_failed(format!("failed to read artifact: {error}")))?;
        let variables = self.variables(&key, spec).await?;
        let ignore = &source["spec"]["ignore"];
        let made_of = hash(&json!([snapshot.tree_id, ignore, object["spec"], variables]));
        let known = self.lock().get(&key).and_then(|memory| memory.built.clone());
        if let Some((_, objects)) = known.filter(|(inputs, _)| *inputs == made_of) {
            return Ok(objects);
        }
        let rendered = render::render(&mut snapshot.renderer(), &snapshot.files, &key, spec, &variables);
        let objects = rendered.map_err(|error| Failure {
            reason: if matches!(error, RenderError::NoPath(_)) { "ArtifactFailed" } else { "BuildFailed" },
            message: error.to_string(),
        })?;
        let objects = Arc::new(objects);
        self.lock().entry(key).or_default().built = Some((made_of, objects.clone()));
        Ok(objects)
    }

    /// The variables of `postBuild`, those of ConfigMaps and Secrets first.
    async fn variables(&self, key: &Key, spec: &Spec) -> Result<BTreeMap<String, String>, Failure> {
        let failed = |message: String| Failure { reason: "BuildFailed", message };
        let mut variables = BTreeMap::new();
        for from in &spec.post_build.substitute_from {
            let secret = from.kind == "Secret";
            let resource: &Resource = if secret { &kinds::SECRET } else { &kinds::CONFIG_MAP };
            let found =
                self.cluster.get(resource, &Key::new(key.namespace.as_str(), from.name.as_str())).await;
            let subject = format!("'{}/{}/{}'", from.kind, key.namespace, from.name);
            let found = found.map_err(|error| failed(format!("substitute from {subject} error: {error}")))?;
            let Some(found) = found else {
                if from.optional {
                    continue;
                }
                return Err(failed(format!(
                    "substitute from {subject} error: {resource} \"{}\" not found",
                    from.name
                )));
            };
            for (name, value) in found["data"].as_object().into_iter().flatten() {
                let value =
                    if secret { secret_field(&found, name) } else { value.as_str().map(str::to_owned) };
                value.into_iter().for_each(|value| drop(variables.insert(name.clone(), value)));
            }
        }
        variables.extend(spec.post_build.substitute.clone());
        let is_name = |name: &String| {
            let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        match variables.keys().find(|name| !is_name(name)) {
            Some(name) => Err(failed(format!("post build failed: '{name}' is not a name of a variable"))),
            None => Ok(variables),
        }
    }

    fn apply_failed(&self, object: &Value, error: &ApplyError) -> Failure {
        if error.is_missing_kind() {
            self.drift.set_missing_kind(&meta::key(object));
        }
        Failure { reason: "ReconciliationFailed", message: error.to_string() }
    }

    /// An event with what was changed; whether anything was.
    async fn tell_changes(&self, object: &Value, outcomes: &[Outcome]) -> bool {
        let word = |action| match action {
            Action::Created => Some("created"),
            Action::Configured => Some("configured"),
            Action::Unchanged | Action::Skipped => None,
        };
        let lines: Vec<String> = outcomes
            .iter()
            .filter_map(|outcome| Some(format!("{} {}", outcome.entry.subject(), word(outcome.action)?)))
            .collect();
        if !lines.is_empty() {
            self.recorder.record(object, EventType::Normal, "Progressing", &lines.join("\n")).await;
        }
        !lines.is_empty()
    }

    /// Deletes what left the source. What could not be deleted stays in the inventory, so that it is tried again.
    async fn prune(
        &self,
        progress: &mut Progress<'_>,
        stale: &[Entry],
        kept: &[Entry],
    ) -> Result<(), Failure> {
        let owner = meta::key(progress.object);
        let (mut lines, mut survivors, mut errors) = (vec![], vec![], vec![]);
        for entry in stale {
            match self.applier.prune(entry, &owner).await {
                Ok(true) => lines.push(format!("{} deleted", entry.subject())),
                Ok(false) => {}
                Err(error) => {
                    errors.push(format!("{} delete failed: {error}", entry.subject()));
                    survivors.push(entry.clone());
                }
            }
        }
        if !lines.is_empty() {
            progress.changed = true;
            self.recorder.record(progress.object, EventType::Normal, "Progressing", &lines.join("\n")).await;
        }
        if errors.is_empty() {
            return Ok(());
        }
        survivors.extend(kept.iter().cloned());
        progress.status.value["inventory"] = inventory::write(&survivors);
        Err(Failure { reason: "PruneFailed", message: errors.join("\n") })
    }

    async fn health(
        &self,
        progress: &mut Progress<'_>,
        outcomes: &[Outcome],
    ) -> Result<Option<Duration>, Failure> {
        let key = meta::key(progress.object);
        let wanted = self.health_set(progress, outcomes).await?;
        if wanted.is_empty() {
            progress.status.remove("Healthy");
            self.forget_health(&key);
            return Ok(None);
        }
        let timeout = progress.spec.timeout();
        let since = self.health_since(&key, &progress.revision);
        let failed = |progress: &mut Progress<'_>, message: String| {
            progress.status.set("Healthy", "False", "HealthCheckFailed", &message);
            Err(Failure { reason: "HealthCheckFailed", message })
        };
        let mut lives = vec![];
        for (entry, resource) in &wanted {
            let cache = self.applier.cache(resource).await;
            lives.push((entry, cache.and_then(|cache| cache.get(&entry.key))));
        }
        let verdict =
            judge(lives.iter().map(|(entry, live)| (*entry, live.as_deref())), jiff::Timestamp::now());
        let waited = since.elapsed();
        match verdict {
            Verdict::Healthy => {
                self.forget_health(&key);
                if !meta::condition_is_true(progress.object, "Healthy") || progress.changed {
                    let message = format!("Health check passed in {}", show_duration(waited));
                    progress.status.set("Healthy", "True", "Succeeded", &message);
                }
                Ok(None)
            }
            Verdict::Failed(objects) => {
                let text = format!("failed early due to stalled resources: [{}]", objects.join(", "));
                failed(progress, format!("health check failed after {}: {text}", show_duration(waited)))
            }
            Verdict::Waiting(objects) if waited >= timeout => {
                let text = format!("timeout waiting for: [{}]", objects.join(", "));
                failed(progress, format!("health check failed after {}: {text}", show_duration(waited)))
            }
            Verdict::Waiting(_) => {
                let message = format!(
                    "Running health checks for revision {} with a timeout of {}",
                    progress.revision,
                    show_duration(timeout)
                );
                progress.status.progress(&message);
                progress.status.set("Healthy", "Unknown", "Progressing", &message);
                Ok(Some(HEALTH_INTERVAL.min(timeout.saturating_sub(waited))))
            }
        }
    }

    /// The objects whose health counts.
    async fn health_set(
        &self,
        progress: &Progress<'_>,
        outcomes: &[Outcome],
    ) -> Result<Vec<(Entry, Resource)>, Failure> {
        let own = Entry::of(progress.object);
        if progress.spec.wait {
            let counts = |outcome: &&Outcome| outcome.action != Action::Skipped && outcome.entry != own;
            return Ok(outcomes
                .iter()
                .filter(counts)
                .map(|o| (o.entry.clone(), o.resource.clone()))
                .collect());
        }
        let mut wanted = vec![];
        for check in &progress.spec.health_checks {
            let entry = Entry::of(&json!({
                "apiVersion": check.api_version,
                "kind": check.kind,
                "metadata": {"name": check.name, "namespace": check.namespace},
            }));
            let resource = self.cluster.resolve(&check.api_version, &check.kind).await;
            let resource = resource.map_err(|error| Failure {
                reason: "HealthCheckFailed",
                message: format!("{}: {error}", entry.subject()),
            })?;
            self.drift.follow(&resource);
            if entry != own {
                wanted.push((entry, resource));
            }
        }
        Ok(wanted)
    }

    /// Since when the health of this revision is waited for.
    fn health_since(&self, key: &Key, revision: &str) -> Instant {
        self.drift.set_waiting(key, true);
        let mut memory = self.lock();
        let health = &mut memory.entry(key.clone()).or_default().health;
        match health {
            Some((of, since)) if of == revision => *since,
            _ => {
                let since = Instant::now();
                *health = Some((revision.to_owned(), since));
                since
            }
        }
    }

    fn forget_health(&self, key: &Key) {
        self.drift.set_waiting(key, false);
        if let Some(memory) = self.lock().get_mut(key) {
            memory.health = None;
        }
    }
}

/// Up to a tenth more, so that many Kustomizations do not all run at once.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + rand::random::<f64>() / 10.0)
}

fn meta_reason(status: &Value) -> String {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
    ready.and_then(|ready| ready["reason"].as_str()).unwrap_or_default().to_owned()
}

fn digest(objects: &[Value]) -> String {
    let text = yaml::emit_documents(objects);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Puts a run into `status.history`, newest first. A run that changed nothing leaves it as it is.
fn note_history(
    status: &mut Value,
    digest: &str,
    revision: &str,
    reason: &str,
    took: Duration,
    changed: bool,
) {
    let mut history = match status["history"].take() {
        Value::Array(history) => history,
        _ => vec![],
    };
    let newest = history.first();
    let same = newest.is_some_and(|e| {
        e["digest"] == digest && e["lastReconciledStatus"] == reason && e["metadata"]["revision"] == revision
    });
    if !same || changed {
        let at = history.iter().position(|e| e["digest"] == digest && e["lastReconciledStatus"] == reason);
        let old = at.map(|at| history.remove(at));
        let count = old.as_ref().and_then(|old| old["totalReconciliations"].as_i64()).unwrap_or(0);
        let first =
            old.as_ref().and_then(|old| old["firstReconciled"].as_str()).map_or_else(now, str::to_owned);
        let entry = json!({
            "digest": digest,
            "firstReconciled": first,
            "lastReconciled": now(),
            "lastReconciledDuration": show_duration(took),
            "lastReconciledStatus": reason,
            "totalReconciliations": count + 1,
            "metadata": {"revision": revision},
        });
        history.insert(0, entry);
        history.truncate(HISTORY_LIMIT);
    }
    status["history"] = Value::Array(history);
}

/// Kustomizations of a source, for the controller's watch.
pub(crate) fn users_of(source: &Value, kustomizations: &controller::Cache) -> Vec<Key> {
    let wanted = meta::key(source);
    let uses = |kustomization: &Arc<Value>| {
        let key = meta::key(kustomization);
        let of = Spec::of(kustomization).ok()?;
        let git = of.source_ref.kind == GIT_REPOSITORY.kind;
        (git && source_key(&key, &of) == wanted).then_some(key)
    };
    kustomizations.list().iter().filter_map(uses).collect()
}

/// Kustomizations that depend on one, for the controller's watch.
pub(crate) fn dependents_of(changed: &Value, kustomizations: &controller::Cache) -> Vec<Key> {
    let wanted = meta::key(changed);
    let depends = |kustomization: &Arc<Value>| {
        let key = meta::key(kustomization);
        let spec = Spec::of(kustomization).ok()?;
        let named = spec.depends_on.iter().any(|dependency| {
            let namespace =
                if dependency.namespace.is_empty() { &key.namespace } else { &dependency.namespace };
            *namespace == wanted.namespace && dependency.name == wanted.name
        });
        named.then_some(key)
    };
    kustomizations.list().iter().filter_map(depends).collect()
}
