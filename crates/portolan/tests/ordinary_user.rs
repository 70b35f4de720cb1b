//! The platform in the session of an ordinary user: pods, volumes and a database work without root, what is lacking is
//! said, a kill leaves nothing behind, and the next start continues; all of it in a folder with a long path. Started as
//! root, the test lets user 65534 run the platform.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod platform;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use object::{Key, Resource, kinds, meta};
use platform::{Platform, SOON, eventually, processes};
use serde_json::{Value, json};
use tempfile::TempDir;

/// `nobody`: exists nowhere but in the kernel's own default.
const NOBODY: u32 = 65534;

/// A home directory and a copy of the program that the ordinary user can reach.
struct Session {
    home: TempDir,
    uid: u32,
    /// Whether the test itself is somebody else.
    is_other: bool,
}

impl Session {
    /// None, with a notice, where the machine refuses user namespaces.
    fn open() -> Option<Self> {
        if !sandbox::Abilities::detect().usable() {
            println!("skipped: the machine allows no user namespaces");
            return None;
        }
        let home = tempfile::Builder::new().prefix("portolan-user-").tempdir().unwrap();
        let own = std::fs::metadata(home.path()).unwrap().uid();
        let uid = if own == 0 { NOBODY } else { own };
        let program = home.path().join("portolan");
        // Copied by another process: a program that this one starts meanwhile would hold the file open for writing,
        // and what is being written cannot be run.
        let copied =
            std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_portolan")).arg(&program).status();
        assert!(copied.unwrap().success());
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let session = Self { home, uid, is_other: own != uid };
        std::fs::create_dir_all(session.data()).unwrap();
        if session.is_other {
            for folder in
                session.data().ancestors().take_while(|folder| folder.starts_with(session.home.path()))
            {
                chown(folder, Some(uid), Some(uid)).unwrap();
            }
        }
        Some(session)
    }

    /// Deeper than the kernel allows paths of sockets to be.
    fn data(&self) -> PathBuf {
        self.home.path().join("a".repeat(50)).join("b".repeat(50))
    }

    async fn start(&self) -> Platform {
        let data = self.data();
        let template = platform::up(&data);
        let mut command = Command::new(self.home.path().join("portolan"));
        command
            .args(template.get_args())
            .env("HOME", self.home.path())
            .current_dir("/")
            .stdin(std::process::Stdio::null());
        if self.is_other {
            command.uid(self.uid).gid(self.uid);
        }
        Platform::start_with(&data, command).await
    }
}

/// A pod with two users that share volumes; the second looks at what the first wrote, and stays.
fn pod() -> Value {
    let mounts = json!([{"name": "shared", "mountPath": "/shared"}, {"name": "kept", "mountPath": "/kept"}]);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lasting", "namespace": "default"},
        "spec": {
            "volumes": [
                {"name": "shared", "emptyDir": {}},
                {"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}},
            ],
            "initContainers": [{
                "name": "writer", "image": "busybox:1", "volumeMounts": mounts,
                "securityContext": {"runAsUser": 26, "runAsGroup": 26},
                "command": ["sh", "-ec", "umask 022; id -u > /dev/termination-log; id -u > /shared/writer; echo kept > /kept/file"],
            }],
            "containers": [{
                "name": "main", "image": "busybox:1", "volumeMounts": mounts,
                "resources": {"limits": {"memory": "64Mi", "cpu": "100m"}},
                "command": ["sh", "-ec", "test `id -u` = 0; grep -x 26 /shared/writer; grep -x kept /kept/file; echo looked; trap 'exit 0' TERM; while :; do sleep 1; done"],
            }],
        },
    })
}

fn claim() -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kept", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    })
}

/// Waits until an object of the dev cluster has a condition.
async fn is(platform: &Platform, resource: &Resource, key: &Key, condition: &str) -> Value {
    let cluster = platform.cluster("dev").await;
    eventually(&format!("{} is {condition}", key.name), SOON, async || {
        let found = cluster.get(resource, key).await.ok()??;
        meta::condition_is_true(&found, condition).then_some(found)
    })
    .await
}

/// What an ordinary user lacks is said once at the start, and by every node.
async fn says_what_it_lacks(platform: &Platform) {
    let said = platform.said();
    assert_eq!(said.matches("Every file belongs to one user").count(), 1, "{said}");
    let node = is(platform, &kinds::NODE, &Key::cluster("dev-node"), "Ready").await;
    let conditions = node["status"]["conditions"].as_array().unwrap();
    let users = conditions.iter().find(|one| one["type"] == "portolan.dev/UsersSeparated").unwrap();
    assert_eq!((&users["status"], &users["reason"]), (&json!("False"), &json!("OneUser")), "{node}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_and_volumes_work_without_root_and_a_kill_leaves_nothing() {
    let Some(session) = Session::open() else { return };
    let mut platform = session.start().await;
    platform.ready().await;
    says_what_it_lacks(&platform).await;
    let cluster = platform.cluster("dev").await;
    cluster.create(&kinds::PERSISTENT_VOLUME_CLAIM, &claim()).await.unwrap();
    cluster.create(&kinds::POD, &pod()).await.unwrap();
    let key = Key::new("default", "lasting");
    let running = is(&platform, &kinds::POD, &key, "Ready").await;
    let ended = &running["status"]["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["message"], "26\n", "a container has the user it asked for: {running:#}");

    let pods: kube::Api<Pod> = kube::Api::namespaced(cluster.client().clone(), "default");
    // A pod may be ready before its last line is in the log.
    let whole = async || {
        let log = pods.logs(&key.name, &kube::api::LogParams::default()).await.unwrap();
        (log == "26\nkept\nlooked\n").then_some(())
    };
    eventually("the API server reaches the node's socket, and the log is whole", SOON, whole).await;

    let below = processes::descendants(platform.pid());
    let of_user = |process: &&processes::Process| {
        std::fs::metadata(format!("/proc/{}", process.pid)).is_ok_and(|meta| meta.uid() == session.uid)
    };
    let commands: Vec<&str> = below.iter().filter(of_user).map(|one| one.command.as_str()).collect();
    assert!(commands.iter().any(|one| one.contains("trap 'exit 0' TERM")), "{below:#?}");
    platform.kill();
    let gone = async || (!below.iter().any(processes::Process::is_alive)).then_some(());
    eventually("every process is gone", SOON, gone).await;
    assert_eq!(processes::mounts_below(session.home.path()), Vec::<String>::new());

    let mut platform = session.start().await;
    platform.ready().await;
    let again = eventually("the pod runs again", SOON, async || {
        let below = processes::descendants(platform.pid());
        below.into_iter().find(|one| one.command.contains("trap 'exit 0' TERM"))
    })
    .await;
    assert!(!below.contains(&again), "{again:?}");
    assert_eq!(platform.terminate().await.code(), Some(0), "{}", platform.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_runs_without_root() {
    if Command::new("psql").arg("--version").output().is_err() {
        println!("skipped: psql is not installed");
        return;
    }
    let Some(session) = Session::open() else { return };
    let mut platform = session.start().await;
    platform.ready().await;
    let cluster = platform.cluster("dev").await;
    let resource = eventually("databases are known", SOON, async || {
        cluster.resolve("postgresql.cnpg.io/v1", "Cluster").await.ok()
    })
    .await;
    let database = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "db", "namespace": "default"},
        "spec": {"instances": 1, "storage": {"size": "1Gi"}, "bootstrap": {"initdb": {"database": "app", "owner": "app"}}},
    });
    cluster.create(&resource, &database).await.unwrap();
    is(&platform, &resource, &Key::new("default", "db"), "Ready").await;
    assert_eq!(platform.terminate().await.code(), Some(0), "{}", platform.said());
}
