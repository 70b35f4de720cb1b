//! The Node object and its lease: how the cluster knows that the node is there.

use std::sync::Arc;
use std::time::Duration;

use controller::{ApiError, Patch, now};
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;
use crate::machine;

/// The kubelet's intervals: the lease is renewed often and is small; the status is written rarely.
const LEASE_INTERVAL: Duration = Duration::from_secs(10);
const LEASE_S: u64 = 40;
const STATUS_EVERY: u64 = 30;
const RETRY: Duration = Duration::from_secs(1);
/// Pods per node; the kubelet's default.
const MAX_PODS: u64 = 110;
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Conditions of our own; False is a shortcoming of the session, never a reason not to run pods.
const LIMITS: &str = "portolan.dev/ResourceLimitsEnforced";
const USERS: &str = "portolan.dev/UsersSeparated";
/// The version of Kubernetes whose node this one acts as.
const VERSION: &str = "v1.33.0+portolan";

/// Registers the node and keeps its lease and status fresh until `stop`.
pub(crate) async fn keep(kubelet: Arc<Kubelet>, stop: CancellationToken) {
    let work = async {
        while let Err(error) = register(&kubelet).await {
            tracing::debug!(%error, "cannot register the node; will try again");
            tokio::time::sleep(RETRY).await;
        }
        for turn in 1u64.. {
            if let Err(error) = renew_lease(&kubelet).await {
                tracing::debug!(%error, "cannot renew the node's lease");
            }
            tokio::time::sleep(LEASE_INTERVAL).await;
            let due = turn.is_multiple_of(STATUS_EVERY);
            if let Err(error) = if due { register(&kubelet).await } else { check(&kubelet).await } {
                tracing::debug!(%error, "cannot write the node's status");
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Somebody may have deleted the Node, or marked it unknown while this process was stopped.
async fn check(kubelet: &Kubelet) -> Result<(), ApiError> {
    let key = Key::cluster(&kubelet.config.node_name);
    match kubelet.cluster.get(&kinds::NODE, &key).await? {
        Some(node) if meta::condition_is_true(&node, "Ready") => Ok(()),
        _ => register(kubelet).await,
    }
}

async fn register(kubelet: &Kubelet) -> Result<(), ApiError> {
    let name = &kubelet.config.node_name;
    let key = Key::cluster(name);
    let node = match kubelet.cluster.get(&kinds::NODE, &key).await? {
        Some(node) => node,
        None => kubelet.cluster.create(&kinds::NODE, &object(name)).await?,
    };
    let status = status(kubelet, &node);
    kubelet.cluster.patch(&kinds::NODE, &key, "status", Patch::Merge(&json!({ "status": status }))).await?;
    Ok(())
}

fn object(name: &str) -> Value {
    let architecture = machine::architecture();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": architecture,
                "beta.kubernetes.io/os": "linux",
                "beta.kubernetes.io/arch": architecture,
                "node-role.kubernetes.io/control-plane": "",
            },
        },
        "spec": {"podCIDR": "10.244.0.0/16", "podCIDRs": ["10.244.0.0/16"], "providerID": format!("portolan://{name}")},
    })
}

fn status(kubelet: &Kubelet, node: &Value) -> Value {
    let storage = machine::storage_bytes(&kubelet.config.data_dir);
    let amounts = json!({
        "cpu": machine::processors().to_string(),
        "memory": format!("{}Ki", machine::memory_bytes() / 1024),
        "ephemeral-storage": format!("{}Ki", storage / 1024),
        "pods": MAX_PODS.to_string(),
    });
    let (machine_id, boot_id) = machine::identity();
    json!({
        "capacity": amounts,
        "allocatable": amounts,
        "addresses": [
            {"type": "InternalIP", "address": kubelet.host_ip()},
            {"type": "Hostname", "address": kubelet.config.node_name},
        ],
        "conditions": conditions(node, kubelet.cgroups.is_some(), kubelet.abilities.many_users),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": machine_id,
            "systemUUID": machine_id,
            "bootID": boot_id,
            "kernelVersion": machine::kernel(),
            "osImage": machine::operating_system(),
            "containerRuntimeVersion": concat!("portolan://", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": VERSION,
            "kubeProxyVersion": VERSION,
            "operatingSystem": "linux",
            "architecture": machine::architecture(),
        },
    })
}

/// The kubelet's conditions, and two of our own that say what an ordinary user's session lacks.
fn conditions(node: &Value, limits: bool, many_users: bool) -> Value {
    let mut all = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let now = now();
    for (kind, status, reason, message) in [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        match limits {
            true => {
                (LIMITS, "True", "ControlGroups", "limits of memory, processor and processes are enforced")
            }
            false => {
                (LIMITS, "False", "NoControlGroup", "no control group is writable: limits are not enforced")
            }
        },
        match many_users {
            true => (USERS, "True", "ManyUsers", "files may belong to different users"),
            false => {
                (USERS, "False", "OneUser", "every file belongs to one user: programs cannot change theirs")
            }
        },
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ] {
        let condition = json!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now,
        });
        meta::set_condition(&mut all, condition, &now);
    }
    all.into()
}

async fn renew_lease(kubelet: &Kubelet) -> Result<(), ApiError> {
    let name = &kubelet.config.node_name;
    let key = Key::new(LEASE_NAMESPACE, name);
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": LEASE_S, "renewTime": time});
    let patch = json!({ "spec": spec });
    match kubelet.cluster.patch(&kinds::LEASE, &key, "", Patch::Merge(&patch)).await {
        Err(error) if error.is_not_found() => {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}});
            match kubelet.cluster.create(&kinds::NAMESPACE, &namespace).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "namespace": LEASE_NAMESPACE}, "spec": spec,
            });
            kubelet.cluster.create(&kinds::LEASE, &lease).await.map(drop)
        }
        done => done.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_says_what_it_lacks() {
        let check = |limits, many_users, expected: [(&str, bool); 3]| {
            let node = json!({"status": {"conditions": conditions(&json!({}), limits, many_users)}});
            for (kind, is) in expected {
                assert_eq!(meta::condition_is_true(&node, kind), is, "{kind}, {limits}, {many_users}");
            }
        };
        check(true, true, [(LIMITS, true), (USERS, true), ("Ready", true)]);
        check(true, false, [(LIMITS, true), (USERS, false), ("Ready", true)]);
        check(false, false, [(LIMITS, false), (USERS, false), ("Ready", true)]);
    }
}
