//! Rows of services, storage, access and the other kinds that do not run anything.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Row, age, created, labels, list, name, number, or, row, selector, text};

pub(super) fn service(object: &Value, now: Timestamp) -> Row {
    let ports: Vec<String> = list(object, "/spec/ports")
        .iter()
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match number(port, "/nodePort") {
                0 => format!("{}/{protocol}", number(port, "/port")),
                node => format!("{}:{node}/{protocol}", number(port, "/port")),
            }
        })
        .collect();
    row(vec![
        name(object),
        text(object, "/spec/type").into(),
        or(text(object, "/spec/clusterIP"), "<none>"),
        external_ip(object).into(),
        or(&ports.join(","), "<none>"),
        created(object, now),
        labels(object.pointer("/spec/selector")),
    ])
}

fn external_ip(service: &Value) -> String {
    let mut ips: Vec<&str> = Vec::new();
    let kind = text(service, "/spec/type");
    if kind == "ExternalName" {
        return text(service, "/spec/externalName").to_owned();
    }
    if kind == "LoadBalancer" {
        ips.extend(addresses(service));
    }
    ips.extend(list(service, "/spec/externalIPs").iter().filter_map(Value::as_str));
    match (ips.is_empty(), kind) {
        (false, _) => ips.join(","),
        (true, "LoadBalancer") => "<pending>".to_owned(),
        _ => "<none>".to_owned(),
    }
}

/// The addresses of a load balancer's status.
fn addresses(object: &Value) -> Vec<&str> {
    let ingress = list(object, "/status/loadBalancer/ingress");
    ingress.iter().filter_map(|i| i["ip"].as_str().or_else(|| i["hostname"].as_str())).collect()
}

pub(super) fn ingress(object: &Value, now: Timestamp) -> Row {
    let mut hosts: Vec<&str> = Vec::new();
    for host in list(object, "/spec/rules").iter().filter_map(|r| r["host"].as_str()) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let has_tls = !list(object, "/spec/tls").is_empty();
    row(vec![
        name(object),
        or(text(object, "/spec/ingressClassName"), "<none>"),
        or(&hosts.join(","), "*"),
        addresses(object).join(",").into(),
        if has_tls { "80, 443" } else { "80" }.into(),
        created(object, now),
    ])
}

pub(super) fn network_policy(object: &Value, now: Timestamp) -> Row {
    row(vec![name(object), selector(object, "/spec/podSelector"), created(object, now)])
}

fn keys(object: &Value, fields: &[&str]) -> Value {
    let count = |field: &&str| object.get(*field).and_then(Value::as_object).map_or(0, Map::len);
    fields.iter().map(count).sum::<usize>().into()
}

pub(super) fn config_map(object: &Value, now: Timestamp) -> Row {
    row(vec![name(object), keys(object, &["data", "binaryData"]), created(object, now)])
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Row {
    row(vec![name(object), text(object, "/type").into(), keys(object, &["data"]), created(object, now)])
}

pub(super) fn service_account(object: &Value, now: Timestamp) -> Row {
    row(vec![name(object), list(object, "/secrets").len().into(), created(object, now)])
}

pub(super) fn namespace(object: &Value, now: Timestamp) -> Row {
    row(vec![name(object), text(object, "/status/phase").into(), created(object, now)])
}

pub(super) fn node(object: &Value, now: Timestamp) -> Row {
    let mut status = match crate::meta::condition(object, "Ready").and_then(|c| c["status"].as_str()) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    let address = |kind: &str| {
        let all = list(object, "/status/addresses");
        or(
            all.iter().find(|a| a["type"] == kind).and_then(|a| a["address"].as_str()).unwrap_or_default(),
            "<none>",
        )
    };
    let info = |field: &str| or(text(object, &format!("/status/nodeInfo/{field}")), "<unknown>");
    row(vec![
        name(object),
        status.into(),
        or(&roles.join(","), "<none>"),
        created(object, now),
        text(object, "/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ])
}

/// `RWO,ROX`: the short names of access modes.
fn access_modes(modes: &[Value]) -> Value {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => Some("RWO"),
        Some("ReadOnlyMany") => Some("ROX"),
        Some("ReadWriteMany") => Some("RWX"),
        Some("ReadWriteOncePod") => Some("RWOP"),
        _ => None,
    };
    modes.iter().filter_map(short).collect::<Vec<_>>().join(",").into()
}

fn phase(object: &Value) -> Value {
    if crate::meta::is_being_deleted(object) {
        "Terminating".into()
    } else {
        text(object, "/status/phase").into()
    }
}

pub(super) fn persistent_volume(object: &Value, now: Timestamp) -> Row {
    let claim = match text(object, "/spec/claimRef/name") {
        "" => String::new(),
        claim => format!("{}/{claim}", text(object, "/spec/claimRef/namespace")),
    };
    row(vec![
        name(object),
        text(object, "/spec/capacity/storage").into(),
        access_modes(list(object, "/spec/accessModes")),
        text(object, "/spec/persistentVolumeReclaimPolicy").into(),
        phase(object),
        claim.into(),
        text(object, "/spec/storageClassName").into(),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        text(object, "/status/reason").into(),
        created(object, now),
        or(text(object, "/spec/volumeMode"), "<unset>"),
    ])
}

pub(super) fn claim(object: &Value, now: Timestamp) -> Row {
    let volume = text(object, "/spec/volumeName");
    let (capacity, modes) = match volume {
        "" => ("", Value::from("")),
        _ => (text(object, "/status/capacity/storage"), access_modes(list(object, "/status/accessModes"))),
    };
    row(vec![
        name(object),
        phase(object),
        volume.into(),
        capacity.into(),
        modes,
        text(object, "/spec/storageClassName").into(),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        created(object, now),
        or(text(object, "/spec/volumeMode"), "<unset>"),
    ])
}

pub(super) fn event(object: &Value, now: Timestamp) -> Row {
    let first = |pointers: &[&str]| {
        let time = pointers.iter().map(|p| text(object, p)).find(|t| !t.is_empty()).unwrap_or_default();
        Value::from(age(time, now))
    };
    let involved = format!(
        "{}/{}",
        text(object, "/involvedObject/kind").to_lowercase(),
        text(object, "/involvedObject/name")
    );
    let source = match text(object, "/source/component") {
        "" => text(object, "/reportingComponent"),
        component => component,
    };
    let host = text(object, "/source/host");
    let source = if host.is_empty() { source.to_owned() } else { format!("{source}, {host}") };
    row(vec![
        first(&["/series/lastObservedTime", "/lastTimestamp", "/eventTime"]),
        text(object, "/type").into(),
        text(object, "/reason").into(),
        involved.into(),
        text(object, "/involvedObject/fieldPath").into(),
        source.into(),
        text(object, "/message").trim().into(),
        first(&["/firstTimestamp", "/eventTime"]),
        number(object, "/series/count").max(number(object, "/count")).max(1).into(),
        name(object),
    ])
}

/// At most three, then how many more there are.
fn shortened(mut all: Vec<String>, what_else: &str) -> Value {
    let more = all.len().saturating_sub(3);
    all.truncate(3);
    let mut text = all.join(",");
    if more > 0 {
        text.push_str(&format!(" + {more} more{what_else}"));
    }
    or(&text, "<none>")
}

pub(super) fn endpoints(object: &Value, now: Timestamp) -> Row {
    let mut all = Vec::new();
    for subset in list(object, "/subsets") {
        let addresses = || list(subset, "/addresses").iter().filter_map(|a| a["ip"].as_str());
        if list(subset, "/ports").is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in list(subset, "/ports") {
            all.extend(addresses().map(|ip| format!("{ip}:{}", number(port, "/port"))));
        }
    }
    row(vec![name(object), shortened(all, "..."), created(object, now)])
}

pub(super) fn endpoint_slice(object: &Value, now: Timestamp) -> Row {
    let ports =
        list(object, "/ports").iter().filter_map(|p| p["port"].as_i64()).map(|p| p.to_string()).collect();
    let addresses = list(object, "/endpoints").iter().flat_map(|e| list(e, "/addresses"));
    let addresses = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    let or_unset = |value: Value| if value == "<none>" { "<unset>".into() } else { value };
    row(vec![
        name(object),
        text(object, "/addressType").into(),
        or_unset(shortened(ports, "...")),
        or_unset(shortened(addresses, "...")),
        created(object, now),
    ])
}

pub(super) fn storage_class(object: &Value, now: Timestamp) -> Row {
    let default =
        crate::meta::annotation(object, "storageclass.kubernetes.io/is-default-class") == Some("true");
    let plain = crate::meta::name(object);
    let expands = object["allowVolumeExpansion"].as_bool() == Some(true);
    row(vec![
        if default { format!("{plain} (default)").into() } else { plain.into() },
        text(object, "/provisioner").into(),
        or(text(object, "/reclaimPolicy"), "Delete"),
        or(text(object, "/volumeBindingMode"), "<unset>"),
        expands.to_string().into(),
        created(object, now),
    ])
}

pub(super) fn created_at(object: &Value, _now: Timestamp) -> Row {
    row(vec![name(object), crate::meta::creation_timestamp(object).into()])
}

pub(super) fn binding(object: &Value, now: Timestamp) -> Row {
    let subjects = |kind: &str| {
        let all = list(object, "/subjects").iter().filter(|s| s["kind"] == kind);
        let shown = all.map(|s| match (kind, s["namespace"].as_str()) {
            ("ServiceAccount", Some(namespace)) => format!("{namespace}/{}", text(s, "/name")),
            _ => text(s, "/name").to_owned(),
        });
        Value::from(shown.collect::<Vec<_>>().join(", "))
    };
    let role = format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name"));
    row(vec![
        name(object),
        role.into(),
        created(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ])
}

pub(super) fn lease(object: &Value, now: Timestamp) -> Row {
    row(vec![name(object), text(object, "/spec/holderIdentity").into(), created(object, now)])
}

pub(super) fn priority_class(object: &Value, now: Timestamp) -> Row {
    row(vec![
        name(object),
        number(object, "/value").into(),
        (object["globalDefault"].as_bool() == Some(true)).into(),
        created(object, now),
        or(text(object, "/preemptionPolicy"), "PreemptLowerPriority"),
    ])
}
