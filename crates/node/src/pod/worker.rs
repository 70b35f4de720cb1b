//! The life of a pod: network, volumes, init containers in order, the containers, and the end.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use controller::{EventType, Patch, now};
use http::Method;
use object::{kinds, meta};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::state::State;
use super::{Pod, container, status, volumes};

/// Pause between attempts to prepare what a pod needs.
const RETRY: Duration = Duration::from_secs(2);
/// How often volumes from the API are looked at again; the kubelet's default.
const REFRESH: Duration = Duration::from_secs(60);

/// Runs the pod until it is gone from the API or the node stops.
pub(crate) async fn run(pod: Arc<Pod>) {
    let reporter = tokio::spawn(report(pod.clone()));
    let object = pod.object();
    let over = ["Succeeded", "Failed"].iter().any(|phase| object["status"]["phase"] == *phase);
    if !over && !pod.ending.is_cancelled() {
        live(&pod).await;
    }
    reporter.abort();
    let _ = reporter.await;
    clean_up(&pod);
    if pod.node.stop.is_cancelled() {
        return;
    }
    if !over {
        write_status_until_done(&pod).await;
    }
    tokio::select! {
        // A node that stops ends its pods too: that must not look like the pod's own end, which takes its logs away.
        biased;
        () = pod.node.stop.cancelled() => return,
        () = pod.ending.cancelled() => {}
        () = pod.gone.cancelled() => {}
    }
    finish(&pod, over).await;
    let _ = std::fs::remove_dir_all(pod.dir());
    // Logs go with their pod, as they do on any node.
    if let Some(logs) = pod.log_dir("any").parent() {
        let _ = std::fs::remove_dir_all(logs);
    }
}

/// From nothing to all containers ended.
async fn live(pod: &Arc<Pod>) {
    if let Some((reason, message)) = refusal(&pod.object()) {
        pod.event(EventType::Warning, &reason, &message).await;
        pod.update(|state| state.failed = Some((reason, message)));
        return;
    }
    // What instances of an earlier run of the node left.
    let _ = std::fs::remove_dir_all(pod.dir().join("containers"));
    tokio::select! {
        () = prepare(pod) => {}
        () = pod.ending.cancelled() => return,
    }
    let mut sidecars = JoinSet::new();
    if run_init_containers(pod, &mut sidecars).await {
        pod.update(|state| state.initialized = true);
        let refresher = tokio::spawn(refresh(pod.clone()));
        let mut mains = JoinSet::new();
        for spec in array(&pod.object()["spec"]["containers"]) {
            mains.spawn(container::run(pod.clone(), spec.clone(), pod.ending.clone()));
        }
        while mains.join_next().await.is_some() {}
        refresher.abort();
    }
    pod.sidecars_ending.cancel();
    while sidecars.join_next().await.is_some() {}
}

/// What this node cannot run at all, said once and clearly.
fn refusal(pod: &Value) -> Option<(String, String)> {
    let spec = &pod["spec"];
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[field] == true {
            let message =
                format!("{field} is not available on this node: pods are isolated from the machine");
            return Some(("UnexpectedAdmissionError".into(), message));
        }
    }
    None
}

/// Network and volumes, tried until they stand.
async fn prepare(pod: &Arc<Pod>) {
    let wanted = pod.object()["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok());
    loop {
        match pod.node.network.attach(wanted).await {
            Ok(network) => {
                pod.update(|state| state.ip = Some(network.ip.to_string()));
                *pod.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
                break;
            }
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {}", controller::chain(&error));
                pod.event(EventType::Warning, "FailedCreatePodSandBox", &message).await;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    while let Err((name, error)) = make_volumes(pod).await {
        let message =
            format!("MountVolume.SetUp failed for volume \"{name}\" : {}", controller::chain(&error));
        pod.event(EventType::Warning, "FailedMount", &message).await;
        tokio::time::sleep(RETRY).await;
    }
    pod.update(|state| state.sandbox_ready = true);
}

async fn make_volumes(pod: &Arc<Pod>) -> Result<(), (String, volumes::VolumeError)> {
    let (object, ip, dir) = (pod.object(), pod.ip(), pod.dir());
    let maker = volumes::Maker {
        cluster: &pod.node.cluster,
        pod: &object,
        dir: &dir,
        data_dir: &pod.node.config.data_dir,
        pod_ip: &ip,
        host_ip: &pod.node.host_ip(),
        many_users: pod.node.abilities.many_users,
    };
    let made = maker.make_all().await?;
    *pod.volumes.lock().unwrap_or_else(PoisonError::into_inner) = made;
    Ok(())
}

/// Shows changed ConfigMaps, Secrets and fresh tokens in the volumes.
async fn refresh(pod: Arc<Pod>) {
    let from_api = |volume: &Value| {
        ["configMap", "secret", "downwardAPI", "projected"].iter().any(|kind| volume.get(*kind).is_some())
    };
    if !array(&pod.object()["spec"]["volumes"]).iter().any(from_api) {
        return;
    }
    loop {
        tokio::time::sleep(REFRESH).await;
        if let Err((name, error)) = make_volumes(&pod).await {
            tracing::debug!(pod = %pod.key, volume = name, %error, "a volume stays as it was");
        }
    }
}

/// Runs them one after the other; false if the pod ends here.
async fn run_init_containers(pod: &Arc<Pod>, sidecars: &mut JoinSet<()>) -> bool {
    for spec in array(&pod.object()["spec"]["initContainers"]) {
        let name = spec["name"].as_str().unwrap_or_default().to_owned();
        if spec["restartPolicy"] == "Always" {
            sidecars.spawn(container::run(pod.clone(), spec.clone(), pod.sidecars_ending.clone()));
            let mut changes = pod.changed.subscribe();
            while !pod.state().container(&name).is_some_and(|one| one.started) {
                tokio::select! {
                    _ = changes.changed() => {}
                    () = pod.ending.cancelled() => return false,
                }
            }
            continue;
        }
        container::run(pod.clone(), spec.clone(), pod.ending.clone()).await;
        let succeeded =
            pod.state().container(&name).is_some_and(|one| one.ended().is_some_and(|ended| ended.code == 0));
        if !succeeded || pod.ending.is_cancelled() {
            return false;
        }
    }
    true
}

/// Writes the status whenever it changed.
async fn report(pod: Arc<Pod>) {
    let mut written = None;
    let mut changes = pod.changed.subscribe();
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        while let Err(error) = write_status(&pod, &mut written).await {
            if error.is_not_found() || error.is_conflict() {
                break;
            }
            tracing::debug!(pod = %pod.key, %error, "cannot write a pod's status; will try again");
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn write_status_until_done(pod: &Arc<Pod>) {
    let mut written = None;
    while let Err(error) = write_status(pod, &mut written).await {
        if error.is_not_found()
            || error.is_conflict()
            || pod.gone.is_cancelled()
            || pod.node.stop.is_cancelled()
        {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Writes the status if it differs from what the server answered last.
async fn write_status(pod: &Arc<Pod>, written: &mut Option<Value>) -> Result<(), controller::ApiError> {
    let object = pod.object();
    let basis = written.as_ref().unwrap_or(&object);
    let status = status::compute(basis, &pod.state().clone(), &pod.node.host_ip(), &now());
    if basis["status"] == status {
        return Ok(());
    }
    // With the uid, a pod of the same name that was made meanwhile is not touched.
    let mut patch = json!({"metadata": {"uid": pod.uid}, "status": status});
    for key in ["podIP", "podIPs", "reason", "message"] {
        if patch["status"][key].is_null() && !basis["status"][key].is_null() {
            patch["status"][key] = Value::Null;
        }
    }
    let answer = pod.node.cluster.patch(&kinds::POD, &pod.key, "status", Patch::Merge(&patch)).await?;
    *written = Some(answer);
    Ok(())
}

/// Takes the network and everything but volumes away.
fn clean_up(pod: &Pod) {
    *pod.network.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let _ = std::fs::remove_dir_all(pod.dir().join("containers"));
    pod.update(|state| {
        state.sandbox_ready = false;
        for one in &mut state.containers {
            (one.ready, one.started, one.pid) = (false, false, None);
            if one.is_running() {
                one.state = State::Waiting { reason: "ContainerCreating".into(), message: String::new() };
            }
        }
    });
}

/// The last word to the API: the final status (unless it was over before this run of the node), then the object's
/// removal.
async fn finish(pod: &Arc<Pod>, over: bool) {
    if pod.gone.is_cancelled() {
        return;
    }
    if !over {
        write_status_until_done(pod).await;
    }
    let options = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid},
    });
    let (path, body) = (kinds::POD.object_path(&pod.key), options.to_string());
    while !pod.gone.is_cancelled() && !pod.node.stop.is_cancelled() {
        match pod.node.cluster.call(Method::DELETE, &path, Some("application/json"), body.as_bytes()).await {
            Ok(_) => return,
            Err(error) if error.is_not_found() || error.is_conflict() => return,
            Err(error) => {
                tracing::debug!(pod = %pod.key, %error, "cannot remove an ended pod; will try again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// The grace period that a pod being deleted has left.
pub(crate) fn grace_of(pod: &Value) -> Option<Duration> {
    let seconds = pod["metadata"]["deletionGracePeriodSeconds"].as_u64();
    meta::is_being_deleted(pod).then(|| Duration::from_secs(seconds.unwrap_or(30)))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
