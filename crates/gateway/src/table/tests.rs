//! Routing tables from data.

use std::sync::Arc;

use serde_json::json;

use super::*;

fn ingress(namespace: &str, name: &str, spec: Value) -> Arc<Value> {
    Arc::new(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec,
        "metadata": { "namespace": namespace, "name": name, "creationTimestamp": "2025-01-01T00:00:00Z" },
    }))
}

fn path(kind: &str, path: &str, service: &str) -> Value {
    json!({ "path": path, "pathType": kind, "backend": { "service": { "name": service, "port": { "number": 80 } } } })
}

fn rule(host: &str, paths: &[Value]) -> Value {
    json!({ "host": host, "http": { "paths": paths } })
}

fn service(namespace: &str, name: &str) -> Arc<Value> {
    Arc::new(json!({
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "ports": [{ "port": 80, "name": "http", "targetPort": 3000 }] },
    }))
}

fn slice(namespace: &str, service: &str, endpoints: Value) -> Arc<Value> {
    Arc::new(json!({
        "metadata": {
            "namespace": namespace, "name": format!("{service}-1"),
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4", "ports": [{ "name": "http", "port": 3000 }], "endpoints": endpoints,
    }))
}

fn input(name: &str, ingresses: Vec<Arc<Value>>) -> Input {
    Input { name: name.to_string(), ingresses, ..Input::default() }
}

/// The label of the backend that a request goes to.
fn route(table: &Table, host: &str, path: &str) -> Option<String> {
    let rule = table.route(host, path, &Method::GET, &HeaderMap::new())?;
    match &rule.action {
        Action::Forward(weighted) => weighted.pick().map(|index| table.backends[index].label.clone()),
        Action::Refuse(reason) => Some(reason.clone()),
    }
}

#[test]
fn hosts_and_paths_by_the_rules_of_ingress() {
    let rules = json!({ "ingressClassName": "portolan", "rules": [
        rule("a.test", &[path("Prefix", "/", "root"), path("Prefix", "/api/", "api"), path("Exact", "/api/x", "exact"),
            path("ImplementationSpecific", "/impl", "impl")]),
        rule("*.a.test", &[path("Prefix", "/", "wild")]),
        rule("B.TEST", &[path("Exact", "/only", "only")]),
    ], "defaultBackend": { "service": { "name": "fallback", "port": { "number": 80 } } } });
    let without = json!({ "rules": [rule("c.test", &[path("Exact", "/only", "only")])] });
    let table =
        Table::build(&[input("dev", vec![ingress("n", "i", rules), ingress("n", "j", without.clone())])]);
    let check = |host: &str, path: &str, expected: &str| {
        let expected = format!("n-{expected}-80@kubernetes");
        assert_eq!(route(&table, host, path), Some(expected), "{host}{path}");
    };
    check("a.test", "/", "root");
    check("a.test", "/apix", "root");
    check("a.test", "/api", "api");
    check("a.test", "/api/y", "api");
    check("a.test", "/api/x", "exact");
    check("a.test", "/api/x/", "api");
    check("a.test", "/impl/deep", "impl");
    check("one.a.test", "/x", "wild");
    check("two.one.a.test", "/x", "fallback");
    check("b.test", "/only", "only");
    check("b.test", "/other", "fallback");
    check("unknown.test", "/", "fallback");
    let table = Table::build(&[input("dev", vec![ingress("n", "j", without)])]);
    assert_eq!(route(&table, "c.test", "/other"), None);
    assert_eq!(route(&table, "unknown.test", "/only"), None);
}

#[test]
fn only_ingresses_of_our_class_count() {
    let class = |name: &str, controller: &str, default: &str| {
        Arc::new(json!({
            "metadata": { "name": name, "annotations": { "ingressclass.kubernetes.io/is-default-class": default } },
            "spec": { "controller": controller },
        }))
    };
    let check = |class_name: Option<&str>, classes: &[Arc<Value>], expected: bool| {
        let mut spec = json!({ "rules": [rule("a.test", &[path("Prefix", "/", "s")])] });
        if let Some(name) = class_name {
            spec["ingressClassName"] = json!(name);
        }
        let mut input = input("dev", vec![ingress("n", "i", spec)]);
        input.ingress_classes = classes.to_vec();
        let table = Table::build(&[input]);
        assert_eq!(route(&table, "a.test", "/").is_some(), expected, "{class_name:?} {classes:?}");
    };
    check(None, &[], true);
    check(Some("portolan"), &[], true);
    check(Some("nginx"), &[], false);
    check(Some("public"), &[class("public", "portolan.dev/gateway", "false")], true);
    check(None, &[class("nginx", "k8s.io/ingress-nginx", "true")], false);
    check(None, &[class("nginx", "k8s.io/ingress-nginx", "false")], true);
}

#[test]
fn the_first_cluster_keeps_a_host() {
    let same = |name: &str| {
        let spec = json!({ "rules": [rule("a.test", &[path("Prefix", "/", name)]), rule(&format!("{name}.test"), &[path("Prefix", "/", name)])] });
        input(name, vec![ingress("n", "i", spec)])
    };
    let table = Table::build(&[same("dev"), same("qa")]);
    assert_eq!(route(&table, "a.test", "/").as_deref(), Some("n-dev-80@kubernetes"));
    assert_eq!(route(&table, "qa.test", "/").as_deref(), Some("n-qa-80@kubernetes"));
    let conflict =
        Conflict { cluster: 1, ingress: Key::new("n", "i"), host: "a.test".into(), owner: "dev".into() };
    assert_eq!(table.conflicts, [conflict]);
}

#[test]
fn endpoints_are_the_ready_ones() {
    let ready = |ip: &str| json!({ "addresses": [ip], "conditions": { "ready": true, "serving": true, "terminating": false } });
    let leaving = |ip: &str| json!({ "addresses": [ip], "conditions": { "ready": false, "serving": true, "terminating": true } });
    let starting = |ip: &str| json!({ "addresses": [ip], "conditions": { "ready": false } });
    let check = |endpoints: Value, expected: &str| {
        let spec = json!({ "rules": [rule("a.test", &[path("Prefix", "/", "s")])] });
        let mut input = input("dev", vec![ingress("n", "i", spec)]);
        input.services = vec![service("n", "s")];
        input.endpoint_slices = vec![slice("n", "s", endpoints)];
        let table = Table::build(&[input]);
        let found = match &table.backends[0].targets {
            Targets::Ready(all) => {
                all.iter().map(|a| format!("{}:{}", a.ip, a.port)).collect::<Vec<_>>().join(" ")
            }
            Targets::None(reason) => reason.clone(),
        };
        assert_eq!(found, expected);
    };
    check(
        json!([ready("10.0.0.2"), ready("10.0.0.1"), leaving("10.0.0.3"), starting("10.0.0.4")]),
        "10.0.0.1:3000 10.0.0.2:3000",
    );
    check(json!([leaving("10.0.0.3"), starting("10.0.0.4")]), "10.0.0.3:3000");
    check(json!([starting("10.0.0.4")]), "service n/s has no ready endpoint");
    check(json!([{ "addresses": ["10.0.0.5"] }]), "10.0.0.5:3000");
}

#[test]
fn a_service_that_is_not_as_asked_is_named() {
    let check = |spec: Value, expected: &str| {
        let mut rules = json!({ "rules": [rule("a.test", &[path("Prefix", "/", "s")])] });
        rules["rules"][0]["http"]["paths"][0]["backend"]["service"] = spec;
        let mut input = input("dev", vec![ingress("n", "i", rules)]);
        input.services = vec![service("n", "s")];
        let table = Table::build(&[input]);
        assert_eq!(table.backends[0].targets, Targets::None(expected.to_string()));
    };
    check(json!({ "name": "other", "port": { "number": 80 } }), "service n/other does not exist");
    check(json!({ "name": "s", "port": { "number": 81 } }), "service n/s has no port 81");
    check(json!({ "name": "s", "port": { "name": "https" } }), "service n/s has no port https");
    check(json!({ "name": "s", "port": { "name": "http" } }), "service n/s has no ready endpoint");
}

#[test]
fn routes_of_the_gateway_api() {
    let route_object = json!({
        "metadata": { "namespace": "n", "name": "r" },
        "spec": { "hostnames": ["a.test"], "rules": [
            { "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
              "backendRefs": [{ "name": "stable", "port": 80, "weight": 80 }, { "name": "canary", "port": 80, "weight": 20 }] },
            { "matches": [{ "path": { "type": "Exact", "value": "/h" }, "headers": [{ "name": "X-Canary", "value": "1" }] }],
              "backendRefs": [{ "name": "canary", "port": 80 }] },
            { "matches": [{ "path": { "type": "RegularExpression", "value": "/.*" } }], "backendRefs": [{ "name": "x", "port": 80 }] },
            { "matches": [{ "path": { "value": "/f" } }], "filters": [{ "type": "URLRewrite" }],
              "backendRefs": [{ "name": "x", "port": 80 }] },
        ] },
    });
    let table = Table::build(&[Input {
        name: "dev".into(),
        http_routes: vec![Arc::new(route_object)],
        ..Input::default()
    }]);
    let mut counts = [0, 0];
    for _ in 0..100 {
        let label = route(&table, "a.test", "/").unwrap();
        counts[usize::from(label.starts_with("n-canary"))] += 1;
    }
    assert_eq!(counts, [80, 20]);
    let mut headers = HeaderMap::new();
    headers.insert("x-canary", "1".parse().unwrap());
    let rule = table.route("a.test", "/h", &Method::GET, &headers).unwrap();
    assert_eq!(rule.path, PathMatch::Exact("/h".into()));
    assert_eq!(
        table.route("a.test", "/h", &Method::GET, &HeaderMap::new()).unwrap().path,
        PathMatch::Prefix(String::new())
    );
    assert_eq!(route(&table, "a.test", "/f").as_deref(), Some("filters of HTTPRoutes are not supported"));
}

#[test]
fn weights_are_kept_exactly_and_spread() {
    let check = |weights: &[u64], turns: usize, expected: &[usize]| {
        let weighted = Weighted::new(weights.iter().copied().enumerate().collect());
        let mut counts = vec![0; weights.len()];
        let mut longest = 0;
        let mut run = (usize::MAX, 0);
        for _ in 0..turns {
            let Some(backend) = weighted.pick() else { continue };
            counts[backend] += 1;
            run = if run.0 == backend { (backend, run.1 + 1) } else { (backend, 1) };
            longest = longest.max(run.1);
        }
        assert_eq!(counts, expected, "{weights:?}");
        longest
    };
    assert!(check(&[50, 50], 100, &[50, 50]) <= 3);
    check(&[80, 20], 100, &[80, 20]);
    check(&[1, 0], 10, &[10, 0]);
    check(&[0, 0], 10, &[0, 0]);
    check(&[1, 1, 1], 9, &[3, 3, 3]);
}
