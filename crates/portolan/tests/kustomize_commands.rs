//! `portolan build` and `portolan diff` as people call them.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn portolan(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portolan")).args(arguments).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A base, and two overlays that differ in one number.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        (
            "base/a.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1}\n",
        ),
        ("dev/kustomization.yaml", "resources: [../base]\nnamespace: dev\n"),
        (
            "prod/kustomization.yaml",
            "resources: [../base]\nnamespace: prod\nreplicas: [{name: web, count: 3}]\ncommonLabels: {a: b}\n",
        ),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

const DEV: &str =
    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: dev\nspec:\n  replicas: 1\n";

#[test]
fn a_build_goes_to_standard_output_a_file_or_a_folder() {
    let folder = folder();
    let built = portolan(folder.path(), &["build", "dev"]);
    assert_eq!((text(&built.stdout), text(&built.stderr), built.status.code()), (DEV, "", Some(0)));
    assert!(portolan(folder.path(), &["build", "dev", "-o", "dev.yaml"]).status.success());
    assert_eq!(std::fs::read_to_string(folder.path().join("dev.yaml")).unwrap(), DEV);
    assert!(portolan(&folder.path().join("dev"), &["build", "-o", ".."]).status.success());
    assert_eq!(std::fs::read_to_string(folder.path().join("apps_v1_deployment_web.yaml")).unwrap(), DEV);
}

#[test]
fn warnings_and_errors_go_to_standard_error_with_paths_from_here() {
    let folder = folder();
    let built = portolan(folder.path(), &["build", "prod"]);
    assert!(built.status.success());
    assert!(text(&built.stderr).starts_with("prod/kustomization.yaml: # Warning: 'commonLabels'"));
    std::fs::write(folder.path().join("dev/kustomization.yaml"), "resources: [../bse]\n").unwrap();
    let failed = portolan(folder.path(), &["build", "dev"]);
    assert_eq!((failed.status.code(), text(&failed.stdout)), (Some(1), ""));
    assert!(text(&failed.stderr).starts_with("portolan: dev/kustomization.yaml"), "{}", text(&failed.stderr));
    for (flag, word) in [("--enable-helm", "charts"), ("--enable-exec", "programs")] {
        let refused = portolan(folder.path(), &["build", "dev", flag]);
        assert!(!refused.status.success() && text(&refused.stderr).contains(word));
        assert_eq!(text(&refused.stderr).lines().count(), 1);
    }
}

#[test]
fn an_object_is_explained_line_by_line() {
    let folder = folder();
    let told = portolan(folder.path(), &["build", "prod", "--explain", "web"]);
    let line = text(&told.stdout).lines().find(|line| line.starts_with("  replicas: 3")).unwrap();
    assert!(line.ends_with("  prod/kustomization.yaml: replicas[0] (web)"), "{line}");
    let unknown = portolan(folder.path(), &["build", "prod", "--explain", "db"]);
    let error = "portolan: the build has no object db; it has prod/Deployment/web\n";
    assert!(text(&unknown.stderr).ends_with(error), "{}", text(&unknown.stderr));
}

#[test]
fn a_diff_ends_as_diff_does() {
    let folder = folder();
    let differs = portolan(folder.path(), &["diff", "dev", "prod"]);
    assert_eq!(differs.status.code(), Some(1));
    let shown = text(&differs.stdout);
    assert!(shown.starts_with("~ Deployment dev/web\n    metadata.labels:\n      + a: b\n"), "{shown}");
    assert!(shown.contains("    spec.replicas: 1 → 3\n"), "{shown}");
    assert!(shown.ends_with("0 added, 0 removed, 1 changed\n"), "{shown}");
    let same = portolan(folder.path(), &["diff", "dev", "dev"]);
    assert_eq!((same.status.code(), text(&same.stdout)), (Some(0), ""));
    assert_eq!(portolan(folder.path(), &["diff", "dev", "nowhere"]).status.code(), Some(2));
}
