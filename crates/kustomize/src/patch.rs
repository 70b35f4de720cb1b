//! `patches`, `patchesStrategicMerge` and `patchesJson6902`.

use object::facts::Facts;
use object::selector::LabelSelector;
use regex::Regex;
use serde_json::Value;

use crate::Error;
use crate::accumulate::read_objects;
use crate::file::{Loaded, Patch, PatchOptions, Selector};
use crate::merge;
use crate::resource::{Id, Resource};
use crate::tree::Reader;

/// `patchesStrategicMerge`, then `patches`: what comes before all other transformations.
pub(crate) fn strategic(
    reader: &Reader<'_>,
    dir: &str,
    loaded: &Loaded,
    all: &mut Vec<Resource>,
) -> Result<(), Error> {
    let file = &loaded.file;
    let invalid = |message: String| Error::Invalid { file: file.clone(), message };
    let mut patches = vec![];
    for entry in &loaded.kustomization.patches_strategic_merge {
        let read = if entry.contains('\n') {
            read_objects(file, entry)?
        } else {
            let (full, text) = reader.load_text(dir, file, entry)?;
            read_objects(&full, &text)?
        };
        if read.is_empty() {
            return Err(invalid(format!("patch appears to be empty; files=[{entry}], Patch=")));
        }
        patches.extend(read);
    }
    for patch in &patches {
        to_named(all, patch, PatchOptions::default()).map_err(invalid)?;
    }
    for patch in &loaded.kustomization.patches {
        one(reader, dir, file, patch, all)?;
    }
    Ok(())
}

/// `patchesJson6902`.
pub(crate) fn json(
    reader: &Reader<'_>,
    dir: &str,
    loaded: &Loaded,
    all: &mut [Resource],
) -> Result<(), Error> {
    let file = &loaded.file;
    let invalid = |message: String| Error::Invalid { file: file.clone(), message };
    for patch in &loaded.kustomization.patches_json {
        let text = text_of(reader, dir, file, patch)?;
        let operations = parse_operations(&text).map_err(invalid)?;
        let target =
            patch.target.as_ref().ok_or_else(|| invalid("must specify the target field".to_owned()))?;
        let id = Id { gvk: target.gvk(), namespace: target.namespace.clone(), name: target.name.clone() };
        let at = find(all, &id).map_err(invalid)?;
        apply_json(&mut all[at], &operations).map_err(invalid)?;
    }
    Ok(())
}

fn one(
    reader: &Reader<'_>,
    dir: &str,
    file: &str,
    patch: &Patch,
    all: &mut Vec<Resource>,
) -> Result<(), Error> {
    let invalid = |message: String| Error::Invalid { file: file.to_owned(), message };
    let text = text_of(reader, dir, file, patch)?;
    let documents = yaml::parse_documents(&text, yaml::Resolver::Kyaml);
    let source = if patch.path.is_empty() {
        format!("[patch: {text:?}]")
    } else {
        format!("[path: {:?}]", patch.path)
    };
    let documents = documents
        .map_err(|error| invalid(format!("unable to parse SM or JSON patch from {source}: {error}")))?;
    let Some(first) = documents.first() else { return Ok(()) };
    if first.is_array() {
        let target = patch
            .target
            .as_ref()
            .ok_or_else(|| invalid(format!("must specify a target for JSON patch {source}")))?;
        for at in select(all, target).map_err(&invalid)? {
            all[at].remember_id();
            apply_json(&mut all[at], first).map_err(&invalid)?;
        }
        return Ok(());
    }
    let options = patch.options.unwrap_or_default();
    let Some(target) = &patch.target else {
        for document in read_objects(file, &text)
            .map_err(|error| invalid(format!("unable to parse SM or JSON patch from {source}: {error}")))?
        {
            to_named(all, &document, options).map_err(&invalid)?;
        }
        return Ok(());
    };
    if documents.len() > 1 {
        return Err(invalid(format!(
            "Multiple Strategic-Merge Patches in one `patches` entry is not allowed to set `patches.target` field: {source}"
        )));
    }
    if !first.is_object() {
        return Err(invalid(format!("unable to parse SM or JSON patch from {source}")));
    }
    let selected = select(all, target).map_err(&invalid)?;
    let mut gone = vec![];
    for at in selected {
        if !merge_into(&mut all[at], first, options).map_err(&invalid)? {
            gone.push(at);
        }
    }
    for at in gone.into_iter().rev() {
        all.remove(at);
    }
    Ok(())
}

fn text_of(reader: &Reader<'_>, dir: &str, file: &str, patch: &Patch) -> Result<String, Error> {
    let invalid = |message: &str| Error::Invalid { file: file.to_owned(), message: message.to_owned() };
    match (patch.path.as_str(), patch.patch.trim()) {
        ("", "") => Err(invalid("must specify one of patch and path")),
        ("", text) => Ok(text.to_owned()),
        (path, "") => match reader.load_text(dir, file, path) {
            Ok((_, text)) => Ok(text),
            Err(error) => Err(invalid(&format!("failed to get the patch file from path({path}): {error}"))),
        },
        _ => Err(invalid("patch and path can't be set at the same time")),
    }
}

fn parse_operations(text: &str) -> Result<Value, String> {
    let operations = yaml::parse(text, yaml::Resolver::Kyaml).map_err(|error| error.to_string())?;
    if operations.as_array().is_none_or(Vec::is_empty) {
        return Err("patch appears to be empty; files=[], Patch=".to_owned());
    }
    Ok(operations)
}

fn apply_json(resource: &mut Resource, operations: &Value) -> Result<(), String> {
    let patched = object::patch::json::apply(&resource.object, operations);
    resource.object = patched.map_err(|error| match error {
        object::patch::PatchError::Rejected(reason) => {
            format!("JSON patch of {} failed: {reason}", resource.id())
        }
        other => other.to_string(),
    })?;
    Ok(())
}

/// Applies a patch to the resource whose kind and name it has.
fn to_named(all: &mut Vec<Resource>, patch: &Value, options: PatchOptions) -> Result<(), String> {
    let id = Id::of(patch);
    let at = find(all, &id)
        .map_err(|reason| format!("no resource matches strategic merge patch \"{id}\": {reason}"))?;
    if !merge_into(&mut all[at], patch, options)? {
        all.remove(at);
    }
    Ok(())
}

fn find(all: &[Resource], id: &Id) -> Result<usize, String> {
    let mut matches = all.iter().enumerate().filter(|(_, resource)| resource.any_id(|other| other.same(id)));
    match (matches.next(), matches.next()) {
        (Some((at, _)), None) => Ok(at),
        (None, _) => Err(format!("no matches for Id {id}; failed to find unique target for patch {id}")),
        _ => Err(format!("multiple matches for Id {id}; failed to find unique target for patch {id}")),
    }
}

/// Merges; false: the patch deletes the resource. Name, kind and namespace stay unless the options allow a change.
fn merge_into(resource: &mut Resource, patch: &Value, options: PatchOptions) -> Result<bool, String> {
    let before = resource.object.clone();
    if options.allow_name_change || options.allow_kind_change {
        resource.remember_id();
    }
    let gvk = resource.gvk();
    let facts = Facts::builtin(&gvk.group, &gvk.kind);
    let id = resource.id();
    let merged =
        merge::apply(facts, &before, patch).map_err(|message| format!("patching {id}: {message}"))?;
    let Some(mut merged) = merged.filter(|merged| merged.as_object().is_some_and(|map| !map.is_empty()))
    else {
        return Ok(false);
    };
    merged["apiVersion"] = before["apiVersion"].clone();
    if !options.allow_kind_change {
        merged["kind"] = before["kind"].clone();
    }
    if !options.allow_name_change {
        merged["metadata"]["name"] = before["metadata"]["name"].clone();
    }
    match before["metadata"].get("namespace") {
        Some(namespace) => merged["metadata"]["namespace"] = namespace.clone(),
        None => {
            merged["metadata"].as_object_mut().and_then(|metadata| metadata.shift_remove("namespace"));
        }
    }
    resource.object = merged;
    Ok(true)
}

/// The places of the resources that a selector matches.
fn select(all: &[Resource], target: &Selector) -> Result<Vec<usize>, String> {
    let matcher = Matcher::new(target)?;
    let matches = |resource: &Resource| {
        let (now, first) = (resource.id(), resource.original_id());
        (matcher.fits_namespace(&first) || matcher.fits_namespace(&now))
            && (matcher.fits_name(&first) || matcher.fits_name(&now))
            && matcher.fits_kind(&now)
            && matcher.matches_labels(&resource.object)
    };
    Ok(all.iter().enumerate().filter(|(_, resource)| matches(resource)).map(|(at, _)| at).collect())
}

/// A selector, compiled: anchored patterns, and label selectors.
pub(crate) struct Matcher {
    patterns: [Option<Regex>; 5],
    labels: LabelSelector,
    annotations: LabelSelector,
}

impl Matcher {
    pub(crate) fn new(selector: &Selector) -> Result<Self, String> {
        let compile = |text: &str| match text {
            "" => Ok(None),
            _ => Regex::new(&format!("^(?:{text})$"))
                .map(Some)
                .map_err(|error| format!("'{text}' is not a pattern: {error}")),
        };
        let parse = |text: &str| LabelSelector::parse(text).map_err(|error| error.to_string());
        Ok(Self {
            patterns: [
                compile(&selector.group)?,
                compile(&selector.version)?,
                compile(&selector.kind)?,
                compile(&selector.name)?,
                compile(&selector.namespace)?,
            ],
            labels: parse(&selector.label_selector)?,
            annotations: parse(&selector.annotation_selector)?,
        })
    }

    /// Whether it says anything about names or kinds.
    pub(crate) fn names_something(&self) -> bool {
        self.patterns.iter().any(Option::is_some)
    }

    pub(crate) fn matches_id(&self, id: &Id) -> bool {
        self.fits_kind(id) && self.fits_name(id) && self.fits_namespace(id)
    }

    pub(crate) fn matches_labels(&self, object: &Value) -> bool {
        self.labels.matches(&object["metadata"]["labels"])
            && self.annotations.matches(&object["metadata"]["annotations"])
    }

    fn fits_kind(&self, id: &Id) -> bool {
        self.fits(0, &id.gvk.group) && self.fits(1, &id.gvk.version) && self.fits(2, &id.gvk.kind)
    }

    fn fits_name(&self, id: &Id) -> bool {
        self.fits(3, &id.name)
    }

    fn fits_namespace(&self, id: &Id) -> bool {
        self.fits(4, id.effective_namespace())
    }

    fn fits(&self, part: usize, text: &str) -> bool {
        self.patterns[part].as_ref().is_none_or(|pattern| pattern.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::meta;
    use serde_json::json;

    #[test]
    fn a_patch_keeps_the_name_and_merges_by_key() {
        let mut resource = Resource::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x", "env": [{"name": "A", "value": "1"}]}]}}},
        }));
        let patch = json!({
            "metadata": {"name": "other"},
            "spec": {"template": {"spec": {"containers": [{"name": "b"}, {"name": "a", "env": [{"name": "B", "value": "2"}]}]}}},
        });
        assert!(merge_into(&mut resource, &patch, PatchOptions::default()).unwrap());
        assert_eq!(meta::name(&resource.object), "d");
        let containers = &resource.object["spec"]["template"]["spec"]["containers"];
        assert_eq!(
            *containers,
            json!([{"name": "b"}, {"name": "a", "image": "x", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}])
        );
    }
}
