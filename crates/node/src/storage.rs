//! Persistent volumes: directories of this node, made for claims and removed with their volume.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use controller::{ApiError, EventType, Patch, Propagation};
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;

const PROVISIONER: &str = "portolan.dev/local";
const CLASS: &str = "standard";
const RETRY: Duration = Duration::from_secs(2);

/// Binds claims and removes released volumes until `stop`.
pub(crate) async fn provision(kubelet: Arc<Kubelet>, stop: CancellationToken) {
    stop.run_until_cancelled(work(kubelet)).await;
}

async fn work(kubelet: Arc<Kubelet>) {
    while let Err(error) = offer_class(&kubelet).await {
        tracing::debug!(%error, "cannot offer a storage class; will try again");
        tokio::time::sleep(RETRY).await;
    }
    let claims = kubelet.cluster.watch(&kinds::PERSISTENT_VOLUME_CLAIM);
    let volumes = kubelet.cluster.watch(&kinds::PERSISTENT_VOLUME);
    let (mut claim_changes, mut volume_changes) = (claims.subscribe(), volumes.subscribe());
    claims.synced().await;
    volumes.synced().await;
    loop {
        for claim in claims.list() {
            if claim["status"]["phase"] != "Bound"
                && !meta::is_being_deleted(&claim)
                && let Err(error) = bind(&kubelet, &claim).await
            {
                tracing::debug!(claim = %meta::key(&claim), %error, "cannot bind a claim; will try again");
            }
        }
        for volume in volumes.list() {
            let key = claim_key(&volume);
            let orphan =
                claims.get(&key).is_none_or(|claim| meta::uid(&claim) != volume["spec"]["claimRef"]["uid"]);
            if is_ours(&volume)
                && orphan
                && let Err(error) = release(&kubelet, &volume).await
            {
                tracing::debug!(volume = meta::name(&volume), %error, "cannot release a volume; will try again");
            }
        }
        // A failure is met again with the next look, which comes with a change or after a while.
        let _ = tokio::time::timeout(Duration::from_secs(30), async {
            tokio::select! {
                _ = claim_changes.recv() => {}
                _ = volume_changes.recv() => {}
            }
        })
        .await;
        while claim_changes.try_recv().is_ok() || volume_changes.try_recv().is_ok() {}
    }
}

async fn offer_class(kubelet: &Kubelet) -> Result<(), ApiError> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    });
    match kubelet.cluster.create(&kinds::STORAGE_CLASS, &class).await {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => Ok(()),
    }
}

/// Whether the claim is for this provisioner: its class, or the default one.
fn is_for_us(claim: &Value) -> bool {
    let class = claim["spec"]["storageClassName"].as_str();
    let class = class.or_else(|| meta::annotation(claim, "volume.beta.kubernetes.io/storage-class"));
    class.is_none_or(|class| class == CLASS)
}

async fn bind(kubelet: &Arc<Kubelet>, claim: &Value) -> Result<(), ApiError> {
    if !is_for_us(claim) {
        return Ok(());
    }
    let name = match claim["spec"]["volumeName"].as_str().filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => format!("pvc-{}", meta::uid(claim)),
    };
    let existing = kubelet.cluster.get(&kinds::PERSISTENT_VOLUME, &Key::cluster(&name)).await?;
    let volume = match existing {
        Some(volume) => volume,
        None if name.starts_with("pvc-") => create(kubelet, claim, &name).await?,
        None => return Ok(()),
    };
    let key = meta::key(claim);
    if claim["spec"]["volumeName"] != name.as_str() {
        let patch = json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": name},
        });
        kubelet.cluster.patch(&kinds::PERSISTENT_VOLUME_CLAIM, &key, "", Patch::Merge(&patch)).await?;
    }
    let status = json!({"status": {
        "phase": "Bound",
        "accessModes": volume["spec"]["accessModes"],
        "capacity": volume["spec"]["capacity"],
    }});
    kubelet.cluster.patch(&kinds::PERSISTENT_VOLUME_CLAIM, &key, "status", Patch::Merge(&status)).await?;
    let bound = json!({"status": {"phase": "Bound"}});
    kubelet
        .cluster
        .patch(&kinds::PERSISTENT_VOLUME, &Key::cluster(&name), "status", Patch::Merge(&bound))
        .await?;
    let message = format!("Successfully provisioned volume {name}");
    kubelet.recorder.record(claim, EventType::Normal, "ProvisioningSucceeded", &message).await;
    Ok(())
}

async fn create(kubelet: &Kubelet, claim: &Value, name: &str) -> Result<Value, ApiError> {
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or("1Gi")},
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "volumeMode": "Filesystem",
            "local": {"path": directory(kubelet, name)},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": meta::namespace(claim), "name": meta::name(claim), "uid": meta::uid(claim),
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [kubelet.config.node_name]},
            ]}]}},
        },
    });
    kubelet.cluster.create(&kinds::PERSISTENT_VOLUME, &volume).await
}

/// Deletes a volume whose claim is gone, and then its data; a volume that is to be kept is marked as released.
async fn release(kubelet: &Kubelet, volume: &Value) -> Result<(), ApiError> {
    let name = meta::name(volume);
    if volume["spec"]["persistentVolumeReclaimPolicy"] != "Delete" {
        if volume["status"]["phase"] != "Released" {
            let status = json!({"status": {"phase": "Released"}});
            let key = Key::cluster(name);
            kubelet.cluster.patch(&kinds::PERSISTENT_VOLUME, &key, "status", Patch::Merge(&status)).await?;
        }
        return Ok(());
    }
    // The cache may be behind: a claim is gone only if the server says so.
    let claim = kubelet.cluster.get(&kinds::PERSISTENT_VOLUME_CLAIM, &claim_key(volume)).await?;
    if claim.is_some_and(|claim| meta::uid(&claim) == volume["spec"]["claimRef"]["uid"]) {
        return Ok(());
    }
    let key = Key::cluster(name);
    let uid = meta::uid(volume);
    kubelet.cluster.delete(&kinds::PERSISTENT_VOLUME, &key, Some(uid), Propagation::Background).await?;
    let directory = directory(kubelet, name);
    if volume["spec"]["local"]["path"] == directory.to_string_lossy().as_ref() {
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
    }
    Ok(())
}

fn directory(kubelet: &Kubelet, name: &str) -> PathBuf {
    kubelet.config.data_dir.join("volumes").join(name)
}

fn is_ours(volume: &Value) -> bool {
    meta::annotation(volume, "pv.kubernetes.io/provisioned-by") == Some(PROVISIONER)
}

fn claim_key(volume: &Value) -> Key {
    let reference = &volume["spec"]["claimRef"];
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    Key::new(text("namespace"), text("name"))
}
