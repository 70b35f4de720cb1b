//! Dockerfiles into images, for real: commands run in sandboxes, images go to a registry and come back.
//!
//! This test has its own `main`, since the sandbox starts the program again as its launcher.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which clippy does not see where `main` is its own"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use registry::build::{Build, Built, build};
use registry::client::Auth;
use registry::pull::{Config, Images, Mirror, UnpackedImage};
use registry::{Access, Options, Reference, Registry};
use sandbox::{Abilities, Launcher};

const LAUNCHER: &str = "sandbox-init";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(LAUNCHER) {
        return sandbox::init::main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        case("copies_only", copies_only()).await;
        case("references_that_fail", references_that_fail()).await;
        let abilities = Abilities::detect();
        if !abilities.usable() {
            println!("skipped: {}", abilities.missing.join(" "));
            return;
        }
        case("stages_and_commands", stages_and_commands()).await;
        case("commands_that_fail", commands_that_fail()).await;
        case("removals", removals()).await;
        if !abilities.many_users {
            println!("skipped: {}", abilities.missing.join(" "));
            return;
        }
        case("changes_below_usr", changes_below_usr()).await;
    });
    ExitCode::SUCCESS
}

/// A panic in a case ends the program with an error, which is what the test runner looks at.
async fn case(name: &str, work: impl Future<Output = ()>) {
    work.await;
    println!("test {name} ... ok");
}

struct World {
    dir: tempfile::TempDir,
    base: String,
    host: String,
}

impl World {
    async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { access: Access::Open, offline: true };
        let registry = Arc::new(Registry::open(&dir.path().join("registry"), options).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let router = registry.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        World { dir, base: format!("http://{host}"), host }
    }

    fn images(&self, name: &str, no_host_images: bool) -> Images {
        let mirror = Some(Mirror { base: self.base.clone(), auth: Auth::None });
        Images::open(Config { dir: self.dir.path().join(name), mirror, offline: false, no_host_images })
            .unwrap()
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.host).parse().unwrap()
    }

    fn write(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = self.dir.path().join("context").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    async fn build(&self, images: &Images, tags: Vec<Reference>) -> (Result<Built, String>, String) {
        let lines = Arc::new(Mutex::new(String::new()));
        let sink = lines.clone();
        let request = Build {
            context: self.dir.path().join("context"),
            dockerfile: None,
            build_args: BTreeMap::from([("GREETING".to_string(), "hello".to_string())]),
            target: None,
            tags,
            labels: BTreeMap::from([(
                "org.opencontainers.image.revision".to_string(),
                "1a2b3c4".to_string(),
            )]),
            pull: Auth::None,
            push: Some(Auth::None),
            epoch_s: 1_700_000_000,
            no_cache: false,
            log: Arc::new(move |line: &str| {
                let mut lines = sink.lock().unwrap();
                lines.push_str(line);
                lines.push('\n');
            }),
        };
        let done = build(&request, images, &Launcher::this_program(&[LAUNCHER])).await;
        let done = done.map_err(|error| chain(&error));
        let log = lines.lock().unwrap().clone();
        (done, log)
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

fn file(image: &UnpackedImage, path: &str) -> Option<String> {
    image.layer_dirs.iter().find_map(|layer| fs::read_to_string(layer.join(path)).ok())
}

async fn copies_only() {
    let world = World::new().await;
    world.write(&[
        ("Dockerfile", "FROM scratch\nARG GREETING\nENV PORT=3001 NAME=\"a b\"\nWORKDIR /srv/app\nCOPY . .\nCOPY --chmod=600 <<EOF /srv/made\n$GREETING \"$PORT\"\nEOF\nEXPOSE $PORT\nUSER 1000\nENTRYPOINT [\"/srv/app/run\"]\nCMD [\"x\"]\n"),
        (".dockerignore", "secret\nDockerfile\n"),
        ("secret", "secret"),
        ("run", "run"),
    ]);
    let tags = vec![world.reference("platform/x:sha-1"), world.reference("platform/x:latest")];
    let (built, log) = world.build(&world.images("builder", false), tags.clone()).await;
    let built = built.unwrap();
    assert!(log.contains("[stage-0 4/10] WORKDIR /srv/app") && log.contains("pushing"), "{log}");
    // Another builder, with an empty cache, makes the same image: nothing depends on the machine or the time.
    let (again, _) = world.build(&world.images("other", false), tags.clone()).await;
    assert_eq!(again.unwrap().digest, built.digest);
    let images = world.images("node", false);
    let image = images.ensure(&tags[0], &Auth::None).await.unwrap();
    assert_eq!(image.digest, built.digest);
    assert_eq!(images.ensure(&tags[1], &Auth::None).await.unwrap().digest, built.digest);
    assert_eq!(file(&image, "srv/app/run").as_deref(), Some("run"));
    assert_eq!(file(&image, "srv/app/secret"), None);
    assert_eq!(file(&image, "srv/made").as_deref(), Some("hello \"3001\"\n"));
    let run = &image.config.config;
    assert_eq!((run.working_dir.as_str(), run.user.as_str()), ("/srv/app", "1000"));
    assert_eq!(run.env, ["PORT=3001", "NAME=a b"]);
    assert!(run.exposed_ports.contains_key("3001/tcp"));
    assert_eq!(run.labels["org.opencontainers.image.revision"], "1a2b3c4");
    assert_eq!((image.host_image, image.substituted), (None, None));
    assert_eq!(image.config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    // The image stays usable when the registry is gone.
    assert_eq!(images.cached(&tags[0]).unwrap().unwrap().digest, built.digest);
}

async fn references_that_fail() {
    let world = World::new().await;
    let check = async |dockerfile: &str, no_host_images: bool, expected: &str| {
        world.write(&[("Dockerfile", dockerfile)]);
        let (done, _) = world.build(&world.images("builder", no_host_images), vec![]).await;
        let error = done.expect_err(dockerfile);
        assert!(error.contains(expected), "{dockerfile}: {error}");
    };
    check("FROM debian:12", true, "Dockerfile line 1: pulling debian:12").await;
    check("FROM redis", false, "offline").await;
    check("FROM localhost:1/x", false, "does not answer").await;
    check("FROM $NOTHING", false, "a variable is empty").await;
    check("FROM scratch\nCOPY none /", false, "Dockerfile line 2: COPY: \"none\" is not there").await;
    check("FROM scratch\nCOPY --chown=nobody Dockerfile /", false, "no matching entries").await;
    let missing = format!("FROM {}", world.reference("platform/none:1"));
    check(&missing, false, "is not in the registry").await;
}

async fn stages_and_commands() {
    let world = World::new().await;
    world.write(&[
        (
            "Dockerfile",
            "FROM busybox:1.36 AS build\nARG GREETING=none\nWORKDIR /src\nCOPY input .\nRUN echo \"$GREETING $(cat input)\" > out && mkdir -p /opt/made && ln -s out link\n\
             RUN --mount=type=cache,target=/kept touch /kept/x && ls /kept\n\
             FROM busybox:1.36\nCOPY --from=build --chown=node:node /src/ /app/\nUSER node\nRUN id -u; touch /tmp/mine\nCMD [\"cat\", \"/app/out\"]\n",
        ),
        ("input", "world"),
    ]);
    let images = world.images("builder", false);
    let tag = world.reference("platform/y:sha-2");
    let (built, log) = world.build(&images, vec![tag.clone()]).await;
    let built = built.unwrap_or_else(|error| panic!("{error}\n{log}"));
    assert!(
        log.contains("WARNING: busybox:1.36 is not available (offline): using this machine's sh"),
        "{log}"
    );
    assert!(log.lines().any(|line| line.ends_with(" 1000")), "the user is not node: {log}");
    assert_eq!((built.cached, built.warnings.len()), (0, 1), "{log}");
    let (again, log) = world.build(&images, vec![tag.clone()]).await;
    let again = again.unwrap();
    assert_eq!(
        (again.digest, again.cached, again.steps),
        (built.digest.clone(), built.steps, built.steps),
        "{log}"
    );
    assert!(log.contains("CACHED"), "{log}");
    let image = world.images("node", false).ensure(&tag, &Auth::None).await.unwrap();
    assert_eq!(file(&image, "app/out").as_deref(), Some("hello world\n"));
    assert_eq!(image.host_image.as_deref(), Some("busybox"));
    assert!(image.substituted.is_some());
    assert!(!image.layer_dirs.iter().any(|layer| layer.join("src").exists() || layer.join("proc").exists()));
    // Another input: the commands run again.
    world.write(&[("input", "moon")]);
    let (third, log) = world.build(&images, vec![world.reference("platform/y:sha-3")]).await;
    let third = third.unwrap();
    assert!(third.digest != built.digest && third.cached == 1, "{log}");
    let image =
        world.images("node", false).ensure(&world.reference("platform/y:sha-3"), &Auth::None).await.unwrap();
    assert_eq!(file(&image, "app/out").as_deref(), Some("hello moon\n"));
}

async fn commands_that_fail() {
    let world = World::new().await;
    world.write(&[("Dockerfile", "FROM busybox\nRUN true\nRUN echo broken >&2; exit 7\n")]);
    let (done, log) = world.build(&world.images("builder", false), vec![world.reference("p/x:1")]).await;
    assert_eq!(done.unwrap_err(), "Dockerfile line 3: \"echo broken >&2; exit 7\" ended with exit code 7");
    assert!(log.contains(" broken"), "{log}");
    assert!(world.images("builder", false).ensure(&world.reference("p/x:1"), &Auth::None).await.is_err());
    assert!(is_empty(&world.dir.path().join("builder/tmp")), "a failed build left files behind");
}

async fn removals() {
    let world = World::new().await;
    world.write(&[(
        "Dockerfile",
        "FROM busybox\nRUN mkdir /data && echo 1 > /data/a && echo 2 > /data/b\nRUN rm /data/a\nRUN test ! -e /data/a && test -e /data/b && rm -r /data && mkdir /data && echo 3 > /data/c\nRUN ls /data > /list\n",
    )]);
    let tag = world.reference("platform/z:1");
    let (built, log) = world.build(&world.images("builder", false), vec![tag.clone()]).await;
    built.unwrap_or_else(|error| panic!("{error}\n{log}"));
    let image = world.images("node", false).ensure(&tag, &Auth::None).await.unwrap();
    assert_eq!(file(&image, "list").as_deref(), Some("c\n"));
    assert!(registry::unpack::is_opaque(&image.layer_dirs[1].join("data")));
}

/// The machine's own files stay as they are; the image has what changed.
async fn changes_below_usr() {
    let world = World::new().await;
    let text = "FROM busybox\nRUN mkdir -p /usr/local/share/made && echo 1 > /usr/local/share/made/x && rm /usr/bin/env\nRUN test ! -e /usr/bin/env && cat /usr/local/share/made/x\n";
    world.write(&[("Dockerfile", text)]);
    let tag = world.reference("platform/u:1");
    let (built, log) = world.build(&world.images("builder", false), vec![tag.clone()]).await;
    built.unwrap_or_else(|error| panic!("{error}\n{log}"));
    let image = world.images("node", false).ensure(&tag, &Auth::None).await.unwrap();
    assert_eq!(file(&image, "usr/local/share/made/x").as_deref(), Some("1\n"));
    assert!(Path::new("/usr/bin/env").exists() && !Path::new("/usr/local/share/made").exists());
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}
