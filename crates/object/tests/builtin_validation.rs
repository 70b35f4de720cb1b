//! What the server refuses, and how it says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says when it skips"
)]

use object::{Resource, defaults, kinds, validate};
use serde_json::{Value, json};

fn resource(kind: &str) -> &'static Resource {
    kinds::ALL.iter().find(|r| r.kind == kind).unwrap_or_else(|| panic!("{kind} is not built in"))
}

fn check_create(kind: &str, object: Value, expected: &[&str]) {
    let mut object = object;
    defaults::apply_defaults(resource(kind), &mut object);
    let causes: Vec<String> =
        validate::create(resource(kind), &object).iter().map(ToString::to_string).collect();
    assert_eq!(causes, expected, "{kind}");
}

fn check_update(kind: &str, old: Value, change: impl Fn(&mut Value), expected: &[&str]) {
    let mut new = old.clone();
    change(&mut new);
    let causes = validate::update(resource(kind), &old, &new);
    let texts: Vec<String> =
        causes.iter().map(|c| c.to_string().lines().next().unwrap().to_owned()).collect();
    assert_eq!(texts, expected, "{kind}");
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web", "namespace": "dev"}, "spec": {"selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}}})
}

fn changed(mut object: Value, change: impl Fn(&mut Value)) -> Value {
    change(&mut object);
    object
}

#[test]
fn valid_objects_pass() {
    check_create("Deployment", deployment(), &[]);
    check_create("Namespace", json!({"metadata": {"name": "dev"}}), &[]);
    check_create(
        "ClusterRole",
        json!({"metadata": {"name": "system:x"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
        &[],
    );
    check_create(
        "ConfigMap",
        json!({"metadata": {"name": "a", "namespace": "dev"}, "data": {"a.b": "c"}}),
        &[],
    );
}

#[test]
fn metadata_is_checked() {
    check_create(
        "ConfigMap",
        json!({"metadata": {"namespace": "dev"}}),
        &["metadata.name: Required value: name or generateName is required"],
    );
    check_create("ConfigMap", json!({"metadata": {"name": "a"}}), &["metadata.namespace: Required value"]);
    check_create(
        "ConfigMap",
        json!({"metadata": {"name": "a", "namespace": "dev", "labels": {"a": "b c"}}}),
        &[
            "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ],
    );
    check_create(
        "ConfigMap",
        json!({"metadata": {"name": "Bad_Name", "namespace": "dev"}}),
        &[
            "metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
}

#[test]
fn workloads_are_checked() {
    check_create(
        "Deployment",
        changed(deployment(), |d| d["spec"]["template"]["metadata"]["labels"]["app"] = json!("other")),
        &[
            "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`",
        ],
    );
    check_create(
        "Deployment",
        changed(deployment(), |d| {
            d["spec"]["template"]["spec"]["containers"] = json!([{"name": "a"}, {"name": "a", "image": "x"}])
        }),
        &[
            "spec.template.spec.containers[0].image: Required value",
            "spec.template.spec.containers[1].name: Duplicate value: \"a\"",
        ],
    );
    check_create(
        "Deployment",
        changed(deployment(), |d| {
            d["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
                json!([{"name": "v", "mountPath": "/v"}])
        }),
        &["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
    );
    check_create(
        "Job",
        json!({"metadata": {"name": "j", "namespace": "dev"}, "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}}}),
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"Always\": supported values: \"OnFailure\", \"Never\"",
        ],
    );
    check_create(
        "Pod",
        json!({"metadata": {"name": "p", "namespace": "dev"}, "spec": {}}),
        &["spec.containers: Required value"],
    );
}

#[test]
fn services_and_claims_are_checked() {
    check_create(
        "Service",
        json!({"metadata": {"name": "s", "namespace": "dev"}, "spec": {"ports": [{"port": 70000, "targetPort": 80}]}}),
        &["spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    );
    check_create(
        "Service",
        json!({"metadata": {"name": "s", "namespace": "dev"}, "spec": {}}),
        &["spec.ports: Required value"],
    );
    check_create(
        "PersistentVolumeClaim",
        json!({"metadata": {"name": "c", "namespace": "dev"}, "spec": {}}),
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    );
}

#[test]
fn some_fields_may_not_change() {
    check_update("Deployment", deployment(), |d| d["spec"]["replicas"] = json!(2), &[]);
    check_update(
        "Deployment",
        deployment(),
        |d| {
            d["spec"]["selector"]["matchLabels"]["app"] = json!("b");
            d["spec"]["template"]["metadata"]["labels"]["app"] = json!("b");
        },
        &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"],
    );
    let secret = json!({"metadata": {"name": "s", "namespace": "dev"}, "type": "Opaque", "immutable": true, "data": {"a": "eA=="}});
    check_update(
        "Secret",
        secret,
        |s| s["data"]["a"] = json!("eQ=="),
        &["data: Forbidden: field is immutable when `immutable` is set"],
    );
    let pod = || json!({"metadata": {"name": "p", "namespace": "dev"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "a"}]}});
    check_update("Pod", pod(), |p| p["spec"]["containers"][0]["image"] = json!("b"), &[]);
    check_update(
        "Pod",
        pod(),
        |p| p["spec"]["nodeName"] = json!("other"),
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ],
    );
    let deleted =
        json!({"metadata": {"name": "c", "namespace": "dev", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    check_update(
        "ConfigMap",
        deleted,
        |c| c["metadata"]["finalizers"] = json!(["a.b/c"]),
        &[
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a.b/c\"}",
        ],
    );
}

#[test]
fn the_message_of_a_422() {
    let causes = validate::create(
        resource("Deployment"),
        &json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}}),
    );
    let message = object::cause::invalid_message("apps", "Deployment", "web", &causes);
    assert_eq!(message, "Deployment.apps \"web\" is invalid: metadata.namespace: Required value");
}
