//! A registry in front of another: what it does not have it asks for, keeps, and still has when the other is gone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, whatever goes wrong ends it")]

use std::future::IntoFuture as _;
use std::path::Path;
use std::sync::Arc;

use registry::client::{Auth, Client, Content, Location};
use registry::digest::Digest;
use registry::image::{OCI_INDEX, OCI_LAYER_TAR, OCI_MANIFEST, architecture};
use registry::pull::{Config, Images, Mirror, UnpackedImage};
use registry::{Access, Options, Registry};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Serves until the sender is dropped; then its connections close, too.
async fn serve(registry: Registry) -> (String, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Arc::new(registry).router();
    let (sender, receiver) = oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { drop(receiver.await) });
    let task = tokio::spawn(async move { drop(server.into_future().await) });
    (base, sender, task)
}

fn open(dir: &Path, offline: bool) -> Registry {
    Registry::open(dir, Options { access: Access::Open, offline }).unwrap()
}

/// Pushes `library/node:20-slim` for this platform and another, with one file `bin/node`.
async fn push_node(base: &str) {
    let client = Client::new().unwrap();
    let at = Location { base: base.to_string(), repository: "library/node".into(), namespace: None };
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o755);
    header.set_uid(nix::unistd::geteuid().as_raw().into());
    header.set_gid(nix::unistd::getegid().as_raw().into());
    layer.append_data(&mut header, "bin/node", b"node".as_slice()).unwrap();
    let layer = layer.into_inner().unwrap();
    let diff_id = Digest::of(&layer);
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": { "Cmd": ["node"] },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    })
    .to_string();
    let push = async |bytes: &[u8]| {
        let content = Content::Bytes(bytes.to_vec().into());
        client.push_blob(&at, &Digest::of(bytes), &content, None, &Auth::None).await.unwrap();
    };
    push(&layer).await;
    push(config.as_bytes()).await;
    let descriptor = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [descriptor(OCI_LAYER_TAR, &layer)],
    })
    .to_string();
    let put = async |name: &str, kind: &str, text: String| {
        client.push_manifest(&at, name, kind, &text.into(), &Auth::None).await.unwrap();
    };
    put(&Digest::of(&manifest).to_string(), OCI_MANIFEST, manifest.clone()).await;
    let mut entry: Value = descriptor(OCI_MANIFEST, manifest.as_bytes());
    entry["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
    put("20-slim", OCI_INDEX, index.to_string()).await;
}

#[tokio::test]
async fn base_images_come_from_behind_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (behind, stop, ended) = serve(open(&dir.path().join("behind"), true)).await;
    push_node(&behind).await;
    let front = open(&dir.path().join("front"), false)
        .with_upstream("docker.io", &behind)
        .with_upstream("ghcr.io", &behind);
    let (front, _keep, _task) = serve(front).await;
    let images = |name: &str| {
        let mirror = Some(Mirror { base: front.clone(), auth: Auth::None });
        Images::open(Config { dir: dir.path().join(name), mirror, ..Config::default() }).unwrap()
    };
    let pull = async |name: &str, reference: &str| -> Result<UnpackedImage, String> {
        let error = |error: registry::pull::ImageError| {
            format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string))
        };
        images(name).ensure(&reference.parse().unwrap(), &Auth::None).await.map_err(error)
    };
    let check = |image: &UnpackedImage| {
        assert_eq!(std::fs::read_to_string(image.layer_dirs[0].join("bin/node")).unwrap(), "node");
        assert_eq!((&image.host_image, &image.substituted), (&None, &None));
    };
    check(&pull("one", "node:20-slim").await.unwrap());
    // The registry behind says that there is no such tag: nothing stands in for a mistake, though something could.
    let unknown = pull("one", "ghcr.io/cloudnative-pg/postgresql:no-such-tag").await.unwrap_err();
    assert!(unknown.contains("is not in the registry"), "{unknown}");
    let other = pull("one", "localhost:1/node").await.unwrap_err();
    assert!(other.contains("does not answer"), "{other}");
    drop(stop);
    ended.await.unwrap();
    // A second machine, after the registry behind has gone.
    check(&pull("two", "node:20-slim").await.unwrap());
    let stand_in = pull("two", "busybox:1.36").await.unwrap();
    let warning = stand_in.substituted.unwrap();
    assert!(warning.starts_with("busybox:1.36 is not available (docker.io does not answer)"), "{warning}");
    assert!(pull("two", "redis:7").await.unwrap_err().contains("docker.io does not answer"));
}
