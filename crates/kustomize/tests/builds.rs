//! Builds as deploy repositories have them.

use std::collections::BTreeSet;

use bytes::Bytes;
use kustomize::{MemoryTree, Options, build};
use serde_json::{Value, json};

type Files<'a> = &'a [(&'a str, &'a str)];

fn tree(files: Files<'_>) -> MemoryTree {
    MemoryTree::new(files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned()))))
}

#[track_caller]
fn check(files: Files<'_>, dir: &str, expected: Result<Value, &str>) {
    let built = build(&tree(files), dir, Options::default());
    let built = built.map(|built| Value::Array(built.objects())).map_err(|error| error.to_string());
    assert_eq!(built, expected.map_err(str::to_owned));
}

#[test]
fn an_overlay_changes_images_of_a_kind_of_its_own() {
    let files = [
        ("base/kustomization.yaml", "resources: [app.yaml]\nconfigurations: [images.yaml]\n"),
        ("base/images.yaml", "images:\n- path: spec/frontend/image\n  kind: XNodeApp\n"),
        (
            "base/app.yaml",
            "apiVersion: platform.io/v1\nkind: XNodeApp\nmetadata: {name: dashboard}\nspec: {frontend: {image: 'localhost:7007/platform/dashboard-frontend:latest'}}\n",
        ),
        (
            "overlays/dev/kustomization.yaml",
            "resources: [../../base]\nnamespace: dashboard-dev\nimages: [{name: 'localhost:7007/platform/dashboard-frontend', newTag: sha-1234567}]\n",
        ),
    ];
    let app = json!({
        "apiVersion": "platform.io/v1",
        "kind": "XNodeApp",
        "metadata": {"name": "dashboard", "namespace": "dashboard-dev"},
        "spec": {"frontend": {"image": "localhost:7007/platform/dashboard-frontend:sha-1234567"}},
    });
    check(&files, "overlays/dev", Ok(json!([app])));
    let read = build(&tree(&files), "overlays/dev", Options::default()).unwrap().read;
    let named: BTreeSet<String> = files.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert!(read.is_superset(&named), "{read:?} lacks some of {named:?}");
}

#[test]
fn a_generated_name_reaches_its_references() {
    let files = [
        (
            "kustomization.yaml",
            "resources: [pod.yaml]\nnamePrefix: a-\nconfigMapGenerator: [{name: m, literals: [k=v]}]\n",
        ),
        (
            "pod.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, envFrom: [{configMapRef: {name: m}}]}]}\n",
        ),
    ];
    let built = build(&tree(&files), "", Options::default()).unwrap().objects();
    let name = built[1]["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("a-m-") && name.len() == 14, "{name}");
    assert_eq!(built[0]["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"], name);
}

#[test]
fn a_file_for_each_object_has_the_names_that_kustomize_gives() {
    let files = [
        ("kustomization.yaml", "resources: [a.yaml]\n"),
        (
            "a.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: Web, namespace: prod}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n",
        ),
    ];
    let built = build(&tree(&files), "", Options::default()).unwrap().files().unwrap();
    let names: Vec<&str> = built.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["prod_apps_v1_deployment_web.yaml", "default_v1_service_web.yaml", "v1_namespace_prod.yaml"]
    );
    assert_eq!(built[2].1, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: prod\n");
}

/// kustomize has one value for all the fields that a transformer adds, until the object passes through JSON.
#[test]
fn a_label_that_was_added_in_several_places_changes_in_all_of_them() {
    let text = |overlay: &str| {
        let files = [
            ("base/kustomization.yaml", "resources: [a.yaml]\ncommonLabels: {env: base}\n"),
            ("base/a.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n"),
            ("over/kustomization.yaml", overlay),
        ];
        let object = build(&tree(&files), "over", Options::default()).unwrap().objects().remove(0);
        let at = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        [
            at("/metadata/labels/env"),
            at("/spec/selector/matchLabels/env"),
            at("/spec/template/metadata/labels/env"),
        ]
    };
    assert_eq!(text("resources: [../base]\nlabels: [{pairs: {env: prod}}]\n"), ["prod", "prod", "prod"]);
    let merge = "patch: '{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, labels: {env: prod}}}'";
    assert_eq!(text(&format!("resources: [../base]\npatches: [{{{merge}}}]\n")), ["prod", "prod", "prod"]);
    let operation =
        "patch: '[{\"op\": \"replace\", \"path\": \"/metadata/labels/env\", \"value\": \"prod\"}]'";
    let patch = format!("resources: [../base]\npatches: [{{{operation}, target: {{kind: Deployment}}}}]\n");
    assert_eq!(text(&patch), ["prod", "base", "base"]);
}

/// Notes about a build are annotations, and to add one kustomize writes all of them anew.
#[test]
fn an_annotation_stands_alone_when_the_build_is_noted() {
    let text = |more: &str| {
        let var = "vars: [{name: V, objref: {apiVersion: v1, kind: ConfigMap, name: v}}]";
        let base = "resources: [a.yaml]\ncommonAnnotations: {note: $(V)}\n";
        let over = format!("resources: [../base]\n{var}\n{more}\n");
        let objects = "kind: DaemonSet\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: v}\n";
        let files =
            [("base/kustomization.yaml", base), ("base/a.yaml", objects), ("over/kustomization.yaml", &over)];
        let object = build(&tree(&files), "over", Options::default()).unwrap().objects().remove(0);
        let at = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        [at("/metadata/annotations/note"), at("/spec/template/metadata/annotations/note")]
    };
    assert_eq!(text(""), ["v", "v"]);
    assert_eq!(text("buildMetadata: [managedByLabel]"), ["v", "$(V)"]);
}

#[test]
fn keys_that_are_no_strings_without_quotes_are_refused() {
    let error = |kustomization: &str, object: &str| {
        let files = [("kustomization.yaml", kustomization), ("a.yaml", object)];
        build(&tree(&files), "", Options::default())
            .and_then(|built| built.to_yaml())
            .err()
            .map(|e| e.to_string())
    };
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    assert_eq!(error("resources: [a.yaml]", &format!("{object}data: {{'1': a, yes: b}}\n")), None);
    for (kustomization, more) in [
        ("resources: [a.yaml]", "data: {1: a}\n"),
        ("resources: [a.yaml]\ncommonAnnotations: {'1': a}", ""),
        ("resources: [a.yaml]\nlabels: [{pairs: {'true': a}}]", ""),
        ("configMapGenerator: [{name: a, literals: [1.5=a]}]", ""),
    ] {
        let error = error(kustomization, &format!("{object}{more}")).unwrap_or_default();
        assert!(error.contains("has to be a string"), "{error:?}");
    }
}
