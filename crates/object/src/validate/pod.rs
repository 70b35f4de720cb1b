//! Pods and pod templates.

use serde_json::{Map, Value};

use super::{items, not_negative, one_of, port_number, required};
use crate::cause::Cause;
use crate::names;
use crate::quantity::Quantity;

/// A pod's spec at `path`. Templates of workloads that restart pods allow `Always` only, and say so themselves.
pub(super) fn spec(spec: &Value, path: &str, any_restart_policy: bool, causes: &mut Vec<Cause>) {
    if items(spec, "containers").is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let volumes = volumes(spec, path, causes);
    let mut seen: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        for (i, container) in items(spec, list).iter().enumerate() {
            let path = format!("{path}.{list}[{i}]");
            if let Some(name) = required(container, "name", &path, causes) {
                for problem in names::dns1123_label(name) {
                    causes.push(Cause::invalid(format!("{path}.name"), &name.into(), problem));
                }
                if seen.contains(&name) {
                    causes.push(Cause::duplicate(format!("{path}.name"), &name.into()));
                }
                seen.push(name);
            }
            container_fields(container, &path, &volumes, causes);
        }
    }
    if any_restart_policy {
        one_of(spec, "restartPolicy", &["Always", "Never", "OnFailure"], path, causes);
    }
    one_of(spec, "dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"], path, causes);
    not_negative(spec, "activeDeadlineSeconds", path, causes);
}

fn volumes<'a>(spec: &'a Value, path: &str, causes: &mut Vec<Cause>) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    for (i, volume) in items(spec, "volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{i}]");
        let Some(name) = required(volume, "name", &path, causes) else { continue };
        for problem in names::dns1123_label(name) {
            causes.push(Cause::invalid(format!("{path}.name"), &name.into(), problem));
        }
        if seen.contains(&name) {
            causes.push(Cause::duplicate(format!("{path}.name"), &name.into()));
        }
        if volume.as_object().map_or(0, Map::len) > 2 {
            causes.push(Cause::forbidden(path, "may not specify more than 1 volume type"));
        }
        seen.push(name);
    }
    seen
}

fn container_fields(container: &Value, path: &str, volumes: &[&str], causes: &mut Vec<Cause>) {
    match container.get("image").and_then(Value::as_str) {
        None | Some("") => causes.push(Cause::required(format!("{path}.image"), "")),
        Some(image) if image.trim() != image => {
            let detail = "must not have leading or trailing whitespace";
            causes.push(Cause::invalid(format!("{path}.image"), &image.into(), detail));
        }
        Some(_) => {}
    }
    one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path, causes);
    for (i, port) in items(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{i}]");
        match port.get("containerPort").and_then(Value::as_i64) {
            None | Some(0) => causes.push(Cause::required(format!("{path}.containerPort"), "")),
            Some(_) => port_number(&port["containerPort"], &format!("{path}.containerPort"), causes),
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, causes);
        if let Some(name) = port.get("name").and_then(Value::as_str).filter(|n| !n.is_empty()) {
            for problem in names::port_name(name) {
                causes.push(Cause::invalid(format!("{path}.name"), &name.into(), problem));
            }
        }
    }
    for (i, variable) in items(container, "env").iter().enumerate() {
        let path = format!("{path}.env[{i}]");
        if let Some(name) = required(variable, "name", &path, causes) {
            for problem in names::env_var_name(name) {
                causes.push(Cause::invalid(format!("{path}.name"), &name.into(), problem));
            }
        }
        let value = variable.get("value");
        if value.is_some_and(|v| !v.is_string()) {
            causes.push(Cause::invalid(format!("{path}.value"), &variable["value"], "must be a string"));
        }
        if value.and_then(Value::as_str).is_some_and(|v| !v.is_empty()) && variable.get("valueFrom").is_some()
        {
            let detail = "may not be specified when `value` is not empty";
            causes.push(Cause::invalid(format!("{path}.valueFrom"), &"".into(), detail));
        }
    }
    mounts(container, path, volumes, causes);
    resources(container, path, causes);
}

fn mounts(container: &Value, path: &str, volumes: &[&str], causes: &mut Vec<Cause>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, mount) in items(container, "volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{i}]");
        if let Some(name) = required(mount, "name", &path, causes)
            && !volumes.contains(&name)
        {
            causes.push(Cause::not_found(format!("{path}.name"), &name.into()));
        }
        if let Some(target) = required(mount, "mountPath", &path, causes) {
            if seen.contains(&target) {
                let detail = "must be unique";
                causes.push(Cause::invalid(format!("{path}.mountPath"), &target.into(), detail));
            }
            seen.push(target);
        }
    }
}

fn resources(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    let map = |name: &str| container.pointer(&format!("/resources/{name}")).and_then(Value::as_object);
    for list in ["limits", "requests"] {
        for (name, value) in map(list).into_iter().flatten() {
            let path = format!("{path}.resources.{list}[{name}]");
            match Quantity::from_value(value) {
                Err(error) => causes.push(Cause::invalid(path, value, error)),
                Ok(quantity) if quantity < Quantity::ZERO => {
                    causes.push(Cause::invalid(path, value, "must be greater than or equal to 0"));
                }
                Ok(_) => {}
            }
        }
    }
    for (name, request) in map("requests").into_iter().flatten() {
        let limit = map("limits").and_then(|m| m.get(name));
        let (Some(limit), Ok(asked)) = (limit, Quantity::from_value(request)) else { continue };
        if Quantity::from_value(limit).is_ok_and(|limit| asked > limit) {
            let detail = format!(
                "must be less than or equal to {name} limit of {}",
                limit.as_str().unwrap_or_default()
            );
            causes.push(Cause::invalid(format!("{path}.resources.requests"), request, detail));
        }
    }
}

/// A pod's spec is fixed but for images, deadlines, added tolerations and lifted gates.
pub(super) fn immutable(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let fixed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    container.shift_remove("image");
                }
            }
        }
        if let Some(spec) = spec.as_object_mut() {
            for field in
                ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"]
            {
                spec.shift_remove(field);
            }
            // Set once, by binding or by the kubelet's view of an unscheduled pod.
            if old["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
                spec.shift_remove("nodeName");
            }
        }
        spec
    };
    let kept = |list: &str| {
        let after = items(&new["spec"], list);
        items(&old["spec"], list).iter().all(|item| after.contains(item))
    };
    let gates_only_go = || {
        let before = items(&old["spec"], "schedulingGates");
        items(&new["spec"], "schedulingGates").iter().all(|gate| before.contains(gate))
    };
    let grace = || {
        let of = |pod: &Value| pod["spec"]["terminationGracePeriodSeconds"].as_i64();
        of(old) == of(new) || (of(old).is_some_and(|g| g < 0) && of(new) == Some(1))
    };
    if fixed(old) != fixed(new) || !kept("tolerations") || !gates_only_go() || !grace() {
        let changes = crate::diff::diff(&old["spec"], &new["spec"]);
        let changed: Vec<String> = changes.into_iter().map(|c| format!("  spec.{}", c.path)).collect();
        let detail = format!(
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
             `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n{}",
            changed.join("\n")
        );
        causes.push(Cause::forbidden("spec", detail));
    }
}
