//! From the documents of a manifest to resources: lists are taken apart, empty documents dropped, the rest checked.

use std::collections::VecDeque;

use crate::Error;
use crate::node::{Node, Text, from_value, read_documents, to_value};
use crate::origin::{self, TRANSFORMATIONS};
use crate::plugin::Context;
use crate::resource::{Behavior, Previous, Resource};

/// Annotations under this domain are kustomize's own notes; they are never part of the output.
const NOTES: &str = "internal.config.kubernetes.io/";

/// The resources of a manifest that the kustomization names.
pub(crate) fn file(context: &Context<'_, '_>, path: &str) -> Result<Vec<Resource>, Error> {
    let (full, documents) = context.reader.load_documents(context.dir, context.file, path)?;
    resources(&documents).map_err(|message| Error::Invalid { file: full, message })
}

/// The resources of a text that stands in a kustomization itself; none when it is not such a text, but a path.
pub(crate) fn inline(text: &str) -> Option<Vec<Resource>> {
    // A path is one line without a colon and a space; this saves a look at it.
    if !text.contains(':') {
        return None;
    }
    resources(&read_documents(text).ok()?).ok()
}

/// The resources of documents.
pub(crate) fn resources(documents: &[Node]) -> Result<Vec<Resource>, String> {
    let mut nodes = VecDeque::new();
    match documents {
        [list] if is_wrapper(list) => keep_good(items(list)?.iter().cloned(), &mut nodes)?,
        _ => keep_good(documents.iter().cloned(), &mut nodes)?,
    }
    let mut resources = vec![];
    while let Some(node) = nodes.pop_front() {
        let kind = node.text_at(&["kind"]);
        if !kind.ends_with("List") || node.get("items").is_none() {
            resources.push(resource(node));
            continue;
        }
        // Items come after everything else, by way of JSON: that is where kustomize puts them.
        let kind = kind.to_owned();
        for item in
            items(&node).map_err(|message| format!("expected array in {kind}/items, but {message}"))?
        {
            let item = from_value(
                &to_value(item).map_err(|why| format!("trouble expanding list of {kind}; {why}"))?,
            );
            match &item {
                list if is_wrapper(list) => keep_good(items(list)?.iter().cloned(), &mut nodes)?,
                _ => keep_good([item], &mut nodes)?,
            }
        }
    }
    Ok(resources)
}

/// `List`s and function inputs that are the only document of a text are taken apart as they are.
fn is_wrapper(node: &Node) -> bool {
    matches!(node.text_at(&["kind"]), "List" | "ResourceList")
        && (node.get("items").is_some() || node.get("functionConfig").is_some())
}

fn items(list: &Node) -> Result<&[Node], String> {
    match list.get("items") {
        None => Ok(&[]),
        Some(items) if items.is_null() => Ok(&[]),
        Some(items) => items.as_list().ok_or_else(|| "its items are not a list".to_owned()),
    }
}

/// Drops what is empty and refuses what is no object.
fn keep_good(nodes: impl IntoIterator<Item = Node>, good: &mut VecDeque<Node>) -> Result<(), String> {
    for node in nodes {
        if !node.is_nil_or_empty() {
            check(&node)?;
            good.push_back(node);
        }
    }
    Ok(())
}

/// An object has a kind, and a name unless it is a list.
pub(crate) fn check(node: &Node) -> Result<(), String> {
    let said = |path: &[&str]| node.at(path).is_some_and(|node| !node.is_nil_or_empty());
    if !["apiVersion", "kind", "metadata"].iter().any(|field| said(&[field])) {
        return Err("missing Resource metadata: expected an object with kind and metadata.name".to_owned());
    }
    if !said(&["kind"]) {
        return Err(format!("missing kind in object {}", brief(node)));
    }
    if !node.text_at(&["kind"]).ends_with("List") && !said(&["metadata", "name"]) {
        return Err(format!("missing metadata.name in object {}", brief(node)));
    }
    Ok(())
}

/// The object's type and name, without its content, which may be secret.
fn brief(node: &Node) -> String {
    let text = |path: &[&str]| node.text_at(path).to_owned();
    let (api_version, kind) = (text(&["apiVersion"]), text(&["kind"]));
    let (name, namespace) = (text(&["metadata", "name"]), text(&["metadata", "namespace"]));
    format!("{{{{{api_version} {kind}}} {{{name} {namespace}}}}}")
}

/// An object with the notes that an earlier build left in its annotations.
fn resource(node: Node) -> Resource {
    let mut resource = Resource::new(node);
    let annotations = resource.node.at(&["metadata", "annotations"]).and_then(Node::as_map);
    let noted = annotations.and_then(|map| map.get(TRANSFORMATIONS)).and_then(Node::text);
    resource.transformations = noted.and_then(origin::read).unwrap_or_default().into();
    let annotations = resource.node.at(&["metadata", "annotations"]).and_then(Node::as_map);
    let noted = annotations.is_some_and(|map| map.names().any(|name| name.starts_with(NOTES)));
    if !noted {
        return resource;
    }
    let note = |resource: &Resource, name: &str| -> Vec<Text> {
        let text = resource.annotation(&format!("{NOTES}{name}")).unwrap_or_default();
        text.split(',').filter(|part| !part.is_empty()).map(Text::from).collect()
    };
    let is = |resource: &Resource, name: &str| {
        note(resource, name).first().is_some_and(|text| &**text == "enabled")
    };
    resource.prefixes = note(&resource, "prefixes").into();
    resource.suffixes = note(&resource, "suffixes").into();
    resource.needs_hash = is(&resource, "needsHashSuffix");
    resource.allow_name_change = is(&resource, "allowNameChange");
    resource.allow_kind_change = is(&resource, "allowKindChange");
    resource.behavior = match note(&resource, "generatorBehavior").first().map(|text| &**text) {
        Some("replace") => Behavior::Replace,
        Some("merge") => Behavior::Merge,
        Some("create") => Behavior::Create,
        _ => Behavior::Unspecified,
    };
    let names = note(&resource, "previousNames").into_iter();
    let namespaces = note(&resource, "previousNamespaces").into_iter();
    let kinds = note(&resource, "previousKinds").into_iter();
    let previous = names.zip(namespaces).zip(kinds);
    resource.previous =
        previous.map(|((name, namespace), kind)| Previous { kind, namespace, name }).collect();
    resource
}
