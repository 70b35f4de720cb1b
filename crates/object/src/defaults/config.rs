//! Defaults of everything that is not a workload: services, storage, access, networks, definitions.

use serde_json::{Value, json};

use super::{canonical_quantities, items, put, section, set, set_text, text};

pub(super) fn service(object: &mut Value) {
    let spec = section(object, "spec");
    set_text(spec, "type", "ClusterIP");
    set_text(spec, "sessionAffinity", "None");
    if text(spec, "sessionAffinity") == "ClientIP" {
        set(section(section(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", 10800);
    }
    let service_type = text(spec, "type").to_owned();
    let outside = !items(spec, "externalIPs").collect::<Vec<_>>().is_empty();
    if service_type == "NodePort"
        || service_type == "LoadBalancer"
        || (service_type == "ClusterIP" && outside)
    {
        set_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if service_type != "ExternalName" {
        set_text(spec, "internalTrafficPolicy", "Cluster");
    }
    if service_type == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in items(spec, "ports") {
        set_text(port, "protocol", "TCP");
        let unset = match port.get("targetPort") {
            None => true,
            Some(target) => target == &json!(0) || target == &json!(""),
        };
        if unset {
            let number = port.get("port").cloned().unwrap_or_default();
            put(port, "targetPort", number);
        }
    }
    set(section(object, "status"), "loadBalancer", json!({}));
}

/// `stringData` is write-only: it is folded into `data`.
pub(super) fn secret(object: &mut Value) {
    set_text(object, "type", "Opaque");
    let folded = object.as_object_mut().and_then(|map| map.shift_remove("stringData"));
    let Some(Value::Object(folded)) = folded else { return };
    let data = section(object, "data");
    for (key, value) in folded {
        put(data, &key, base64(value.as_str().unwrap_or_default().as_bytes()));
    }
}

pub(super) fn namespace(object: &mut Value) {
    let name = text(&object["metadata"], "name").to_owned();
    if !name.is_empty() {
        let labels = section(section(object, "metadata"), "labels");
        put(labels, "kubernetes.io/metadata.name", name);
    }
    set(section(object, "spec"), "finalizers", json!(["kubernetes"]));
    set_text(section(object, "status"), "phase", "Active");
}

pub(super) fn persistent_volume_claim(object: &mut Value) {
    claim_spec(section(object, "spec"));
    set_text(section(object, "status"), "phase", "Pending");
}

pub(super) fn claim_spec(spec: &mut Value) {
    set_text(spec, "volumeMode", "Filesystem");
    canonical_quantities(spec.get_mut("resources"), &["requests", "limits"]);
}

pub(super) fn persistent_volume(object: &mut Value) {
    let spec = section(object, "spec");
    set_text(spec, "persistentVolumeReclaimPolicy", "Retain");
    set_text(spec, "volumeMode", "Filesystem");
    canonical_quantities(Some(&mut *spec), &["capacity"]);
    if let Some(path) = spec.get_mut("hostPath") {
        set(path, "type", "");
    }
    set_text(section(object, "status"), "phase", "Pending");
}

pub(super) fn endpoints(object: &mut Value) {
    for subset in items(object, "subsets") {
        for port in items(subset, "ports") {
            set_text(port, "protocol", "TCP");
        }
    }
}

pub(super) fn endpoint_slice(object: &mut Value) {
    for port in items(object, "ports") {
        set(port, "name", "");
        set_text(port, "protocol", "TCP");
    }
}

pub(super) fn network_policy(object: &mut Value) {
    let spec = section(object, "spec");
    let has_egress = items(spec, "egress").next().is_some();
    set(spec, "podSelector", json!({}));
    set(spec, "policyTypes", if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            for port in items(rule, "ports") {
                set_text(port, "protocol", "TCP");
            }
        }
    }
}

pub(super) fn ingress_class(object: &mut Value) {
    if let Some(parameters) = object.pointer_mut("/spec/parameters") {
        set_text(parameters, "scope", "Cluster");
    }
}

pub(super) fn role_binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    if let Some(role) = object.get_mut("roleRef") {
        set_text(role, "apiGroup", GROUP);
    }
    for subject in items(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set_text(subject, "apiGroup", GROUP);
        }
    }
}

pub(super) fn storage_class(object: &mut Value) {
    set_text(object, "reclaimPolicy", "Delete");
    set_text(object, "volumeBindingMode", "Immediate");
}

pub(super) fn csi_driver(object: &mut Value) {
    let spec = section(object, "spec");
    set(spec, "attachRequired", true);
    set(spec, "podInfoOnMount", false);
    set(spec, "storageCapacity", false);
    set_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    set(spec, "volumeLifecycleModes", json!(["Persistent"]));
    set(spec, "requiresRepublish", false);
}

pub(super) fn webhooks(object: &mut Value, mutating: bool) {
    for webhook in items(object, "webhooks") {
        set_text(webhook, "failurePolicy", "Fail");
        set_text(webhook, "matchPolicy", "Equivalent");
        set(webhook, "namespaceSelector", json!({}));
        set(webhook, "objectSelector", json!({}));
        set(webhook, "timeoutSeconds", 10);
        if mutating {
            set_text(webhook, "reinvocationPolicy", "Never");
        }
        if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
            set(service, "port", 443);
        }
        for rule in items(webhook, "rules") {
            set_text(rule, "scope", "*");
        }
    }
}

pub(super) fn custom_resource_definition(object: &mut Value) {
    let spec = section(object, "spec");
    let kind = text(&spec["names"], "kind").to_owned();
    if !kind.is_empty() {
        let names = section(spec, "names");
        set_text(names, "singular", &kind.to_lowercase());
        set_text(names, "listKind", &format!("{kind}List"));
    }
    let conversion = section(spec, "conversion");
    set_text(conversion, "strategy", "None");
    if let Some(service) = conversion.pointer_mut("/webhook/clientConfig/service") {
        set(service, "port", 443);
    }
    let stored = items(spec, "versions").find(|v| v.get("storage").and_then(Value::as_bool) == Some(true));
    let stored = stored.map(|v| text(v, "name").to_owned());
    if let Some(stored) = stored {
        let status = section(object, "status");
        if status.get("storedVersions").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            put(status, "storedVersions", json!([stored]));
        }
    }
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            if i > chunk.len() {
                out.push('=');
            } else {
                let index = (word >> (18 - 6 * i)) & 63;
                out.push(char::from(ALPHABET[index as usize]));
            }
        }
    }
    out
}
