//! What runs where: the workloads of every environment, read with the person's own rights.
//!
//! A workload belongs to a component by the label or annotation `backstage.io/kubernetes-id`, as Backstage's Kubernetes
//! plugin has it; without one, by its own name.

use std::collections::BTreeMap;

use controller::Cluster;
use object::health::{HealthStatus, health};
use object::{kinds, meta};
use serde_json::Value;

use crate::caller::Caller;
use crate::marks::State;
use crate::{Config, Environment};

/// What Backstage's Kubernetes plugin looks for.
const KUBERNETES_ID: &str = "backstage.io/kubernetes-id";

/// One environment as it is now.
pub(crate) struct Seen {
    pub(crate) environment: String,
    /// Why nothing could be read, if so.
    pub(crate) problem: Option<String>,
    pub(crate) workloads: Vec<Workload>,
    /// Flux Kustomizations.
    pub(crate) deliveries: Vec<Delivery>,
    /// Hosts that lead into the cluster.
    pub(crate) routes: Vec<Route>,
    /// When each version first came here, as far back as the cluster keeps ReplicaSets.
    pub(crate) arrivals: Vec<Arrival>,
}

/// One host of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) namespace: String,
    pub(crate) host: String,
    /// Services behind it.
    pub(crate) services: Vec<String>,
}

/// A version's first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) component: String,
    pub(crate) version: String,
    pub(crate) at: String,
}

/// One Deployment or StatefulSet, or a database cluster.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) component: String,
    /// What it is a part of (`app.kubernetes.io/part-of`), or its namespace.
    pub(crate) project: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The image's tag, or the part after `@` for a digest.
    pub(crate) version: String,
    pub(crate) state: State,
    pub(crate) words: String,
    /// For example `2 of 2`.
    pub(crate) ready: String,
    /// When the newest pod started.
    pub(crate) since: String,
    pub(crate) pods: Vec<Pod>,
}

/// One pod of a workload.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) words: String,
    pub(crate) restarts: i64,
    pub(crate) started: String,
    pub(crate) image: String,
}

/// One Flux Kustomization.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) name: String,
    /// The GitRepository it applies.
    pub(crate) source: String,
    pub(crate) path: String,
    /// The commit that was applied last, or empty.
    pub(crate) applied: String,
    /// Commits that were applied, with the time of the first success.
    pub(crate) history: Vec<(String, String)>,
    pub(crate) state: State,
    pub(crate) words: String,
    pub(crate) since: String,
}

/// Every environment, left to right.
pub(crate) async fn look(config: &Config, caller: &Caller) -> Vec<Seen> {
    let looks = config.environments.iter().map(|environment| look_at(environment, caller));
    futures::future::join_all(looks).await
}

/// Where browsers reach a host: the gateway's scheme and port with the host's name.
pub(crate) fn url_of(config: &Config, host: &str) -> String {
    let (scheme, rest) = config.gateway_url.split_once("://").unwrap_or(("http", &config.gateway_url));
    let port =
        rest.trim_end_matches('/').rsplit_once(':').map(|(_, port)| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}/")
}

/// A cluster as this person.
pub(crate) fn cluster(environment: &Environment, caller: &Caller) -> Cluster {
    Cluster::new((environment.client)(&caller.claims), "portal")
}

async fn look_at(environment: &Environment, caller: &Caller) -> Seen {
    let cluster = cluster(environment, caller);
    let mut seen = Seen {
        environment: environment.name.clone(),
        problem: None,
        workloads: vec![],
        deliveries: vec![],
        routes: vec![],
        arrivals: vec![],
    };
    if let Err(error) = read(&cluster, &mut seen).await {
        seen.problem = Some(error.to_string());
    }
    seen
}

async fn read(cluster: &Cluster, seen: &mut Seen) -> Result<(), controller::ApiError> {
    let (deployments, sets, pods, replica_sets, ingresses) = futures::try_join!(
        async { cluster.list(&kinds::DEPLOYMENT, "", "").await },
        async { cluster.list(&kinds::STATEFUL_SET, "", "").await },
        async { cluster.list(&kinds::POD, "", "").await },
        async { cluster.list(&kinds::REPLICA_SET, "", "").await },
        async { cluster.list(&kinds::INGRESS, "", "").await },
    )?;
    seen.routes = ingresses.items.iter().flat_map(routes).collect();
    seen.arrivals = replica_sets.items.iter().map(arrival).collect();
    let owners = pods_by_workload(&pods.items);
    for object in deployments.items.iter().chain(&sets.items) {
        seen.workloads.push(workload(object, &owners));
    }
    for object in list_if_served(cluster, "postgresql.cnpg.io/v1", "Cluster").await? {
        seen.workloads.push(database(&object, &pods.items));
    }
    seen.workloads.sort_by(|a, b| (&a.component, &a.name).cmp(&(&b.component, &b.name)));
    let deliveries = list_if_served(cluster, "kustomize.toolkit.fluxcd.io/v1", "Kustomization").await?;
    seen.deliveries = deliveries.iter().map(delivery).collect();
    Ok(())
}

async fn list_if_served(
    cluster: &Cluster,
    version: &str,
    kind: &str,
) -> Result<Vec<Value>, controller::ApiError> {
    match cluster.resolve(version, kind).await {
        Ok(resource) => Ok(cluster.list(&resource, "", "").await?.items),
        Err(error) if error.is_not_found() => Ok(vec![]),
        Err(error) => Err(error),
    }
}

fn routes(ingress: &Value) -> Vec<Route> {
    let rules = ingress["spec"]["rules"].as_array().into_iter().flatten();
    let of_rule = |rule: &Value| {
        let paths = rule["http"]["paths"].as_array().into_iter().flatten();
        let services =
            paths.filter_map(|p| p["backend"]["service"]["name"].as_str()).map(str::to_owned).collect();
        let host = rule["host"].as_str().filter(|host| !host.contains('*'))?.to_owned();
        Some(Route { namespace: meta::namespace(ingress).to_owned(), host, services })
    };
    rules.filter_map(of_rule).collect()
}

fn arrival(replica_set: &Value) -> Arrival {
    let image =
        replica_set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let id = meta::label(replica_set, KUBERNETES_ID);
    let owner = meta::controller_of(replica_set).and_then(|owner| owner["name"].as_str());
    Arrival {
        component: id.or(owner).unwrap_or_default().to_owned(),
        version: version(image).to_owned(),
        at: meta::creation_timestamp(replica_set).to_owned(),
    }
}

/// Pods by namespace and the name of the Deployment or StatefulSet above them.
fn pods_by_workload(pods: &[Value]) -> BTreeMap<(String, String), Vec<Pod>> {
    let mut found: BTreeMap<(String, String), Vec<Pod>> = BTreeMap::new();
    for object in pods {
        let Some(owner) = meta::controller_of(object) else { continue };
        let owner_name = owner["name"].as_str().unwrap_or_default();
        // A ReplicaSet's name is its Deployment's with the template's hash behind it.
        let hash = meta::label(object, "pod-template-hash").unwrap_or_default();
        let name = owner_name.strip_suffix(hash).and_then(|n| n.strip_suffix('-')).unwrap_or(owner_name);
        found.entry((meta::namespace(object).to_owned(), name.to_owned())).or_default().push(pod(object));
    }
    found
}

fn workload(object: &Value, owners: &BTreeMap<(String, String), Vec<Pod>>) -> Workload {
    let (state, words) = state_of(object);
    // Its readiness stands beside it; the whole sentence is in `kubectl describe`.
    let words = if state == State::Progress { "Rolling out".to_owned() } else { words };
    let image = object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let ready = object["status"]["readyReplicas"].as_i64().unwrap_or(0);
    let key = (meta::namespace(object).to_owned(), meta::name(object).to_owned());
    let pods = owners.get(&key).cloned().unwrap_or_default();
    Workload {
        component: component(object),
        project: project(object),
        kind: meta::kind(object).to_owned(),
        namespace: key.0,
        name: key.1,
        version: version(image).to_owned(),
        state,
        words,
        ready: format!("{ready} of {wanted}"),
        since: pods.iter().map(|p| p.started.clone()).max().unwrap_or_default(),
        pods,
    }
}

fn database(object: &Value, pods: &[Value]) -> Workload {
    let name = meta::name(object);
    let of_cluster = |p: &&Value| {
        meta::namespace(p) == meta::namespace(object) && meta::label(p, "cnpg.io/cluster") == Some(name)
    };
    let pods: Vec<Pod> = pods.iter().filter(of_cluster).map(pod).collect();
    let phase = object["status"]["phase"].as_str().unwrap_or("not started yet");
    let ready = object["status"]["readyInstances"].as_i64().unwrap_or(0);
    let wanted = object["spec"]["instances"].as_i64().unwrap_or(1);
    let image =
        object["status"]["image"].as_str().or(object["spec"]["imageName"].as_str()).unwrap_or_default();
    Workload {
        component: component(object),
        project: project(object),
        kind: "PostgreSQL".to_owned(),
        namespace: meta::namespace(object).to_owned(),
        name: name.to_owned(),
        version: version(image).to_owned(),
        state: if ready >= wanted { State::Healthy } else { State::Progress },
        words: if ready >= wanted { "Healthy".to_owned() } else { phase.to_owned() },
        ready: format!("{ready} of {wanted}"),
        since: pods.iter().map(|p| p.started.clone()).max().unwrap_or_default(),
        pods,
    }
}

fn pod(object: &Value) -> Pod {
    let containers = object["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let waiting = containers.iter().find_map(|c| c["state"]["waiting"]["reason"].as_str());
    let (state, words) = match (meta::is_being_deleted(object), waiting) {
        (true, _) => (State::Progress, "Stopping".to_owned()),
        (false, Some(reason)) if reason != "ContainerCreating" && reason != "PodInitializing" => {
            (State::Degraded, reason.to_owned())
        }
        _ => state_of(object),
    };
    Pod {
        name: meta::name(object).to_owned(),
        state,
        words,
        restarts: containers.iter().filter_map(|c| c["restartCount"].as_i64()).sum(),
        started: object["status"]["startTime"].as_str().unwrap_or_default().to_owned(),
        image: object["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned(),
    }
}

fn delivery(object: &Value) -> Delivery {
    let ready = meta::condition(object, "Ready").cloned().unwrap_or_default();
    let suspended = object["spec"]["suspend"].as_bool() == Some(true);
    let state = match (suspended, ready["status"].as_str()) {
        (true, _) => State::Idle,
        (_, Some("True")) => State::Healthy,
        (_, Some("False")) => State::Degraded,
        _ => State::Progress,
    };
    let commit = |revision: &Value| {
        revision.as_str().and_then(|text| text.rsplit([':', '/']).next()).unwrap_or_default().to_owned()
    };
    let history = object["status"]["history"].as_array().into_iter().flatten();
    let succeeded = history.filter(|h| h["lastReconciledStatus"] == "ReconciliationSucceeded");
    let words = match (state, ready["message"].as_str()) {
        (State::Idle, _) => "Suspended".to_owned(),
        (State::Healthy, _) => "Applied".to_owned(),
        (_, message) => message.unwrap_or("Waiting").to_owned(),
    };
    Delivery {
        name: meta::name(object).to_owned(),
        source: object["spec"]["sourceRef"]["name"].as_str().unwrap_or_default().to_owned(),
        path: object["spec"]["path"].as_str().unwrap_or_default().to_owned(),
        applied: commit(&object["status"]["lastAppliedRevision"]),
        history: succeeded
            .map(|h| {
                (
                    commit(&h["metadata"]["revision"]),
                    h["firstReconciled"].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect(),
        state,
        words,
        since: ready["lastTransitionTime"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The component that an object belongs to.
fn component(object: &Value) -> String {
    let id = meta::label(object, KUBERNETES_ID).or_else(|| meta::annotation(object, KUBERNETES_ID));
    id.unwrap_or_else(|| meta::name(object)).to_owned()
}

fn project(object: &Value) -> String {
    meta::label(object, "app.kubernetes.io/part-of").unwrap_or_else(|| meta::namespace(object)).to_owned()
}

fn state_of(object: &Value) -> (State, String) {
    let Some(health) = health(object) else { return (State::Idle, "Unknown".into()) };
    let (state, word) = match health.status {
        HealthStatus::Healthy => (State::Healthy, "Healthy"),
        HealthStatus::Progressing => (State::Progress, "In progress"),
        HealthStatus::Degraded => (State::Degraded, "Degraded"),
        HealthStatus::Suspended => (State::Idle, "Suspended"),
        HealthStatus::Missing => (State::Idle, "Missing"),
        HealthStatus::Unknown => (State::Idle, "Unknown"),
    };
    let words =
        if state == State::Healthy || health.message.is_empty() { word.to_owned() } else { health.message };
    (state, words)
}

/// The tag of an image reference, or the digest's first characters.
fn version(image: &str) -> &str {
    if let Some((_, digest)) = image.split_once('@') {
        return digest.get(..19).unwrap_or(digest);
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').map_or("latest", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_version_is_the_tag() {
        for (image, expected) in [
            ("localhost:7007/platform/x:sha-abc1234", "sha-abc1234"),
            ("localhost:7007/platform/x", "latest"),
            ("x@sha256:0123456789abcdef0123", "sha256:0123456789ab"),
        ] {
            assert_eq!(version(image), expected, "{image}");
        }
    }

    #[test]
    fn a_host_is_reached_through_the_gateways_port() {
        let ingress = json!({"metadata": {"namespace": "n", "name": "web"}, "spec": {"rules": [
            {"host": "web.dev.localhost", "http": {"paths": [{"backend": {"service": {"name": "web"}}}]}},
            {"host": "*.dev.localhost"}]}});
        let expected =
            Route { namespace: "n".into(), host: "web.dev.localhost".into(), services: vec!["web".into()] };
        assert_eq!(routes(&ingress), [expected]);
    }

    #[test]
    fn a_delivery_says_what_it_applied_in_plain_words() {
        let object = json!({"metadata": {"name": "d"}, "status": {
            "conditions": [{"type": "Ready", "status": "True", "message": "Applied revision: main@sha1:ab12"}],
            "lastAppliedRevision": "main@sha1:ab12",
            "history": [{"metadata": {"revision": "main@sha1:ab12"}, "firstReconciled": "t",
                "lastReconciledStatus": "ReconciliationSucceeded"},
                {"metadata": {"revision": "main@sha1:cd34"}, "lastReconciledStatus": "BuildFailed"}]}});
        let found = delivery(&object);
        assert_eq!((found.words.as_str(), found.applied.as_str()), ("Applied", "ab12"));
        assert_eq!(found.history, [("ab12".to_owned(), "t".to_owned())]);
    }

    #[test]
    fn a_replica_sets_pods_belong_to_its_deployment() {
        let pod = json!({"metadata": {"name": "web-5d4-x", "namespace": "n", "labels": {"pod-template-hash": "5d4"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4", "controller": true, "uid": "u"}]}});
        let found = pods_by_workload(&[pod]);
        assert!(found.contains_key(&("n".to_owned(), "web".to_owned())));
    }
}
