//! Health of a PersistentVolumeClaim: by phase.

use serde_json::Value;

use super::{Health, HealthStatus, text};

pub(super) fn health(object: &Value) -> Health {
    match text(object, "/status/phase") {
        "Lost" => Health::degraded(""),
        "Pending" => Health::progressing(""),
        "Bound" => Health::healthy(""),
        _ => Health::new(HealthStatus::Unknown, ""),
    }
}
