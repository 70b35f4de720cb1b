//! Isolated processes for real: what they see, what they may do, how they end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why it was skipped"
)]

use std::path::PathBuf;
use std::time::Duration;

use sandbox::{
    Abilities, Cgroups, EnterSpec, Launcher, Limits, Mount, MountKind, Network, Spec, Stdio, User, enter,
    spawn,
};
use tokio::io::AsyncReadExt as _;

fn launcher() -> Launcher {
    Launcher { program: PathBuf::from(env!("CARGO_BIN_EXE_sandbox-init")), args: vec![] }
}

fn usable() -> bool {
    let abilities = Abilities::detect();
    if !abilities.usable() {
        println!("skipped: {}", abilities.missing.join(" "));
    }
    abilities.usable()
}

fn shell(scratch: &tempfile::TempDir, script: &str) -> Spec {
    Spec {
        scratch: scratch.path().to_owned(),
        host_base: true,
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        cwd: "/".into(),
        hostname: "box".into(),
        ..Spec::default()
    }
}

/// Runs to the end: exit code, standard output, standard error.
async fn run(spec: &Spec) -> (i32, String, String) {
    let (stdio, mut output) = Stdio::piped().unwrap();
    let mut child = match spawn(&launcher(), spec, stdio).await {
        Ok(child) => child,
        Err(error) => return (-1, String::new(), error.to_string()),
    };
    let (mut out, mut err) = (String::new(), String::new());
    let read = async {
        tokio::join!(output.stdout.read_to_string(&mut out), output.stderr.read_to_string(&mut err))
    };
    let (exit, _) = tokio::join!(child.wait(), read);
    (exit.unwrap().code, out, err)
}

async fn check(change: impl FnOnce(&mut Spec), script: &str, expected: (i32, &str)) {
    let scratch = tempfile::tempdir().unwrap();
    let mut spec = shell(&scratch, script);
    change(&mut spec);
    let (code, out, err) = run(&spec).await;
    assert_eq!((code, out.as_str()), expected, "{script}: {err}");
}

#[tokio::test]
async fn sees_its_own_world() {
    if !usable() {
        return;
    }
    check(|_| (), "echo $$; hostname; pwd", (0, "1\nbox\n/\n")).await;
    check(|_| (), "ls /root /home; ls /etc/shadow 2>/dev/null; exit 0", (0, "/home:\nnode\n\n/root:\n"))
        .await;
    check(|_| (), "set -- /proc/[0-9]*; echo $#", (0, "1\n")).await;
    check(|_| (), "ls /sys/class/net", (0, "lo\n")).await;
    check(|_| (), "exit 7", (7, "")).await;
    check(|_| (), "kill -TERM $$; sh -c 'kill -9 $$'", (137, "")).await;
    check(|spec| spec.user = User { uid: 999, gid: 999, groups: vec![] }, "id -u; id -g", (0, "999\n999\n"))
        .await;
    check(|spec| spec.user = User { uid: 4711, gid: 0, groups: vec![] }, "id -un", (0, "user4711\n")).await;
    check(|spec| spec.cwd = "/work/deep".into(), "pwd", (0, "/work/deep\n")).await;
    check(|spec| spec.env.push(("A".into(), "b c".into())), "echo \"$A\"", (0, "b c\n")).await;
    check(
        |spec| spec.resolv_conf = Some("nameserver 10.96.0.10\n".into()),
        "cat /etc/resolv.conf",
        (0, "nameserver 10.96.0.10\n"),
    )
    .await;
}

#[tokio::test]
async fn may_not_harm_the_machine() {
    if !usable() {
        return;
    }
    check(|_| (), "echo x 2>/dev/null > /proc/sys/kernel/hostname && echo wrote; exit 0", (0, "")).await;
    check(|_| (), "mount -t tmpfs x /mnt 2>/dev/null || echo refused", (0, "refused\n")).await;
    check(
        |spec| spec.read_only_root = true,
        "touch /file /usr/file 2>/dev/null || echo refused",
        (0, "refused\n"),
    )
    .await;
    check(|_| (), "cat /proc/kcore | head -c 1", (0, "")).await;
}

#[tokio::test]
async fn writes_land_in_upper_and_layers_are_joined() {
    if !usable() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let layers = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = layers.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("top/app/file", "top");
    write("low/app/file", "low");
    write("low/app/other", "other");
    write("low/usr/local/share/mine", "mine");
    let mut spec = shell(
        &scratch,
        "cat /app/file /app/other /usr/local/share/mine; echo new > /app/new; echo u > /usr/local/u",
    );
    spec.layers = vec![layers.path().join("top"), layers.path().join("low")];
    let (code, out, err) = run(&spec).await;
    assert_eq!((code, out.as_str()), (0, "topothermine"), "{err}");
    assert_eq!(std::fs::read_to_string(spec.upper().join("app/new")).unwrap(), "new\n");
    assert_eq!(std::fs::read_to_string(spec.upper().join("usr/local/u")).unwrap(), "u\n");
    assert!(!std::path::Path::new("/usr/local/u").exists());
}

#[tokio::test]
async fn mounts_stay_inside_whatever_links_an_image_has() {
    if !usable() {
        return;
    }
    let (scratch, layer, volume) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), layer.path().join("data")).unwrap();
    std::fs::write(volume.path().join("hello"), "hi").unwrap();
    let mut spec = shell(&scratch, "cat /data/vol/hello; touch /data/vol/x 2>/dev/null || echo ' read-only'");
    spec.layers = vec![layer.path().to_owned()];
    spec.mounts = vec![Mount {
        kind: MountKind::Bind(volume.path().to_owned()),
        target: "/data/vol".into(),
        read_only: true,
    }];
    let (_, out, err) = run(&spec).await;
    assert!(!outside.path().join("vol").exists());
    // The link's target does not exist inside, so the mount is refused rather than followed out.
    assert!(out == "hi read-only\n" || err.starts_with("mount /data/vol: "), "{out} {err}");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    if !usable() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut spec = shell(&scratch, "");
    spec.args = vec!["no-such-program".into()];
    let (_, _, err) = run(&spec).await;
    assert_eq!(err, "exec: \"no-such-program\": executable file not found in $PATH");
}

#[tokio::test]
async fn a_further_process_enters() {
    if !usable() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut spec = shell(&scratch, "echo inside > /tmp/mark; echo ready; sleep 60");
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    let (stdio, mut output) = Stdio::piped().unwrap();
    let child = spawn(&launcher(), &spec, stdio).await.unwrap();
    let mut ready = [0u8; 6];
    output.stdout.read_exact(&mut ready).await.unwrap();
    let further = EnterSpec {
        pid: child.pid(),
        args: ["sh", "-c", "cat /tmp/mark; id -u; hostname; exit 3"].map(str::to_owned).to_vec(),
        env: spec.env.clone(),
        cwd: "/tmp".into(),
        user: spec.user.clone(),
        ..EnterSpec::default()
    };
    let (stdio, mut output) = Stdio::piped().unwrap();
    let mut entered = enter(&launcher(), &further, stdio).await.unwrap();
    let mut out = String::new();
    output.stdout.read_to_string(&mut out).await.unwrap();
    assert_eq!((out.as_str(), entered.wait().await.unwrap().code), ("inside\n1000\nbox\n", 3));
}

#[tokio::test]
async fn dropping_the_child_ends_it() {
    if !usable() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let spec = shell(&scratch, "echo ready; trap '' TERM; sleep 60");
    let (stdio, mut output) = Stdio::piped().unwrap();
    let child = spawn(&launcher(), &spec, stdio).await.unwrap();
    let mut ready = [0u8; 6];
    output.stdout.read_exact(&mut ready).await.unwrap();
    drop(child);
    let mut rest = String::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), output.stdout.read_to_string(&mut rest)).await;
    assert!(ended.is_ok(), "the process outlived its owner");
}

#[tokio::test]
async fn memory_limits_hold() {
    let Some(cgroups) = Cgroups::open(&format!("test-{}", std::process::id())) else {
        println!("skipped: no writable cgroup on this machine");
        return;
    };
    let limits = Limits {
        memory_bytes: Some(32 << 20),
        pids: Some(64),
        cpu_millis: Some(500),
        cpu_request_millis: Some(100),
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut spec = shell(&scratch, "head -c 200m /dev/zero | tail | wc -c");
    spec.cgroup = cgroups.create("eater", &limits).unwrap();
    spec.network = Network::Host;
    let (_, out, _) = run(&spec).await;
    let usage = cgroups.usage("eater");
    cgroups.close();
    assert!(usage.oom_kills > 0, "{usage:?} {out}");
}

/// The same world for an ordinary user: run again by a user who has no privileges at all.
#[tokio::test]
async fn ordinary_users_get_sandboxes_too() {
    if !usable() || !nix::unistd::Uid::effective().is_root() {
        println!("skipped: this test starts as root and becomes an ordinary user");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("sandbox-init");
    // Copied by another process: a program that this one starts meanwhile would hold the file open for writing.
    let copied =
        std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_sandbox-init")).arg(&program).status();
    assert!(copied.unwrap().success());
    let scratch = place.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    for path in [place.path(), scratch.as_path(), program.as_path()] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let launcher = Launcher {
        program: "/usr/bin/setpriv".into(),
        args: ["--reuid=65534", "--regid=65534", "--clear-groups"]
            .map(std::ffi::OsString::from)
            .into_iter()
            .chain([program.into()])
            .collect(),
    };
    let holder = tempfile::tempdir().unwrap();
    let mut spec = shell(&holder, "id -u; echo $$; echo x > /usr/local/x && cat /usr/local/x");
    spec.scratch = scratch;
    spec.user = User { uid: 26, gid: 26, groups: vec![] };
    spec.network = Network::None;
    let (stdio, mut output) = Stdio::piped().unwrap();
    let mut child = match spawn(&launcher, &spec, stdio).await {
        Ok(child) => child,
        Err(error) if error.to_string().contains("user namespace") => {
            println!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let (mut out, mut err) = (String::new(), String::new());
    output.stdout.read_to_string(&mut out).await.unwrap();
    output.stderr.read_to_string(&mut err).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code, 2, "{out} {err}");
    // User 26 owns what the image's root owns only if it is written by it; `/usr/local` is the machine's root's.
    assert!(out.starts_with("26\n1\n"), "{out} {err}");
}
