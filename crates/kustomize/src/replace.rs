//! `replacements`: a value of one resource is copied into fields of others.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Error;
use crate::file::{Loaded, Selector};
use crate::patch::Matcher;
use crate::resource::{Id, Resource};
use crate::tree::Reader;

/// The field when none is said.
const DEFAULT_FIELD: &str = "metadata.name";

/// One replacement, or the file that holds some.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Replacement {
    path: String,
    source: Option<Source>,
    source_value: Option<String>,
    targets: Vec<Target>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Source {
    group: String,
    version: String,
    kind: String,
    name: String,
    namespace: String,
    field_path: String,
    options: FieldOptions,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Target {
    select: Option<Selector>,
    reject: Vec<Selector>,
    field_paths: Vec<String>,
    options: FieldOptions,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct FieldOptions {
    delimiter: String,
    index: i64,
    encoding: String,
    create: bool,
}

/// Runs the replacements of one kustomization.
pub(crate) fn run(
    reader: &Reader<'_>,
    dir: &str,
    loaded: &Loaded,
    all: &mut [Resource],
) -> Result<(), Error> {
    for entry in &loaded.kustomization.replacements {
        let invalid = |message: String| Error::Invalid { file: loaded.file.clone(), message };
        if entry.path.is_empty() {
            apply(entry, all).map_err(invalid)?;
            continue;
        }
        let (file, text) = reader.load_text(dir, &loaded.file, &entry.path)?;
        let value = yaml::parse(&text, yaml::Resolver::Kubectl);
        let value = value.map_err(|error| Error::Yaml { file: file.clone(), error })?;
        let invalid = |message: String| Error::Invalid { file: file.clone(), message };
        let listed = if value.is_array() { value } else { Value::Array(vec![value]) };
        let replacements: Vec<Replacement> =
            serde_json::from_value(listed).map_err(|e| invalid(e.to_string()))?;
        for replacement in &replacements {
            apply(replacement, all).map_err(invalid)?;
        }
    }
    Ok(())
}

fn apply(replacement: &Replacement, all: &mut [Resource]) -> Result<(), String> {
    if replacement.targets.is_empty() {
        return Err("replacements must specify a source and at least one target".to_owned());
    }
    let value = match (&replacement.source, &replacement.source_value) {
        (Some(source), None) => source_value(source, all)?,
        (None, Some(value)) => Value::String(value.clone()),
        (Some(_), Some(_)) => return Err("value and resource selectors are mutually exclusive".to_owned()),
        (None, None) => return Err("replacements must specify a source and at least one target".to_owned()),
    };
    replacement.targets.iter().try_for_each(|target| to_target(target, &value, all))
}

fn source_value(source: &Source, all: &[Resource]) -> Result<Value, String> {
    let fits = |wanted: &str, text: &str| wanted.is_empty() || wanted == text;
    let matches = |id: &Id| {
        fits(&source.group, &id.gvk.group)
            && fits(&source.version, &id.gvk.version)
            && fits(&source.kind, &id.gvk.kind)
            && fits(&source.name, &id.name)
            && (source.namespace.is_empty() || source.namespace == id.effective_namespace())
    };
    let mut found = all.iter().filter(|resource| resource.any_id(matches));
    let shown =
        format!("{}.{}.{}/{}.{}", source.kind, source.version, source.group, source.name, source.namespace);
    let resource = match (found.next(), found.next()) {
        (Some(resource), None) => resource,
        (None, _) => return Err(format!("nothing selected by {shown}")),
        _ => return Err(format!("multiple matches for selector {shown}")),
    };
    let path = if source.field_path.is_empty() { DEFAULT_FIELD } else { &source.field_path };
    let value = split(path).iter().try_fold(&resource.object, |node, name| child(node, name));
    let value = value.filter(|value| !value.is_null());
    let value =
        value.ok_or_else(|| format!("fieldPath `{path}` is missing for replacement source {shown}"))?;
    if source.options.delimiter.is_empty() {
        return Ok(value.clone());
    }
    let text = scalar_text(value).ok_or("delimiter option can only be used with scalar nodes")?;
    let index = usize::try_from(source.options.index).ok();
    let part = index.and_then(|index| text.split(source.options.delimiter.as_str()).nth(index));
    let out = || format!("options.index {} is out of bounds for value {text}", source.options.index);
    part.map(Value::from).ok_or_else(out)
}

fn to_target(target: &Target, value: &Value, all: &mut [Resource]) -> Result<(), String> {
    let Some(select) = &target.select else {
        return Err("target must specify resources to select".to_owned());
    };
    let selected = Matcher::new(select)?;
    let rejected = target.reject.iter().map(Matcher::new).collect::<Result<Vec<_>, _>>()?;
    let rejects_by_id =
        |id: &Id| rejected.iter().any(|matcher| matcher.names_something() && matcher.matches_id(id));
    let rejects_by_label = |object: &Value| {
        let labelled = target.reject.iter().zip(&rejected);
        let labelled =
            labelled.filter(|(s, _)| !s.label_selector.is_empty() || !s.annotation_selector.is_empty());
        labelled.into_iter().any(|(_, matcher)| matcher.matches_labels(object))
    };
    let default = [DEFAULT_FIELD.to_owned()];
    let paths = if target.field_paths.is_empty() { &default[..] } else { &target.field_paths };
    for resource in all.iter_mut() {
        let chosen = selected.matches_labels(&resource.object)
            && !rejects_by_label(&resource.object)
            && !resource.any_id(rejects_by_id)
            && resource.any_id(|id| selected.matches_id(id));
        if !chosen {
            continue;
        }
        for path in paths {
            let names = split(path);
            let count = set(&mut resource.object, &names, &target.options, value)?;
            if count == 0 {
                let word = if target.options.create { "find or create" } else { "find" };
                return Err(format!("unable to {word} field \"{path}\" in replacement target"));
            }
        }
    }
    Ok(())
}

/// Names between dots; `[…]` keeps its dots, `\.` is a dot in a name.
fn split(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut bracket = false;
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&'.') => {
                characters.next();
                names.last_mut().into_iter().for_each(|name| name.push('.'));
            }
            '.' if !bracket => names.push(String::new()),
            other => {
                bracket = (bracket || other == '[') && other != ']';
                names.last_mut().into_iter().for_each(|name| name.push(other));
            }
        }
    }
    names
}

/// `name=value` of a step `[name=value]`.
fn condition(step: &str) -> Option<(&str, &str)> {
    step.strip_prefix('[')?.strip_suffix(']')?.split_once('=')
}

fn child<'a>(node: &'a Value, step: &str) -> Option<&'a Value> {
    match node {
        Value::Object(map) => map.get(step),
        Value::Array(items) => match condition(step) {
            Some((name, wanted)) => {
                items.iter().find(|item| item.get(name).and_then(scalar_text).as_deref() == Some(wanted))
            }
            None => items.get(step.parse::<usize>().ok()?),
        },
        _ => None,
    }
}

/// Sets every field at a path; how many there were.
fn set(node: &mut Value, steps: &[String], options: &FieldOptions, value: &Value) -> Result<usize, String> {
    let Some((step, rest)) = steps.split_first() else {
        return set_field(node, options, value).map(|()| 1);
    };
    match node {
        Value::Array(items) => {
            let wanted = |at: usize, item: &Value| match condition(step) {
                Some((name, wanted)) => item.get(name).and_then(scalar_text).as_deref() == Some(wanted),
                None => step == "*" || step.parse() == Ok(at),
            };
            let mut count = 0;
            for (_, item) in items.iter_mut().enumerate().filter(|(at, item)| wanted(*at, item)) {
                count += set(item, rest, options, value)?;
            }
            Ok(count)
        }
        Value::Object(map) if step == "*" => {
            let mut count = 0;
            for item in map.values_mut() {
                count += set(item, rest, options, value)?;
            }
            Ok(count)
        }
        Value::Object(map) => {
            if options.create && !map.contains_key(step) {
                let made = if rest.is_empty() { Value::Null } else { Value::Object(Map::new()) };
                map.insert(step.clone(), made);
            }
            map.get_mut(step).map_or(Ok(0), |next| set(next, rest, options, value))
        }
        Value::String(text) => {
            let inside =
                yaml::parse(text, yaml::Resolver::Kyaml).ok().filter(|v| v.is_object() || v.is_array());
            let Some(mut inside) = inside else { return Ok(0) };
            let count = set(&mut inside, steps, options, value)?;
            *text = written_like(text, &inside);
            Ok(count)
        }
        _ => Ok(0),
    }
}

/// A document inside of a text, in the form that the text had.
fn written_like(before: &str, inside: &Value) -> String {
    let json = before.trim_start().starts_with(['{', '[']);
    match (json, before.contains('\n') && before.contains("  ")) {
        (true, true) => {
            let mut sorted = inside.clone();
            sorted.sort_all_objects();
            serde_json::to_string_pretty(&sorted).unwrap_or_default()
        }
        (true, false) => {
            let mut sorted = inside.clone();
            sorted.sort_all_objects();
            sorted.to_string()
        }
        (false, _) => yaml::emit(inside).trim().to_owned(),
    }
}

fn set_field(node: &mut Value, options: &FieldOptions, value: &Value) -> Result<(), String> {
    if options.delimiter.is_empty() {
        // A text stays a text: only its content is replaced.
        *node = match (&*node, scalar_text(value)) {
            (Value::String(_), Some(text)) => Value::String(text),
            _ => value.clone(),
        };
        return Ok(());
    }
    let wrong = "delimiter option can only be used with scalar nodes";
    let (old, new) = (scalar_text(node).ok_or(wrong)?, scalar_text(value).ok_or(wrong)?);
    let mut parts: Vec<&str> = old.split(options.delimiter.as_str()).collect();
    match usize::try_from(options.index) {
        Err(_) => parts.insert(0, &new),
        Ok(index) if index >= parts.len() => parts.push(&new),
        Ok(index) => parts[index] = &new,
    }
    *node = Value::String(parts.join(&options.delimiter));
    Ok(())
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => Some(String::new()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}
