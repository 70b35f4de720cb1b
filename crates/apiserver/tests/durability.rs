//! What was acknowledged survives: replay, torn tails, snapshots, locks, foreign formats, and batches that are whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use apiserver::store::{Cut, Expect, Store, Write, WriteError};
use apiserver::{OpenError, Server};
use serde_json::json;
use support::{Cluster, config_map, options};

fn put(key: &str, expect: Expect, text: &str) -> Write {
    let value = Cut { before: format!("{{\"t\":\"{text}\",\"rv\":\"").into_bytes(), after: b"\"}".to_vec() };
    Write { collection: "/things".into(), key: key.into(), expect, delete: false, value }
}

fn state(store: &Store) -> Vec<(String, String)> {
    let page = store.list("/things", "");
    page.items.iter().map(|(k, e)| (k.to_string(), String::from_utf8(e.value.to_vec()).unwrap())).collect()
}

fn log_file(dir: &Path) -> std::path::PathBuf {
    let mut logs: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    logs.retain(|p| p.file_name().unwrap().to_str().unwrap().starts_with("log-"));
    assert_eq!(logs.len(), 1);
    logs.remove(0)
}

#[tokio::test]
async fn a_server_opened_again_has_everything_and_watches_resume() {
    let first = support::cluster().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let a = first.create(maps, config_map("a", json!({"k": "v"}))).await;
    first.create(maps, config_map("b", json!({}))).await;
    first.send("DELETE", &format!("{maps}/b"), json!(null)).await;
    let Cluster { server, dir } = first;
    server.close().await;

    let again = Cluster { server: Server::open(options(dir.path())).await.unwrap(), dir };
    assert_eq!(again.get(&format!("{maps}/a")).await.json(), a);
    assert_eq!(again.get(&format!("{maps}/b")).await.status, 404);
    let revision = a["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = again.watch(&format!("{maps}?watch=true&resourceVersion={revision}")).await;
    assert_eq!(watch.brief().await, ("ADDED".into(), "b".into()));
    assert_eq!(watch.brief().await, ("DELETED".into(), "b".into()));
}

#[tokio::test]
async fn a_torn_tail_is_cut_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let store = Store::open(dir.path()).unwrap();
        store.write(put("a", Expect::Absent, "1")).await.unwrap();
        store.write(put("b", Expect::Absent, "2")).await.unwrap();
        let before = state(&store);
        store.write(put("c", Expect::Absent, "torn")).await.unwrap();
        before
    };
    let log = log_file(dir.path());
    let whole = fs::read(&log).unwrap();
    let last = whole.len() - (8 + 13 + "/things".len() + "c".len() + r#"{"t":"torn","rv":"3"}"#.len());
    for cut in [last + 1, last + 8, last + 20, whole.len() - 1] {
        fs::write(&log, &whole[..cut]).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(state(&store), before, "cut at {cut} of {}", whole.len());
        assert_eq!(store.revision(), 2);
    }
    let mut changed = whole.clone();
    let end = changed.len() - 3;
    changed[end] ^= 1;
    fs::write(&log, &changed).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(state(&store), before, "a record with a wrong checksum is not used");
    store.write(put("d", Expect::Absent, "after")).await.unwrap();
    drop(store);
    assert_eq!(state(&Store::open(dir.path()).unwrap()).len(), 3, "writing goes on after the cut");
}

#[tokio::test]
async fn a_snapshot_replaces_a_long_log_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let large = "x".repeat(100_000);
    let before = {
        let store = Store::open(dir.path()).unwrap();
        store.write(put("kept", Expect::Absent, "1")).await.unwrap();
        let mut revision = store.write(put("large", Expect::Absent, &large)).await.unwrap().revision;
        for _ in 0..120 {
            revision = store.write(put("large", Expect::Revision(revision), &large)).await.unwrap().revision;
        }
        state(&store)
    };
    assert!(fs::metadata(dir.path().join("snapshot")).unwrap().len() > 100_000);
    let size = fs::metadata(log_file(dir.path())).unwrap().len();
    assert!(size < 8 * 1024 * 1024, "the log has {size} bytes");
    let store = Store::open(dir.path()).unwrap();
    assert_eq!((state(&store), store.revision()), (before, 122));
    assert!(store.watch("/things", "", 1).is_err(), "history before the snapshot is compacted");
    assert!(store.watch("/things", "", 122).is_ok());
}

#[tokio::test]
async fn concurrent_writes_share_flushes_and_only_one_of_two_rivals_wins() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(Store::open(dir.path()).unwrap());
    let write = |key: String, text: &str| {
        let (store, write) = (std::sync::Arc::clone(&store), put(&key, Expect::Absent, text));
        tokio::spawn(async move { store.write(write).await })
    };
    let tasks: Vec<_> =
        (0..500).map(|n| write(format!("k{}", n / 2), if n % 2 == 0 { "a" } else { "b" })).collect();
    let (mut won, mut lost) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(WriteError::Conflict) => lost += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((won, lost, store.revision()), (250, 250, 250), "revisions have no gaps");
    let before = state(&store);
    drop(store);
    assert_eq!(state(&Store::open(dir.path()).unwrap()), before);
}

#[tokio::test]
async fn a_directory_in_use_or_of_the_future_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let store = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).err().unwrap();
    assert_eq!(error.to_string(), format!("{path} is in use by another process"));
    drop(store);
    fs::write(dir.path().join("format"), "7\n").unwrap();
    let error = Server::open(options(dir.path())).await.err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 7, .. }));
    assert_eq!(
        error.to_string(),
        format!("{path} was written by a newer version (format 7; this version reads up to 1)")
    );
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_keeps_what_was_there() {
    // A file system of its own that is full can only be had as root.
    let dir = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(dir.path())
        .output()
        .is_ok_and(|o| o.status.success());
    if !mounted {
        println!("skipped: a small file system cannot be mounted here");
        return;
    }
    let unmount = || std::process::Command::new("umount").arg("-l").arg(dir.path()).output().unwrap();
    let c = Cluster {
        server: Server::open(options(dir.path())).await.unwrap(),
        dir: tempfile::tempdir().unwrap(),
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    c.create(maps, config_map("half", json!({"k": "x".repeat(500_000)}))).await;
    let refused = c.send("POST", maps, config_map("large", json!({"k": "x".repeat(900_000)}))).await;
    assert_eq!(refused.status, 507);
    assert!(
        refused.json()["message"]
            .as_str()
            .unwrap()
            .starts_with("the change was not stored: No space left on device")
    );
    assert_eq!(c.get(&format!("{maps}/large")).await.status, 404);
    c.create(maps, config_map("next", json!({}))).await;
    c.server.close().await;
    let c = Cluster {
        server: Server::open(options(dir.path())).await.unwrap(),
        dir: tempfile::tempdir().unwrap(),
    };
    assert_eq!(c.get(&format!("{maps}/next")).await.status, 200);
    assert_eq!(c.get(&format!("{maps}/large")).await.status, 404);
    c.server.close().await;
    unmount();
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var("APISERVER_TEST_CHILD") else { return };
    let c = Cluster {
        server: Server::open(options(Path::new(&dir))).await.unwrap(),
        dir: tempfile::tempdir().unwrap(),
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    // More than any parent waits for, so that a lost parent does not leave this running.
    for _ in 0..2000 {
        let made = c
            .create(maps, json!({"metadata": {"generateName": "k-"}, "data": {"x": "y".repeat(2000)}}))
            .await;
        println!("acknowledged {}", made["metadata"]["name"].as_str().unwrap());
    }
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_kill_minus_nine() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = vec![];
    for round in 1..=10 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
            .env("APISERVER_TEST_CHILD", dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let name = |line: String| line.split_once("acknowledged ").map(|(_, name)| name.to_owned());
        acknowledged.extend(lines.by_ref().filter_map(|l| name(l.unwrap())).take(round * 3));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said between the last line read and its death counts too.
        acknowledged.extend(lines.filter_map(|l| name(l.unwrap())));
        let server = Server::open(options(dir.path())).await.unwrap();
        let c = Cluster { server, dir: tempfile::tempdir().unwrap() };
        for name in &acknowledged {
            let status = c.get(&format!("/api/v1/namespaces/default/configmaps/{name}")).await.status;
            assert_eq!(status, 200, "{name} was acknowledged and is lost in round {round}");
        }
        c.server.close().await;
    }
    assert!(acknowledged.len() >= 165, "{}", acknowledged.len());
}
