//! The kind index of ARCHITECTURE.md: which file holds a kind's type, and which files act on it. Kinds come from the
//! slices' own definitions and the list of built-in kinds, files from the table below; a kind without a row, a file that
//! is gone and an index that is not the newest fail. `UPDATE_KIND_INDEX=1` writes the index anew.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use object::kinds;
use serde_json::Value;

const BEGIN: &str =
    "<!-- kind index: begin; UPDATE_KIND_INDEX=1 cargo test -p portolan --test kind_index -->";
const END: &str = "<!-- kind index: end -->";
/// Where kinds without a definition of their own have their address; their fields are the API server's
/// `schema/types.txt`.
const BUILT_IN: &str = "crates/object/src/kinds.rs";

/// Group and kind; where the type is; what acts on it.
type Row = ((&'static str, &'static str), &'static str, &'static [&'static str]);

/// Kinds that slices bring as CustomResourceDefinitions.
const DEFINED: &[Row] = &[
    (
        ("apiextensions.crossplane.io", "CompositeResourceDefinition"),
        "crates/compositions/src/api/mod.rs",
        &["crates/compositions/src/definition.rs"],
    ),
    (
        ("apiextensions.crossplane.io", "Composition"),
        "crates/compositions/src/api/mod.rs",
        &["crates/compositions/src/revision.rs"],
    ),
    (
        ("apiextensions.crossplane.io", "CompositionRevision"),
        "crates/compositions/src/api/mod.rs",
        &["crates/compositions/src/revision.rs", "crates/compositions/src/composite/select.rs"],
    ),
    (
        ("pkg.crossplane.io", "Function"),
        "crates/compositions/src/api/mod.rs",
        &["crates/compositions/src/functions.rs"],
    ),
    (
        ("source.toolkit.fluxcd.io", "GitRepository"),
        "crates/gitops/src/api/git_repository.rs",
        &["crates/gitops/src/source/mod.rs"],
    ),
    (
        ("kustomize.toolkit.fluxcd.io", "Kustomization"),
        "crates/gitops/src/api/kustomization.rs",
        &["crates/gitops/src/kustomization/mod.rs"],
    ),
    (
        ("gitops.portolan.dev", "RepositoryDiscovery"),
        "crates/gitops/src/api/repository_discovery.rs",
        &["crates/gitops/src/discovery/mod.rs"],
    ),
    (
        ("pipelines.portolan.dev", "WorkflowRun"),
        "crates/pipelines/src/api.rs",
        &["crates/pipelines/src/runner.rs"],
    ),
    (
        ("postgresql.cnpg.io", "Cluster"),
        "crates/workloads/src/database/api.rs",
        &["crates/workloads/src/database/cluster.rs"],
    ),
    (
        ("postgresql.cnpg.io", "Backup"),
        "crates/workloads/src/database/api.rs",
        &["crates/workloads/src/database/backup.rs"],
    ),
    (
        ("postgresql.cnpg.io", "ScheduledBackup"),
        "crates/workloads/src/database/api.rs",
        &["crates/workloads/src/database/scheduled.rs"],
    ),
    (
        ("scaffolder.portolan.dev", "Task"),
        "crates/scaffolder/src/record.rs",
        &["crates/scaffolder/src/engine.rs"],
    ),
];

/// Kinds of Kubernetes that something here acts on.
const BUILT_IN_KINDS: &[Row] = &[
    (("", "Endpoints"), BUILT_IN, &["crates/workloads/src/endpoints.rs"]),
    (("", "Event"), BUILT_IN, &["crates/controller/src/events.rs"]),
    (
        ("", "Namespace"),
        BUILT_IN,
        &["crates/workloads/src/namespaces.rs", "crates/apiserver/src/admission/namespaces.rs"],
    ),
    (("", "Node"), BUILT_IN, &["crates/node/src/node_object.rs"]),
    (("", "PersistentVolume"), BUILT_IN, &["crates/node/src/storage.rs"]),
    (("", "PersistentVolumeClaim"), BUILT_IN, &["crates/node/src/storage.rs"]),
    (
        ("", "Pod"),
        BUILT_IN,
        &[
            "crates/workloads/src/scheduler.rs",
            "crates/node/src/kubelet.rs",
            "crates/workloads/src/pod_garbage.rs",
        ],
    ),
    (
        ("", "Service"),
        BUILT_IN,
        &[
            "crates/workloads/src/endpoints.rs",
            "crates/node/src/network/services.rs",
            "crates/apiserver/src/admission/services.rs",
        ],
    ),
    (
        ("", "ServiceAccount"),
        BUILT_IN,
        &["crates/workloads/src/service_accounts.rs", "crates/apiserver/src/admission/accounts.rs"],
    ),
    (("apps", "ControllerRevision"), BUILT_IN, &["crates/workloads/src/stateful_set.rs"]),
    (("apps", "DaemonSet"), BUILT_IN, &["crates/workloads/src/daemon_set.rs"]),
    (("apps", "Deployment"), BUILT_IN, &["crates/workloads/src/deployment/mod.rs"]),
    (("apps", "ReplicaSet"), BUILT_IN, &["crates/workloads/src/replica_set.rs"]),
    (("apps", "StatefulSet"), BUILT_IN, &["crates/workloads/src/stateful_set.rs"]),
    (("batch", "CronJob"), BUILT_IN, &["crates/workloads/src/cron_job.rs"]),
    (("batch", "Job"), BUILT_IN, &["crates/workloads/src/job.rs"]),
    (
        ("networking.k8s.io", "Ingress"),
        BUILT_IN,
        &["crates/gateway/src/watch.rs", "crates/gateway/src/status.rs"],
    ),
    (("networking.k8s.io", "IngressClass"), BUILT_IN, &["crates/gateway/src/watch.rs"]),
    (("rbac.authorization.k8s.io", "ClusterRole"), BUILT_IN, &["crates/apiserver/src/authorization/rbac.rs"]),
    (
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        BUILT_IN,
        &["crates/apiserver/src/authorization/rbac.rs"],
    ),
    (("rbac.authorization.k8s.io", "Role"), BUILT_IN, &["crates/apiserver/src/authorization/rbac.rs"]),
    (("rbac.authorization.k8s.io", "RoleBinding"), BUILT_IN, &["crates/apiserver/src/authorization/rbac.rs"]),
    (("storage.k8s.io", "StorageClass"), BUILT_IN, &["crates/node/src/storage.rs"]),
    (
        ("discovery.k8s.io", "EndpointSlice"),
        BUILT_IN,
        &[
            "crates/workloads/src/endpoints.rs",
            "crates/gateway/src/watch.rs",
            "crates/node/src/network/services.rs",
        ],
    ),
    (("coordination.k8s.io", "Lease"), BUILT_IN, &["crates/node/src/node_object.rs"]),
    (
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        BUILT_IN,
        &["crates/apiserver/src/custom.rs", "crates/workloads/src/garbage.rs"],
    ),
];

/// Kinds that are read where somebody else brings their definition.
const ELSEWHERE: &[Row] = &[(
    ("gateway.networking.k8s.io", "HTTPRoute"),
    "crates/gateway/src/watch.rs",
    &["crates/gateway/src/table/httproute.rs"],
)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Group and kind of every definition that the slices bring.
fn defined() -> BTreeSet<(String, String)> {
    let task: Value = serde_json::from_str(scaffolder::record::CRD).unwrap();
    let mut definitions =
        [gitops::crds(), compositions::crds(), workloads::database::crds(), pipelines::api::crds()].concat();
    definitions.push(task);
    let name = |definition: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&definition["spec"]["group"]), text(&definition["spec"]["names"]["kind"]))
    };
    definitions.iter().map(name).collect()
}

fn names(rows: &[Row]) -> BTreeSet<(String, String)> {
    rows.iter().map(|((group, kind), ..)| ((*group).to_owned(), (*kind).to_owned())).collect()
}

fn rows() -> Vec<&'static Row> {
    let mut rows: Vec<&Row> = DEFINED.iter().chain(BUILT_IN_KINDS).chain(ELSEWHERE).collect();
    rows.sort_by_key(|((group, kind), ..)| (*kind, *group));
    rows
}

#[test]
fn every_kind_that_a_slice_defines_has_a_row() {
    assert_eq!(names(DEFINED), defined(), "DEFINED in this file and the slices' definitions differ");
}

/// Built-in kinds that some controller is started for, by their constants in the sources.
#[test]
fn every_built_in_kind_with_a_controller_has_a_row() {
    let all: BTreeSet<(String, String)> =
        kinds::ALL.iter().map(|kind| (kind.group.to_string(), kind.kind.to_string())).collect();
    let unknown: Vec<_> = names(BUILT_IN_KINDS).difference(&all).cloned().collect();
    assert!(unknown.is_empty(), "not built in: {unknown:?}");

    let listed: BTreeSet<String> = BUILT_IN_KINDS.iter().map(|((_, kind), ..)| constant(kind)).collect();
    let mut controllers = 0;
    for path in sources(&root().join("crates")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for call in text.split("Controller::new(").skip(1) {
            let arguments = call.split(')').next().unwrap_or_default();
            let Some((_, kind)) = arguments.rsplit_once("&kinds::") else { continue };
            controllers += 1;
            let kind = kind.trim_end_matches([',', '\n', ' ']);
            assert!(listed.contains(kind), "{}: {kind} has a controller and no row", path.display());
        }
    }
    assert!(
        controllers > 10,
        "only {controllers} controllers found: this test no longer sees how they are started"
    );
}

#[test]
fn named_files_exist_and_are_about_their_kind() {
    let mut wrong = vec![];
    for ((_, kind), place, controllers) in rows() {
        for path in controllers.iter().chain([place]) {
            let text = read(path);
            if !text.contains(*kind) && !text.contains(&constant(kind)) {
                wrong.push(format!("{path} never mentions {kind}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_index_is_the_newest() {
    let mut index = String::from("| kind | group | type | what acts on it |\n| --- | --- | --- | --- |\n");
    for ((group, kind), place, controllers) in rows() {
        let group = if group.is_empty() { "core" } else { group };
        let files: Vec<String> = controllers.iter().map(|path| format!("`{path}`")).collect();
        index.push_str(&format!("| {kind} | {group} | `{place}` | {} |\n", files.join(", ")));
    }
    let page = read("ARCHITECTURE.md");
    let (before, rest) = page.split_once(BEGIN).expect("ARCHITECTURE.md has no beginning of the kind index");
    let (_, after) = rest.split_once(END).expect("ARCHITECTURE.md has no end of the kind index");
    let newest = format!("{before}{BEGIN}\n{index}{END}{after}");
    if std::env::var_os("UPDATE_KIND_INDEX").is_some() {
        std::fs::write(root().join("ARCHITECTURE.md"), newest).unwrap();
        return;
    }
    assert!(
        page == newest,
        "the kind index of ARCHITECTURE.md is old: run this test with UPDATE_KIND_INDEX=1"
    );
}

/// Every file and folder that the page names with its crate is there.
#[test]
fn paths_on_the_page_exist() {
    let page = read("ARCHITECTURE.md");
    let spans: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let paths: Vec<&&str> = spans.iter().filter(|span| is_path(span)).collect();
    assert!(paths.len() > 40, "only {} paths found: this test no longer sees them", paths.len());
    let is_there = |path: &str| root().join(path).exists() || root().join("crates").join(path).exists();
    let gone: Vec<_> = paths.into_iter().filter(|path| !is_there(path)).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names what is not there: {gone:?}");
}

fn is_path(span: &str) -> bool {
    (span.contains("/src/") || span.starts_with("crates/")) && !span.contains(['<', ' ', '*', '…'])
}

/// `ReplicaSet` as `REPLICA_SET`, `HTTPRoute` as `HTTP_ROUTE`.
fn constant(kind: &str) -> String {
    let letters: Vec<char> = kind.chars().collect();
    let mut text = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let starts_word = letter.is_uppercase()
            && (letters.get(at.wrapping_sub(1)).is_some_and(|before| before.is_lowercase())
                || at > 0 && letters.get(at + 1).is_some_and(|after| after.is_lowercase()));
        if starts_word {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests" && name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
