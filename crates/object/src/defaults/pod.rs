//! Defaults of pods and pod templates.

use serde_json::{Value, json};

use super::{canonical_quantities, config, is_empty_map, items, put, section, set, set_text, text};

/// A pod of its own: more is filled in than in a template.
pub(super) fn pod(object: &mut Value) {
    let spec = section(object, "spec");
    set(spec, "enableServiceLinks", true);
    pod_spec(spec);
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            requests_from_limits(container);
        }
    }
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        host_ports(spec);
    }
    let class = qos_class(spec);
    let status = section(object, "status");
    set_text(status, "phase", "Pending");
    set_text(status, "qosClass", class);
}

/// The pod template in a workload's spec.
pub(super) fn template_of(spec: &mut Value) {
    if let Some(found) = spec.get_mut("template") {
        template(found);
    }
}

/// A pod template of a workload.
pub(super) fn template(template: &mut Value) {
    if !template.is_object() {
        return;
    }
    let spec = section(template, "spec");
    pod_spec(spec);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        host_ports(spec);
    }
}

fn pod_spec(spec: &mut Value) {
    for volume in items(spec, "volumes") {
        volume_source(volume);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            container_defaults(container);
        }
    }
    set_text(spec, "restartPolicy", "Always");
    set(spec, "terminationGracePeriodSeconds", 30);
    set_text(spec, "dnsPolicy", "ClusterFirst");
    // The deprecated alias and the field mirror each other.
    for (from, to) in [("serviceAccountName", "serviceAccount"), ("serviceAccount", "serviceAccountName")] {
        let account = text(spec, from).to_owned();
        if !account.is_empty() {
            set_text(spec, to, &account);
        }
    }
    set(spec, "securityContext", json!({}));
    set_text(spec, "schedulerName", "default-scheduler");
}

fn container_defaults(container: &mut Value) {
    let image = text(container, "image").to_owned();
    set_text(container, "terminationMessagePath", "/dev/termination-log");
    set_text(container, "terminationMessagePolicy", "File");
    set_text(container, "imagePullPolicy", pull_policy(&image));
    set(container, "resources", json!({}));
    canonical_quantities(container.get_mut("resources"), &["limits", "requests"]);
    for port in items(container, "ports") {
        set_text(port, "protocol", "TCP");
    }
    for variable in items(container, "env") {
        if let Some(field) = variable.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef")) {
            set_text(field, "apiVersion", "v1");
        }
        if let Some(field) = variable.get_mut("valueFrom").and_then(|v| v.get_mut("resourceFieldRef")) {
            set(field, "divisor", "0");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            probe_defaults(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = container.pointer_mut(&format!("/lifecycle/{hook}/httpGet")) {
            http_get(get);
        }
    }
}

fn probe_defaults(probe: &mut Value) {
    if let Some(get) = probe.get_mut("httpGet") {
        http_get(get);
    }
    if let Some(grpc) = probe.get_mut("grpc") {
        set(grpc, "service", "");
    }
    for (field, default) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(field).and_then(Value::as_i64).unwrap_or(0) == 0 {
            put(probe, field, default);
        }
    }
}

fn http_get(get: &mut Value) {
    set_text(get, "path", "/");
    set_text(get, "scheme", "HTTP");
}

/// `Always` for the tag `latest` or no tag at all; an image named by digest never changes.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':').map(|(_, tag)| tag);
    match (tag, digest) {
        (Some("latest"), _) | (None, None) => "Always",
        _ => "IfNotPresent",
    }
}

fn volume_source(volume: &mut Value) {
    let sources = volume.as_object().map_or(0, |map| map.keys().filter(|k| *k != "name").count());
    if sources == 0 {
        set(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source) {
            set(source, "defaultMode", 420);
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        set(path, "type", "");
    }
    let projected = volume.get_mut("projected").map(|p| items(p, "sources"));
    for source in projected.into_iter().flatten() {
        if let Some(token) = source.get_mut("serviceAccountToken") {
            set(token, "expirationSeconds", 3600);
        }
        if let Some(api) = source.get_mut("downwardAPI") {
            field_refs(api);
        }
    }
    if let Some(api) = volume.get_mut("downwardAPI") {
        field_refs(api);
    }
    if let Some(empty) = volume.get_mut("emptyDir")
        && let Some(limit) =
            empty.get("sizeLimit").and_then(|v| crate::quantity::Quantity::from_value(v).ok())
    {
        empty["sizeLimit"] = limit.to_string().into();
    }
    if let Some(claim) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
        config::claim_spec(claim);
    }
}

fn field_refs(api: &mut Value) {
    for item in items(api, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            set_text(field, "apiVersion", "v1");
        }
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object).cloned() else {
        return;
    };
    if limits.is_empty() {
        return;
    }
    let requests = section(section(container, "resources"), "requests");
    for (name, limit) in limits {
        set(requests, &name, limit);
    }
}

fn host_ports(spec: &mut Value) {
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            for port in items(container, "ports") {
                let number = port.get("containerPort").cloned().unwrap_or_default();
                set(port, "hostPort", number);
            }
        }
    }
}

/// The quality of service class of a pod's spec: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers = || lists.iter().filter_map(|l| spec.get(*l)?.as_array()).flatten();
    let quantity = |container: &Value, map: &str, name: &str| {
        let value = container.pointer(&format!("/resources/{map}/{name}"))?;
        crate::quantity::Quantity::from_value(value).ok().filter(|q| !q.is_zero())
    };
    let asks = |c: &Value| {
        ["limits", "requests"].iter().any(|m| !is_empty_map(c.pointer(&format!("/resources/{m}"))))
    };
    if !containers().any(asks) {
        return "BestEffort";
    }
    let guaranteed = containers().all(|container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = quantity(container, "limits", name);
            let request = quantity(container, "requests", name).or(limit);
            limit.is_some() && limit == request
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}
