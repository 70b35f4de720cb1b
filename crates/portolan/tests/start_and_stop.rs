//! Start and stop: the portal is there, what cannot work is one clear line, a stop leaves nothing behind, and a killed
//! platform continues where it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod platform;

use std::process::Command;

use object::{Key, kinds, meta};
use platform::{Platform, SOON, eventually, fail, processes, up};
use serde_json::{Value, json};

/// One platform of this file at a time: the kernel gives the number of a namespace that ended to the next one that
/// begins, so another test's platform would look like what this one left behind.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The one line that a failing command prints.
fn one_line(command: Command) -> String {
    let said = fail(command);
    assert_eq!(said.lines().count(), 1, "one clear line, not: {said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_so_in_one_line() {
    let _alone = ALONE.lock().await;
    let first = Platform::start().await;

    let said = one_line(up(&first.data));
    assert!(said.contains("in use by another portolan") && said.contains("--data"), "{said}");
    assert!(said.contains(&first.pid().to_string()), "the line names the process: {said}");

    for (option, endpoint) in [("--listen", "portal"), ("--gateway", "gateway")] {
        let other = tempfile::tempdir().unwrap();
        let mut command = up(other.path());
        let address = format!("127.0.0.1:{}", first.port(endpoint));
        // The last value of an option counts, but naming it twice is refused: build the command anew.
        command = replaced(command, option, &address);
        let said = one_line(command);
        assert!(said.contains(&address) && said.contains(option), "{said}");
    }

    let newer = tempfile::tempdir().unwrap();
    std::fs::write(newer.path().join("FORMAT"), "4711\n").unwrap();
    let said = one_line(up(newer.path()));
    assert!(said.contains("newer portolan") && said.contains("4711"), "{said}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let said = one_line(up(file.path()));
    assert!(said.contains(&*file.path().to_string_lossy()), "{said}");
}

/// A file system of its own that holds next to nothing; unmounted with the last use.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where this user may not mount.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|done| done.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_one_clear_line() {
    let _alone = ALONE.lock().await;
    let Some(disk) = SmallDisk::new() else {
        println!("skipped: this user may not mount a small file system");
        return;
    };
    let data = disk.0.path().join("data");
    let said = one_line(up(&data));
    assert!(said.contains("is full") && said.contains(&*data.to_string_lossy()), "{said}");
    assert!(said.contains("make space") && said.contains("--data"), "{said}");
}

/// The same command with another value for one option.
fn replaced(command: Command, option: &str, value: &str) -> Command {
    let mut arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let at = arguments.iter().position(|argument| argument == option).unwrap();
    arguments[at + 1] = value.into();
    let mut fresh = platform::portolan();
    fresh.args(arguments);
    fresh
}

/// A pod that runs until it is told to stop.
fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "lasting", "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "busybox:1", "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]}]},
    })
}

async fn running(platform: &Platform) {
    let cluster = platform.cluster("dev").await;
    eventually("the pod is ready", SOON, async || {
        let found = cluster.get(&kinds::POD, &Key::new("default", "lasting")).await.ok()??;
        meta::condition_is_true(&found, "Ready").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_leaves_no_process_mount_or_network_behind() {
    let _alone = ALONE.lock().await;
    let mut platform = Platform::start().await;
    platform.ready().await;
    platform.cluster("dev").await.create(&kinds::POD, &pod()).await.unwrap();
    running(&platform).await;

    let below = processes::descendants(platform.pid());
    let pods = below.iter().filter(|process| process.command.contains("trap 'exit 0' TERM")).count();
    assert!(pods >= 1, "the pod is not below the platform: {below:#?}");
    let (networks, mounts) = (processes::namespaces("net", &below), processes::namespaces("mnt", &below));
    assert!(networks.len() >= 3, "each of three clusters has a network of its own: {networks:?}");

    let ended = platform.terminate().await;
    assert_eq!(ended.code(), Some(0), "{}", platform.said());
    eventually("every process is gone", SOON, async || {
        (!below.iter().any(processes::Process::is_alive)).then_some(())
    })
    .await;
    assert_eq!(processes::surviving("net", &networks), Vec::<String>::new());
    assert_eq!(processes::surviving("mnt", &mounts), Vec::<String>::new());
    assert_eq!(processes::mounts_below(&platform.data), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_platform_ends_whole_and_continues_where_it_was() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let mut platform = Platform::start_on(folder.path(), &[]).await;
    platform.ready().await;
    platform.cluster("dev").await.create(&kinds::POD, &pod()).await.unwrap();
    running(&platform).await;
    let sasha = platform.token("sasha");
    let priyanka = platform.token("priyanka");
    platform.make_repository(&priyanka, "kept", &["a-topic"]).await;
    let below = processes::descendants(platform.pid());

    platform.kill();
    eventually("every process is gone", SOON, async || {
        (!below.iter().any(processes::Process::is_alive)).then_some(())
    })
    .await;
    assert_eq!(processes::mounts_below(folder.path()), Vec::<String>::new());

    let mut platform = Platform::start_on(folder.path(), &[]).await;
    let (status, repository) =
        platform.ask(&sasha, reqwest::Method::GET, "/api/v3/repos/platform/kept", None).await;
    assert_eq!(status, 200, "a token and a repository of before are good still: {repository}");
    assert_eq!(repository["topics"], json!(["a-topic"]));
    platform.ready().await;
    running(&platform).await;
    let alive =
        || processes::descendants(platform.pid()).iter().any(|p| p.command.contains("trap 'exit 0' TERM"));
    eventually("the pod's process runs again", SOON, async || alive().then_some(())).await;
    assert_eq!(platform.terminate().await.code(), Some(0));
}
