//! Who set each field of an object.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

use bytes::Bytes;
use kustomize::{MemoryTree, Options, build, explain};

const FILES: &[(&str, &str)] = &[
    (
        "base/kustomization.yaml",
        "resources: [web.yaml]\nconfigMapGenerator: [{name: settings, literals: [LEVEL=low]}]\n",
    ),
    (
        "base/web.yaml",
        "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  paused: true
  template:
    spec:
      containers:
      - name: main
        image: nginx:1.25
        envFrom: [{configMapRef: {name: settings}}]
      - {name: side, image: side:1}
",
    ),
    (
        "prod/kustomization.yaml",
        "resources: [../base]
namePrefix: prod-
labels: [{pairs: {env: prod}}]
images: [{name: nginx, newTag: \"1.26\"}]
patches:
- path: scale.yaml
  target: {kind: Deployment}
",
    ),
    (
        "prod/scale.yaml",
        "- {op: replace, path: /spec/replicas, value: 3}\n- {op: remove, path: /spec/paused}\n",
    ),
];

fn tree() -> MemoryTree {
    MemoryTree::new(FILES.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from(*text))))
}

#[test]
fn each_line_names_the_file_or_the_entry_that_set_it() {
    let found = explain(&tree(), "prod", Options::default(), None, "deployment/web").unwrap();
    assert_eq!(found.object, "Deployment/prod-web");
    let lines: Vec<String> = found
        .lines
        .iter()
        .map(|line| match &line.source {
            Some(source) => format!("{} <- {source}", line.text),
            None => line.text.clone(),
        })
        .collect();
    let expected = [
        "apiVersion: apps/v1 <- base/web.yaml",
        "kind: Deployment <- base/web.yaml",
        "metadata:",
        "  labels:",
        "    env: prod <- prod/kustomization.yaml: labels[0]",
        "  name: prod-web <- prod/kustomization.yaml: namePrefix",
        "spec:",
        "  replicas: 3 <- prod/kustomization.yaml: patches[0] (scale.yaml)",
        "  template:",
        "    spec:",
        "      containers:",
        "      - envFrom:",
        "        - configMapRef:",
        "            name: prod-settings-6g9d4m7844 <- prod/kustomization.yaml: name references",
        "        image: nginx:1.26 <- prod/kustomization.yaml: images[0] (nginx)",
        "        name: main <- base/web.yaml",
        "      - image: side:1 <- base/web.yaml",
        "        name: side <- base/web.yaml",
    ];
    assert_eq!(lines, expected);
    let removed: Vec<String> = found.removed.iter().map(|(path, by)| format!("{path}: {by}")).collect();
    assert_eq!(removed, ["spec.paused: prod/kustomization.yaml: patches[0] (scale.yaml)"]);
}

#[test]
fn the_lines_are_what_a_build_prints() {
    let text: Vec<String> = ["prod-web", "settings"]
        .iter()
        .map(|name| {
            let found = explain(&tree(), "prod", Options::default(), None, name).unwrap();
            found.lines.into_iter().map(|line| line.text + "\n").collect()
        })
        .collect();
    let built = build(&tree(), "prod", Options::default()).unwrap().to_yaml().unwrap();
    assert_eq!(text.join("---\n"), built);
}

#[test]
fn a_name_that_means_nothing_or_too_much_is_told() {
    let error =
        |name: &str| explain(&tree(), "prod", Options::default(), None, name).unwrap_err().to_string();
    assert!(error("configmap/web").contains("has no object configmap/web; it has Deployment/prod-web, "));
    assert!(error("nothing").contains("has no object"));
}
