//! Health of an Argo Workflow: by phase.

use serde_json::Value;

use super::{Health, HealthStatus, text};

pub(super) fn health(object: &Value) -> Health {
    let message = text(object, "/status/message");
    match text(object, "/status/phase") {
        "" | "Pending" | "Running" => Health::progressing(message),
        "Succeeded" => Health::healthy(message),
        "Failed" | "Error" => Health::degraded(message),
        _ => Health::new(HealthStatus::Unknown, message),
    }
}
