//! The kustomization file: its fields, read strictly, older ones moved to their successors.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fieldspec::Specs;
use crate::generate::{ConfigMapGenerator, GeneratorOptions, SecretGenerator};
use crate::order::SortOptions;
use crate::reader::{Look, Reader, text};
use crate::references::vars::Var;
use crate::renderer::{COST, Parsed};
use crate::transform::images::Image;
use crate::transform::patch::PatchTransformer;
use crate::transform::replacement::Replacement;
use crate::transform::replicas::Replica;
use crate::tree::shown;
use crate::{Error, FILE_NAMES, json};

/// A kustomization or component, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Kustomization {
    api_version: String,
    pub(crate) kind: String,
    metadata: Option<Metadata>,
    pub(crate) openapi: BTreeMap<String, String>,
    pub(crate) name_prefix: String,
    pub(crate) name_suffix: String,
    pub(crate) namespace: String,
    pub(crate) common_labels: BTreeMap<String, String>,
    pub(crate) labels: Vec<Label>,
    pub(crate) common_annotations: BTreeMap<String, String>,
    pub(crate) patches_strategic_merge: Vec<String>,
    #[serde(rename = "patchesJson6902")]
    pub(crate) patches_json: Vec<PatchTransformer>,
    pub(crate) patches: Vec<PatchTransformer>,
    pub(crate) images: Vec<Image>,
    image_tags: Vec<Image>,
    pub(crate) replacements: Vec<Replacement>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) vars: Vec<Var>,
    pub(crate) sort_options: Option<SortOptions>,
    pub(crate) resources: Vec<String>,
    pub(crate) components: Vec<String>,
    pub(crate) crds: Vec<String>,
    bases: Vec<String>,
    pub(crate) config_map_generator: Vec<ConfigMapGenerator>,
    pub(crate) secret_generator: Vec<SecretGenerator>,
    helm_globals: Option<Value>,
    helm_charts: Vec<Value>,
    helm_chart_inflation_generator: Vec<Value>,
    pub(crate) generator_options: Option<GeneratorOptions>,
    pub(crate) configurations: Vec<String>,
    pub(crate) generators: Vec<String>,
    pub(crate) transformers: Vec<String>,
    pub(crate) validators: Vec<String>,
    pub(crate) build_metadata: Vec<String>,
}

/// `metadata` of a kustomization: checked, and of no effect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// An entry of `labels`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Label {
    pub(crate) pairs: BTreeMap<String, String>,
    pub(crate) include_selectors: bool,
    pub(crate) include_templates: bool,
    pub(crate) include_volume_claim_templates: bool,
    pub(crate) fields: Specs,
}

/// The kinds that a file can be.
pub(crate) const KUSTOMIZATION: &str = "Kustomization";
pub(crate) const COMPONENT: &str = "Component";

/// Older fields, and what kustomize says about each.
const DEPRECATED: [(&str, &str, &str); 6] = [
    ("bases", "resources", ""),
    ("commonLabels", "labels", ""),
    ("imageTags", "images", ""),
    ("patchesJson6902", "patches", ""),
    ("patchesStrategicMerge", "patches", ""),
    ("vars", "replacements", "[EXPERIMENTAL] "),
];

/// Where a kustomization lies and what it says.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// From the root of the tree.
    pub(crate) file: String,
    /// One of [`FILE_NAMES`].
    pub(crate) name: &'static str,
    pub(crate) kustomization: Kustomization,
    pub(crate) warnings: Vec<String>,
}

impl Kustomization {
    /// Reads the kustomization of a directory.
    pub(crate) fn load(reader: &Reader<'_>, dir: &str) -> Result<Arc<Loaded>, Error> {
        let mut found = vec![];
        for name in FILE_NAMES {
            let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            let followed = reader.follow(&path).filter(|followed| reader.permits(dir, followed));
            let Some(followed) = followed else { continue };
            match reader.look(&path, &followed, |known, id| known.kustomizations.get(&(path.clone(), id)))? {
                Look::Missing => {}
                look => found.push((name, path, look)),
            }
        }
        let (name, file, look) = match found.len() {
            1 => found.swap_remove(0),
            0 => return Err(Error::NoKustomization { dir: shown(dir) }),
            _ => return Err(Error::ManyKustomizations { dir: shown(dir) }),
        };
        let (content, id) = match look {
            Look::Known(loaded) => return Ok(loaded),
            Look::Content(content, id) => (content, id),
            Look::Missing => return Err(Error::NoKustomization { dir: shown(dir) }),
        };
        let loaded = Arc::new(Self::parse(dir, file.clone(), name, &content)?);
        reader.keep(id, |known, id| {
            let (size, key) = (content.len(), (file, id));
            known.kustomizations.insert(key, Parsed { what: loaded.clone(), size: size as u64 }, COST * size);
        });
        Ok(loaded)
    }

    fn parse(dir: &str, file: String, name: &'static str, content: &[u8]) -> Result<Loaded, Error> {
        let documents = yaml::parse_documents(text(&file, content)?, yaml::Resolver::Kubectl)
            .map_err(|error| Error::Yaml { file: file.clone(), error })?;
        let (kustomization, mut warnings) = Self::read(documents.first().unwrap_or(&Value::Null), dir)
            .map_err(|message| Error::Invalid { file: file.clone(), message })?;
        if documents.len() > 1 {
            warnings.push(format!("# Warning: only the first of {} documents is read", documents.len()));
        }
        for warning in &mut warnings {
            *warning = format!("{file}: {warning}");
        }
        Ok(Loaded { file, name, kustomization, warnings })
    }

    /// What a value says, and what in it is deprecated.
    fn read(value: &Value, dir: &str) -> Result<(Self, Vec<String>), String> {
        let mut read: Self =
            json::strict(value).map_err(|error| format!("invalid Kustomization: {error}"))?;
        let empty = Map::new();
        let fields = value.as_object().unwrap_or(&empty);
        let said = |name: &str| {
            fields.iter().any(|(field, value)| field.eq_ignore_ascii_case(name) && !value.is_null())
        };
        let deprecated = DEPRECATED.iter().filter(|(field, ..)| said(field));
        let warnings = deprecated.map(|(field, successor, note)| {
            format!(
                "# Warning: '{field}' is deprecated. Please use '{successor}' instead. {note}Run 'kustomize edit fix' \
                 to update your Kustomization automatically."
            )
        });
        let warnings = warnings.collect();
        if !fields.iter().any(|(name, value)| is_content(name, value)) {
            return Err("kustomization.yaml is empty".to_owned());
        }
        read.migrate();
        read.check(dir)?;
        Ok((read, warnings))
    }

    /// Moves what older fields say to the newer ones.
    fn migrate(&mut self) {
        if self.kind.is_empty() {
            KUSTOMIZATION.clone_into(&mut self.kind);
        }
        self.resources.append(&mut self.bases);
        self.images.append(&mut self.image_tags);
        let config_maps = self.config_map_generator.iter_mut().map(|map| (&mut map.env, &mut map.envs));
        let secrets = self.secret_generator.iter_mut().map(|secret| (&mut secret.env, &mut secret.envs));
        for (env, envs) in config_maps.chain(secrets) {
            if !env.is_empty() {
                envs.push(std::mem::take(env));
            }
        }
    }

    fn check(&self, dir: &str) -> Result<(), String> {
        let mut wrong = vec![];
        if self.kind != KUSTOMIZATION && self.kind != COMPONENT {
            wrong.push(format!("kind should be {KUSTOMIZATION} or {COMPONENT}"));
        }
        let version = if self.kind == COMPONENT { "v1alpha1" } else { "v1beta1" };
        let api_version = format!("kustomize.config.k8s.io/{version}");
        if !self.api_version.is_empty() && self.api_version != api_version {
            wrong.push(format!("apiVersion for {} should be {api_version}", self.kind));
        }
        if !wrong.is_empty() {
            return Err(format!(
                "Failed to read kustomization file under {}: {}",
                shown(dir),
                wrong.join("; ")
            ));
        }
        let charts = [
            ("helmCharts", &self.helm_charts),
            ("helmChartInflationGenerator", &self.helm_chart_inflation_generator),
        ];
        match charts.iter().find(|(_, charts)| !charts.is_empty()) {
            Some((field, _)) => Err(format!(
                "'{field}' is not supported: inflating a chart runs the program helm (must specify --enable-helm), \
                 which is not done here; render the chart into a file of `resources`, or deliver it by itself"
            )),
            None => Ok(()),
        }
    }
}

/// Whether a field makes a kustomization more than empty. An older field only does by what moves to its successor.
fn is_content(name: &str, value: &Value) -> bool {
    let is = |names: &[&str]| names.iter().any(|other| other.eq_ignore_ascii_case(name));
    match value {
        _ if is(&["apiVersion", "kind"]) => false,
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) if is(&["bases", "imageTags", "helmChartInflationGenerator"]) => {
            !items.is_empty()
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: &Value, expected: Result<usize, &str>) {
        let found = Kustomization::read(value, "a").map(|(read, warnings)| {
            read.resources.len() + read.images.len() + warnings.len() + read.name_prefix.len()
        });
        assert_eq!(found, expected.map_err(str::to_owned), "{value}");
    }

    #[test]
    fn fields_old_and_new() {
        check(&json!({"bases": ["a"], "imageTags": [{"name": "x"}], "NAMEPREFIX": "p-"}), Ok(6));
        check(&json!({"resources": []}), Ok(0));
        for empty in [json!(null), json!({"kind": "Kustomization", "namePrefix": ""}), json!({"bases": []})] {
            check(&empty, Err("kustomization.yaml is empty"));
        }
        check(&json!({"resource": []}), Err("invalid Kustomization: json: unknown field \"resource\""));
        check(
            &json!({"kind": "Component", "apiVersion": "v1", "resources": ["x"]}),
            Err(
                "Failed to read kustomization file under /a: apiVersion for Component should be kustomize.config.k8s.io/v1alpha1",
            ),
        );
    }

    #[test]
    fn the_single_env_joins_the_others() {
        let value = json!({"configMapGenerator": [{"name": "m", "env": "a", "envs": ["b"]}]});
        let (read, _) = Kustomization::read(&value, "").unwrap();
        assert_eq!(read.config_map_generator[0].envs, ["b", "a"]);
    }
}
