//! Services, storage, configuration, access, ingress and definitions of custom resources.

use serde_json::Value;

use super::{is_empty_map, items, one_of, port_number, required};
use crate::cause::Cause;
use crate::quantity::Quantity;
use crate::{Resource, meta, names};

/// All values of a ConfigMap or Secret together.
const DATA_LIMIT_BYTES: usize = 1_048_576;

pub(super) fn service(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    let kind = spec["type"].as_str().unwrap_or("ClusterIP");
    one_of(spec, "type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], "spec", causes);
    one_of(spec, "sessionAffinity", &["ClientIP", "None"], "spec", causes);
    let ports = items(spec, "ports");
    if kind == "ExternalName" {
        required(spec, "externalName", "spec", causes);
    } else if ports.is_empty() && spec["clusterIP"] != "None" {
        causes.push(Cause::required("spec.ports", ""));
    }
    let mut seen: Vec<(&Value, &Value)> = Vec::new();
    let mut port_names: Vec<&str> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            for problem in names::dns1123_label(name) {
                causes.push(Cause::invalid(format!("{path}.name"), &name.into(), problem));
            }
            if port_names.contains(&name) {
                causes.push(Cause::duplicate(format!("{path}.name"), &name.into()));
            }
            port_names.push(name);
        }
        match port["port"].as_i64() {
            Some(_) => port_number(&port["port"], &format!("{path}.port"), causes),
            None => causes.push(Cause::required(format!("{path}.port"), "")),
        }
        if port["targetPort"].is_number() {
            port_number(&port["targetPort"], &format!("{path}.targetPort"), causes);
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, causes);
        let key = (&port["port"], &port["protocol"]);
        if seen.contains(&key) {
            causes.push(Cause::duplicate(path, port));
        }
        seen.push(key);
    }
}

pub(super) fn service_immutable(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let kind = |object: &Value| object["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    if kind(old) == "ExternalName" || kind(new) == "ExternalName" {
        return;
    }
    let (before, after) = (&old["spec"]["clusterIP"], &new["spec"]["clusterIP"]);
    if before.as_str().is_some_and(|ip| !ip.is_empty()) && before != after {
        let first = vec![after.clone()];
        causes.push(Cause::invalid("spec.clusterIPs[0]", &first.into(), "may not change once set"));
    }
    let (before, after) = (&old["spec"]["ipFamilies"][0], &new["spec"]["ipFamilies"][0]);
    if before.is_string() && before != after {
        causes.push(Cause::invalid("spec.ipFamilies[0]", after, "may not change once set"));
    }
}

/// ConfigMaps and Secrets.
pub(super) fn data(object: &Value, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            for problem in names::config_key(key) {
                causes.push(Cause::invalid(format!("{field}[{key}]"), &key.as_str().into(), problem));
            }
            if field == "binaryData" && object["data"].get(key).is_some() {
                let detail = "duplicate of key present in data";
                causes.push(Cause::invalid(format!("{field}[{key}]"), &key.as_str().into(), detail));
            }
            match value.as_str() {
                Some(text) => size += text.len(),
                None => causes.push(Cause::invalid(format!("{field}[{key}]"), value, "must be a string")),
            }
        }
    }
    if size > DATA_LIMIT_BYTES {
        causes.push(Cause::too_long("data", DATA_LIMIT_BYTES));
    }
}

pub(super) fn data_immutable(resource: &Resource, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let detail = "field is immutable when `immutable` is set";
    if old["immutable"].as_bool() == Some(true) {
        if new["immutable"].as_bool() != Some(true) {
            causes.push(Cause::forbidden("immutable", detail));
        }
        for field in ["data", "binaryData"].into_iter().filter(|f| old.get(f) != new.get(f)) {
            causes.push(Cause::forbidden(field, detail));
        }
    }
    if resource.kind == "Secret" && old["type"] != new["type"] {
        causes.push(Cause::invalid("type", &new["type"], "field is immutable"));
    }
}

pub(super) fn claim(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let modes = items(spec, "accessModes");
    if modes.is_empty() {
        causes.push(Cause::required(format!("{path}.accessModes"), "at least 1 access mode is required"));
    }
    for mode in modes.iter().filter(|m| !m.as_str().is_some_and(|m| MODES.contains(&m))) {
        let supported = MODES.map(str::to_owned);
        causes.push(Cause::not_supported(format!("{path}.accessModes"), mode, &supported));
    }
    let field = format!("{path}.resources[storage]");
    match spec.pointer("/resources/requests/storage") {
        None => causes.push(Cause::required(field, "")),
        Some(storage) => match Quantity::from_value(storage) {
            Ok(size) if size > Quantity::ZERO => {}
            Ok(_) => causes.push(Cause::invalid(field, storage, "must be greater than zero")),
            Err(error) => causes.push(Cause::invalid(field, storage, error)),
        },
    }
}

pub(super) fn claim_immutable(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        if let Some(requests) = spec.pointer_mut("/resources/requests").and_then(Value::as_object_mut) {
            requests.shift_remove("storage");
        }
        if let Some(map) = spec.as_object_mut() {
            map.shift_remove("volumeAttributesClassName");
            // Binding fills these in once.
            for field in ["volumeName", "storageClassName"] {
                if old["spec"].get(field).is_none() {
                    map.shift_remove(field);
                }
            }
        }
        spec
    };
    if fixed(old) != fixed(new) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
            bound claims";
        causes.push(Cause::forbidden("spec", detail));
    }
    let size = |object: &Value| {
        object.pointer("/spec/resources/requests/storage").and_then(|v| Quantity::from_value(v).ok())
    };
    if let (Some(before), Some(after)) = (size(old), size(new))
        && after < before
    {
        let detail = "field can not be less than previous value";
        causes.push(Cause::forbidden("spec.resources.requests.storage", detail));
    }
}

pub(super) fn ingress(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    let rules = items(spec, "rules");
    if rules.is_empty() && spec.get("defaultBackend").is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        causes.push(Cause::invalid("spec", spec, detail));
    }
    for (i, rule) in rules.iter().enumerate() {
        if let Some(host) = rule["host"].as_str().filter(|h| !h.is_empty()) {
            for problem in names::dns1123_subdomain(host.strip_prefix("*.").unwrap_or(host)) {
                causes.push(Cause::invalid(format!("spec.rules[{i}].host"), &host.into(), problem));
            }
        }
        let Some(http) = rule.get("http") else { continue };
        if items(http, "paths").is_empty() {
            causes.push(Cause::required(format!("spec.rules[{i}].http.paths"), ""));
        }
        for (j, path) in items(http, "paths").iter().enumerate() {
            ingress_path(path, &format!("spec.rules[{i}].http.paths[{j}]"), causes);
        }
    }
    if spec.get("defaultBackend").is_some() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", causes);
    }
}

fn ingress_path(path: &Value, field: &str, causes: &mut Vec<Cause>) {
    let kind = path["pathType"].as_str();
    match kind {
        None => causes.push(Cause::required(format!("{field}.pathType"), "pathType must be specified")),
        Some("Exact" | "Prefix") => {
            if !path["path"].as_str().is_some_and(|p| p.starts_with('/')) {
                let detail = "must be an absolute path";
                causes.push(Cause::invalid(format!("{field}.path"), &path["path"], detail));
            }
        }
        Some(_) => one_of(path, "pathType", &["Exact", "ImplementationSpecific", "Prefix"], field, causes),
    }
    backend(&path["backend"], &format!("{field}.backend"), causes);
}

fn backend(backend: &Value, field: &str, causes: &mut Vec<Cause>) {
    match (backend.get("service"), backend.get("resource")) {
        (Some(service), None) => {
            required(service, "name", &format!("{field}.service"), causes);
            let port = &service["port"];
            let number = port["number"].as_i64().unwrap_or(0) != 0;
            if !number && port["name"].as_str().is_none_or(str::is_empty) {
                causes.push(Cause::required(format!("{field}.service"), "port name or number is required"));
            }
            port_number(&port["number"], &format!("{field}.service.port.number"), causes);
        }
        (None, None) => {
            let detail = "must specify a service or a resource backend".to_owned();
            causes.push(Cause::required(field, &detail));
        }
        (Some(_), Some(_)) => {
            let detail = "cannot set both resource and service backends";
            causes.push(Cause::invalid(field, &"".into(), detail));
        }
        (None, Some(_)) => {}
    }
}

pub(super) fn binding(object: &Value, causes: &mut Vec<Cause>) {
    let role = &object["roleRef"];
    one_of(role, "kind", &["ClusterRole", "Role"], "roleRef", causes);
    required(role, "name", "roleRef", causes);
    for (i, subject) in items(object, "subjects").iter().enumerate() {
        let path = format!("subjects[{i}]");
        required(subject, "name", &path, causes);
        one_of(subject, "kind", &["Group", "ServiceAccount", "User"], &path, causes);
        let cluster = meta::kind(object) == "ClusterRoleBinding";
        if cluster && subject["kind"] == "ServiceAccount" {
            required(subject, "namespace", &path, causes);
        }
    }
}

pub(super) fn role(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    for (i, rule) in items(object, "rules").iter().enumerate() {
        let path = format!("rules[{i}]");
        if items(rule, "verbs").is_empty() {
            causes.push(Cause::required(format!("{path}.verbs"), "verbs must contain at least one value"));
        }
        if !items(rule, "nonResourceURLs").is_empty() {
            if resource.namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                causes.push(Cause::invalid(
                    format!("{path}.nonResourceURLs"),
                    &rule["nonResourceURLs"],
                    detail,
                ));
            }
            continue;
        }
        for (field, text) in [("apiGroups", "api group"), ("resources", "resource")] {
            if items(rule, field).is_empty() {
                let detail = format!("resource rules must supply at least one {text}");
                causes.push(Cause::required(format!("{path}.{field}"), &detail));
            }
        }
    }
}

/// A CustomResourceDefinition; its schemas are checked by `schema::Schema::new`.
pub(super) fn definition(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    required(spec, "group", "spec", causes);
    one_of(spec, "scope", &["Cluster", "Namespaced"], "spec", causes);
    required(&spec["names"], "kind", "spec.names", causes);
    if let (Some(plural), Some(group)) =
        (required(&spec["names"], "plural", "spec.names", causes), spec["group"].as_str())
        && meta::name(object) != format!("{plural}.{group}")
    {
        let name = &object["metadata"]["name"];
        causes.push(Cause::invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
    let versions = items(spec, "versions");
    if versions.is_empty() {
        causes.push(Cause::required("spec.versions", "must have at least one version"));
        return;
    }
    let stored = versions.iter().filter(|v| v["storage"].as_bool() == Some(true)).count();
    if stored != 1 {
        let list = spec["versions"].clone();
        causes.push(Cause::invalid(
            "spec.versions",
            &list,
            "must have exactly one version marked as storage version",
        ));
    }
    for (i, version) in versions.iter().enumerate() {
        required(version, "name", &format!("spec.versions[{i}]"), causes);
        if is_empty_map(version.pointer("/schema/openAPIV3Schema")) {
            let field = format!("spec.versions[{i}].schema.openAPIV3Schema");
            causes.push(Cause::required(field, "schemas are required"));
        }
    }
}
