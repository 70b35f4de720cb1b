//! Which name a reference gets, and which it keeps.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use super::*;
use crate::node::{read_documents, to_value};
use crate::resource::Resource;

/// A resource that is now called `p-…`, in the namespace that it had.
fn renamed(text: &str) -> Resource {
    let schema = Schema::default();
    let mut resource = read(text);
    resource.remember_id(&schema);
    let name = format!("p-{}", resource.name());
    resource.set_name(&name);
    resource
}

fn read(text: &str) -> Resource {
    Resource::new(read_documents(text).unwrap().remove(0))
}

fn fixed(list: Vec<Resource>) -> Result<Resources, String> {
    let mut resources = Resources::from_list(list);
    fix(&mut resources, &Config::builtin(), &Schema::default())?;
    Ok(resources)
}

/// What stands at a path of the first resource.
fn first(list: Vec<Resource>, path: &[&str]) -> Result<String, String> {
    let resources = fixed(list)?;
    Ok(to_value(resources.get(0).unwrap().node.at(path).unwrap()).unwrap().to_string())
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: pod, namespace: a}\nspec:\n  volumes: \
    [{configMap: {name: one}}, {secret: {secretName: one}}, {configMap: {name: two}}]\n";

fn config_map(name: &str, namespace: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\n")
}

#[test]
fn kind_name_and_namespace_count() {
    let list = vec![read(POD), renamed(&config_map("one", "a")), renamed(&config_map("two", "b"))];
    let expected =
        r#"[{"configMap":{"name":"p-one"}},{"secret":{"secretName":"one"}},{"configMap":{"name":"two"}}]"#;
    assert_eq!(first(list.clone(), &["spec", "volumes"]), Ok(expected.to_owned()));
    let resources = fixed(list).unwrap();
    assert_eq!(resources.get(1).unwrap().references, 1);
    assert_eq!(resources.get(2).unwrap().references, 0);
}

#[test]
fn a_name_keeps_its_quotes() {
    let pod = |name: &str| {
        read(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\nspec: {{volumes: [{{configMap: {{name: {name}}}}}]}}\n"
        ))
    };
    let map = |name: &str| {
        let mut map = renamed(&format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n"));
        map.set_name("1e3");
        map
    };
    let path = ["spec", "volumes"];
    assert_eq!(first(vec![pod("e3"), map("e3")], &path).unwrap(), r#"[{"configMap":{"name":1000}}]"#);
    assert_eq!(first(vec![pod("'e3'"), map("e3")], &path).unwrap(), r#"[{"configMap":{"name":"1e3"}}]"#);
}

#[test]
fn the_same_layer_decides_and_else_it_is_an_error() {
    let layered = |new: &str, prefix: &str| {
        let mut map = renamed(&config_map("one", "a"));
        map.set_name(new);
        map.prefixes = [prefix.into()].into();
        map
    };
    let mut pod = read(POD);
    let both = || vec![layered("x-one", "x-"), layered("y-one", "y-")];
    let volumes = first([vec![pod.clone()], both()].concat(), &["spec", "volumes"]).unwrap();
    assert!(volumes.contains(r#"{"name":"one"}"#), "{volumes}");
    pod.prefixes = ["x-".into()].into();
    let list = vec![pod.clone(), layered("x-one", "x-"), layered("y-one", "x-")];
    let error = fixed(list).unwrap_err();
    assert!(error.contains("found multiple possible referrals: ConfigMap.v1.[noGrp]/x-one.a, "), "{error}");
    assert!(error.contains("'spec/volumes/configMap/name' field of 'Pod.v1.[noGrp]/pod.a'"), "{error}");
    pod.prefixes = ["y-".into()].into();
    let volumes = first([vec![pod], both()].concat(), &["spec", "volumes"]).unwrap();
    assert!(volumes.contains("y-one"), "{volumes}");
}

fn binding(subjects: &str) -> Resource {
    read(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: b, namespace: a}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}}\nsubjects: {subjects}\n"
    ))
}

#[test]
fn roles_and_accounts() {
    let rbac = |kind: &str| {
        renamed(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r, namespace: a}}\n"
        ))
    };
    let list = vec![binding("[]"), rbac("ClusterRole"), rbac("Role")];
    assert_eq!(first(list, &["roleRef", "name"]), Ok("\"p-r\"".to_owned()));
    let list = vec![binding("[]"), rbac("ClusterRole")];
    assert_eq!(first(list, &["roleRef", "name"]), Ok("\"r\"".to_owned()));

    let account = || renamed("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: s, namespace: other}\n");
    let check = |subject: &str, expected: &str| {
        let list = vec![binding(&format!("[{subject}]")), account()];
        assert_eq!(first(list, &["subjects"]).unwrap(), format!("[{expected}]"), "{subject}");
    };
    let named = |name: &str| format!(r#"{{"kind":"ServiceAccount","name":"{name}","namespace":"other"}}"#);
    check(&named("s"), &named("p-s"));
    check("{kind: ServiceAccount, name: s}", r#"{"kind":"ServiceAccount","name":"s"}"#);
    check("{kind: User, name: s, namespace: other}", r#"{"kind":"User","name":"s","namespace":"other"}"#);
    let error = |subjects: &str| fixed(vec![binding(subjects), account()]).unwrap_err();
    assert!(error("[{kind: ServiceAccount, name: s, namespace: 1}]").contains("namespace is blank"));
    assert!(error("[{kind: ServiceAccount}]").contains("path config error; no 'name' field in node"));
}

/// Ten thousand objects of one name in as many namespaces: each reference looks at its own namespace only.
#[test]
fn many_resources_of_one_name() {
    let mut list = vec![];
    for index in 0..5000 {
        list.push(renamed(&config_map("one", &format!("n{index}"))));
        list.push(read(&POD.replace("namespace: a", &format!("namespace: n{index}"))));
    }
    let start = std::time::Instant::now();
    let resources = fixed(list).unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(
        resources.iter().filter(|resource| resource.kind() == "ConfigMap").all(|map| map.references == 1)
    );
}
