//! Health of a Deployment: paused, past its deadline, rolling out, or done.

use serde_json::Value;

use super::{Health, is_behind, number, text};
use crate::meta;

pub(super) fn health(object: &Value) -> Health {
    if object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return Health::suspended("Deployment is paused");
    }
    let waiting = |what: String| Health::progressing(format!("Waiting for rollout to finish: {what}"));
    if is_behind(object) {
        return waiting("observed deployment generation less than desired generation".to_owned());
    }
    let progressing = meta::condition(object, "Progressing").unwrap_or(&Value::Null);
    if text(progressing, "/reason") == "ProgressDeadlineExceeded" {
        return Health::degraded(format!(
            "Deployment {:?} exceeded its progress deadline",
            meta::name(object)
        ));
    }
    let updated = number(object, "/status/updatedReplicas");
    let replicas = number(object, "/status/replicas");
    let available = number(object, "/status/availableReplicas");
    match object.pointer("/spec/replicas").and_then(Value::as_i64) {
        Some(wanted) if updated < wanted => {
            waiting(format!("{updated} out of {wanted} new replicas have been updated..."))
        }
        _ if replicas > updated => {
            waiting(format!("{} old replicas are pending termination...", replicas - updated))
        }
        _ if available < updated => {
            waiting(format!("{available} of {updated} updated replicas are available..."))
        }
        _ => Health::healthy(""),
    }
}
