//! The ConfigMaps and Secrets that a pod reads, fetched before they are needed so that what uses them stays pure.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use controller::{ApiError, Cluster};
use object::{Key, kinds};
use serde_json::Value;

/// Why a value cannot be had, in the kubelet's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SourceError {
    #[error("{kind} {name:?} not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    Key { kind: &'static str, namespace: String, name: String, key: String },
    #[error("unsupported fieldPath: {0}")]
    Field(String),
}

/// Keys and values of one object.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// What was fetched; an object that does not exist is there as `None`.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    namespace: String,
    config_maps: HashMap<String, Option<Data>>,
    secrets: HashMap<String, Option<Data>>,
}

impl Sources {
    /// Fetches what is named and not here yet.
    pub(crate) async fn fetch(
        &mut self,
        cluster: &Cluster,
        namespace: &str,
        config_maps: &[String],
        secrets: &[String],
    ) -> Result<(), ApiError> {
        self.namespace = namespace.to_owned();
        for name in config_maps {
            if !self.config_maps.contains_key(name) {
                let found = cluster.get(&kinds::CONFIG_MAP, &Key::new(namespace, name)).await?;
                self.put_config_map(name, found);
            }
        }
        for name in secrets {
            if !self.secrets.contains_key(name) {
                let found = cluster.get(&kinds::SECRET, &Key::new(namespace, name)).await?;
                self.secrets.insert(name.clone(), found.map(|object| decoded(&object["data"])));
            }
        }
        Ok(())
    }

    pub(crate) fn put_config_map(&mut self, name: &str, object: Option<Value>) {
        if self.namespace.is_empty() {
            "n".clone_into(&mut self.namespace);
        }
        let data = object.map(|object| {
            let mut data = decoded(&object["binaryData"]);
            for (key, value) in object["data"].as_object().into_iter().flatten() {
                data.insert(key.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec());
            }
            data
        });
        self.config_maps.insert(name.to_owned(), data);
    }

    /// All of a ConfigMap by a reference with `name` and `optional`; none if it is optional and missing.
    pub(crate) fn config_map(&self, reference: &Value) -> Result<Option<Data>, SourceError> {
        whole("configmap", &self.config_maps, reference, "name")
    }

    pub(crate) fn secret(&self, reference: &Value) -> Result<Option<Data>, SourceError> {
        let key = if reference["secretName"].is_string() { "secretName" } else { "name" };
        whole("secret", &self.secrets, reference, key)
    }

    /// One key, by a reference with `name`, `key` and `optional`.
    pub(crate) fn config_map_key(&self, reference: &Value) -> Result<Option<Vec<u8>>, SourceError> {
        self.key("ConfigMap", self.config_map(reference)?, reference)
    }

    pub(crate) fn secret_key(&self, reference: &Value) -> Result<Option<Vec<u8>>, SourceError> {
        self.key("Secret", self.secret(reference)?, reference)
    }

    fn key(
        &self,
        kind: &'static str,
        data: Option<Data>,
        reference: &Value,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let key = reference["key"].as_str().unwrap_or_default();
        match data.and_then(|mut data| data.remove(key)) {
            Some(value) => Ok(Some(value)),
            None if reference["optional"] == true => Ok(None),
            None => Err(SourceError::Key {
                kind,
                namespace: self.namespace.clone(),
                name: reference["name"].as_str().unwrap_or_default().to_owned(),
                key: key.to_owned(),
            }),
        }
    }
}

fn whole(
    kind: &'static str,
    all: &HashMap<String, Option<Data>>,
    reference: &Value,
    name_key: &str,
) -> Result<Option<Data>, SourceError> {
    let name = reference[name_key].as_str().unwrap_or_default();
    match all.get(name) {
        Some(Some(data)) => Ok(Some(data.clone())),
        _ if reference["optional"] == true => Ok(None),
        _ => Err(SourceError::Missing { kind, name: name.to_owned() }),
    }
}

fn decoded(data: &Value) -> Data {
    let engine = base64::engine::general_purpose::STANDARD;
    let decode = |value: &Value| engine.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    data.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), decode(value))).collect()
}
