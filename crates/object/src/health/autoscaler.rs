//! Health of a HorizontalPodAutoscaler: whether it gets its metrics and can scale. Version 1 keeps its conditions in
//! an annotation.

use serde_json::Value;

use super::{Health, list, text};
use crate::meta;

const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

pub(super) fn health(object: &Value) -> Health {
    let annotated = meta::annotation(object, CONDITIONS).and_then(|text| serde_json::from_str(text).ok());
    let annotated: Vec<Value> = annotated.unwrap_or_default();
    let conditions = if annotated.is_empty() { list(object, "/status/conditions") } else { &annotated };
    let message = |c: &Value| text(c, "/message").to_owned();
    if let Some(bad) = conditions.iter().find(|c| is_degraded(c)) {
        return Health::degraded(message(bad));
    }
    let good = |c: &&Value| {
        matches!(text(c, "/type"), "AbleToScale" | "ScalingLimited") && text(c, "/status") == "True"
    };
    match conditions.iter().find(good) {
        Some(condition) => Health::healthy(message(condition)),
        None => Health::progressing("Waiting to Autoscale"),
    }
}

fn is_degraded(condition: &Value) -> bool {
    let reason = text(condition, "/reason");
    match text(condition, "/type") {
        "AbleToScale" => matches!(reason, "FailedGetScale" | "FailedUpdateScale"),
        "ScalingActive" => reason.starts_with("FailedGet") || reason == "InvalidSelector",
        _ => false,
    }
}
