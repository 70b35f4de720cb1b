//! The kustomization file: its fields, read strictly.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::fieldspec::FieldSpec;
use crate::resource::Gvk;
use crate::tree::{Reader, shown};
use crate::{Error, FILE_NAMES};

/// A kustomization or component.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Kustomization {
    api_version: String,
    kind: String,
    /// Anything; kustomize ignores it too.
    metadata: Value,
    #[serde(deserialize_with = "or_default")]
    pub(crate) resources: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    bases: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) components: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) configurations: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) name_prefix: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) name_suffix: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) common_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: Vec<Label>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) common_annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) images: Vec<Image>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) replicas: Vec<Replica>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) patches: Vec<Patch>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) patches_strategic_merge: Vec<String>,
    #[serde(rename = "patchesJson6902", deserialize_with = "or_default")]
    pub(crate) patches_json: Vec<Patch>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) config_map_generator: Vec<Generator>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) secret_generator: Vec<Generator>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) generator_options: GeneratorOptions,
    #[serde(deserialize_with = "or_default")]
    pub(crate) replacements: Vec<crate::replace::Replacement>,
    pub(crate) sort_options: Option<SortOptions>,
}

/// An entry of `labels`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Label {
    #[serde(deserialize_with = "or_default")]
    pub(crate) pairs: BTreeMap<String, String>,
    pub(crate) include_selectors: bool,
    pub(crate) include_templates: bool,
    pub(crate) include_volume_claim_templates: bool,
    #[serde(rename = "fields", deserialize_with = "or_default")]
    pub(crate) field_specs: Vec<FieldSpec>,
}

/// An entry of `images`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) new_name: String,
    #[serde(deserialize_with = "text_or_number")]
    pub(crate) new_tag: String,
    pub(crate) tag_suffix: String,
    pub(crate) digest: String,
}

/// An entry of `replicas`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) count: i64,
}

/// An entry of `patches` or `patchesJson6902`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Patch {
    pub(crate) path: String,
    pub(crate) patch: String,
    pub(crate) target: Option<Selector>,
    pub(crate) options: Option<PatchOptions>,
}

/// What a patch may change besides.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct PatchOptions {
    pub(crate) allow_name_change: bool,
    pub(crate) allow_kind_change: bool,
}

/// Which resources a patch is for. All but the label selectors are anchored regular expressions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Selector {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) label_selector: String,
    pub(crate) annotation_selector: String,
}

impl Selector {
    pub(crate) fn gvk(&self) -> Gvk {
        Gvk { group: self.group.clone(), version: self.version.clone(), kind: self.kind.clone() }
    }
}

/// An entry of `configMapGenerator` or `secretGenerator`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Generator {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) behavior: String,
    #[serde(rename = "type")]
    pub(crate) secret_type: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) files: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) literals: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) envs: Vec<String>,
    pub(crate) env: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) options: GeneratorOptions,
}

/// `generatorOptions`, for all or for one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct GeneratorOptions {
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) disable_name_suffix_hash: bool,
    pub(crate) immutable: bool,
}

/// `sortOptions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct SortOptions {
    pub(crate) order: String,
    pub(crate) legacy_sort_options: Option<LegacySortOptions>,
}

/// `sortOptions.legacySortOptions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct LegacySortOptions {
    pub(crate) order_first: Vec<String>,
    pub(crate) order_last: Vec<String>,
}

/// Fields that kustomize has and this version does not: refused by name instead of ignored.
const UNSUPPORTED: [&str; 10] = [
    "vars",
    "transformers",
    "generators",
    "validators",
    "crds",
    "openapi",
    "helmCharts",
    "helmGlobals",
    "buildMetadata",
    "inventory",
];

/// Where a kustomization lies and what it says.
pub(crate) struct Loaded {
    pub(crate) file: String,
    pub(crate) kustomization: Kustomization,
}

impl Kustomization {
    /// Reads the kustomization of a directory. `component`: whether it has to be one, must not be, or may be either.
    pub(crate) fn load(reader: &Reader<'_>, dir: &str, component: Option<bool>) -> Result<Loaded, Error> {
        let mut found = vec![];
        for name in FILE_NAMES {
            let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            found.extend(reader.read(&path).map(|content| (path, content)));
        }
        let (file, content) = match found.len() {
            1 => found.swap_remove(0),
            0 => return Err(Error::NoKustomization { dir: shown(dir) }),
            _ => return Err(Error::ManyKustomizations { dir: shown(dir) }),
        };
        let invalid = |message: String| Error::Invalid { file: file.clone(), message };
        let text =
            std::str::from_utf8(&content).map_err(|_| invalid("the file is not UTF-8 text".to_owned()))?;
        let value = yaml::parse(text, yaml::Resolver::Kubectl);
        let value = value.map_err(|error| Error::Yaml { file: file.clone(), error })?;
        let mut kustomization = Self::from_value(value).map_err(&invalid)?;
        kustomization.check(component, dir).map_err(&invalid)?;
        let bases = std::mem::take(&mut kustomization.bases);
        kustomization.resources.extend(bases);
        Ok(Loaded { file, kustomization })
    }

    fn from_value(value: Value) -> Result<Self, String> {
        let Value::Object(map) = value else { return Err("kustomization.yaml is empty".to_owned()) };
        if let Some(field) = map.keys().find(|key| UNSUPPORTED.contains(&key.as_str())) {
            return Err(format!("the field '{field}' is not supported yet"));
        }
        let map: Map<String, Value> = map.into_iter().map(|(key, value)| (canonical(key), value)).collect();
        serde_json::from_value(Value::Object(map)).map_err(|error| format!("invalid Kustomization: {error}"))
    }

    fn check(&self, component: Option<bool>, dir: &str) -> Result<(), String> {
        let (kind, version) = match self.kind.as_str() {
            "" | "Kustomization" => ("Kustomization", "kustomize.config.k8s.io/v1beta1"),
            "Component" => ("Component", "kustomize.config.k8s.io/v1alpha1"),
            _ => return Err("kind should be Kustomization or Component".to_owned()),
        };
        if !self.api_version.is_empty() && self.api_version != version {
            return Err(format!("apiVersion for {kind} should be {version}"));
        }
        if let Some(sort) = &self.sort_options {
            match (sort.order.as_str(), &sort.legacy_sort_options) {
                ("legacy", _) | ("fifo", None) => {}
                ("fifo", Some(_)) => {
                    return Err(
                        "the field 'sortOptions.legacySortOptions' is set but the selected sort order is \
                                'fifo', not 'legacy'"
                            .to_owned(),
                    );
                }
                _ => return Err("the field 'sortOptions.order' must be one of [fifo, legacy]".to_owned()),
            }
        }
        match (component, kind) {
            (Some(true), "Kustomization") => {
                Err(format!("expected kind 'Component' for path '{}' but got 'Kustomization'", shown(dir)))
            }
            (Some(false), "Component") => {
                Err(format!("expected kind != 'Component' for path '{}'", shown(dir)))
            }
            _ => Ok(()),
        }
    }
}

/// Go's JSON reader takes field names in any case.
fn canonical(key: String) -> String {
    const NAMES: [&str; 6] = [
        "namePrefix",
        "nameSuffix",
        "commonLabels",
        "commonAnnotations",
        "configMapGenerator",
        "secretGenerator",
    ];
    NAMES.iter().find(|name| name.eq_ignore_ascii_case(&key)).map_or(key, |name| (*name).to_owned())
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(source: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(source)?.unwrap_or_default())
}

/// `newTag: 1.10` is meant as text, but only its author knows which; kustomize refuses it too, except for integers
/// and floats whose text JSON keeps.
fn text_or_number<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    match Value::deserialize(source)? {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => Err(serde::de::Error::custom(format!("newTag has to be a string, put {other} in quotes"))),
    }
}
