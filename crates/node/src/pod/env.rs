//! A container's environment, command and the values pods read about themselves.
//!
//! Order and rules after the kubelet (`kubelet_pods.go makeEnvironmentVariables`, `third_party/forked/golang/expansion`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use object::meta;
use object::quantity::Quantity;
use serde_json::Value;

use super::sources::{SourceError, Sources};

/// What the environment is made of besides the container's own declaration.
pub(crate) struct Surroundings<'a> {
    pub(crate) pod: &'a Value,
    pub(crate) sources: &'a Sources,
    /// `NAME=value` from the image.
    pub(crate) image: &'a [String],
    pub(crate) services: &'a [Arc<Value>],
    pub(crate) pod_ip: &'a str,
    pub(crate) host_ip: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) home: &'a str,
}

/// The whole environment in order of precedence, each name once.
pub(crate) fn build(
    container: &Value,
    around: &Surroundings<'_>,
) -> Result<Vec<(String, String)>, SourceError> {
    let mut declared: Vec<(String, String)> = Vec::new();
    let services = service_variables(around);
    for from in array(&container["envFrom"]) {
        let prefix = from["prefix"].as_str().unwrap_or_default();
        let found = if from["configMapRef"].is_object() {
            around.sources.config_map(&from["configMapRef"])?
        } else {
            around.sources.secret(&from["secretRef"])?
        };
        for (key, value) in found.into_iter().flatten() {
            set(&mut declared, &format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
        }
    }
    for one in array(&container["env"]) {
        let name = one["name"].as_str().unwrap_or_default();
        let value = match (one["value"].as_str(), &one["valueFrom"]) {
            (_, from) if from.is_object() => value_from(from, container, around)?,
            (Some(text), _) => {
                let known =
                    |wanted: &str| lookup(&declared, wanted).or_else(|| services.get(wanted).cloned());
                Some(expand(text, known))
            }
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            set(&mut declared, name, value);
        }
    }
    for (name, value) in services {
        if lookup(&declared, &name).is_none() {
            declared.push((name, value));
        }
    }
    let mut all: Vec<(String, String)> =
        around.image.iter().filter_map(|pair| pair.split_once('=')).map(owned).collect();
    for (name, value) in [("HOSTNAME", around.hostname), ("HOME", around.home)] {
        if lookup(&all, name).is_none() {
            all.push((name.to_owned(), value.to_owned()));
        }
    }
    if lookup(&all, "PATH").is_none() {
        all.push(owned(("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")));
    }
    declared.into_iter().for_each(|(name, value)| set(&mut all, &name, value));
    Ok(all)
}

/// Program and arguments: `command` takes the place of the image's entry point and drops its arguments.
pub(crate) fn command(
    container: &Value,
    entrypoint: &[String],
    cmd: &[String],
    env: &[(String, String)],
) -> Vec<String> {
    let expanded = |key: &str| -> Option<Vec<String>> {
        let list = container[key].as_array().filter(|list| !list.is_empty())?;
        Some(
            list.iter()
                .filter_map(Value::as_str)
                .map(|text| expand(text, |name| lookup(env, name)))
                .collect(),
        )
    };
    let (command, args) = (expanded("command"), expanded("args"));
    let rest = match (&command, args) {
        (_, Some(args)) => args,
        (Some(_), None) => Vec::new(),
        (None, None) => cmd.to_vec(),
    };
    let mut all = command.unwrap_or_else(|| entrypoint.to_vec());
    all.extend(rest);
    all
}

/// Replaces `$(NAME)` where the name is known; `$$(NAME)` stands for itself without the first `$`.
pub(crate) fn expand(text: &str, known: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            out.push_str(&known(name).unwrap_or_else(|| format!("$({name})")));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

/// The value of a `fieldRef` path; none if pods have no such field.
pub(crate) fn field(pod: &Value, path: &str, pod_ip: &str, host_ip: &str) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let keyed = |head: &str| path.strip_prefix(head)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = keyed("metadata.labels") {
        return Some(text(&pod["metadata"]["labels"][key]));
    }
    if let Some(key) = keyed("metadata.annotations") {
        return Some(text(&pod["metadata"]["annotations"][key]));
    }
    match path {
        "metadata.name" | "metadata.namespace" | "metadata.uid" => Some(text(&pod["metadata"][&path[9..]])),
        "metadata.labels" | "metadata.annotations" => {
            let all = pod["metadata"][&path[9..]].as_object();
            let sorted: BTreeMap<_, _> = all.into_iter().flatten().collect();
            let line =
                |(key, value): (&String, &Value)| format!("{key}={:?}", value.as_str().unwrap_or_default());
            Some(sorted.into_iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        "spec.nodeName" | "spec.serviceAccountName" => Some(text(&pod["spec"][&path[5..]])),
        "status.podIP" | "status.podIPs" => Some(pod_ip.to_owned()),
        "status.hostIP" | "status.hostIPs" => Some(host_ip.to_owned()),
        _ => None,
    }
}

/// The value of a `resourceFieldRef`: the container's own number, divided and rounded up; without a limit, the
/// machine's.
pub(crate) fn resource(pod: &Value, reference: &Value, own: Option<&Value>) -> Option<String> {
    let name = reference["containerName"].as_str();
    let container = match name {
        Some(name) => array(&pod["spec"]["containers"]).iter().find(|one| one["name"] == name),
        None => own,
    }?;
    let (part, resource) = reference["resource"].as_str()?.split_once('.')?;
    let milli = |value: &Value| Quantity::from_value(value).ok().map(Quantity::milli_value);
    let amount = milli(&container["resources"][part][resource]);
    let amount = amount.or_else(|| if part == "limits" { machine(resource) } else { Some(0) })?;
    let divisor = milli(&reference["divisor"]).filter(|one| *one > 0).unwrap_or(1000);
    let (amount, divisor) = (u64::try_from(amount).ok()?, u64::try_from(divisor).ok()?);
    Some(amount.div_ceil(divisor).to_string())
}

/// In thousandths.
fn machine(resource: &str) -> Option<i64> {
    match resource {
        "cpu" => i64::try_from(crate::machine::processors() * 1000).ok(),
        "memory" => i64::try_from(crate::machine::memory_bytes() * 1000).ok(),
        _ => None,
    }
}

fn value_from(
    from: &Value,
    container: &Value,
    around: &Surroundings<'_>,
) -> Result<Option<String>, SourceError> {
    let utf8 = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if from["configMapKeyRef"].is_object() {
        return Ok(around.sources.config_map_key(&from["configMapKeyRef"])?.map(utf8));
    }
    if from["secretKeyRef"].is_object() {
        return Ok(around.sources.secret_key(&from["secretKeyRef"])?.map(utf8));
    }
    if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
        let value = field(around.pod, path, around.pod_ip, around.host_ip);
        return value.map(Some).ok_or_else(|| SourceError::Field(path.to_owned()));
    }
    let reference = &from["resourceFieldRef"];
    let value = resource(around.pod, reference, Some(container));
    value
        .map(Some)
        .ok_or_else(|| SourceError::Field(reference["resource"].as_str().unwrap_or_default().to_owned()))
}

/// The variables that name services: those of the pod's namespace (unless it does not want them), and the API's.
fn service_variables(around: &Surroundings<'_>) -> BTreeMap<String, String> {
    let links = around.pod["spec"]["enableServiceLinks"].as_bool().unwrap_or(true);
    let own = meta::namespace(around.pod);
    let mut all = BTreeMap::new();
    for service in around.services {
        let (namespace, name) = (meta::namespace(service), meta::name(service));
        let is_api = namespace == "default" && name == "kubernetes";
        let ip = service["spec"]["clusterIP"].as_str().unwrap_or_default();
        if !(is_api || links && namespace == own) || ip.is_empty() || ip == "None" {
            continue;
        }
        let upper = name.to_uppercase().replace('-', "_");
        all.insert(format!("{upper}_SERVICE_HOST"), ip.to_owned());
        for (index, port) in array(&service["spec"]["ports"]).iter().enumerate() {
            let number = port["port"].as_u64().unwrap_or(0);
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            let lower = protocol.to_lowercase();
            if index == 0 {
                all.insert(format!("{upper}_SERVICE_PORT"), number.to_string());
                all.insert(format!("{upper}_PORT"), format!("{lower}://{ip}:{number}"));
            }
            if let Some(port_name) = port["name"].as_str().filter(|text| !text.is_empty()) {
                let port_name = port_name.to_uppercase().replace('-', "_");
                all.insert(format!("{upper}_SERVICE_PORT_{port_name}"), number.to_string());
            }
            let head = format!("{upper}_PORT_{number}_{protocol}");
            all.insert(head.clone(), format!("{lower}://{ip}:{number}"));
            all.insert(format!("{head}_PROTO"), lower);
            all.insert(format!("{head}_PORT"), number.to_string());
            all.insert(format!("{head}_ADDR"), ip.to_owned());
        }
    }
    all
}

fn lookup(all: &[(String, String)], name: &str) -> Option<String> {
    all.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

fn set(all: &mut Vec<(String, String)>, name: &str, value: String) {
    match all.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => all.push((name.to_owned(), value)),
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Names of the ConfigMaps and Secrets that a container's environment reads.
pub(crate) fn references(container: &Value) -> HashMap<&'static str, Vec<String>> {
    let mut found: HashMap<&'static str, Vec<String>> = HashMap::new();
    let mut note = |kind, reference: &Value| {
        if let Some(name) = reference["name"].as_str() {
            found.entry(kind).or_default().push(name.to_owned());
        }
    };
    for from in array(&container["envFrom"]) {
        note("configmap", &from["configMapRef"]);
        note("secret", &from["secretRef"]);
    }
    for one in array(&container["env"]) {
        note("configmap", &one["valueFrom"]["configMapKeyRef"]);
        note("secret", &one["valueFrom"]["secretKeyRef"]);
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_expand_as_the_kubelet_does() {
        let check = |text: &str, expected: &str| {
            let known = |name: &str| (name == "A").then(|| "1".to_owned());
            assert_eq!(expand(text, known), expected, "{text}");
        };
        check("x$(A)y", "x1y");
        check("$(B)", "$(B)");
        check("$$(A)", "$(A)");
        check("$$$(A)", "$1");
        check("$A $", "$A $");
        check("$(A", "$(A");
    }

    #[test]
    fn command_and_arguments_replace_the_image_s() {
        let check = |container: Value, expected: &[&str]| {
            let (entry, cmd) = (["e".to_owned()], ["c".to_owned()]);
            assert_eq!(
                command(&container, &entry, &cmd, &[("A".into(), "1".into())]),
                expected,
                "{container}"
            );
        };
        check(json!({}), &["e", "c"]);
        check(json!({"command": ["x"]}), &["x"]);
        check(json!({"args": ["y", "$(A)"]}), &["e", "y", "1"]);
        check(json!({"command": ["x"], "args": ["y"]}), &["x", "y"]);
    }

    #[test]
    fn the_environment_in_its_order() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"app": "x"}}, "spec": {}});
        let service = Arc::new(json!({"metadata": {"name": "my-db", "namespace": "n"},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 5432, "name": "pg"}]}}));
        let mut sources = Sources::default();
        sources.put_config_map("c", Some(json!({"data": {"K": "v", "L": "w"}})));
        let container = json!({"envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}], "env": [
            {"name": "FIRST", "value": "$(P_K)-$(LATER)"},
            {"name": "LATER", "value": "$(MY_DB_SERVICE_HOST)"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "zz", "optional": true}}},
            {"name": "FROM_IMAGE", "value": "mine"},
        ]});
        let around = Surroundings {
            pod: &pod,
            sources: &sources,
            image: &["FROM_IMAGE=its".into(), "PATH=/x".into()],
            services: &[service],
            pod_ip: "10.244.0.2",
            host_ip: "10.244.0.1",
            hostname: "p",
            home: "/root",
        };
        let env = build(&container, &around).unwrap();
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(lookup(&env, name).as_deref(), expected, "{name}")
        };
        check("P_L", Some("w"));
        check("FIRST", Some("v-$(LATER)"));
        check("LATER", Some("10.96.0.7"));
        check("NAME", Some("p"));
        check("APP", Some("x"));
        check("NONE", None);
        check("FROM_IMAGE", Some("mine"));
        check("PATH", Some("/x"));
        check("HOSTNAME", Some("p"));
        check("MY_DB_PORT_5432_TCP_ADDR", Some("10.96.0.7"));
        check("MY_DB_PORT", Some("tcp://10.96.0.7:5432"));
        let missing =
            json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]});
        assert_eq!(build(&missing, &around).unwrap_err().to_string(), "secret \"s\" not found");
        let no_key =
            json!({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]});
        assert_eq!(build(&no_key, &around).unwrap_err().to_string(), "couldn't find key k in ConfigMap n/c");
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = json!({"spec": {"containers": [{"name": "a",
            "resources": {"limits": {"cpu": "1500m", "memory": "100Mi"}, "requests": {"cpu": "250m"}}}]}});
        let check = |reference: Value, expected: &str| {
            assert_eq!(resource(&pod, &reference, None).as_deref(), Some(expected), "{reference}");
        };
        let named = |resource: &str, divisor: &str| json!({"containerName": "a", "resource": resource, "divisor": divisor});
        check(named("limits.cpu", "1"), "2");
        check(named("limits.cpu", "1m"), "1500");
        check(named("requests.cpu", "1m"), "250");
        check(named("limits.memory", "1Mi"), "100");
        check(named("requests.memory", "1Mi"), "0");
    }
}
