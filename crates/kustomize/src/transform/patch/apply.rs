//! A patch meets a resource.

use super::PatchOptions;
use crate::Error;
use crate::id::Id;
use crate::json6902;
use crate::merge;
use crate::node::{Map, Node, Text};
use crate::origin::{ORIGIN, TRANSFORMATIONS};
use crate::plugin::Context;
use crate::resource::{Behavior, Resource};
use crate::resources::Resources;
use crate::select::Matcher;

/// Merges a patch into the selected resources, into each as if the patch were for it.
pub(super) fn merge_copies(
    context: &Context<'_, '_>,
    resources: &mut Resources,
    selected: &[usize],
    patch: &Node,
    options: PatchOptions,
) -> Result<(), Error> {
    let mut patch = patch.clone();
    for field in ["labels", "annotations"] {
        texts_only(&mut patch, field);
    }
    if patch.metadata_text("namespace").is_empty() && patch.at(&["metadata", "namespace"]).is_some() {
        patch.map_at("metadata").remove("namespace");
    }
    let mut renamed = false;
    for index in selected {
        let Some(resource) = resources.get_mut(*index) else { continue };
        let before = options.renames().then(|| resource.id(context.schema));
        let mut patch = patch.clone();
        let api_version = resource.node.text_at(&["apiVersion"]);
        if patch.text_at(&["apiVersion"]) != api_version {
            patch.make_map().put("apiVersion", Node::implicit(api_version));
        }
        merge_into(resource, &patch, options, context)?;
        renamed |= before.is_some_and(|before| before != resource.id(context.schema));
    }
    resources.drop_empty();
    if renamed {
        resources.check_unique(context.schema).map_err(|message| context.invalid(message))
    } else {
        Ok(())
    }
}

/// Merges a patch into a resource, which keeps its name, namespace and kind unless the options let go of them. A
/// resource that the patch deletes becomes null.
pub(super) fn merge_into(
    resource: &mut Resource,
    patch: &Node,
    options: PatchOptions,
    context: &Context<'_, '_>,
) -> Result<(), Error> {
    let text = |text: &str| Text::from(text);
    let (name, namespace, kind) = (text(resource.name()), text(resource.namespace()), text(resource.kind()));
    if options.renames() {
        resource.remember_id(context.schema);
    }
    let with_annotations = patch.at(&["metadata", "annotations"]).is_some() && show_notes(resource);
    let merged = merge::apply(context.schema, &resource.node, patch).map_err(|reason| {
        context.invalid(format!("strategic merge patch of {}: {reason}", resource.id(context.schema)))
    })?;
    if drops_annotations(patch) {
        forget(resource);
    }
    resource.node = merged.unwrap_or_else(Node::null);
    if with_annotations && resource.node.at(&["metadata", "annotations"]).is_some_and(Node::is_nil_or_empty) {
        resource.node.map_at("metadata").remove("annotations");
    }
    if resource.node.is_nil_or_empty() {
        return Ok(());
    }
    // These are set anew even if they are the same: nothing is known of their types then, and a replacement may put a
    // number there.
    if !options.allow_kind_change {
        resource.node.make_map().put("kind", Node::implicit(kind));
    }
    if !options.allow_name_change {
        resource.set_name(&name);
    }
    if namespace.is_empty() {
        if resource.node.at(&["metadata", "namespace"]).is_some() {
            resource.node.map_at("metadata").remove("namespace");
        }
    } else {
        resource.node.map_at("metadata").put("namespace", Node::implicit(namespace));
    }
    Ok(())
}

impl PatchOptions {
    pub(super) fn renames(self) -> bool {
        self.allow_name_change || self.allow_kind_change
    }
}

/// Applies a JSON patch to what a target selects. `remember`: the names are kept as previous ones first.
pub(super) fn apply_json(
    context: &Context<'_, '_>,
    resources: &mut Resources,
    patch: &json6902::Patch,
    matcher: &Matcher,
    remember: bool,
) -> Result<(), Error> {
    let selected = matcher.select(resources, context.schema).map_err(|reason| context.invalid(reason))?;
    for index in selected {
        let Some(resource) = resources.get_mut(index) else { continue };
        let failed = |id: Id, reason: String| context.invalid(format!("JSON patch of {id}: {reason}"));
        resource.check_annotations().map_err(|reason| failed(resource.id(context.schema), reason))?;
        if remember {
            resource.remember_id(context.schema);
        }
        show_notes(resource);
        show_origin(resource);
        let patched =
            patch.apply(&resource.node).map_err(|reason| failed(resource.id(context.schema), reason))?;
        resource.node = patched;
        hide_origin(resource);
        // It was read anew from JSON.
        resource.twins.clear();
        if resource.node.get("metadata").is_none() {
            resource.node.map_at("metadata");
        }
        texts_only(&mut resource.node, "annotations");
        resource.annotations_rewritten = true;
    }
    Ok(())
}

/// Makes every value of a map in the metadata the text that it was written as, null included. An empty map goes away.
pub(super) fn texts_only(object: &mut Node, field: &str) {
    let Some(map) = object.at(&["metadata", field]) else { return };
    let mut texts = Map::default();
    for (name, value) in map.as_map().into_iter().flat_map(Map::iter) {
        texts.put(name, Node::string(value.text().unwrap_or_default()));
    }
    let metadata = object.map_at("metadata");
    if texts.is_empty() {
        metadata.remove(field);
    } else {
        metadata.set(field, Node::Map(texts.into()));
    }
}

/// Whether a patch takes away all annotations that a resource has: then kustomize loses its notes with them.
fn drops_annotations(patch: &Node) -> bool {
    let drops = |node: Option<&Node>| {
        node.is_some_and(|node| node.is_null() || matches!(node.text_at(&["$patch"]), "replace" | "delete"))
    };
    patch.text_at(&["$patch"]) != "replace"
        && (drops(patch.get("metadata")) || drops(patch.at(&["metadata", "annotations"])))
}

fn forget(resource: &mut Resource) {
    let vars = std::mem::take(&mut resource.vars);
    *resource = Resource { vars, ..Resource::new(resource.node.clone()) };
}

/// kustomize keeps its notes in annotations: if there are any, a patch finds that map. True if it was made.
fn show_notes(resource: &mut Resource) -> bool {
    let annotations = resource.node.at(&["metadata", "annotations"]);
    let show = has_notes(resource) && annotations.is_none_or(Node::is_null);
    if show {
        resource.node.map_at("metadata").set("annotations", Node::map());
    }
    show
}

/// What it tells of an object's origin is there for JSON patches, which may take it away.
fn show_origin(resource: &mut Resource) {
    let told = [(ORIGIN, resource.origin.is_some()), (TRANSFORMATIONS, !resource.transformations.is_empty())];
    for (name, _) in told.iter().filter(|(_, told)| *told) {
        resource.node.map_at("metadata");
        if let Some(metadata) = resource.node.get_mut("metadata") {
            metadata.map_at("annotations").set(*name, Node::string(""));
        }
    }
}

/// Takes out what [`show_origin`] put in, and forgets what is gone.
fn hide_origin(resource: &mut Resource) {
    let mut kept = |name: &str| {
        let annotations =
            resource.node.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
        annotations.and_then(|annotations| annotations.remove(name)).is_some()
    };
    let (origin, transformations) = (kept(ORIGIN), kept(TRANSFORMATIONS));
    if !origin {
        resource.origin = None;
    }
    if !transformations {
        resource.transformations.clear();
    }
}

/// Whether kustomize would have noted something in the resource's annotations.
fn has_notes(resource: &Resource) -> bool {
    !resource.previous.is_empty()
        || !resource.prefixes.is_empty()
        || !resource.suffixes.is_empty()
        || resource.needs_hash
        || resource.behavior != Behavior::Unspecified
        || resource.allow_name_change
        || resource.allow_kind_change
        || resource.references > 0
        || resource.origin.is_some()
        || !resource.transformations.is_empty()
}
