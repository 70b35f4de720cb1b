//! Layers, components, configuration objects and what the build notes about them. The expected texts are those of
//! `kubectl kustomize`.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use bytes::Bytes;
use kustomize::{MemoryTree, Options, Order, build};

const FILE: &str = "kustomization.yaml";
const COMPONENT: &str = "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\n";

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
}

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    MemoryTree::new(files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned()))))
}

#[track_caller]
fn check(files: &[(&str, &str)], dir: &str, expected: &str) {
    let built = build(&tree(files), dir, Options::default()).unwrap();
    assert_eq!(built.to_yaml().unwrap(), expected);
}

#[test]
fn components_change_what_is_there() {
    let c1 = format!("{COMPONENT}nameSuffix: -c1\nresources: [x.yaml]");
    let c2 = format!(
        "{COMPONENT}configMapGenerator: [{{name: x, behavior: merge, literals: [a=b]}}]\ncomponents: [../c3]"
    );
    let c3 = format!("{COMPONENT}commonLabels: {{c: d}}");
    let files = [
        (FILE, "resources: [a.yaml]\ncomponents: [c1, c2]\nnamePrefix: r-"),
        ("a.yaml", &map("a")),
        ("c1/Kustomization", &c1),
        ("c1/x.yaml", &map("x")),
        ("c2/kustomization.yml", &c2),
        ("c3/kustomization.yaml", &c3),
    ];
    let labelled = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels:\n    c: d\n  name: {name}\n")
    };
    let merged = labelled("r-x-c1").replace("apiVersion: v1\n", "apiVersion: v1\ndata:\n  a: b\n");
    check(&files, "", &format!("{}---\n{merged}", labelled("r-a-c1")));
}

#[test]
fn lists_are_taken_apart() {
    let list = "apiVersion: v1\nkind: ConfigMapList\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: 0x10}}\n---\napiVersion: v1\nkind: WhiteList\nmetadata: {name: w}\n---\n{}\n---\n";
    let white = "apiVersion: v1\nkind: WhiteList\nmetadata:\n  name: w\n";
    let item = "apiVersion: v1\ndata:\n  x: 16\nkind: ConfigMap\nmetadata:\n  name: a\n";
    check(&[(FILE, "resources: [l.yaml]"), ("l.yaml", list)], "", &format!("{white}---\n{item}"));
}

#[test]
fn annotations_are_texts_and_those_of_kustomize_are_gone() {
    let said = |annotations: &str| format!("{}  annotations: {annotations}\n", map("a"));
    let noted = "{config.kubernetes.io/origin: x, config.kubernetes.io/index: '1', internal.config.kubernetes.io/id: y, internal.config.kubernetes.io/other: z}";
    for (annotations, kept) in [
        ("{}", ""),
        ("null", ""),
        ("{a: 1, b: true}", "  annotations:\n    a: \"1\"\n    b: \"true\"\n"),
        (noted, "  annotations:\n    internal.config.kubernetes.io/other: z\n"),
        (
            "{config.kubernetes.io/local-config: 'false'}",
            "  annotations:\n    config.kubernetes.io/local-config: \"false\"\n",
        ),
    ] {
        let expected = map("a").replace("  name", &format!("{kept}  name"));
        check(&[(FILE, "resources: [a.yaml]"), ("a.yaml", &said(annotations))], "", &expected);
    }
    let local = said("{config.kubernetes.io/local-config: ''}");
    check(&[(FILE, "resources: [a.yaml]"), ("a.yaml", &local)], "", "");
}

#[test]
fn origins_of_objects_and_changes() {
    let transformer = "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: pt}\nprefix: q-\nfieldSpecs: [{path: metadata/name}]\n";
    let files = [
        ("base/kustomization.yaml", "resources: [a.yaml]\nnamePrefix: x-"),
        ("base/a.yaml", &map("a")),
        (
            "o/kustomization.yaml",
            "resources: [../base]\nbuildMetadata: [originAnnotations, transformerAnnotations]\ntransformers: [t]",
        ),
        ("o/t/kustomization.yaml", "resources: [t.yaml]"),
        ("o/t/t.yaml", transformer),
    ];
    let expected = "apiVersion: v1
kind: ConfigMap
metadata:
  annotations:
    alpha.config.kubernetes.io/transformations: |
      - configuredIn: ../base/kustomization.yaml
        configuredBy:
          apiVersion: builtin
          kind: PrefixTransformer
      - configuredIn: t/t.yaml
        configuredBy:
          apiVersion: builtin
          kind: PrefixTransformer
          name: pt
    config.kubernetes.io/origin: |
      path: ../base/a.yaml
  name: q-x-a
";
    check(&files, "o", expected);
}

#[test]
fn validators_may_only_set_their_label() {
    let validator = |label: &str| {
        format!(
            "resources: [a.yaml]\nvalidators:\n- |\n  apiVersion: builtin\n  kind: LabelTransformer\n  metadata: {{name: l}}\n  labels: {{{label}: me}}\n  fieldSpecs: [{{path: metadata/labels, create: true}}]\n"
        )
    };
    let a = map("a");
    let expected = a.replace("  name", "  labels:\n    validated-by: me\n  name");
    check(&[(FILE, &validator("validated-by")), ("a.yaml", &a)], "", &expected);
    let tree = tree(&[(FILE, &validator("other")), ("a.yaml", &a)]);
    let error = build(&tree, "", Options::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "kustomization.yaml: plugin LabelTransformer 'l' of kustomization.yaml: validator shouldn't modify the resource map"
    );
}

#[test]
fn older_fields_still_count_and_are_told() {
    let files =
        [(FILE, "bases: [b]\ncommonLabels: {a: b}\n---\nnamePrefix: not-read-\n"), ("b/a.yaml", &map("a"))];
    let mut tree = tree(&files);
    tree.insert("b/kustomization.yaml", "RESOURCES: [./a.yaml]");
    let built = build(&tree, "", Options { order: Order::Legacy, ..Options::default() }).unwrap();
    let expected = map("a").replace("  name", "  labels:\n    a: b\n  name");
    assert_eq!(built.to_yaml().unwrap(), expected);
    let fix = "Run 'kustomize edit fix' to update your Kustomization automatically.";
    assert_eq!(
        built.warnings,
        [
            format!(
                "kustomization.yaml: # Warning: 'bases' is deprecated. Please use 'resources' instead. {fix}"
            ),
            format!(
                "kustomization.yaml: # Warning: 'commonLabels' is deprecated. Please use 'labels' instead. {fix}"
            ),
            "kustomization.yaml: # Warning: only the first of 2 documents is read".to_owned(),
        ]
    );
}
