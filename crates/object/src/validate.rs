//! Validation of built-in kinds: names and labels, required fields, and what may not change.
//! The rules that users meet most, with Kubernetes' texts (`pkg/apis/*/validation`).

use serde_json::{Map, Value};

use crate::cause::Cause;
use crate::facts::Facts;
use crate::{Resource, meta, names};

mod config;
mod pod;
mod workload;

/// Annotations of one object may take this many bytes together.
const ANNOTATIONS_LIMIT_BYTES: usize = 262_144;

/// What is wrong with a new object, after defaulting.
pub fn create(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = metadata(resource, object);
    if Facts::is_builtin_group(&resource.group) {
        spec(resource, object, &mut causes);
    }
    causes
}

/// What is wrong with a change, after defaulting: the new object's own mistakes, and fields that may not change.
pub fn update(resource: &Resource, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = metadata(resource, new);
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let (before, after) = (&old["metadata"][field], &new["metadata"][field]);
        if before.is_string() && after != before {
            causes.push(Cause::invalid(format!("metadata.{field}"), after, "field is immutable"));
        }
    }
    if meta::is_being_deleted(old) {
        new_finalizers(old, new, &mut causes);
    }
    if Facts::is_builtin_group(&resource.group) {
        // What did not change was valid, or is at least not this write's fault.
        if old.get("spec") != new.get("spec") || new.get("spec").is_none() {
            spec(resource, new, &mut causes);
        }
        immutable(resource, old, new, &mut causes);
    }
    causes
}

/// Names, labels, annotations, owner references and finalizers: for every kind, custom ones too.
pub fn metadata(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    name_of(resource, object, &mut causes);
    let namespace = meta::namespace(object);
    if resource.namespaced && namespace.is_empty() {
        causes.push(Cause::required("metadata.namespace", ""));
    }
    if !resource.namespaced && !namespace.is_empty() {
        causes.push(Cause::forbidden("metadata.namespace", "not allowed on this type"));
    }
    labels(&object["metadata"]["labels"], "metadata.labels", &mut causes);
    annotations(&object["metadata"]["annotations"], &mut causes);
    owner_references(object, &mut causes);
    for (i, finalizer) in meta::finalizers(object).enumerate() {
        for problem in names::qualified_name(finalizer) {
            causes.push(Cause::invalid(format!("metadata.finalizers[{i}]"), &finalizer.into(), problem));
        }
    }
    causes
}

fn spec(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    match (resource.group.as_ref(), resource.kind.as_ref()) {
        ("", "Pod") => pod::spec(&object["spec"], "spec", true, causes),
        ("apps", "Deployment") => workload::deployment(object, causes),
        ("apps", "ReplicaSet") => workload::replica_set(object, causes),
        ("apps", "StatefulSet") => workload::stateful_set(object, causes),
        ("apps", "DaemonSet") => workload::daemon_set(object, causes),
        ("batch", "Job") => workload::job(&object["spec"], "spec", causes),
        ("batch", "CronJob") => workload::cron_job(object, causes),
        ("", "Service") => config::service(object, causes),
        ("", "ConfigMap" | "Secret") => config::data(object, causes),
        ("", "PersistentVolumeClaim") => config::claim(&object["spec"], "spec", causes),
        ("networking.k8s.io", "Ingress") => config::ingress(object, causes),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            config::binding(object, causes)
        }
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => config::role(resource, object, causes),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => config::definition(object, causes),
        _ => {}
    }
}

fn immutable(resource: &Resource, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    const PLAIN: &str = "field is immutable";
    let mut fixed = |pointers: &[&str], detail: &str| {
        for pointer in pointers {
            let (before, after) = (old.pointer(pointer), new.pointer(pointer));
            if before != after {
                let field = pointer.trim_start_matches('/').replace('/', ".");
                causes.push(Cause::invalid(field, after.unwrap_or(&Value::Null), detail));
            }
        }
    };
    match (resource.group.as_ref(), resource.kind.as_ref()) {
        ("", "Pod") => pod::immutable(old, new, causes),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => fixed(&["/spec/selector"], PLAIN),
        ("apps", "StatefulSet") => workload::stateful_set_immutable(old, new, causes),
        ("batch", "Job") => workload::job_immutable(old, new, causes),
        ("", "Service") => config::service_immutable(old, new, causes),
        ("", "PersistentVolumeClaim") => config::claim_immutable(old, new, causes),
        ("", "ConfigMap" | "Secret") => config::data_immutable(resource, old, new, causes),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            fixed(&["/roleRef"], "cannot change roleRef");
        }
        ("storage.k8s.io", "StorageClass") => {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                if old.get(field) != new.get(field) {
                    causes.push(Cause::forbidden(field, format!("updates to {field} are forbidden.")));
                }
            }
        }
        ("scheduling.k8s.io", "PriorityClass") => fixed(&["/value", "/preemptionPolicy"], PLAIN),
        ("discovery.k8s.io", "EndpointSlice") => fixed(&["/addressType"], PLAIN),
        ("networking.k8s.io", "IngressClass") => fixed(&["/spec/controller"], PLAIN),
        ("", "ResourceQuota") => fixed(&["/spec/scopes"], PLAIN),
        ("", "PersistentVolume") if !crate::diff::diff(&source_of(old), &source_of(new)).is_empty() => {
            let detail = "spec.persistentvolumesource is immutable after creation";
            causes.push(Cause::forbidden("spec.persistentvolumesource", detail));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            fixed(&["/spec/group", "/spec/scope", "/spec/names/plural", "/spec/names/kind"], PLAIN);
        }
        ("apps", "ControllerRevision") => fixed(&["/data"], PLAIN),
        _ => {}
    }
}

/// The part of a persistent volume that says where its bytes are.
fn source_of(volume: &Value) -> Value {
    const SOURCES: [&str; 6] = ["hostPath", "local", "csi", "nfs", "iscsi", "fc"];
    let spec = volume["spec"].as_object().cloned().unwrap_or_default();
    Value::Object(spec.into_iter().filter(|(k, _)| SOURCES.contains(&k.as_str())).collect())
}

fn name_of(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    let name = meta::name(object);
    if name.is_empty() {
        if object["metadata"]["generateName"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required("metadata.name", "name or generateName is required"));
        }
        return;
    }
    let problems = match (resource.group.as_ref(), resource.kind.as_ref()) {
        ("", "Namespace") => names::dns1123_label(name),
        ("", "Service") => names::dns1035_label(name),
        ("rbac.authorization.k8s.io", _) => names::path_segment(name),
        ("batch", "CronJob") if name.len() > 52 => vec!["must be no more than 52 characters".to_owned()],
        _ => names::dns1123_subdomain(name),
    };
    for problem in problems {
        causes.push(Cause::invalid("metadata.name", &name.into(), problem));
    }
}

/// Keys and values of a map of labels.
fn labels(map: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (key, value) in map.as_object().into_iter().flatten() {
        for problem in names::qualified_name(key) {
            causes.push(Cause::invalid(path, &key.as_str().into(), problem));
        }
        let Some(text) = value.as_str() else {
            causes.push(Cause::invalid(path, value, "must be a string"));
            continue;
        };
        for problem in names::label_value(text) {
            causes.push(Cause::invalid(path, value, problem));
        }
    }
}

fn annotations(map: &Value, causes: &mut Vec<Cause>) {
    const PATH: &str = "metadata.annotations";
    let mut size = 0;
    for (key, value) in map.as_object().into_iter().flatten() {
        for problem in names::qualified_name(&key.to_lowercase()) {
            causes.push(Cause::invalid(PATH, &key.as_str().into(), problem));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
        if !value.is_string() {
            causes.push(Cause::invalid(PATH, value, "must be a string"));
        }
    }
    if size > ANNOTATIONS_LIMIT_BYTES {
        causes.push(Cause::too_long(PATH, ANNOTATIONS_LIMIT_BYTES));
    }
}

fn owner_references(object: &Value, causes: &mut Vec<Cause>) {
    const PATH: &str = "metadata.ownerReferences";
    let mut controllers = 0;
    for owner in meta::owners(object) {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                let text = if field == "apiVersion" {
                    "version must not be empty".to_owned()
                } else {
                    format!("{field} must not be empty")
                };
                causes.push(Cause::invalid(format!("{PATH}.{field}"), &"".into(), text));
            }
        }
        controllers += usize::from(owner["controller"].as_bool() == Some(true));
    }
    if controllers > 1 {
        let list = object["metadata"]["ownerReferences"].clone();
        let detail = "Only one reference can have Controller set to true.";
        causes.push(Cause::invalid(PATH, &list, detail));
    }
}

fn new_finalizers(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let added: Vec<String> =
        meta::finalizers(new).filter(|f| !meta::has_finalizer(old, f)).map(str::to_owned).collect();
    if !added.is_empty() {
        let list: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            list.join(", ")
        );
        causes.push(Cause::forbidden("metadata.finalizers", detail));
    }
}

/// Reports a missing or empty string field; returns the string if it is there.
fn required<'a>(object: &'a Value, field: &str, path: &str, causes: &mut Vec<Cause>) -> Option<&'a str> {
    let found = object.get(field).and_then(Value::as_str).filter(|s| !s.is_empty());
    if found.is_none() {
        causes.push(Cause::required(format!("{path}.{field}"), ""));
    }
    found
}

/// Reports a string field that is none of the supported values; absent ones pass.
fn one_of(object: &Value, field: &str, supported: &[&str], path: &str, causes: &mut Vec<Cause>) {
    let Some(value) = object.get(field).filter(|v| !v.is_null()) else { return };
    if !value.as_str().is_some_and(|v| supported.contains(&v)) {
        let supported: Vec<String> = supported.iter().map(|s| (*s).to_owned()).collect();
        causes.push(Cause::not_supported(format!("{path}.{field}"), value, &supported));
    }
}

/// Reports a negative number.
fn not_negative(object: &Value, field: &str, path: &str, causes: &mut Vec<Cause>) {
    let value = object.get(field).unwrap_or(&Value::Null);
    if value.as_i64().is_some_and(|n| n < 0) {
        causes.push(Cause::invalid(format!("{path}.{field}"), value, "must be greater than or equal to 0"));
    }
}

/// Reports a port number outside of 1 to 65535.
fn port_number(value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.as_i64().is_some_and(|n| !(1..=65535).contains(&n)) {
        causes.push(Cause::invalid(path, value, "must be between 1 and 65535, inclusive"));
    }
}

fn items<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn is_empty_map(value: Option<&Value>) -> bool {
    value.and_then(Value::as_object).is_none_or(Map::is_empty)
}
