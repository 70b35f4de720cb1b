//! ServiceAccount: every pod has one, and gets its token, the cluster's certificate and its namespace's name as files.

use std::time::Duration;

use object::meta;
use serde_json::{Value, json};

use crate::catalog::Kind;
use crate::convert;
use crate::error::ApiError;
use crate::http::Context;
use crate::uid;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The account `default` of a new namespace is made by a controller a moment later: wait that long for it.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn mount(cx: &Context, kind: &Kind, pod: &mut Value) -> Result<(), ApiError> {
    if meta::annotation(pod, "kubernetes.io/config.mirror").is_some() {
        return Ok(());
    }
    let given = pod["spec"]["serviceAccountName"].as_str().or_else(|| pod["spec"]["serviceAccount"].as_str());
    let name = given.filter(|n| !n.is_empty()).unwrap_or("default").to_owned();
    pod["spec"]["serviceAccountName"] = name.as_str().into();
    pod["spec"]["serviceAccount"] = name.as_str().into();
    let account = account(cx, kind, pod, &name).await?;
    if pod["spec"]["imagePullSecrets"].is_null() && account["imagePullSecrets"].is_array() {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    let wanted = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if wanted {
        add_volume(&mut pod["spec"]);
    }
    Ok(())
}

async fn account(cx: &Context, kind: &Kind, pod: &Value, name: &str) -> Result<Value, ApiError> {
    let namespace = meta::namespace(pod);
    let key = format!("{namespace}/{name}");
    for attempt in 0..ATTEMPTS {
        if let Some(entry) = cx.api.store.get("/serviceaccounts", &key) {
            return Ok(convert::parse(&entry.value));
        }
        if name != "default" || attempt + 1 == ATTEMPTS {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let why =
        format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
    Err(ApiError::forbidden(&kind.resource, meta::name(pod), why))
}

fn add_volume(spec: &mut Value) {
    let name = format!("kube-api-access-{}", uid::suffix());
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().any(|m| m["mountPath"] == MOUNT_PATH) {
                continue;
            }
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
            container["volumeMounts"] = mounts.into_iter().chain([mount]).collect();
            used = true;
        }
    }
    if !used {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    spec["volumes"] = volumes.into_iter().chain([volume]).collect();
}
