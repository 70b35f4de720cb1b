//! Transformer configuration: which fields each transformation concerns, built in, from `configurations` or from
//! `crds`. What a base says holds for everything that includes it.

mod builtin;
mod crds;
mod derived;

use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use crate::fieldspec::{Specs, merge_specs};
use crate::id::Gvk;
use crate::order::kind_rank;
use crate::reader::Reader;
use crate::{Error, json};

pub(crate) use crds::from_crds;
use derived::Derived;

/// The field specs of each transformation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) name_prefix: Specs,
    pub(crate) name_suffix: Specs,
    pub(crate) namespace: Specs,
    pub(crate) common_labels: Specs,
    pub(crate) labels: Specs,
    pub(crate) template_labels: Specs,
    pub(crate) volume_claim_template_labels: Specs,
    pub(crate) common_annotations: Specs,
    pub(crate) name_reference: Vec<NameReference>,
    pub(crate) var_reference: Specs,
    pub(crate) images: Specs,
    pub(crate) replicas: Specs,
    /// Has to be forgotten when anything else changes.
    #[serde(skip)]
    pub(crate) derived: Derived,
}

/// A kind that has names, and the fields that hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NameReference {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    /// The fields, in objects of the kinds that refer to this one.
    pub(crate) field_specs: Specs,
}

impl NameReference {
    /// The kind that is referred to; what is empty matches anything.
    pub(crate) fn target(&self) -> Gvk {
        Gvk::new(&self.group, &self.version, &self.kind)
    }
}

impl Config {
    /// kustomize's own configuration.
    pub(crate) fn builtin() -> Arc<Self> {
        static BUILTIN: LazyLock<Arc<Config>> = LazyLock::new(|| {
            let mut config = builtin::config();
            config.sort();
            Arc::new(config)
        });
        BUILTIN.clone()
    }

    /// The built-in configuration with what the files in `configurations` add to it.
    pub(crate) fn load(
        reader: &Reader<'_>,
        dir: &str,
        file: &str,
        paths: &[String],
    ) -> Result<Arc<Self>, Error> {
        let mut own = Arc::new(Self::default());
        for path in paths {
            let (full, text) = reader.load_text(dir, file, path)?;
            let invalid = |message| Error::Invalid { file: full.clone(), message };
            let more = Self::parse(&text).map_err(|error| match error {
                Unread::Yaml(error) => Error::Yaml { file: full.clone(), error },
                Unread::Fields(message) => invalid(format!("transformer configuration: {message}")),
            })?;
            own = Self::merged(own, Arc::new(more)).map_err(invalid)?;
        }
        Self::merged(Self::builtin(), own)
            .map_err(|message| Error::Invalid { file: file.to_owned(), message })
    }

    fn parse(text: &str) -> Result<Self, Unread> {
        let value = yaml::parse_documents(text, yaml::Resolver::Kubectl).map_err(Unread::Yaml)?;
        let Some(value) = value.first() else { return Ok(Self::default()) };
        let mut config: Self = json::strict(value).map_err(Unread::Fields)?;
        config.sort();
        Ok(config)
    }

    /// Both configurations; an error when they contradict each other.
    pub(crate) fn merged(mine: Arc<Self>, more: Arc<Self>) -> Result<Arc<Self>, String> {
        // Most layers add nothing but the built-in configuration, again.
        let builtin = Self::builtin();
        let same = Arc::ptr_eq(&mine, &more) && Arc::ptr_eq(&mine, &builtin);
        if same || *more == Self::default() {
            return Ok(mine);
        }
        if Arc::ptr_eq(&more, &builtin) && *mine == Self::default() {
            return Ok(more);
        }
        let mut merged = Arc::unwrap_or_clone(mine);
        merged.add(&more)?;
        merged.sort();
        Ok(Arc::new(merged))
    }

    fn add(&mut self, more: &Self) -> Result<(), String> {
        self.derived = Derived::default();
        let lists = [
            ("NamePrefix", &mut self.name_prefix, &more.name_prefix),
            ("NameSuffix", &mut self.name_suffix, &more.name_suffix),
            ("NameSpace", &mut self.namespace, &more.namespace),
            ("CommonAnnotations", &mut self.common_annotations, &more.common_annotations),
            ("CommonLabels", &mut self.common_labels, &more.common_labels),
            ("Labels", &mut self.labels, &more.labels),
            ("TemplateLabels", &mut self.template_labels, &more.template_labels),
            (
                "VolumeClaimTemplateLabels",
                &mut self.volume_claim_template_labels,
                &more.volume_claim_template_labels,
            ),
            ("VarReference", &mut self.var_reference, &more.var_reference),
            ("Images", &mut self.images, &more.images),
            ("Replicas", &mut self.replicas, &more.replicas),
        ];
        let failed = |name: &str, message: String| format!("failed to merge {name} fieldSpec: {message}");
        for (name, mine, more) in lists {
            merge_specs(mine, more).map_err(|message| failed(name, message))?;
        }
        for reference in &more.name_reference {
            self.add_reference(reference).map_err(|message| failed("NameReference", message))?;
        }
        Ok(())
    }

    fn add_reference(&mut self, reference: &NameReference) -> Result<(), String> {
        let target = reference.target();
        match self.name_reference.iter_mut().find(|mine| mine.target() == target) {
            Some(mine) => merge_specs(&mut mine.field_specs, &reference.field_specs),
            None => {
                self.name_reference.push(reference.clone());
                Ok(())
            }
        }
    }

    /// The order in which kustomize applies the specs: of two that concern the same field the first one decides.
    fn sort(&mut self) {
        self.derived = Derived::default();
        for list in [
            &mut self.name_prefix,
            &mut self.name_suffix,
            &mut self.namespace,
            &mut self.common_labels,
            &mut self.labels,
            &mut self.template_labels,
            &mut self.volume_claim_template_labels,
            &mut self.common_annotations,
            &mut self.var_reference,
            &mut self.images,
            &mut self.replicas,
        ] {
            list.to_mut().sort_by_cached_key(|spec| order_of(&spec.group, &spec.version, &spec.kind));
        }
        self.name_reference.sort_by_cached_key(|name| order_of(&name.group, &name.version, &name.kind));
    }
}

/// Why the text of a configuration cannot be read.
enum Unread {
    Yaml(yaml::Error),
    Fields(String),
}

/// kustomize's order of kinds: what others need first, then by group, version and kind.
fn order_of(group: &str, version: &str, kind: &str) -> (i64, String) {
    (kind_rank(kind), crate::order::legacy_name(&Gvk::new(group, version, kind)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use super::*;

    fn parse(text: &str) -> Arc<Config> {
        Arc::new(Config::parse(text).ok().unwrap())
    }

    #[test]
    fn builtin_with_itself_is_itself() {
        let mut config = (*Config::builtin()).clone();
        config.add(&Config::builtin()).unwrap();
        config.sort();
        assert_eq!(config, *Config::builtin());
        assert_eq!(config.var_reference.len(), 72);
        let specs: usize = config.name_reference.iter().map(|reference| reference.field_specs.len()).sum();
        assert_eq!(specs, 166);
    }

    #[test]
    fn own_fields_are_added_and_sorted() {
        let own = parse(
            "namePrefix:\n- {path: spec/name, kind: X}\n\
             nameReference:\n- {kind: X, fieldSpecs: [{path: spec/x, kind: Other}]}\n\
             - {kind: ConfigMap, version: v1, fieldSpecs: [{path: spec/configMap, kind: Other}]}\n",
        );
        let config = Config::merged(Config::builtin(), own).unwrap();
        assert_eq!(config.name_prefix.len(), 2);
        assert_eq!(config.name_reference.len(), Config::builtin().name_reference.len() + 1);
        let of_config_maps = config.name_reference.iter().find(|name| name.kind == "ConfigMap").unwrap();
        assert_eq!(&*of_config_maps.field_specs.last().unwrap().path, "spec/configMap");
        assert_eq!(config.name_reference.last().unwrap().kind, "X");
    }

    #[test]
    fn contradictions_are_errors() {
        let own = parse("replicas:\n- {path: spec/replicas, kind: Deployment}\n");
        let error = Config::merged(Config::builtin(), own).unwrap_err();
        assert!(error.contains("failed to merge Replicas fieldSpec: conflicting fieldspecs"), "{error}");
        assert!(Config::parse("nameprefix:\n- path: a\n").is_ok());
        assert!(Config::parse("names:\n- path: a\n").is_err());
    }
}
