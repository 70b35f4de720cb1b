//! What a server fills into built-in kinds while decoding.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says when it skips"
)]

use object::Resource;
use object::defaults::apply_defaults;
use serde_json::{Value, json};

fn check(resource: (&str, &str, &str), input: Value, expected: &[(&str, Value)]) {
    let (group, version, kind) = resource;
    let resource = Resource::new(group, version, "x", kind, true);
    let mut object = input;
    apply_defaults(&resource, &mut object);
    for (pointer, value) in expected {
        assert_eq!(object.pointer(pointer).unwrap_or(&Value::Null), value, "{kind} {pointer} in {object:#}");
    }
    let once = object.clone();
    apply_defaults(&resource, &mut object);
    assert_eq!(object, once, "defaulting twice changes nothing more");
}

#[test]
fn pods() {
    check(
        ("", "v1", "Pod"),
        json!({"metadata": {"name": "a", "creationTimestamp": null}, "spec": {"volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}],
            "containers": [{"name": "c", "image": "host:5000/nginx", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}, "readinessProbe": {"httpGet": {"port": 80}}}]}}),
        &[
            ("/metadata/creationTimestamp", json!(null)),
            ("/spec/restartPolicy", json!("Always")),
            ("/spec/dnsPolicy", json!("ClusterFirst")),
            ("/spec/enableServiceLinks", json!(true)),
            ("/spec/securityContext", json!({})),
            ("/spec/volumes/0/emptyDir", json!({})),
            ("/spec/volumes/1/secret/defaultMode", json!(420)),
            ("/spec/containers/0/imagePullPolicy", json!("Always")),
            ("/spec/containers/0/ports/0/protocol", json!("TCP")),
            ("/spec/containers/0/resources/limits", json!({"cpu": "500m", "memory": "1Gi"})),
            ("/spec/containers/0/resources/requests", json!({"cpu": "500m", "memory": "1Gi"})),
            ("/spec/containers/0/readinessProbe/httpGet/path", json!("/")),
            ("/spec/containers/0/readinessProbe/failureThreshold", json!(3)),
            ("/status/phase", json!("Pending")),
            ("/status/qosClass", json!("Guaranteed")),
        ],
    );
}

#[test]
fn workloads() {
    let template = || json!({"spec": {"containers": [{"name": "c", "image": "nginx:1.2"}]}});
    check(
        ("apps", "v1", "Deployment"),
        json!({"spec": {"template": template()}}),
        &[
            ("/spec/replicas", json!(1)),
            (
                "/spec/strategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}),
            ),
            ("/spec/progressDeadlineSeconds", json!(600)),
            ("/spec/template/spec/schedulerName", json!("default-scheduler")),
            ("/spec/template/spec/containers/0/imagePullPolicy", json!("IfNotPresent")),
            ("/spec/template/spec/enableServiceLinks", Value::Null),
        ],
    );
    check(
        ("apps", "v1", "Deployment"),
        json!({"spec": {"strategy": {"type": "Recreate"}, "template": template()}}),
        &[("/spec/strategy", json!({"type": "Recreate"}))],
    );
    check(
        ("apps", "v1", "StatefulSet"),
        json!({"spec": {"template": template(), "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "1024Mi"}}}}]}}),
        &[
            ("/spec/updateStrategy/rollingUpdate/partition", json!(0)),
            ("/spec/serviceName", json!("")),
            ("/spec/volumeClaimTemplates/0/kind", json!("PersistentVolumeClaim")),
            ("/spec/volumeClaimTemplates/0/spec/resources/requests/storage", json!("1Gi")),
            ("/spec/volumeClaimTemplates/0/status/phase", json!("Pending")),
        ],
    );
    check(
        ("batch", "v1", "Job"),
        json!({"spec": {"template": template()}}),
        &[("/spec/completions", json!(1)), ("/spec/parallelism", json!(1)), ("/spec/backoffLimit", json!(6))],
    );
}

#[test]
fn the_rest() {
    check(
        ("", "v1", "Service"),
        json!({"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "http"}]}}),
        &[
            ("/spec/type", json!("ClusterIP")),
            ("/spec/ports/0/targetPort", json!(80)),
            ("/spec/ports/1/targetPort", json!("http")),
            ("/spec/internalTrafficPolicy", json!("Cluster")),
            ("/spec/externalTrafficPolicy", Value::Null),
            ("/status/loadBalancer", json!({})),
        ],
    );
    check(
        ("", "v1", "Secret"),
        json!({"data": {"b": "eA=="}, "stringData": {"a": "hi", "b": "over", "c": "abc", "d": ""}}),
        &[
            ("/type", json!("Opaque")),
            ("/stringData", Value::Null),
            ("/data", json!({"b": "b3Zlcg==", "a": "aGk=", "c": "YWJj", "d": ""})),
        ],
    );
    check(
        ("", "v1", "Namespace"),
        json!({"metadata": {"name": "dev"}}),
        &[
            ("/metadata/labels", json!({"kubernetes.io/metadata.name": "dev"})),
            ("/spec/finalizers", json!(["kubernetes"])),
            ("/status/phase", json!("Active")),
        ],
    );
    check(
        ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
        json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]}),
        &[
            ("/roleRef/apiGroup", json!("rbac.authorization.k8s.io")),
            ("/subjects/0/apiGroup", json!("rbac.authorization.k8s.io")),
            ("/subjects/1/apiGroup", Value::Null),
        ],
    );
    check(
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        json!({"spec": {"names": {"kind": "XNodeApp"}, "versions": [{"name": "v1", "storage": true}]}}),
        &[
            ("/spec/names/singular", json!("xnodeapp")),
            ("/spec/names/listKind", json!("XNodeAppList")),
            ("/status/storedVersions", json!(["v1"])),
            ("/spec/conversion/strategy", json!("None")),
        ],
    );
    check(
        ("platform.io", "v1", "Deployment"),
        json!({"spec": {"a": null}}),
        &[("/spec", json!({"a": null}))],
    );
}

#[test]
fn values_of_the_wrong_shape_are_left_to_validation() {
    for kind in object::kinds::ALL {
        for bad in [
            json!("x"),
            json!(1),
            json!([1]),
            json!({"spec": "x", "data": 1, "stringData": {"a": "b"}, "metadata": 3, "status": []}),
        ] {
            apply_defaults(kind, &mut bad.clone());
        }
        let deep = json!({"spec": {"template": "x", "ports": ["x"], "containers": [1], "names": 3, "strategy": [],
            "updateStrategy": 1, "volumeClaimTemplates": [2], "versions": "v"}, "metadata": {"labels": 1, "name": "n"}});
        apply_defaults(kind, &mut deep.clone());
    }
}
