//! How healthy an object is, one file per kind: Healthy, Progressing, Degraded, Suspended, as Argo CD's
//! gitops-engine (`pkg/health`) says of built-in kinds. Flux asks `kstatus` instead.

use serde_json::Value;

use crate::meta;

mod api_service;
mod autoscaler;
mod daemon_set;
mod deployment;
mod ingress;
mod job;
pub mod kstatus;
mod persistent_volume_claim;
mod pod;
mod replica_set;
mod service;
mod stateful_set;
mod workflow;

/// Health of one object, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// How it is.
    pub status: HealthStatus,
    /// Why; may be empty.
    pub message: String,
}

/// From best to worst, as a parent takes the worst of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthStatus {
    /// Does what it should.
    Healthy,
    /// Deliberately stopped.
    Suspended,
    /// On its way.
    Progressing,
    /// Not there.
    Missing,
    /// Something is wrong that will not mend itself soon.
    Degraded,
    /// Cannot be told.
    Unknown,
}

impl HealthStatus {
    /// The word, as in Argo CD.
    pub fn name(self) -> &'static str {
        match self {
            HealthStatus::Healthy => "Healthy",
            HealthStatus::Suspended => "Suspended",
            HealthStatus::Progressing => "Progressing",
            HealthStatus::Missing => "Missing",
            HealthStatus::Degraded => "Degraded",
            HealthStatus::Unknown => "Unknown",
        }
    }
}

/// The health of an object; `None` for kinds that have none, such as a ConfigMap.
pub fn health(object: &Value) -> Option<Health> {
    if meta::is_being_deleted(object) {
        return Some(Health::progressing("Pending deletion"));
    }
    let (group, _) = meta::split_api_version(meta::api_version(object));
    let found = match (group, meta::kind(object)) {
        ("apps", "Deployment") => deployment::health(object),
        ("apps", "StatefulSet") => stateful_set::health(object),
        ("apps", "DaemonSet") => daemon_set::health(object),
        ("apps", "ReplicaSet") => replica_set::health(object),
        ("batch", "Job") => job::health(object),
        ("", "Pod") => pod::health(object),
        ("", "PersistentVolumeClaim") => persistent_volume_claim::health(object),
        ("", "Service") => service::health(object),
        ("networking.k8s.io" | "extensions", "Ingress") => ingress::health(object),
        ("apiregistration.k8s.io", "APIService") => api_service::health(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::health(object),
        ("argoproj.io", "Workflow") => workflow::health(object),
        _ => return None,
    };
    Some(found)
}

impl Health {
    fn new(status: HealthStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn healthy(message: impl Into<String>) -> Self {
        Self::new(HealthStatus::Healthy, message)
    }

    fn progressing(message: impl Into<String>) -> Self {
        Self::new(HealthStatus::Progressing, message)
    }

    fn degraded(message: impl Into<String>) -> Self {
        Self::new(HealthStatus::Degraded, message)
    }

    fn suspended(message: impl Into<String>) -> Self {
        Self::new(HealthStatus::Suspended, message)
    }
}

/// A number at a JSON pointer, 0 if it is not there.
fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A string at a JSON pointer, `""` if it is not there.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list at a JSON pointer.
fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether the controller has not yet seen the object's latest generation.
fn is_behind(object: &Value) -> bool {
    meta::generation(object) > number(object, "/status/observedGeneration")
}
