//! Remote references and links: what is outside of the tree, and what only looks so.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use bytes::Bytes;
use kustomize::{Fetch, MemoryTree, Options, Remote, Tree, build, build_fetching};

const FILE: &str = "kustomization.yaml";
const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\n";

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    MemoryTree::new(files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned()))))
}

/// One repository, and one file.
struct Net;

impl Fetch for Net {
    fn repository(&self, remote: &Remote) -> Result<Box<dyn Tree>, String> {
        if (remote.url.as_str(), remote.git_ref.as_str()) != ("https://github.com/org/repo", "v1") {
            return Err(format!("no repository {} at '{}'", remote.url, remote.git_ref));
        }
        Ok(Box::new(tree(&[
            ("a/kustomization.yaml", "resources: [../b]\nbuildMetadata: [originAnnotations]"),
            ("b/kustomization.yaml", "resources: [m.yaml]"),
            ("b/m.yaml", MAP),
            ("c/kustomization.yaml", "resources: [../b/m.yaml]"),
            ("d/kustomization.yaml", "resources: ['github.com/org/repo//d?ref=v1']"),
        ])))
    }

    fn file(&self, url: &str) -> Result<Bytes, String> {
        if url == "https://example.com/m.yaml" { Ok(MAP.into()) } else { Err("404 Not Found".to_owned()) }
    }
}

#[track_caller]
fn check(kustomization: &str, expected: Result<&str, &str>) {
    let options = Options { unrestricted: true, ..Options::default() };
    let built = build_fetching(&tree(&[(FILE, kustomization)]), "", options, Some(&Net));
    let built = built.map(|built| built.to_yaml().unwrap()).map_err(|error| error.to_string());
    assert_eq!(built.as_deref().map_err(String::as_str), expected);
}

#[test]
fn repositories_and_files() {
    check("resources: ['github.com/org/repo//a?ref=v1']", Ok(MAP));
    check("resources: ['https://github.com/org/repo//a?ref=v1']", Ok(MAP));
    check("resources: ['https://example.com/m.yaml']", Ok(MAP));
    check(
        "resources: ['https://github.com/org/repo//a?ref=v1']\nbuildMetadata: [originAnnotations]",
        Ok(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  annotations:\n    config.kubernetes.io/origin: |\n      path: b/m.yaml\n      repo: https://github.com/org/repo\n      ref: v1\n  name: m\n",
        ),
    );
}

#[test]
fn what_cannot_be_had() {
    check(
        "resources: ['https://example.com/x.yaml']",
        Err(
            "kustomization.yaml: accumulating resources: accumulation err='accumulating resources from 'https://example.com/x.yaml': 404 Not Found': must build at directory: 'https://example.com/x.yaml' is not a repository",
        ),
    );
    check(
        "resources: ['github.com/org/repo//a']",
        Err(
            "kustomization.yaml: accumulating resources: accumulation err='accumulating resources from 'github.com/org/repo//a': evalsymlink failure on '/github.com/org/repo/a' : no such file or directory': no repository https://github.com/org/repo at ''",
        ),
    );
    // Even an unrestricted build lets a repository read only its own directories, and not itself again.
    check(
        "resources: ['github.com/org/repo//c?ref=v1']",
        Err(
            "c/kustomization.yaml: accumulating resources: accumulation err='accumulating resources from '../b/m.yaml': security; file '/b/m.yaml' is not in or below '/c'': must build at directory: '/b/m.yaml': file is not directory",
        ),
    );
    check(
        "resources: ['github.com/org/repo//d?ref=v1']",
        Err(
            "cycle detected: candidate root 'github.com/org/repo//d?ref=v1' contains visited root 'github.com/org/repo//d?ref=v1' (by way of /, github.com/org/repo//d?ref=v1)",
        ),
    );
}

#[test]
fn links_inside_of_the_tree() {
    let mut tree = tree(&[("a/kustomization.yaml", "resources: [m.yaml]"), ("b/m.yaml", MAP)]);
    tree.link("a/m.yaml", "../b/m.yaml");
    tree.link("c", "a");
    let error = build(&tree, "a", Options::default()).unwrap_err().to_string();
    assert!(error.contains("security; file '/a/m.yaml' is not in or below '/a'"), "{error}");
    let options = Options { unrestricted: true, ..Options::default() };
    let built = build(&tree, "c", options).unwrap();
    assert_eq!(built.to_yaml().unwrap(), MAP);
    for path in ["a/m.yaml", "b/m.yaml", "c", "a/kustomization.yaml"] {
        assert!(built.read.contains(path), "{path} is not in {:?}", built.read);
    }
}
