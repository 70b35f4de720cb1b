//! The generators and transformers that fields of a kustomization stand for, in the order in which kustomize runs them.

use crate::config::Config;
use crate::file::Kustomization;
use crate::generate::{ConfigMapGenerator, GeneratorOptions, Metadata, SecretGenerator};
use crate::plugin::{Generate, Transform};
use crate::transform::annotations::AnnotationsTransformer;
use crate::transform::images::ImageTagTransformer;
use crate::transform::labels::LabelTransformer;
use crate::transform::namespace::NamespaceTransformer;
use crate::transform::patch::{PatchJson6902Transformer, PatchStrategicMergeTransformer};
use crate::transform::prefix::PrefixTransformer;
use crate::transform::replacement::ReplacementTransformer;
use crate::transform::replicas::ReplicaCountTransformer;
use crate::transform::suffix::SuffixTransformer;

/// A generator or transformer that a field of the kustomization stands for.
pub(crate) struct Field<W: ?Sized> {
    /// The name that kustomize has for it.
    pub(crate) kind: &'static str,
    pub(crate) field: &'static str,
    pub(crate) index: Option<usize>,
    pub(crate) work: Box<W>,
}

impl<W: ?Sized> Field<W> {
    /// An error in it, with its name.
    pub(crate) fn failed(&self, message: &str) -> String {
        match self.index {
            Some(index) => format!("{}[{index}]: {message}", self.field),
            None => format!("{}: {message}", self.field),
        }
    }
}

/// The generators that fields stand for.
pub(crate) fn generators(kustomization: &Kustomization) -> Vec<Field<dyn Generate>> {
    let global = kustomization.generator_options.as_ref();
    let mut fields: Vec<Field<dyn Generate>> = vec![];
    for (index, generator) in kustomization.config_map_generator.iter().enumerate() {
        let options = GeneratorOptions::merged(generator.options.clone(), global);
        let work = Box::new(ConfigMapGenerator { options, ..generator.clone() });
        let (kind, field) = ("ConfigMapGenerator", "configMapGenerator");
        fields.push(Field { kind, field, index: Some(index), work });
    }
    for (index, generator) in kustomization.secret_generator.iter().enumerate() {
        let options = GeneratorOptions::merged(generator.options.clone(), global);
        let work = Box::new(SecretGenerator { options, ..generator.clone() });
        let (kind, field) = ("SecretGenerator", "secretGenerator");
        fields.push(Field { kind, field, index: Some(index), work });
    }
    fields
}

/// The transformers that fields stand for.
pub(crate) fn transformers(
    kustomization: &Kustomization,
    config: &Config,
) -> Result<Vec<Field<dyn Transform>>, String> {
    let mut list = Transformers::default();
    list.patches(kustomization);
    list.names(kustomization, config);
    list.labels(kustomization, config)?;
    if !kustomization.common_annotations.is_empty() {
        let annotations = kustomization.common_annotations.clone();
        let field_specs = config.common_annotations.clone();
        let work = AnnotationsTransformer { annotations, field_specs };
        list.one("AnnotationsTransformer", "commonAnnotations", work);
    }
    list.json_patches(kustomization);
    list.each(
        "ReplicaCountTransformer",
        "replicas",
        kustomization.replicas.iter().map(|replica| ReplicaCountTransformer {
            replica: replica.clone(),
            field_specs: config.replicas.clone(),
        }),
    );
    list.each(
        "ImageTagTransformer",
        "images",
        kustomization.images.iter().map(|image| ImageTagTransformer {
            image_tag: image.clone(),
            field_specs: config.images.clone(),
        }),
    );
    list.replacements(kustomization);
    Ok(list.fields)
}

#[derive(Default)]
struct Transformers {
    fields: Vec<Field<dyn Transform>>,
}

impl Transformers {
    fn one(&mut self, kind: &'static str, field: &'static str, work: impl Transform + 'static) {
        self.fields.push(Field { kind, field, index: None, work: Box::new(work) });
    }

    fn each<T: Transform + 'static>(
        &mut self,
        kind: &'static str,
        field: &'static str,
        entries: impl Iterator<Item = T>,
    ) {
        for (index, work) in entries.enumerate() {
            self.fields.push(Field { kind, field, index: Some(index), work: Box::new(work) });
        }
    }

    fn patches(&mut self, kustomization: &Kustomization) {
        let paths = kustomization.patches_strategic_merge.clone();
        if !paths.is_empty() {
            let work = PatchStrategicMergeTransformer { paths, patches: String::new() };
            self.one("PatchStrategicMergeTransformer", "patchesStrategicMerge", work);
        }
        self.each("PatchTransformer", "patches", kustomization.patches.iter().cloned());
    }

    fn json_patches(&mut self, kustomization: &Kustomization) {
        let patches = kustomization.patches_json.iter().map(|patch| PatchJson6902Transformer {
            target: patch.target.clone(),
            path: patch.path.clone(),
            json_op: patch.patch.clone(),
        });
        self.each("PatchJson6902Transformer", "patchesJson6902", patches);
    }

    fn replacements(&mut self, kustomization: &Kustomization) {
        let replacements = kustomization.replacements.clone();
        if !replacements.is_empty() {
            self.one("ReplacementTransformer", "replacements", ReplacementTransformer { replacements });
        }
    }

    fn names(&mut self, kustomization: &Kustomization, config: &Config) {
        let Kustomization { namespace, name_prefix, name_suffix, .. } = kustomization;
        if !namespace.is_empty() {
            let metadata = Metadata { namespace: namespace.clone(), ..Metadata::default() };
            let field_specs = config.namespace.clone();
            let work = NamespaceTransformer { metadata, field_specs, ..NamespaceTransformer::default() };
            self.one("NamespaceTransformer", "namespace", work);
        }
        if !name_prefix.is_empty() {
            let field_specs = Some(config.name_prefix.clone());
            self.one(
                "PrefixTransformer",
                "namePrefix",
                PrefixTransformer { prefix: name_prefix.clone(), field_specs },
            );
        }
        if !name_suffix.is_empty() {
            let field_specs = Some(config.name_suffix.clone());
            self.one(
                "SuffixTransformer",
                "nameSuffix",
                SuffixTransformer { suffix: name_suffix.clone(), field_specs },
            );
        }
    }

    /// `labels`, then `commonLabels`, which run as soon as there is either.
    fn labels(&mut self, kustomization: &Kustomization, config: &Config) -> Result<(), String> {
        let Kustomization { labels, common_labels, .. } = kustomization;
        if labels.is_empty() && common_labels.is_empty() {
            return Ok(());
        }
        let mut entries = vec![];
        for label in labels {
            let field_specs =
                config.label_specs(label).map_err(|message| format!("failed to merge labels: {message}"))?;
            entries.push(LabelTransformer { labels: label.pairs.clone(), field_specs });
        }
        self.each("LabelTransformer", "labels", entries.into_iter());
        let (labels, field_specs) = (common_labels.clone(), config.common_labels.clone());
        self.one("LabelTransformer", "commonLabels", LabelTransformer { labels, field_specs });
        Ok(())
    }
}
