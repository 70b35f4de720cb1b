//! The discovery controller: repositories of an organisation that have a topic are deployed, without anybody telling the
//! cluster so.

pub(crate) mod plan;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use controller::{Cluster, EventType, Next, Propagation, ReconcileError, Reconciler, Recorder, chain, now};
use futures::{FutureExt as _, StreamExt as _};
use git::Event;
use object::{Key, Resource, kinds, meta};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::api::git_repository::{self, GIT_REPOSITORY};
use crate::api::kustomization::KUSTOMIZATION;
use crate::api::repository_discovery::{REPOSITORY_DISCOVERY, Spec};
use crate::api::requested_at;
use crate::conditions::Status;
use crate::kustomization::apply::{Action, Applier, hash};
use crate::source::{Hinted, secret_field};
use plan::Repository;

/// The field manager of what is made here.
const MANAGER: &str = "discovery-controller";
/// Repositories in one page: what GitHub gives at most.
const PAGE: usize = 100;
/// Most pages: ten thousand repositories of one organisation.
const PAGE_LIMIT: usize = 100;
/// One request to the REST API may take this long.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A failed listing is tried again this soon: at the start, the host may come up a moment later.
const RETRY: Duration = Duration::from_secs(2);
/// Time for the connection to the host's events to come up.
const SETTLE: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct DiscoveryReconciler {
    cluster: Cluster,
    recorder: Recorder,
    applier: Applier,
    hints: Hints,
    memory: Mutex<HashMap<Key, Memory>>,
}

/// Where hints go.
#[derive(Clone)]
pub(crate) struct Hints {
    /// To the discovery controller: repositories or their topics changed.
    pub(crate) discoveries: mpsc::UnboundedSender<Key>,
    /// To the source controller: a ref moved.
    pub(crate) sources: mpsc::UnboundedSender<Key>,
    pub(crate) hinted_discoveries: Hinted,
    pub(crate) hinted_sources: Hinted,
}

struct Memory {
    inputs: u64,
    due: Instant,
    /// Which host is listened to, and the task that does.
    listener: (u64, JoinHandle<()>),
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.listener.1.abort();
    }
}

impl DiscoveryReconciler {
    pub(crate) fn new(cluster: &Cluster, hints: Hints) -> Self {
        Self {
            cluster: cluster.clone(),
            recorder: Recorder::new(cluster, MANAGER),
            applier: Applier::new(cluster, MANAGER),
            hints,
            memory: Mutex::default(),
        }
    }

    async fn work(&self, object: &Value, spec: &Spec, token: Option<&str>) -> Result<Next, ReconcileError> {
        let mut status = Status::of(object, &now());
        if let Some(requested) = requested_at(object) {
            status.value["lastHandledReconcileAt"] = requested.into();
        }
        let next = match self.discover(object, spec, token).await {
            Ok(names) => {
                let message = format!(
                    "{} repositories of {} have the topic {}",
                    names.len(),
                    spec.organisation,
                    spec.topic
                );
                status.value["repositories"] = json!(names);
                status.succeed("Succeeded", &message);
                spec.interval()
            }
            Err(message) => {
                status.fail("DiscoveryFailed", &message);
                self.recorder.record(object, EventType::Warning, "DiscoveryFailed", &message).await;
                spec.interval().min(RETRY)
            }
        };
        self.cluster.write_status(&REPOSITORY_DISCOVERY, object, &status.value).await?;
        Ok(Next::After(next))
    }

    /// Lists, makes and removes; the names of the deployed repositories.
    async fn discover(
        &self,
        object: &Value,
        spec: &Spec,
        token: Option<&str>,
    ) -> Result<Vec<String>, String> {
        let listed =
            list(spec, token).await.map_err(|error| format!("failed to list repositories: {error}"))?;
        let repositories = plan::selected(spec, listed);
        let wanted = plan::wanted(object, spec, &repositories);
        let outcomes = self.applier.apply(&wanted, false).await.map_err(|error| error.to_string())?;
        let made: Vec<String> = outcomes
            .iter()
            .filter(|outcome| outcome.action == Action::Created)
            .map(|outcome| format!("{} created", outcome.entry.subject()))
            .collect();
        let mut existing = vec![];
        for resource in [&KUSTOMIZATION, &GIT_REPOSITORY] {
            let label = format!("{}={}", plan::LABEL, meta::name(object));
            let list = self.cluster.list(resource, meta::namespace(object), &label).await;
            existing.extend(list.map_err(|error| error.to_string())?.items);
        }
        let mut lines = made;
        for gone in plan::leftover(object, &wanted, &existing) {
            let resource: &Resource =
                if meta::kind(gone) == KUSTOMIZATION.kind { &KUSTOMIZATION } else { &GIT_REPOSITORY };
            let deleted = self
                .cluster
                .delete(resource, &meta::key(gone), Some(meta::uid(gone)), Propagation::Background)
                .await;
            deleted.map_err(|error| error.to_string())?;
            lines.push(format!("{}/{} deleted", meta::kind(gone), meta::key(gone)));
        }
        if !lines.is_empty() {
            self.recorder.record(object, EventType::Normal, "Progressing", &lines.join("\n")).await;
        }
        Ok(repositories.into_iter().map(|repository| repository.name).collect())
    }

    async fn token(&self, object: &Value, spec: &Spec) -> Result<Option<String>, String> {
        let Some(reference) = &spec.secret_ref else { return Ok(None) };
        let key = Key::new(meta::namespace(object), reference.name.as_str());
        let secret = self.cluster.get(&kinds::SECRET, &key).await.map_err(|error| error.to_string())?;
        let secret = secret.ok_or_else(|| format!("secrets \"{}\" not found", key.name))?;
        let token =
            ["token", "bearerToken", "password"].iter().find_map(|field| secret_field(&secret, field));
        token.map(Some).ok_or_else(|| format!("secret '{key}' has neither token, bearerToken nor password"))
    }

    /// Listens to the host of a discovery, when it is one that gives hints.
    fn listen(&self, key: &Key, spec: &Spec, token: Option<&str>) -> JoinHandle<()> {
        let base = spec.api.trim_end_matches('/').strip_suffix("/api/v3").map(str::to_owned);
        let (Some(base), Some(token)) = (base, token.map(str::to_owned)) else {
            return tokio::spawn(std::future::ready(()));
        };
        let (key, hints, cluster) = (key.clone(), self.hints.clone(), self.cluster.clone());
        let prefix = format!("{}/", spec.organisation);
        tokio::spawn(async move {
            let sources = cluster.watch(&GIT_REPOSITORY);
            let mut events = std::pin::pin!(git::hints::listen(&base, &token));
            let mut settled = std::pin::pin!(tokio::time::sleep(SETTLE).fuse());
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = &mut settled => {
                        // What happened before the connection was there was not heard.
                        hints.hinted_discoveries.add(key.clone());
                        drop(hints.discoveries.send(key.clone()));
                        continue;
                    }
                };
                let Some(event) = event else { return };
                match &event {
                    Event::Repository { repository, .. } if repository.starts_with(&prefix) => {
                        hints.hinted_discoveries.add(key.clone());
                        drop(hints.discoveries.send(key.clone()));
                    }
                    Event::Push { repository, reference, .. } => {
                        for source in
                            sources.list().iter().filter(|source| is_about(source, repository, reference))
                        {
                            hints.hinted_sources.add(meta::key(source));
                            drop(hints.sources.send(meta::key(source)));
                        }
                    }
                    _ => {}
                }
            }
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reconciler for DiscoveryReconciler {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let hinted = self.hints.hinted_discoveries.take(key);
        let object = self.cluster.get(&REPOSITORY_DISCOVERY, key).await?;
        let Some(object) = object.filter(|object| !meta::is_being_deleted(object)) else {
            // What it made goes with it, by owner reference.
            self.lock().remove(key);
            return Ok(Next::Done);
        };
        let spec = match Spec::of(&object) {
            Ok(spec) if spec.suspend => return Ok(Next::Done),
            Ok(spec) => spec,
            Err(error) => {
                let mut status = Status::of(&object, &now());
                status.stall("InvalidSpec", &format!("spec cannot be read: {error}"));
                self.cluster.write_status(&REPOSITORY_DISCOVERY, &object, &status.value).await?;
                return Ok(Next::Done);
            }
        };
        let token = match self.token(&object, &spec).await {
            Ok(token) => token,
            Err(message) => {
                let mut status = Status::of(&object, &now());
                status.fail("AuthenticationFailed", &message);
                self.cluster.write_status(&REPOSITORY_DISCOVERY, &object, &status.value).await?;
                return Ok(Next::After(RETRY));
            }
        };
        let inputs = hash(&json!([object["spec"], requested_at(&object), token]));
        let host = hash(&json!([spec.api, spec.organisation, token]));
        let wait = match self.lock().get(key) {
            Some(memory) if memory.inputs == inputs && !hinted => {
                memory.due.checked_duration_since(Instant::now())
            }
            _ => None,
        };
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Ok(Next::After(wait));
        }
        let known = self.lock().get(key).is_some_and(|memory| memory.listener.0 == host);
        let next = self.work(&object, &spec, token.as_deref()).await?;
        let due = Instant::now() + if let Next::After(pause) = next { pause } else { Duration::ZERO };
        let mut memory = self.lock();
        match memory.get_mut(key).filter(|_| known) {
            Some(memory) => (memory.inputs, memory.due) = (inputs, due),
            None => {
                let listener = (host, self.listen(key, &spec, token.as_deref()));
                memory.insert(key.clone(), Memory { inputs, due, listener });
            }
        }
        Ok(next)
    }
}

/// Whether a push to `repository` (`organisation/name`) moved what a GitRepository follows.
fn is_about(source: &Value, repository: &str, reference: &str) -> bool {
    let Ok(spec) = git_repository::Spec::of(source) else { return false };
    let url = spec.url.trim_end_matches('/').trim_end_matches(".git");
    let follows = &spec.reference;
    let branch_only = follows.tag.is_empty() && follows.semver.is_empty() && follows.name.is_empty();
    let other_branch =
        branch_only && !follows.branch.is_empty() && reference != format!("refs/heads/{}", follows.branch);
    url.strip_suffix(repository).is_some_and(|host| host.ends_with('/')) && !other_branch
}

/// All repositories of the organisation.
async fn list(spec: &Spec, token: Option<&str>) -> Result<Vec<Repository>, String> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let mut builder = reqwest::Client::builder().timeout(TIMEOUT).user_agent("portolan");
    // A proxy of the environment is for the network, not for this machine.
    let local =
        ["http://127.", "http://localhost", "http://[::1]"].iter().any(|local| spec.api.starts_with(local));
    if local {
        builder = builder.no_proxy();
    }
    let client = builder.build().map_err(|error| chain(&error))?;
    let base = spec.api.trim_end_matches('/');
    let mut all = vec![];
    for page in 1..=PAGE_LIMIT {
        let url = format!("{base}/orgs/{}/repos?per_page={PAGE}&page={page}", spec.organisation);
        let mut request = client.get(&url).header("accept", "application/vnd.github+json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = request.send().await.map_err(|error| chain(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("GET {url}: {status}"));
        }
        let listed: Vec<Repository> = response.json().await.map_err(|error| chain(&error))?;
        let last = listed.len() < PAGE;
        all.extend(listed);
        if last {
            break;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_concerns_sources_of_its_repository_and_branch() {
        let check = |url: &str, reference: Value, pushed: &str, expected: bool| {
            let source = json!({"spec": {"url": url, "interval": "1m", "ref": reference}});
            assert_eq!(is_about(&source, "platform/a", pushed), expected, "{url} {reference} {pushed}");
        };
        let url = "http://h:7007/platform/a.git";
        check(url, json!({"branch": "main"}), "refs/heads/main", true);
        check(url, json!({"branch": "main"}), "refs/heads/other", false);
        check(url, json!({"semver": "1.x", "branch": "main"}), "refs/tags/1.0", true);
        check("http://h/platform/a", json!({"branch": "main"}), "refs/heads/main", true);
        check("http://h/platform/aa.git", json!({"branch": "main"}), "refs/heads/main", false);
        check("http://h/other-platform/a.git", json!({"branch": "main"}), "refs/heads/main", false);
    }
}
