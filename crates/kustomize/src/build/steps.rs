//! What a layer does to its resources: generators, transformers and validators, the kustomization's own fields before
//! the configuration objects that it names.

use std::sync::Arc;

use super::{Layer, Target, Walk};
use crate::Error;
use crate::node::Node;
use crate::origin::Origin;
use crate::plugins::{Plugin, fields};
use crate::resource::Resource;
use crate::resources::Resources;
use crate::trace::{Action, Step};
use crate::twins;

/// The label that a validator may set.
const VALIDATED_BY: &str = "validated-by";

impl Walk<'_> {
    /// Runs the generators.
    pub(super) fn generate(&mut self, target: &Target<'_>, layer: &mut Layer) -> Result<(), Error> {
        let fields = fields::generators(target.kustomization());
        let objects = self.plugins(target, "generators")?;
        let invalid = |plugin: &Plugin, message: String| target.invalid(plugin.failed(&message));
        let mut generators = vec![];
        for plugin in &objects {
            generators.push(plugin.generator().map_err(|message| invalid(plugin, message))?);
        }
        for field in &fields {
            let made = field.work.generate(&target.context(&self.schema));
            let made = made.map_err(|error| target.named(error, |message| field.failed(message)))?;
            let origin = target.origin.as_ref().map(|origin| origin.builtin(target.loaded.name, field.kind));
            let step = Step {
                action: Action::Generate,
                file: target.file(),
                field: field.field,
                index: field.index,
                entry: field.work.about(),
                plugin: None,
            };
            self.absorb(target, made, origin, layer, &step)?;
        }
        for (plugin, generator) in objects.iter().zip(generators) {
            let made = generator.generate(&target.context(&self.schema));
            let made = made.map_err(|error| target.named(error, |message| plugin.failed(message)))?;
            self.absorb(
                target,
                made,
                plugin.origin(),
                layer,
                &plugin.step(Action::Generate, target.file(), "generators"),
            )?;
        }
        Ok(())
    }

    fn absorb(
        &mut self,
        target: &Target<'_>,
        mut made: Vec<Resource>,
        origin: Option<Origin>,
        layer: &mut Layer,
        step: &Step<'_>,
    ) -> Result<(), Error> {
        let origin = origin.map(Arc::new);
        for resource in &mut made {
            resource.origin.clone_from(&origin);
        }
        let entry = step.index.filter(|_| step.plugin.is_none());
        let entry = entry.map(|index| format!("{}[{index}]: ", step.field)).unwrap_or_default();
        layer.resources.absorb_all(made, &self.schema).map_err(|error| match error {
            Error::Conflict(message) => target.invalid(format!("{entry}merging from generator: {message}")),
            other => other,
        })?;
        self.step(step, &layer.resources);
        Ok(())
    }

    /// Runs the transformers.
    pub(super) fn transform(&mut self, target: &Target<'_>, layer: &mut Layer) -> Result<(), Error> {
        let fields = fields::transformers(target.kustomization(), &layer.config)
            .map_err(|message| target.invalid(message))?;
        let objects = self.plugins(target, "transformers")?;
        let transformers = load(target, &objects)?;
        for field in &fields {
            let done = field.work.transform(&target.context(&self.schema), &mut layer.resources);
            done.map_err(|error| target.named(error, |message| field.failed(message)))?;
            let origin = target.origin.as_ref().map(|origin| origin.builtin(target.loaded.name, field.kind));
            transformed(&mut layer.resources, origin.as_ref());
            let step = Step {
                action: Action::Transform,
                file: target.file(),
                field: field.field,
                index: field.index,
                entry: field.work.about(),
                plugin: None,
            };
            self.step(&step, &layer.resources);
        }
        for (plugin, transformer) in objects.iter().zip(transformers) {
            let done = transformer.transform(&target.context(&self.schema), &mut layer.resources);
            done.map_err(|error| target.named(error, |message| plugin.failed(message)))?;
            transformed(&mut layer.resources, plugin.origin().as_ref());
            self.step(&plugin.step(Action::Transform, target.file(), "transformers"), &layer.resources);
        }
        Ok(())
    }

    /// Runs the validators: transformers that may change nothing but one label.
    pub(super) fn validate(&mut self, target: &Target<'_>, layer: &mut Layer) -> Result<(), Error> {
        let objects = self.plugins(target, "validators")?;
        let validators = load(target, &objects)?;
        for (plugin, validator) in objects.iter().zip(validators) {
            let before = layer.resources.clone();
            let done = validator.transform(&target.context(&self.schema), &mut layer.resources);
            done.map_err(|error| target.named(error, |message| plugin.failed(message)))?;
            let same = before.len() == layer.resources.len()
                && before.iter().zip(layer.resources.iter()).all(|(old, new)| {
                    old.node.is_same(&new.node)
                        || old.node == new.node
                        || old.node == without_label(&new.node)
                });
            if !same {
                let message = "validator shouldn't modify the resource map";
                return Err(target.invalid(plugin.failed(message)));
            }
            self.step(&plugin.step(Action::Transform, target.file(), "validators"), &layer.resources);
        }
        Ok(())
    }
}

fn load(target: &Target<'_>, objects: &[Plugin]) -> Result<Vec<Box<dyn crate::plugin::Transform>>, Error> {
    let load =
        |plugin: &Plugin| plugin.transformer().map_err(|message| target.invalid(plugin.failed(&message)));
    objects.iter().map(load).collect()
}

/// After a transformer: what it emptied is gone, and what is left remembers it if that is asked for.
fn transformed(resources: &mut Resources, origin: Option<&Origin>) {
    resources.settle_twins();
    if let Some(origin) = origin.cloned().map(Arc::new) {
        for resource in resources.iter_mut() {
            match resource.origin {
                Some(_) => resource.transformations.push(origin.clone()),
                None => resource.origin = Some(origin.clone()),
            }
            super::finish::rewrite_annotations(resource);
            twins::detach(&mut resource.twins, &["metadata", "annotations"]);
            resource.annotations_rewritten = true;
        }
    }
    resources.drop_empty();
}

fn without_label(node: &Node) -> Node {
    let mut node = node.clone();
    let Some(metadata) = node.get_mut("metadata") else { return node };
    if let Some(labels) = metadata.get_mut("labels") {
        labels.remove(VALIDATED_BY);
    }
    if metadata.get("labels").is_some_and(Node::is_nil_or_empty) {
        metadata.remove("labels");
    }
    node
}
