//! Health of a Pod: by phase, by readiness, and by why its containers wait.

use serde_json::Value;

use super::{Health, HealthStatus, list, text};
use crate::meta;

/// A pod with this annotation is judged as if its containers were restarted always, unless it is a hook.
const IGNORE_RESTART_POLICY: &str = "argocd.argoproj.io/ignore-restart-policy";
const HOOK: &str = "argocd.argoproj.io/hook";

pub(super) fn health(object: &Value) -> Health {
    let ignored = meta::annotation(object, IGNORE_RESTART_POLICY) == Some("true")
        && meta::annotation(object, HOOK).is_none();
    let runs_on = text(object, "/spec/restartPolicy") == "Always" || ignored;
    let statuses = list(object, "/status/containerStatuses");
    if runs_on {
        let stuck: Vec<&str> = statuses
            .iter()
            .filter(|s| is_trouble(text(s, "/state/waiting/reason")))
            .map(|s| text(s, "/state/waiting/message"))
            .collect();
        if !stuck.is_empty() {
            return Health::degraded(stuck.join(", "));
        }
    }
    let message = text(object, "/status/message");
    match text(object, "/status/phase") {
        "Pending" => Health::progressing(message),
        "Succeeded" => Health::healthy(message),
        "Failed" if !message.is_empty() => Health::degraded(message),
        "Failed" => {
            let all = list(object, "/status/initContainerStatuses").iter().chain(statuses);
            Health::degraded(all.filter_map(failure).next().unwrap_or_default())
        }
        "Running" if runs_on && meta::condition_is_true(object, "Ready") => Health::healthy(message),
        "Running" if runs_on && statuses.iter().any(|s| s.pointer("/lastState/terminated").is_some()) => {
            Health::degraded(message)
        }
        // A pod that is meant to end is on its way until it has.
        "Running" => Health::progressing(message),
        _ => Health::new(HealthStatus::Unknown, message),
    }
}

/// `ErrImagePull`, `CreateContainerError`, `CrashLoopBackOff`, …
fn is_trouble(reason: &str) -> bool {
    reason.starts_with("Err") || reason.ends_with("Error") || reason.ends_with("BackOff")
}

fn failure(status: &Value) -> Option<String> {
    let terminated = status.pointer("/state/terminated")?;
    let message = text(terminated, "/message");
    if !message.is_empty() {
        return Some(message.to_owned());
    }
    let reason = text(terminated, "/reason");
    if reason == "OOMKilled" {
        return Some(reason.to_owned());
    }
    match terminated["exitCode"].as_i64() {
        Some(code) if code != 0 => {
            Some(format!("container {:?} failed with exit code {code}", text(status, "/name")))
        }
        _ => None,
    }
}
