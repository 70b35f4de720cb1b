//! Images on this machine: pulled, verified, unpacked for overlay mounts, and kept for the next use.
//!
//! Everything below the directory is a cache: deleting it, while nothing runs on it, costs a new pull. Several
//! processes may share it: entries appear by renaming and are never changed.
//!
//! ```text
//! blobs/<hex>        manifests, configs and layers as the registry gave them
//! layers/<hex>/fs    the layer with that digest, unpacked; layers/<hex>/diff-id beside it
//! references/<hex of the reference's name>   the digest it had last
//! steps/<hex>        the layer that a build step with this key made
//! mounts/<hex>       directories of RUN --mount=type=cache
//! tmp/               on its way
//! ```

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::base::{self, BaseError, HOST_IMAGE_LABEL, HostImage};
use crate::client::{Auth, Client, ClientError, Content, Location};
use crate::digest::Digest;
use crate::image::{AnyManifest, Descriptor, ImageConfig, Manifest, OCI_CONFIG, OCI_MANIFEST, Platform};
use crate::reference::Reference;
use crate::store::MAX_MANIFEST_BYTES;
use crate::unpack::{UnpackError, unpack};

/// Layers fetched at once: enough to fill a line, few enough to leave the processors to the pods.
const LAYERS_AT_ONCE: usize = 3;
/// Largest image config.
const MAX_CONFIG_BYTES: u64 = MAX_MANIFEST_BYTES as u64;

/// How images are found.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where images are kept.
    pub dir: PathBuf,
    /// The registry that is asked for every image not named after a loopback host, with its own credentials:
    /// the embedded registry, which passes on what it does not have.
    pub mirror: Option<Mirror>,
    /// Never speak to a registry on another machine.
    pub offline: bool,
    /// Never let this machine's programs stand in for a base image.
    pub no_host_images: bool,
}

#[derive(Clone, Debug)]
pub struct Mirror {
    /// `http://127.0.0.1:7007`, without a slash at the end.
    pub base: String,
    pub auth: Auth,
}

/// An image ready to be mounted.
#[derive(Clone, Debug)]
pub struct UnpackedImage {
    pub reference: Reference,
    /// Of the manifest; of the config for a host image that no registry knows.
    pub digest: Digest,
    pub config: ImageConfig,
    /// Directories for an overlay mount, top layer first. Whiteouts are overlayfs whiteouts.
    pub layer_dirs: Vec<PathBuf>,
    /// The layers' descriptors, lowest first.
    pub layers: Vec<Descriptor>,
    /// Short name of the host base image at the bottom: the machine's `/usr` belongs under the layers.
    pub host_image: Option<String>,
    /// Why this is not the image that was asked for: a sentence for a build log or a pod event.
    pub substituted: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("pulling {0}")]
    Pull(String, #[source] ClientError),
    #[error("pushing {0}")]
    Push(String, #[source] ClientError),
    #[error("{0} is not on this machine, and no other may be asked (offline)")]
    Offline(String),
    #[error("{reference}: {source}")]
    Base {
        reference: String,
        #[source]
        source: BaseError,
    },
    #[error("{0} has no image for {1}")]
    Platform(String, String),
    #[error("{0}: the image is damaged: {1}")]
    Damaged(String, String),
    #[error("{reference}: layer {layer}")]
    Unpack {
        reference: String,
        layer: Digest,
        #[source]
        source: UnpackError,
    },
    #[error("the image cache: {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    fn is_unavailable(&self) -> bool {
        match self {
            ImageError::Pull(_, source) => source.is_unavailable(),
            ImageError::Offline(_) => true,
            _ => false,
        }
    }
}

type Result<T, E = ImageError> = std::result::Result<T, E>;

/// The images of this machine.
pub struct Images {
    config: Config,
    client: Client,
    /// One lock per layer under way, so that two pods do not unpack it twice.
    busy: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Opens the cache in `config.dir`, made if missing.
    pub fn open(config: Config) -> Result<Images> {
        for part in ["blobs", "layers", "references", "tmp", "steps"] {
            let path = config.dir.join(part);
            fs::create_dir_all(&path).map_err(|source| ImageError::File { path, source })?;
        }
        let client = Client::new().map_err(|error| ImageError::Pull("images".to_string(), error));
        Ok(Images { config, client: client?, busy: Mutex::new(HashMap::new()) })
    }

    /// The image, pulled and unpacked unless it is here. A tag is looked up anew each time; when the registry does not
    /// answer, the image it named last is used, then a host base image.
    ///
    /// # Errors
    /// The registry says that there is no such image, or refuses; or it does not answer and nothing stands in.
    pub async fn ensure(&self, reference: &Reference, auth: &Auth) -> Result<UnpackedImage> {
        let error = match self.pull(reference, auth).await {
            Err(error) if error.is_unavailable() => error,
            done => return done,
        };
        if let Some(image) = self.cached(reference)? {
            return Ok(image);
        }
        if self.config.no_host_images || base::stand_in(reference).is_none() {
            return Err(error);
        }
        let (wanted, reason) = (reference.clone(), reason_of(&error));
        let made = tokio::task::spawn_blocking(move || base::make(&wanted, &reason)).await;
        let image = made.map_err(|_| ImageError::Offline(reference.familiar()))?;
        let image = image.map_err(|source| ImageError::Base { reference: reference.familiar(), source })?;
        Ok(from_host(reference, image))
    }

    /// The image as it was pulled last, without asking any registry; none if a part is missing.
    pub fn cached(&self, reference: &Reference) -> Result<Option<UnpackedImage>> {
        let digest = match &reference.digest {
            Some(digest) => Some(digest.clone()),
            None => fs::read_to_string(self.name_file(reference)).ok().and_then(|text| text.parse().ok()),
        };
        let Some(digest) = digest else { return Ok(None) };
        let Some(manifest) = self.read_blob(&digest) else { return Ok(None) };
        let Ok(AnyManifest::Image(manifest)) = AnyManifest::parse(&manifest) else { return Ok(None) };
        let Some(config) = self.read_blob(&manifest.config.digest) else { return Ok(None) };
        if manifest.layers.iter().any(|layer| !self.layer_dir(&layer.digest).is_dir()) {
            return Ok(None);
        }
        self.assemble(reference, digest, &manifest, &config).map(Some)
    }

    /// Sends an image of this cache to the registry that `reference` names. `config` and `manifest` are stored first.
    pub async fn push(&self, digest: &Digest, reference: &Reference, auth: &Auth) -> Result<()> {
        let at = self.location(reference)?.0;
        let damaged = |text: &str| ImageError::Damaged(reference.to_string(), text.to_string());
        let bytes = self.read_blob(digest).ok_or_else(|| damaged("its manifest is not in the cache"))?;
        let Ok(AnyManifest::Image(manifest)) = AnyManifest::parse(&bytes) else {
            return Err(damaged("its manifest is not one image's"));
        };
        let failed = |error| ImageError::Push(reference.to_string(), error);
        for part in manifest.layers.iter().chain([&manifest.config]) {
            let content = Content::File(self.blob_file(&part.digest));
            self.client.push_blob(&at, &part.digest, &content, None, auth).await.map_err(failed)?;
        }
        let name = reference.manifest();
        let bytes = Bytes::from(bytes);
        self.client.push_manifest(&at, &name, &manifest.media_type, &bytes, auth).await.map_err(failed)
    }

    /// Stores an image whose layers are in the cache; returns the digests of its manifest and its config.
    pub(crate) fn store(&self, config: &ImageConfig, layers: Vec<Descriptor>) -> Result<(Digest, Digest)> {
        let json =
            |error: serde_json::Error| ImageError::Damaged("the built image".to_string(), error.to_string());
        let config = serde_json::to_vec(config).map_err(json)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_string(),
            config: Descriptor::new(OCI_CONFIG, Digest::of(&config), config.len() as u64),
            layers,
            annotations: Default::default(),
        };
        let manifest = serde_json::to_vec(&manifest).map_err(json)?;
        let image_id = self.write_blob(&config)?;
        Ok((self.write_blob(&manifest)?, image_id))
    }

    /// Remembers what a reference names, for [`Images::cached`].
    pub(crate) fn remember(&self, reference: &Reference, digest: &Digest) -> Result<()> {
        self.write_file(&self.name_file(reference), digest.to_string().as_bytes())
    }

    pub(crate) fn blob_file(&self, digest: &Digest) -> PathBuf {
        self.config.dir.join("blobs").join(digest.hex())
    }

    pub(crate) fn layer_dir(&self, digest: &Digest) -> PathBuf {
        self.config.dir.join("layers").join(digest.hex()).join("fs")
    }

    pub(crate) fn step_file(&self, key: &Digest) -> PathBuf {
        self.config.dir.join("steps").join(key.hex())
    }

    /// A directory that builds keep between runs, by its name in the Dockerfile.
    pub(crate) fn mount_dir(&self, id: &str) -> PathBuf {
        self.config.dir.join("mounts").join(Digest::of(id).hex())
    }

    /// A fresh path on the cache's file system.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.config.dir.join("tmp").join(format!("{:032x}", rand::random::<u128>()))
    }

    /// Moves an unpacked layer to its place.
    pub(crate) fn adopt_layer(&self, unpacked: &Path, layer: &Digest, diff_id: &Digest) -> Result<()> {
        let beside = self.temporary();
        let place = self.config.dir.join("layers").join(layer.hex());
        let moved = fs::create_dir(&beside)
            .and_then(|()| fs::write(beside.join("diff-id"), diff_id.to_string()))
            .and_then(|()| fs::rename(unpacked, beside.join("fs")))
            .and_then(|()| match fs::rename(&beside, &place) {
                // Somebody else was faster; the content is the same.
                Err(_) if place.is_dir() => fs::remove_dir_all(&beside),
                done => done,
            });
        moved.map_err(|source| ImageError::File { path: place, source })
    }

    /// Where to ask for an image, and with which credentials if not the caller's.
    fn location(&self, reference: &Reference) -> Result<(Location, Option<Auth>)> {
        let own = Location::of(reference);
        if own.base.starts_with("http://") {
            return Ok((own, None));
        }
        match &self.config.mirror {
            Some(mirror) => {
                let namespace = Some(reference.registry.clone());
                Ok((Location { base: mirror.base.clone(), namespace, ..own }, Some(mirror.auth.clone())))
            }
            None if self.config.offline => Err(ImageError::Offline(reference.familiar())),
            None => Ok((own, None)),
        }
    }

    async fn pull(&self, reference: &Reference, auth: &Auth) -> Result<UnpackedImage> {
        if reference.digest.is_some()
            && let Some(image) = self.cached(reference)?
        {
            return Ok(image);
        }
        let (at, own) = self.location(reference)?;
        let auth = own.as_ref().unwrap_or(auth);
        let failed = |error| ImageError::Pull(reference.familiar(), error);
        let damaged = |text: String| ImageError::Damaged(reference.familiar(), text);
        let mut fetched = self.client.manifest(&at, &reference.manifest(), auth).await.map_err(failed)?;
        if let AnyManifest::Index(index) = parse(&fetched.bytes).map_err(damaged)? {
            let here = Platform::here();
            let platform =
                || ImageError::Platform(reference.familiar(), format!("{}/{}", here.os, here.architecture));
            let chosen = index.select(&here).ok_or_else(platform)?.digest.to_string();
            fetched = self.client.manifest(&at, &chosen, auth).await.map_err(failed)?;
        }
        let AnyManifest::Image(manifest) = parse(&fetched.bytes).map_err(damaged)? else {
            return Err(damaged("an index names an index".to_string()));
        };
        let config = self.fetch_config(reference, &at, auth, &manifest.config).await?;
        let parsed: ImageConfig =
            serde_json::from_slice(&config).map_err(|error| damaged(format!("its config: {error}")))?;
        if parsed.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(damaged("its config and manifest have different numbers of layers".to_string()));
        }
        let layers = manifest.layers.iter().zip(&parsed.rootfs.diff_ids);
        // Collected: a stream over the closure itself would not be `Send` for callers that spawn this.
        let work: Vec<_> =
            layers.map(|(layer, diff_id)| self.fetch_layer(reference, &at, auth, layer, diff_id)).collect();
        futures::stream::iter(work).buffer_unordered(LAYERS_AT_ONCE).try_collect::<Vec<()>>().await?;
        self.write_blob(&fetched.bytes)?;
        self.remember(reference, &fetched.digest)?;
        self.assemble(reference, fetched.digest, &manifest, &config)
    }

    async fn fetch_config(
        &self,
        name: &Reference,
        at: &Location,
        auth: &Auth,
        config: &Descriptor,
    ) -> Result<Vec<u8>> {
        if let Some(bytes) = self.read_blob(&config.digest) {
            return Ok(bytes);
        }
        if config.size > MAX_CONFIG_BYTES {
            return Err(ImageError::Damaged(
                name.familiar(),
                format!("its config has {} bytes", config.size),
            ));
        }
        let path = self.temporary();
        let done = self.client.blob(at, config, auth, &path).await;
        let bytes = done
            .map_err(|error| ImageError::Pull(name.familiar(), error))
            .and_then(|()| fs::read(&path).map_err(|source| ImageError::File { path: path.clone(), source }));
        let _ = fs::remove_file(&path);
        let bytes = bytes?;
        self.write_blob(&bytes)?;
        Ok(bytes)
    }

    async fn fetch_layer(
        &self,
        name: &Reference,
        at: &Location,
        auth: &Auth,
        layer: &Descriptor,
        diff_id: &Digest,
    ) -> Result<()> {
        let lock = self.lock_of(&layer.digest);
        let _held = lock.lock().await;
        if self.layer_dir(&layer.digest).is_dir() && self.blob_file(&layer.digest).is_file() {
            return Ok(());
        }
        let blob = self.blob_file(&layer.digest);
        if !blob.is_file() {
            let path = self.temporary();
            let done = self.client.blob(at, layer, auth, &path).await;
            if done.is_err() {
                let _ = fs::remove_file(&path);
            }
            done.map_err(|error| ImageError::Pull(name.familiar(), error))?;
            fs::rename(&path, &blob).map_err(|source| ImageError::File { path: blob.clone(), source })?;
        }
        let (target, wanted) = (self.temporary(), diff_id.clone());
        let (into, from) = (target.clone(), blob.clone());
        let work = tokio::task::spawn_blocking(move || {
            fs::create_dir(&into).map_err(UnpackError::Read)?;
            unpack(fs::File::open(from).map_err(UnpackError::Read)?, &into)
        });
        let unpacked = work.await.unwrap_or_else(|error| Err(UnpackError::Read(io::Error::other(error))));
        let failed =
            |source| ImageError::Unpack { reference: name.familiar(), layer: layer.digest.clone(), source };
        let checked = unpacked.map_err(failed).and_then(|actual| {
            let text = format!("layer {} unpacks to {actual}, its config says {wanted}", layer.digest);
            if actual == wanted { Ok(()) } else { Err(ImageError::Damaged(name.familiar(), text)) }
        });
        let adopted = checked.and_then(|()| self.adopt_layer(&target, &layer.digest, diff_id));
        if adopted.is_err() {
            let _ = fs::remove_dir_all(&target);
        }
        adopted
    }

    fn lock_of(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| Arc::strong_count(lock) > 1);
        busy.entry(digest.clone()).or_default().clone()
    }

    fn assemble(
        &self,
        reference: &Reference,
        digest: Digest,
        manifest: &Manifest,
        config: &[u8],
    ) -> Result<UnpackedImage> {
        let config: ImageConfig = serde_json::from_slice(config)
            .map_err(|error| ImageError::Damaged(reference.familiar(), format!("its config: {error}")))?;
        let host_image = config.config.labels.get(HOST_IMAGE_LABEL).cloned();
        let substituted = host_image.as_ref().map(|name| {
            format!("{} was built on this machine's {name}, not on the real base image", reference.familiar())
        });
        let layer_dirs = manifest.layers.iter().rev().map(|layer| self.layer_dir(&layer.digest)).collect();
        let layers = manifest.layers.clone();
        Ok(UnpackedImage {
            reference: reference.clone(),
            digest,
            config,
            layer_dirs,
            layers,
            host_image,
            substituted,
        })
    }

    fn name_file(&self, reference: &Reference) -> PathBuf {
        self.config.dir.join("references").join(Digest::of(reference.to_string()).hex())
    }

    fn read_blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = fs::read(self.blob_file(digest)).ok()?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }

    fn write_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        self.write_file(&self.blob_file(&digest), bytes)?;
        Ok(digest)
    }

    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let beside = self.temporary();
        let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
        written.map_err(|source| ImageError::File { path: path.to_path_buf(), source })
    }
}

fn parse(bytes: &[u8]) -> Result<AnyManifest, String> {
    AnyManifest::parse(bytes).map_err(|error| format!("its manifest: {error}"))
}

fn reason_of(error: &ImageError) -> String {
    match error {
        ImageError::Pull(_, ClientError::Status { message, .. }) => message.clone(),
        ImageError::Pull(_, source) => source.to_string(),
        _ => "offline".to_string(),
    }
}

fn from_host(reference: &Reference, image: HostImage) -> UnpackedImage {
    let digest = Digest::of(serde_json::to_vec(&image.config).unwrap_or_default());
    UnpackedImage {
        reference: reference.clone(),
        digest,
        config: image.config,
        layer_dirs: Vec::new(),
        layers: Vec::new(),
        host_image: Some(image.name),
        substituted: Some(image.warning),
    }
}
