//! The node's process: alone in its process namespace, started again when it dies, gone when its parent is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why it was skipped"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use node::supervise::{Program, Supervisor};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;

const LIMIT: Duration = Duration::from_secs(20);

async fn connect(socket: &Path) -> BufReader<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return BufReader::new(stream),
            Err(error) => assert!(begun.elapsed() < LIMIT, "the node did not start: {error}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn line(stream: &mut BufReader<UnixStream>) -> String {
    let mut text = String::new();
    tokio::time::timeout(LIMIT, stream.read_line(&mut text))
        .await
        .expect("an answer or the end")
        .unwrap_or(0);
    text
}

fn usable() -> bool {
    let abilities = sandbox::Abilities::detect();
    if !abilities.usable() {
        println!("skipped: {}", abilities.missing.join(" "));
    }
    abilities.usable()
}

fn program(socket: &Path) -> Program {
    Program { program: env!("CARGO_BIN_EXE_node-init").into(), args: vec![socket.into()], env: vec![] }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_process_one_comes_back_and_stops_when_told() {
    if !usable() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let supervisor = Supervisor::start(program(&socket)).unwrap();
    let mut first = connect(&socket).await;
    assert_eq!(line(&mut first).await, "1\n");
    // Its outer process, found by its parent (us) and its command line.
    let outer = children_with(&socket);
    assert_eq!(outer.len(), 1, "{outer:?}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(outer[0]), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(line(&mut first).await, "", "process 1 outlived the outer process");
    let mut second = loop {
        let mut stream = connect(&socket).await;
        if line(&mut stream).await == "1\n" {
            break stream;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), supervisor.stop()).await.expect("it stops");
    assert_eq!(line(&mut second).await, "");
}

/// Children of this process that have the socket's path in their command line.
fn children_with(socket: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let parent = read("status").lines().find_map(|line| line.strip_prefix("PPid:\t").map(str::to_owned));
        let is_ours = parent.and_then(|text| text.parse::<u32>().ok()) == Some(std::process::id());
        if is_ours && read("cmdline").contains(&*socket.to_string_lossy()) {
            found.push(pid);
        }
    }
    found
}
