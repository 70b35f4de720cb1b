//! `ReplacementTransformer`: a value of one resource is copied into fields of others.

use std::cell::RefCell;

use serde::Deserialize;

use crate::id::{Gvk, Id};
use crate::node::{Node, Scalar};
use crate::path::{self, Change};
use crate::plugin::{Context, Transform};
use crate::resource::Resource;
use crate::resources::Resources;
use crate::select::{Matcher, Selector};
use crate::transform::embedded;
use crate::{Error, json};

/// The field when none is said.
const DEFAULT_FIELD: &str = "metadata.name";

/// Several replacements, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ReplacementTransformer {
    pub(crate) replacements: Vec<Replacement>,
}

/// One replacement, or the file that holds some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Replacement {
    pub(crate) path: String,
    pub(crate) source: Option<Source>,
    pub(crate) source_value: Option<String>,
    pub(crate) targets: Option<Vec<Target>>,
}

/// The one object, by any name that it has had, and its field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Source {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) field_path: String,
    pub(crate) options: Option<FieldOptions>,
}

/// Objects, by any name that they have had, and their fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Target {
    pub(crate) select: Option<Selector>,
    pub(crate) reject: Vec<Selector>,
    pub(crate) field_paths: Vec<String>,
    pub(crate) options: Option<FieldOptions>,
}

/// Which part of a field is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct FieldOptions {
    /// What the field is split at; `""`: not at all.
    pub(crate) delimiter: String,
    /// Which part. In a target, below 0 is before the first one and beyond the last one is after it.
    pub(crate) index: i64,
    /// Read, and of no effect: as in kustomize.
    pub(crate) encoding: String,
    /// Whether a target's field is made if it is not there.
    pub(crate) create: bool,
}

impl Transform for ReplacementTransformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        let mut all = vec![];
        for (index, entry) in self.replacements.iter().enumerate() {
            let at = format!("replacements[{index}]");
            // An empty list is as good as none here, other than in a file.
            let targets = entry.targets.clone().filter(|targets| !targets.is_empty());
            if entry.path.is_empty() {
                all.push((context.file.to_owned(), at, Replacement { targets, ..entry.clone() }));
                continue;
            }
            if entry.source.is_some() || targets.is_some() {
                let message = "cannot specify both path and inline replacement";
                return Err(context.invalid(format!("{at}: {message}")));
            }
            all.extend(read(context, &entry.path)?);
        }
        for (file, at, replacement) in &all {
            let applied = replacement.apply(resources);
            applied.map_err(|message| Error::Invalid {
                file: file.clone(),
                message: if at.is_empty() { message } else { format!("{at}: {message}") },
            })?;
        }
        Ok(())
    }
}

/// The replacements of a file, a list or a single one: where each stands, and what it says.
fn read(context: &Context<'_, '_>, path: &str) -> Result<Vec<(String, String, Replacement)>, Error> {
    let (file, text) = context.reader.load_text(context.dir, context.file, path)?;
    let documents = yaml::parse_documents(&text, yaml::Resolver::Kubectl);
    let documents = documents.map_err(|error| Error::Yaml { file: file.clone(), error })?;
    let invalid = |message: String| Error::Invalid { file: file.clone(), message };
    let read: Vec<Replacement> = match documents.first() {
        Some(list @ serde_json::Value::Array(_)) => json::lenient(list).map_err(invalid)?,
        Some(map @ serde_json::Value::Object(_)) => vec![json::lenient(map).map_err(invalid)?],
        other => {
            let found = if other.is_some() { "a scalar" } else { "nothing" };
            return Err(invalid(format!(
                "unsupported replacement type encountered within replacement path: {found} instead of a list or a map"
            )));
        }
    };
    let several = read.len() > 1;
    let place = |index| if several { format!("[{index}]") } else { String::new() };
    Ok(read.into_iter().enumerate().map(|(index, read)| (file.clone(), place(index), read)).collect())
}

impl Replacement {
    fn apply(&self, resources: &mut Resources) -> Result<(), String> {
        let mut live = None;
        let mut value = match (&self.source, &self.source_value, &self.targets) {
            (None, None, _) | (_, _, None) => {
                return Err("replacements must specify a source and at least one target".to_owned());
            }
            (Some(_), Some(_), _) => {
                return Err("value and resource selectors are mutually exclusive".to_owned());
            }
            (Some(source), None, _) => {
                let (index, value) = source.value(resources)?;
                // A part is a copy; a whole value is looked at again for each field.
                let part = source.options.as_ref().is_some_and(|options| !options.delimiter.is_empty());
                live = (!part).then(|| {
                    let path = path::split(source.path());
                    (index, resources.get(index).map_or(vec![], |found| path::settled(&found.node, &path)))
                });
                value
            }
            (None, Some(value), _) => Node::implicit(value.as_str()),
        };
        let targets = self.targets.iter().flatten();
        targets.into_iter().try_for_each(|target| target.apply(&mut value, live.as_ref(), resources))
    }
}

impl Source {
    fn path(&self) -> &str {
        if self.field_path.is_empty() { DEFAULT_FIELD } else { &self.field_path }
    }

    /// The position of the resource, and the value.
    fn value(&self, resources: &Resources) -> Result<(usize, Node), String> {
        let mut found = resources.iter().enumerate().filter(|(_, resource)| self.selects(resource));
        let (index, resource) = match (found.next(), found.next()) {
            (Some(resource), None) => resource,
            (None, _) => return Err(format!("nothing selected by {}", self.shown())),
            _ => return Err(format!("multiple matches for selector {}", self.shown())),
        };
        let path = self.path();
        let value = path::get(&resource.node, &path::split(path))
            .map_err(|message| format!("error looking up replacement source: {message}"))?;
        let is_something = |node: &&Node| match node {
            Node::Scalar(_) => !node.is_null(),
            other => !other.is_nil_or_empty(),
        };
        let value = value
            .filter(is_something)
            .ok_or_else(|| format!("fieldPath `{path}` is missing for replacement source {}", self.id()))?;
        let value = match self.options.as_ref().filter(|options| !options.delimiter.is_empty()) {
            Some(options) => options.part(value)?,
            None => value.clone(),
        };
        Ok((index, value))
    }

    fn selects(&self, resource: &Resource) -> bool {
        let fits = |wanted: &str, text: &str| wanted.is_empty() || wanted == text;
        let effective = |namespace: &'_ str| {
            if namespace.is_empty() { "default".to_owned() } else { namespace.to_owned() }
        };
        let mut kind = None;
        names(resource).any(|(kind_then, name, namespace)| {
            fits(&self.name, name)
                && fits(&self.kind, kind_then)
                && (self.namespace.is_empty() || effective(&self.namespace) == effective(namespace))
                && {
                    let now: &Gvk = kind.get_or_insert_with(|| resource.gvk());
                    fits(&self.group, &now.group) && fits(&self.version, &now.version)
                }
        })
    }

    fn id(&self) -> Id {
        let gvk = Gvk::new(&self.group, &self.version, &self.kind);
        let (name, namespace) = (self.name.as_str().into(), self.namespace.as_str().into());
        Id { gvk, name, namespace, cluster_scoped: false }
    }

    fn shown(&self) -> String {
        let mut shown = self.id().to_string();
        if !self.field_path.is_empty() {
            shown = format!("{shown}:{}", self.field_path);
        }
        match &self.options {
            Some(FieldOptions { delimiter, index, create, .. }) if *create || !delimiter.is_empty() => {
                format!("{shown}:{delimiter}({index}), create={create}")
            }
            _ => shown,
        }
    }
}

/// Kind, name and namespace: as they are, then as they were. The namespace of today is as written.
fn names(resource: &Resource) -> impl Iterator<Item = (&str, &str, &str)> {
    let now = (resource.kind(), resource.name(), resource.namespace());
    let previous = resource.previous.iter();
    std::iter::once(now)
        .chain(previous.map(|previous| (&*previous.kind, &*previous.name, &*previous.namespace)))
}

const NO_SCALAR: &str = "delimiter option can only be used with scalar nodes";

impl FieldOptions {
    /// The part of a source.
    fn part(&self, value: &Node) -> Result<Node, String> {
        let Node::Scalar(scalar) = value else { return Err(NO_SCALAR.to_owned()) };
        let part = usize::try_from(self.index)
            .ok()
            .and_then(|index| scalar.text.split(self.delimiter.as_str()).nth(index))
            .ok_or_else(|| {
                format!("options.index {} is out of bounds for value {}", self.index, scalar.text)
            })?;
        Ok(Node::Scalar(Scalar { text: part.into(), ..scalar.clone() }))
    }

    /// The text of a target with one part replaced or added.
    fn joined(&self, old: &str, new: &str) -> String {
        let mut parts: Vec<&str> = old.split(self.delimiter.as_str()).collect();
        match usize::try_from(self.index).map(|index| parts.get_mut(index)) {
            Err(_) => parts.insert(0, new),
            Ok(None) => parts.push(new),
            Ok(Some(part)) => *part = new,
        }
        parts.join(&self.delimiter)
    }

    /// What a field becomes. A scalar keeps its tag: only its text is replaced, and what has no text gives none.
    fn set(&self, field: &Node, value: &Node) -> Result<Node, String> {
        let text = value.text().unwrap_or_default();
        match field {
            Node::Scalar(old) if self.delimiter.is_empty() => {
                Ok(Node::Scalar(Scalar { text: text.into(), ..old.clone() }))
            }
            Node::Scalar(old) => {
                let text = if value.is_null() { "" } else { text };
                Ok(Node::Scalar(Scalar { text: self.joined(&old.text, text).into(), ..old.clone() }))
            }
            _ if !self.delimiter.is_empty() => Err(NO_SCALAR.to_owned()),
            _ => Ok(value.clone()),
        }
    }
}

/// A compiled [`Target`].
struct Chosen<'t> {
    select: Matcher,
    /// By labels and annotations; by kind, name and namespace.
    reject_metadata: Vec<Matcher>,
    reject_ids: Vec<Matcher>,
    paths: Vec<(&'t str, Vec<String>)>,
    options: FieldOptions,
}

impl Target {
    /// `live`: where the value comes from, if a change there changes what comes next.
    fn apply(
        &self,
        value: &mut Node,
        live: Option<&(usize, Vec<String>)>,
        resources: &mut Resources,
    ) -> Result<(), String> {
        let chosen = self.compile()?;
        for (index, resource) in resources.iter_mut().enumerate() {
            if !chosen.fits(resource)? {
                continue;
            }
            let source = live.filter(|(source, _)| *source == index).map(|(_, path)| path.as_slice());
            for (shown, path) in &chosen.paths {
                chosen.copy(resource, value, source, (shown, path))?;
                if let Some(Ok(Some(changed))) = source.map(|source| path::get(&resource.node, source)) {
                    *value = changed.clone();
                }
            }
        }
        Ok(())
    }

    fn compile(&self) -> Result<Chosen<'_>, String> {
        let select = self.select.as_ref().ok_or("target must specify resources to select")?;
        let compile = |selector: &Selector| {
            Matcher::new(selector).map_err(|message| format!("error creating target selector: {message}"))
        };
        let about_metadata = |selector: &&Selector| {
            !selector.label_selector.is_empty() || !selector.annotation_selector.is_empty()
        };
        let about_id = |selector: &&Selector| {
            let Selector { group, version, kind, name, namespace, .. } = selector;
            [group, version, kind, name, namespace].iter().any(|part| !part.is_empty())
        };
        let paths = self.field_paths.iter().map(String::as_str);
        let paths: Vec<&str> =
            if self.field_paths.is_empty() { vec![DEFAULT_FIELD] } else { paths.collect() };
        Ok(Chosen {
            select: compile(select)?,
            reject_metadata: self
                .reject
                .iter()
                .filter(about_metadata)
                .map(compile)
                .collect::<Result<_, _>>()?,
            reject_ids: self.reject.iter().filter(about_id).map(compile).collect::<Result<_, _>>()?,
            paths: paths.into_iter().map(|path| (path, path::split(path))).collect(),
            options: self.options.clone().unwrap_or_default(),
        })
    }
}

impl Chosen<'_> {
    fn fits(&self, resource: &Resource) -> Result<bool, String> {
        if !self.select.fits_metadata(&resource.node)? {
            return Ok(false);
        }
        for rejected in &self.reject_metadata {
            if rejected.fits_metadata(&resource.node)? {
                return Ok(false);
            }
        }
        if self.reject_ids.iter().any(|rejected| fits_any_id(rejected, resource)) {
            return Ok(false);
        }
        Ok(fits_any_id(&self.select, resource))
    }

    /// `source`: where the value comes from, if that is in this resource.
    fn copy(
        &self,
        resource: &mut Resource,
        value: &Node,
        source: Option<&[String]>,
        (shown, path): (&str, &[String]),
    ) -> Result<(), String> {
        let create = self.options.create.then(|| match value {
            Node::Scalar(_) => Node::implicit(""),
            Node::List(_) => Node::list(vec![]),
            Node::Map(_) => Node::map(),
        });
        let object = resource.node.clone();
        let source = source.and_then(|source| path::get(&object, source).ok().flatten());
        // When the source itself is among the fields, what it becomes is the value for the next ones.
        let value = RefCell::new(value.clone());
        let set = |field: &Node| {
            let new = self.options.set(field, &value.borrow())?;
            if source.is_some_and(|source| std::ptr::eq(source, field)) {
                value.replace(new.clone());
            }
            Ok(new)
        };
        let change = Change { create, set: &set };
        if let Some(inside) = embedded::change(&object, path, &change) {
            resource.node = inside;
            return Ok(());
        }
        let failed = || {
            let word = if self.options.create { "find or create" } else { "find" };
            format!("unable to {word} field {shown:?} in replacement target")
        };
        match change.apply(&object, path).map_err(|message| format!("{}: {message}", failed()))? {
            (_, 0) => Err(failed()),
            (Some(changed), _) => {
                resource.node = changed;
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }
}

fn fits_any_id(matcher: &Matcher, resource: &Resource) -> bool {
    let mut gvk = None;
    names(resource).any(|(kind, name, namespace)| {
        matcher.fits_name(name) && matcher.fits_namespace(namespace) && {
            let now: &Gvk = gvk.get_or_insert_with(|| resource.gvk());
            if *now.kind == *kind {
                matcher.fits_gvk(now)
            } else {
                matcher.fits_gvk(&Gvk { kind: kind.into(), ..now.clone() })
            }
        }
    })
}

#[cfg(test)]
mod tests;
