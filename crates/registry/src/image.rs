//! Image manifests and configs: the part of the OCI image specification (and Docker's schema 2, which has the same
//! shape under other media types) that Portolan reads and writes. Field names are the specification's.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::digest::Digest;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub const DOCKER_LAYER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// What a client that can read every manifest above says in `Accept`.
pub const MANIFEST_TYPES: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// A pointer to content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_string(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name: `amd64`, `arm64`.
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The machine this program runs on.
    pub fn here() -> Platform {
        Platform { architecture: architecture().to_string(), os: "linux".to_string(), variant: None }
    }
}

/// Go's name for this machine's processor, as configs and indexes spell it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// One image for one platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub config: Descriptor,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The same image for several platforms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

impl Index {
    /// The manifest for `platform`. An index without platforms and with one entry means that one.
    pub fn select(&self, platform: &Platform) -> Option<&Descriptor> {
        let fits =
            |wanted: &Platform| wanted.os == platform.os && wanted.architecture == platform.architecture;
        self.manifests.iter().find(|entry| entry.platform.as_ref().is_some_and(fits)).or_else(|| {
            match self.manifests.as_slice() {
                [only] if only.platform.is_none() => Some(only),
                _ => None,
            }
        })
    }
}

/// Either of the two, told apart by the media type, or by their fields where the type is missing.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyManifest {
    Image(Manifest),
    Index(Index),
}

impl AnyManifest {
    /// # Errors
    /// The bytes are not JSON of either shape.
    pub fn parse(bytes: &[u8]) -> Result<AnyManifest, serde_json::Error> {
        let value: Value = serde_json::from_slice(bytes)?;
        let declared = value.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        let is_index = matches!(declared, OCI_INDEX | DOCKER_LIST)
            || (value.get("manifests").is_some() && value.get("config").is_none());
        if is_index {
            serde_json::from_value(value).map(AnyManifest::Index)
        } else {
            serde_json::from_value(value).map(AnyManifest::Image)
        }
    }
}

/// An image's config file: how to run it, and what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub config: RunConfig,
    #[serde(default)]
    pub rootfs: RootFs,
    #[serde(default, deserialize_with = "null_is_default")]
    pub history: Vec<History>,
}

/// How a container of the image is run, unless the pod says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Docker's extension: instructions for images built on this one.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
}

impl RunConfig {
    /// The value of an environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets an environment variable where it stands, or appends it.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let pair = format!("{name}={value}");
        match self.env.iter_mut().find(|old| old.split_once('=').is_some_and(|(key, _)| key == name)) {
            Some(old) => *old = pair,
            None => self.env.push(pair),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".to_string(), diff_ids: Vec::new() }
    }
}

/// One step of how the image was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Docker writes `null` where it means "none of them".
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    input: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_config_with_nulls_is_read() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"],"Volumes":null,
            "OnBuild":null,"Labels":null,"Entrypoint":null,"WorkingDir":""},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let image: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(image.config.env("PATH"), Some("/bin"));
        assert_eq!(image.config.cmd, Some(vec!["sh".to_string()]));
        assert_eq!(image.config.entrypoint, None);
    }

    #[test]
    fn an_index_gives_the_manifest_of_the_platform() {
        let digest = Digest::of("x");
        let entry = |architecture: &str| Descriptor {
            platform: Some(Platform { architecture: architecture.into(), os: "linux".into(), variant: None }),
            ..Descriptor::new(OCI_MANIFEST, Digest::of(architecture), 1)
        };
        let index = Index {
            schema_version: 2,
            media_type: OCI_INDEX.into(),
            manifests: vec![entry("arm64"), entry("amd64"), Descriptor::new(OCI_MANIFEST, digest, 1)],
        };
        let amd = Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
        assert_eq!(index.select(&amd).map(|found| found.digest.clone()), Some(Digest::of("amd64")));
        let riscv = Platform { architecture: "riscv64".into(), ..amd };
        assert_eq!(index.select(&riscv), None);
    }

    #[test]
    fn setting_a_variable_keeps_its_place() {
        let mut run = RunConfig { env: vec!["A=1".into(), "B=2".into()], ..RunConfig::default() };
        run.set_env("A", "3");
        run.set_env("C", "=x");
        assert_eq!(run.env, ["A=3", "B=2", "C==x"]);
        assert_eq!(run.env("C"), Some("=x"));
    }
}
