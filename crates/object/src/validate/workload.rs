//! The kinds that make pods.

use serde_json::{Value, json};

use super::{is_empty_map, labels, not_negative, one_of, pod, required};
use crate::cause::Cause;
use crate::selector::LabelSelector;

pub(super) fn deployment(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    workload(spec, causes);
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(spec, field, "spec", causes);
    }
    let strategy = &spec["strategy"];
    one_of(strategy, "type", &["Recreate", "RollingUpdate"], "spec.strategy", causes);
    if strategy["type"] == "Recreate" && strategy.get("rollingUpdate").is_some() {
        let detail = "may not be specified when strategy `type` is 'Recreate'";
        causes.push(Cause::forbidden("spec.strategy.rollingUpdate", detail));
    }
    let rolling = &strategy["rollingUpdate"];
    let is_zero = |v: &Value| v == &json!(0) || v == &json!("0%");
    if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
        let detail = "may not be 0 when `maxSurge` is 0";
        let field = "spec.strategy.rollingUpdate.maxUnavailable";
        causes.push(Cause::invalid(field, &rolling["maxUnavailable"], detail));
    }
}

pub(super) fn replica_set(object: &Value, causes: &mut Vec<Cause>) {
    workload(&object["spec"], causes);
    not_negative(&object["spec"], "replicas", "spec", causes);
}

pub(super) fn stateful_set(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    workload(spec, causes);
    not_negative(spec, "replicas", "spec", causes);
    one_of(spec, "podManagementPolicy", &["OrderedReady", "Parallel"], "spec", causes);
    one_of(&spec["updateStrategy"], "type", &["OnDelete", "RollingUpdate"], "spec.updateStrategy", causes);
}

pub(super) fn daemon_set(object: &Value, causes: &mut Vec<Cause>) {
    workload(&object["spec"], causes);
    let strategy = &object["spec"]["updateStrategy"];
    one_of(strategy, "type", &["OnDelete", "RollingUpdate"], "spec.updateStrategy", causes);
}

/// Selector and template, and that the one selects the other.
fn workload(spec: &Value, causes: &mut Vec<Cause>) {
    let selector = &spec["selector"];
    let template_labels = &spec["template"]["metadata"]["labels"];
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if is_empty_map(Some(selector)) {
        causes.push(Cause::invalid("spec.selector", selector, "empty selector is invalid for deployment"));
    } else {
        match LabelSelector::from_object(selector) {
            Err(error) => causes.push(Cause::invalid("spec.selector", selector, error)),
            Ok(parsed) if !parsed.matches(template_labels) => {
                let detail = "`selector` does not match template `labels`";
                causes.push(Cause::invalid("spec.template.metadata.labels", template_labels, detail));
            }
            Ok(_) => {}
        }
    }
    labels(template_labels, "spec.template.labels", causes);
    let template = &spec["template"]["spec"];
    pod::spec(template, "spec.template.spec", false, causes);
    one_of(template, "restartPolicy", &["Always"], "spec.template.spec", causes);
}

pub(super) fn job(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    for field in
        ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"]
    {
        not_negative(spec, field, path, causes);
    }
    let template = &spec["template"]["spec"];
    let path = format!("{path}.template.spec");
    pod::spec(template, &path, false, causes);
    // A job's pods end, so `Always`, the default, is refused and the choice has to be made.
    if !matches!(template["restartPolicy"].as_str(), Some("OnFailure" | "Never")) {
        let supported = ["OnFailure", "Never"].map(str::to_owned);
        causes.push(Cause::not_supported(
            format!("{path}.restartPolicy"),
            &template["restartPolicy"],
            &supported,
        ));
    }
}

pub(super) fn cron_job(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    if let Some(schedule) = required(spec, "schedule", "spec", causes) {
        let fields = schedule.split_whitespace().count();
        if !schedule.starts_with('@') && fields != 5 {
            let detail = format!("expected exactly 5 fields, found {fields}: [{schedule}]");
            causes.push(Cause::invalid("spec.schedule", &schedule.into(), detail));
        }
    }
    one_of(spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], "spec", causes);
    job(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", causes);
}

pub(super) fn stateful_set_immutable(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    const MUTABLE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |object: &Value| {
        let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
        spec.retain(|field, _| !MUTABLE.contains(&field.as_str()));
        spec
    };
    if fixed(old) != fixed(new) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
            'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
            forbidden";
        causes.push(Cause::forbidden("spec", detail));
    }
}

pub(super) fn job_immutable(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let indexed = new["spec"]["completionMode"] == "Indexed";
    let suspended = old["spec"]["suspend"].as_bool() == Some(true);
    for field in
        ["selector", "template", "completionMode", "completions", "podFailurePolicy", "backoffLimitPerIndex"]
    {
        let (before, after) = (&old["spec"][field], &new["spec"][field]);
        let elastic = field == "completions" && indexed && *after == new["spec"]["parallelism"];
        let same = match field {
            "template" if suspended => schedulable(before) == schedulable(after),
            _ => before == after,
        };
        if !same && !elastic {
            causes.push(Cause::invalid(format!("spec.{field}"), after, "field is immutable"));
        }
    }
}

/// A template without what says where its pods run, which may change while a job is suspended.
fn schedulable(template: &Value) -> Value {
    let mut template = template.clone();
    for (pointer, fields) in [
        ("/spec", ["nodeSelector", "affinity", "tolerations", "schedulingGates"].as_slice()),
        ("/metadata", ["labels", "annotations"].as_slice()),
    ] {
        if let Some(map) = template.pointer_mut(pointer).and_then(Value::as_object_mut) {
            map.retain(|field, _| !fields.contains(&field.as_str()));
        }
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspended_job_may_move() {
        let job = |node: &str| json!({"spec": {"suspend": true, "template": {"spec": {"nodeSelector": {"n": node}}}}});
        let mut causes = Vec::new();
        job_immutable(&job("a"), &job("b"), &mut causes);
        assert!(causes.is_empty());
    }
}
