//! Pods in the pod network for real: two of them talk, and the outside reaches them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why it was skipped"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use node::Network;
use sandbox::{Launcher, Network as Place, Spec, Stdio, spawn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn launcher() -> Launcher {
    Launcher { program: PathBuf::from(env!("CARGO_BIN_EXE_node-init")), args: vec![] }
}

/// Nothing in this list may be missing, else the test says so and ends.
fn ready() -> bool {
    let node = Command::new("node").arg("--version").output().is_ok();
    if !node {
        println!("skipped: node is not installed");
    }
    let abilities = sandbox::Abilities::detect();
    if !abilities.privileged {
        println!("skipped: not root: {}", abilities.missing.join(" "));
    }
    node && abilities.privileged
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_talk_and_are_reached_from_outside() {
    if !ready() {
        return;
    }
    let network = Network::start().await.unwrap();
    let (server, client) = (network.attach(None).await.unwrap(), network.attach(None).await.unwrap());
    assert_ne!(server.ip, client.ip);
    let script = "require('http').createServer((q, r) => r.end('hello from ' + q.url)).listen(8080, () => console.log('ready'))";
    let spec = |network: &node::PodNetwork, scratch: &tempfile::TempDir, args: &[&str]| Spec {
        scratch: scratch.path().to_owned(),
        host_base: true,
        args: args.iter().map(ToString::to_string).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        cwd: "/".into(),
        network: Place::Namespace(network.path()),
        ..Spec::default()
    };
    let scratch = tempfile::tempdir().unwrap();
    let (stdio, mut output) = Stdio::piped().unwrap();
    let _child = spawn(&launcher(), &spec(&server, &scratch, &["node", "-e", script]), stdio).await.unwrap();
    let mut line = [0u8; 6];
    output.stdout.read_exact(&mut line).await.unwrap();

    let mut stream = network.dial(SocketAddr::from((server.ip, 8080))).await.unwrap();
    stream.write_all(b"GET /outside HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello from /outside"), "{answer}");

    let fetch =
        format!("fetch('http://{}:8080/pod').then(r => r.text()).then(t => console.log(t))", server.ip);
    let other = tempfile::tempdir().unwrap();
    let (stdio, mut output) = Stdio::piped().unwrap();
    let mut child = spawn(&launcher(), &spec(&client, &other, &["node", "-e", &fetch]), stdio).await.unwrap();
    let mut answer = String::new();
    output.stdout.read_to_string(&mut answer).await.unwrap();
    assert_eq!((answer.as_str(), child.wait().await.unwrap().code), ("hello from /pod\n", 0));

    let refused = network.dial(SocketAddr::from((client.ip, 9))).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}
