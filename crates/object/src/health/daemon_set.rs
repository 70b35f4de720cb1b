//! Health of a DaemonSet: a pod of the newest template available on every node.

use serde_json::Value;

use super::{Health, is_behind, number, text};
use crate::meta;

pub(super) fn health(object: &Value) -> Health {
    let name = meta::name(object);
    let wanted = number(object, "/status/desiredNumberScheduled");
    let updated = number(object, "/status/updatedNumberScheduled");
    let available = number(object, "/status/numberAvailable");
    if is_behind(object) {
        return Health::progressing(
            "Waiting for rollout to finish: observed daemon set generation less than desired generation",
        );
    }
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Health::healthy(format!("daemon set {updated} out of {wanted} new pods have been updated"));
    }
    if updated < wanted {
        return Health::progressing(format!(
            "Waiting for daemon set {name:?} rollout to finish: {updated} out of {wanted} new pods have been updated..."
        ));
    }
    if available < wanted {
        return Health::progressing(format!(
            "Waiting for daemon set {name:?} rollout to finish: {available} of {wanted} updated pods are available..."
        ));
    }
    Health::healthy("")
}
