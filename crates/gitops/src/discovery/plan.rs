//! From a list of repositories to the objects that deploy them: pure.

use object::meta;
use serde_json::{Value, json};

use crate::api::git_repository::GIT_REPOSITORY;
use crate::api::kustomization::KUSTOMIZATION;
use crate::api::repository_discovery::Spec;
use crate::api::show_duration;

/// The label that names the discovery an object was made by.
pub(crate) const LABEL: &str = "gitops.portolan.dev/discovery";
/// A failed reconcile of a discovered Kustomization is tried again this soon: what it lacks (a kind, a namespace) often
/// comes from another repository a moment later.
const RETRY_INTERVAL: &str = "10s";

/// A repository as the REST API lists it.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub(crate) struct Repository {
    pub(crate) name: String,
    pub(crate) clone_url: String,
    #[serde(default)]
    pub(crate) default_branch: Option<String>,
    #[serde(default)]
    pub(crate) topics: Vec<String>,
    #[serde(default)]
    pub(crate) archived: bool,
}

/// The repositories that a discovery is about, by name.
pub(crate) fn selected(spec: &Spec, repositories: Vec<Repository>) -> Vec<Repository> {
    let mut selected = repositories;
    selected.retain(|repository| !repository.archived && repository.topics.contains(&spec.topic));
    selected.sort_by(|a, b| a.name.cmp(&b.name));
    selected
}

/// A GitRepository and a Kustomization for each repository.
pub(crate) fn wanted(discovery: &Value, spec: &Spec, repositories: &[Repository]) -> Vec<Value> {
    let mut objects = vec![];
    for repository in repositories {
        let metadata = json!({
            "name": object_name(&repository.name),
            "namespace": meta::namespace(discovery),
            "labels": {LABEL: meta::name(discovery)},
            "ownerReferences": [meta::controller_reference(discovery)],
        });
        let interval = show_duration(spec.interval());
        let branch = spec.branch.as_deref().or(repository.default_branch.as_deref()).unwrap_or("main");
        let mut source = json!({
            "apiVersion": GIT_REPOSITORY.api_version(),
            "kind": GIT_REPOSITORY.kind,
            "metadata": metadata,
            "spec": {"interval": interval, "url": repository.clone_url, "ref": {"branch": branch}},
        });
        if let Some(secret) = &spec.secret_ref {
            source["spec"]["secretRef"] = json!({"name": secret.name});
        }
        let path =
            spec.path.replace("<environment>", &spec.environment).replace("<repository>", &repository.name);
        let mut kustomization = json!({
            "apiVersion": KUSTOMIZATION.api_version(),
            "kind": KUSTOMIZATION.kind,
            "metadata": metadata,
            "spec": {
                "interval": interval,
                "retryInterval": RETRY_INTERVAL,
                "sourceRef": {"kind": GIT_REPOSITORY.kind, "name": object_name(&repository.name)},
                "path": path,
                "prune": spec.prune,
            },
        });
        if let Some(namespace) = &spec.target_namespace {
            kustomization["spec"]["targetNamespace"] = namespace.as_str().into();
        }
        if spec.wait {
            kustomization["spec"]["wait"] = true.into();
        }
        objects.extend([source, kustomization]);
    }
    objects
}

/// Objects of this discovery whose repository is not among the wanted any more; Kustomizations first, since they prune.
pub(crate) fn leftover<'a>(
    discovery: &Value,
    wanted: &[Value],
    existing: impl IntoIterator<Item = &'a Value>,
) -> Vec<&'a Value> {
    let is_wanted = |object: &Value| {
        wanted.iter().any(|w| meta::kind(w) == meta::kind(object) && meta::name(w) == meta::name(object))
    };
    let mine = |object: &&Value| {
        meta::namespace(object) == meta::namespace(discovery)
            && meta::label(object, LABEL) == Some(meta::name(discovery))
            && meta::is_controlled_by(object, meta::uid(discovery))
            && !meta::is_being_deleted(object)
    };
    let mut gone: Vec<&Value> =
        existing.into_iter().filter(mine).filter(|object| !is_wanted(object)).collect();
    gone.sort_by_key(|object| meta::kind(object) != KUSTOMIZATION.kind);
    gone
}

/// A repository's name as a Kubernetes name.
fn object_name(repository: &str) -> String {
    let legal = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c.to_ascii_lowercase() } else { '-' }
    };
    let name: String = repository.chars().map(legal).collect();
    name.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery() -> Value {
        json!({
            "apiVersion": "gitops.portolan.dev/v1alpha1", "kind": "RepositoryDiscovery",
            "metadata": {"name": "all", "namespace": "flux-system", "uid": "u"},
            "spec": {"api": "http://h/api/v3", "organisation": "platform", "environment": "qa", "secretRef": {"name": "git"}},
        })
    }

    fn repository(name: &str, topics: &[&str], archived: bool) -> Repository {
        let topics = topics.iter().map(|t| (*t).to_owned()).collect();
        let clone_url = format!("http://h/platform/{name}.git");
        Repository { name: name.into(), clone_url, default_branch: Some("main".into()), topics, archived }
    }

    #[test]
    fn only_repositories_with_the_topic_are_deployed() {
        let spec = Spec::of(&discovery()).unwrap();
        let all = vec![
            repository("b-deploy", &["x", "flux-managed"], false),
            repository("a-deploy", &["flux-managed"], false),
            repository("frontend", &["x"], false),
            repository("old-deploy", &["flux-managed"], true),
        ];
        let names: Vec<String> = selected(&spec, all).into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["a-deploy", "b-deploy"]);
    }

    #[test]
    fn each_becomes_a_source_and_a_kustomization() {
        let spec = Spec::of(&discovery()).unwrap();
        let objects = wanted(&discovery(), &spec, &[repository("A_deploy", &[], false)]);
        assert_eq!(objects.len(), 2);
        assert_eq!(
            objects[0]["spec"],
            json!({"interval": "1m0s", "url": "http://h/platform/A_deploy.git", "ref": {"branch": "main"}, "secretRef": {"name": "git"}})
        );
        assert_eq!(objects[1]["metadata"]["name"], "a-deploy");
        assert_eq!(objects[1]["spec"]["path"], "./overlays/qa");
        assert_eq!(objects[1]["metadata"]["ownerReferences"][0]["uid"], "u");
    }

    #[test]
    fn a_removed_topic_removes_both() {
        let spec = Spec::of(&discovery()).unwrap();
        let before = wanted(&discovery(), &spec, &[repository("a", &[], false), repository("b", &[], false)]);
        let after = wanted(&discovery(), &spec, &[repository("b", &[], false)]);
        let gone = leftover(&discovery(), &after, &before);
        let gone: Vec<(&str, &str)> = gone.iter().map(|o| (meta::kind(o), meta::name(o))).collect();
        assert_eq!(gone, [("Kustomization", "a"), ("GitRepository", "a")]);
    }
}
