//! What authors of kustomizations see when something is wrong: the file, the entry and what was expected.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use bytes::Bytes;
use kustomize::{FILE_SIZE_LIMIT, MemoryTree, Options, build};

const FILE: &str = "kustomization.yaml";

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    MemoryTree::new(files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned()))))
}

#[track_caller]
fn check(files: &[(&str, &str)], dir: &str, expected: &str) {
    check_tree(&tree(files), dir, expected);
}

#[track_caller]
fn check_tree(tree: &MemoryTree, dir: &str, expected: &str) {
    let error = build(tree, dir, Options::default()).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn no_kustomization() {
    let text =
        "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '/'";
    check(&[], "", text);
    check(&[], "a", "must build at directory: '/a': no such file or directory");
    check(&[("a", "")], "a", "must build at directory: '/a': file is not directory");
    check(&[(FILE, "# nothing")], "", "kustomization.yaml: kustomization.yaml is empty");
    check(&[(FILE, ""), ("Kustomization", "")], "", "Found multiple kustomization files under: /");
}

#[test]
fn fields() {
    check(
        &[(FILE, "resource: []")],
        "",
        "kustomization.yaml: invalid Kustomization: json: unknown field \"resource\"",
    );
    check(
        &[(FILE, "resources: [a, 1]")],
        "",
        "kustomization.yaml: invalid Kustomization: json: cannot unmarshal number into a value of type string (in field resources[1])",
    );
    check(
        &[(FILE, "helmCharts: [{name: x}]")],
        "",
        "kustomization.yaml: 'helmCharts' is not supported: inflating a chart runs the program helm (must specify --enable-helm), which is not done here; render the chart into a file of `resources`, or deliver it by itself",
    );
}

#[test]
fn entries_that_are_not_there() {
    check(
        &[(FILE, "resources: [x.yaml]")],
        "",
        "kustomization.yaml: accumulating resources: accumulation err='accumulating resources from 'x.yaml': evalsymlink failure on '/x.yaml' : no such file or directory': must build at directory: not a valid directory: evalsymlink failure on '/x.yaml' : no such file or directory",
    );
    check(
        &[(FILE, "configMapGenerator: [{name: m, files: [x]}]")],
        "",
        "kustomization.yaml: evalsymlink failure on '/x' : no such file or directory",
    );
    check(
        &[(FILE, "resources: [https://example.com/x]")],
        "",
        "kustomization.yaml: 'https://example.com/x' is remote: remote files and repositories are not fetched here",
    );
    check(
        &[("a/kustomization.yaml", "resources: [../../x.yaml]")],
        "a",
        "a/kustomization.yaml: accumulating resources: accumulation err='accumulating resources from '../../x.yaml': security; file '../../x.yaml' is not in or below '/a'': security; base '../../x.yaml' is outside of the tree",
    );
    check(
        &[("a/kustomization.yaml", "configurations: [../x.yaml]"), ("x.yaml", "")],
        "a",
        "a/kustomization.yaml: security; file '/x.yaml' is not in or below '/a'",
    );
}

#[test]
fn entries_that_are_not_what_they_should_be() {
    check(
        &[(FILE, "resources: [x.yaml]"), ("x.yaml", "kind: A\nmetadata: {name: n}\na: [1")],
        "",
        "kustomization.yaml: accumulating resources: accumulating resources from 'x.yaml': MalformedYAMLError: yaml: line 3, column 6: did not find expected ',' or ']' in File: x.yaml",
    );
    check(
        &[(FILE, "a: [1")],
        "",
        "MalformedYAMLError: yaml: line 1, column 6: did not find expected ',' or ']' in File: kustomization.yaml",
    );
    check(
        &[(FILE, "resources: [x.yaml]"), ("x.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {namespace: n}")],
        "",
        "kustomization.yaml: accumulating resources: accumulating resources from 'x.yaml': x.yaml: missing metadata.name in object {{v1 Pod} { n}}",
    );
    check(
        &[(FILE, "resources: [x.yaml]"), ("x.yaml", "just text")],
        "",
        "kustomization.yaml: accumulating resources: accumulating resources from 'x.yaml': x.yaml: missing Resource metadata: expected an object with kind and metadata.name",
    );
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}";
    check(
        &[(FILE, "resources: [x.yaml, y.yaml]"), ("x.yaml", pod), ("y.yaml", pod)],
        "",
        "kustomization.yaml: accumulating resources: accumulating resources from 'y.yaml': may not add resource with an already registered id: Pod.v1.[noGrp]/p.[noNs]",
    );
}

#[test]
fn generated_objects_that_are_there() {
    let base = ("base/kustomization.yaml", "configMapGenerator: [{name: a}, {name: b}]");
    check(
        &[base, (FILE, "resources: [base]\nconfigMapGenerator: [{name: c}, {name: b, behavior: merg}]")],
        "",
        "kustomization.yaml: configMapGenerator[1]: merging from generator: id ConfigMap.v1.[noGrp]/b.[noNs] exists; can not use behavior: 'unspecified', behavior must be merge or replace",
    );
}

#[test]
fn cycles() {
    check(
        &[("a/kustomization.yaml", "resources: [../b]"), ("b/kustomization.yaml", "resources: [../a]")],
        "a",
        "cycle detected: candidate root '/a' contains visited root '/a' (by way of /a, /b)",
    );
    check(
        &[("a/b/kustomization.yaml", "components: [..]"), ("a/kustomization.yaml", "namePrefix: a-")],
        "a/b",
        "cycle detected: candidate root '/a' contains visited root '/a/b' (by way of /a/b)",
    );
}

#[test]
fn plugins_that_are_programs() {
    let plugin = |api: &str, kind: &str| {
        format!("transformers:\n- |\n  apiVersion: {api}\n  kind: {kind}\n  metadata: {{name: n}}\n")
    };
    check(
        &[(FILE, &plugin("example.com/v1", "Own"))],
        "",
        "kustomization.yaml: plugin Own 'n' of kustomization.yaml: external plugins disabled; unable to load external plugin 'Own': only `apiVersion: builtin` is run here, no programs and no containers",
    );
    check(
        &[(FILE, &plugin("builtin", "Own"))],
        "",
        "kustomization.yaml: plugin Own 'n' of kustomization.yaml: unable to load builtin Own.builtin.[noGrp]: there is no such transformer",
    );
}

#[test]
fn links_and_sizes() {
    let mut tree = tree(&[(FILE, "resources: [x.yaml]")]);
    tree.link("x.yaml", "../../etc/passwd");
    let link = "evalsymlink failure on '/x.yaml' : a symbolic link on it leads out of the tree or nowhere";
    check_tree(
        &tree,
        "",
        &format!(
            "kustomization.yaml: accumulating resources: accumulation err='accumulating resources from 'x.yaml': {link}': {link}"
        ),
    );
    let mut tree = self::tree(&[(FILE, "configMapGenerator: [{name: m, files: [big]}]")]);
    tree.insert("big", vec![b' '; 100 << 20]);
    check_tree(
        &tree,
        "",
        &format!(
            "kustomization.yaml: file '/big' has 104857600 bytes, more than the {FILE_SIZE_LIMIT} that are read"
        ),
    );
}

#[test]
fn limits() {
    let mut tree = MemoryTree::default();
    for depth in 0..60 {
        let dir = "d/".repeat(depth);
        tree.insert(format!("{dir}{FILE}"), "resources: [d]");
    }
    check_tree(&tree, "", "more than 50 kustomizations inside one another");
    let many: String = (0..=20_000).map(|n| format!("---\nkind: A\nmetadata: {{name: a{n}}}\n")).collect();
    check(&[(FILE, "resources: [x.yaml]"), ("x.yaml", &many)], "", "more than 20000 resources");
    let mut bomb = "kind: A\nmetadata: {name: a}\na0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb += &format!("a{level}: &a{level} [{below}]\n");
    }
    let error =
        build(&self::tree(&[(FILE, "resources: [x.yaml]"), ("x.yaml", &bomb)]), "", Options::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("aliases expand to more than 200000 values in File: x.yaml"), "{error}");
}
