//! Images for containers: pull policy, credentials, and the events that tell of it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use controller::EventType;
use object::{Key, kinds};
use registry::client::Auth;
use registry::pull::{ImageError, UnpackedImage};
use registry::{Reference, pull};
use serde_json::Value;

use crate::kubelet::Config;
use crate::pod::Pod;
use crate::pod::sources::Sources;

/// The node's images.
pub(crate) struct Images {
    store: pull::Images,
    registry_host: String,
    registry_auth: Auth,
    /// Images that this machine's programs stand in for; no registry has to be asked for them twice.
    stand_ins: Mutex<HashMap<String, UnpackedImage>>,
}

/// The waiting state of a container whose image is not there: reason and message.
pub(crate) type Absent = (&'static str, String);

impl Images {
    pub(crate) fn open(config: &Config) -> Result<Images, ImageError> {
        Ok(Images {
            store: pull::Images::open(config.images.clone())?,
            registry_host: config.registry_host.clone(),
            registry_auth: config.registry_auth.clone(),
            stand_ins: Mutex::default(),
        })
    }

    /// One attempt to have the image, as the container's pull policy says.
    pub(crate) async fn get(
        &self,
        pod: &Pod,
        image: &str,
        policy: Option<&str>,
    ) -> Result<UnpackedImage, Absent> {
        let reference: Reference = image.parse().map_err(|error| {
            ("InvalidImageName", format!("Failed to apply default image tag {image:?}: {error}"))
        })?;
        let by_default = if reference.digest.is_none() && reference.manifest() == "latest" {
            "Always"
        } else {
            "IfNotPresent"
        };
        let policy = policy.unwrap_or(by_default);
        if policy != "Always" {
            let stand_in = self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner).get(image).cloned();
            let here = self.store.cached(&reference).ok().flatten().or(stand_in);
            if let Some(found) = here {
                let message = format!("Container image {image:?} already present on machine");
                pod.event(EventType::Normal, "Pulled", &message).await;
                tell_of_stand_in(pod, &found).await;
                return Ok(found);
            }
            if policy == "Never" {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                pod.event(EventType::Warning, "ErrImageNeverPull", &message).await;
                return Err(("ErrImageNeverPull", message));
            }
        }
        pod.event(EventType::Normal, "Pulling", &format!("Pulling image {image:?}")).await;
        let begun = Instant::now();
        let auth = self.auth(pod, &reference).await;
        let pulled = self.store.ensure(&reference, &auth);
        match pulled.await {
            Ok(found) => {
                let seconds = begun.elapsed().as_secs_f64();
                let size: u64 = found.layers.iter().map(|layer| layer.size).sum();
                let message = format!(
                    "Successfully pulled image {image:?} in {seconds:.3}s. Image size: {size} bytes."
                );
                pod.event(EventType::Normal, "Pulled", &message).await;
                tell_of_stand_in(pod, &found).await;
                if found.substituted.is_some() {
                    let mut known = self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner);
                    known.insert(image.to_owned(), found.clone());
                }
                Ok(found)
            }
            Err(error) => {
                let message = format!("Failed to pull image {image:?}: {}", controller::chain(&error));
                pod.event(EventType::Warning, "Failed", &message).await;
                Err(("ErrImagePull", controller::chain(&error)))
            }
        }
    }

    /// The platform's own registry gets the node's token, others what the pod's pull secrets hold for them.
    async fn auth(&self, pod: &Pod, reference: &Reference) -> Auth {
        if reference.registry == self.registry_host {
            return self.registry_auth.clone();
        }
        let object = pod.object();
        for reference_to_secret in object["spec"]["imagePullSecrets"].as_array().into_iter().flatten() {
            let Some(name) = reference_to_secret["name"].as_str() else { continue };
            let key = Key::new(&pod.key.namespace, name);
            let Ok(Some(_)) = pod.node.cluster.get(&kinds::SECRET, &key).await else { continue };
            let mut sources = Sources::default();
            let fetched = sources.fetch(&pod.node.cluster, &pod.key.namespace, &[], &[name.to_owned()]).await;
            let Ok(Some(mut data)) = sources.secret(&serde_json::json!({"name": name})) else { continue };
            let Some(config) = data.remove(".dockerconfigjson").filter(|_| fetched.is_ok()) else { continue };
            let config: Value = serde_json::from_slice(&config).unwrap_or_default();
            let entry = &config["auths"][&reference.registry];
            if let Some(auth) = entry["auth"].as_str().and_then(registry::client::decode_docker_auth) {
                return auth;
            }
        }
        Auth::None
    }
}

/// Says that this machine's programs stand in for an image, which is news but no trouble.
async fn tell_of_stand_in(pod: &Pod, image: &UnpackedImage) {
    if let Some(sentence) = &image.substituted {
        pod.event(EventType::Normal, "HostImage", sentence).await;
    } else if let Some(name) = &image.host_image {
        let message = format!(
            "{} is built on the host base image {name}: it runs on this machine's own programs",
            image.reference.familiar()
        );
        pod.event(EventType::Normal, "HostImage", &message).await;
    }
}
