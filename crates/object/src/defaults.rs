//! The defaults of built-in kinds that clients see: what a server fills in while decoding.
//! After Kubernetes' `pkg/apis/*/v1/defaults.go`. Values that need the cluster (addresses, names, the default
//! storage class) and what admission adds (service accounts, tolerations) are not here.

use serde_json::{Map, Value, json};

use crate::Resource;
use crate::facts::Facts;
use crate::quantity::Quantity;

mod config;
mod pod;
mod workload;

pub use pod::qos_class;

/// Fills in the defaults of a built-in kind; other kinds stay as they are.
/// Fields that are null count as absent and go, as they do in a typed server.
pub fn apply_defaults(resource: &Resource, object: &mut Value) {
    if !Facts::is_builtin_group(&resource.group) {
        return;
    }
    let kind = resource.kind.as_ref();
    if resource.group != "apiextensions.k8s.io" && kind != "ControllerRevision" {
        drop_nulls(object);
    }
    match (resource.group.as_ref(), kind) {
        ("", "Pod") => pod::pod(object),
        ("", "PodTemplate") => pod::template_of(object),
        ("", "Service") => config::service(object),
        ("", "Secret") => config::secret(object),
        ("", "Namespace") => config::namespace(object),
        ("", "PersistentVolumeClaim") => config::persistent_volume_claim(object),
        ("", "PersistentVolume") => config::persistent_volume(object),
        ("", "Endpoints") => config::endpoints(object),
        ("", "Node") => canonical_quantities(object.get_mut("status"), &["capacity", "allocatable"]),
        ("", "ReplicationController") => workload::replication_controller(object),
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("batch", "Job") => workload::job(object),
        ("batch", "CronJob") => workload::cron_job(object),
        ("autoscaling", "HorizontalPodAutoscaler") => workload::autoscaler(object),
        ("networking.k8s.io", "NetworkPolicy") => config::network_policy(object),
        ("networking.k8s.io", "IngressClass") => config::ingress_class(object),
        ("discovery.k8s.io", "EndpointSlice") => config::endpoint_slice(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => config::role_binding(object),
        ("storage.k8s.io", "StorageClass") => config::storage_class(object),
        ("storage.k8s.io", "CSIDriver") => config::csi_driver(object),
        ("scheduling.k8s.io", "PriorityClass") => set(object, "preemptionPolicy", "PreemptLowerPriority"),
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => config::webhooks(object, kind == "MutatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => config::custom_resource_definition(object),
        _ => {}
    }
}

/// Sets a field of a map that lacks it. Anything but a map is left alone: validation will name it.
fn set(object: &mut Value, field: &str, default: impl Into<Value>) {
    if let Some(map) = object.as_object_mut()
        && map.get(field).is_none_or(Value::is_null)
    {
        map.insert(field.to_owned(), default.into());
    }
}

/// Sets a string field that is absent or empty.
fn set_text(object: &mut Value, field: &str, default: &str) {
    if object.get(field).and_then(Value::as_str).is_none_or(str::is_empty)
        && let Some(map) = object.as_object_mut()
    {
        map.insert(field.to_owned(), default.into());
    }
}

/// Sets a field of a map. Anything but a map is left alone.
fn put(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value.into());
    }
}

/// The map in a field, made if it is missing.
fn section<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    set(object, field, json!({}));
    // Anything but a map has nothing to default, and ignores the writes of `set` and `put`.
    if object.get(field).is_some() { &mut object[field] } else { object }
}

/// The items of a list field.
fn items<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Prints the quantities in these maps in their canonical form.
fn canonical_quantities(holder: Option<&mut Value>, maps: &[&str]) {
    let Some(holder) = holder else { return };
    for name in maps {
        let Some(map) = holder.get_mut(*name).and_then(Value::as_object_mut) else { continue };
        for value in map.values_mut() {
            if let Ok(quantity) = Quantity::from_value(value) {
                *value = quantity.to_string().into();
            }
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, child| !child.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn is_empty_map(value: Option<&Value>) -> bool {
    value.and_then(Value::as_object).is_none_or(Map::is_empty)
}
