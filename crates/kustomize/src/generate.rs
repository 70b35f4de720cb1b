//! ConfigMaps and Secrets from files, literals and env files; and the content hash in their names.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object::meta;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::file::{Generator, GeneratorOptions, Loaded};
use crate::resource::{Behavior, Resource, append};
use crate::tree::Reader;

/// Adds the generated objects of one kustomization to its resources, or merges them into those of a base.
pub(crate) fn run(
    reader: &Reader<'_>,
    dir: &str,
    loaded: &Loaded,
    all: &mut Vec<Resource>,
) -> Result<(), Error> {
    let kustomization = &loaded.kustomization;
    let maps = kustomization.config_map_generator.iter().map(|generator| ("ConfigMap", generator));
    let secrets = kustomization.secret_generator.iter().map(|generator| ("Secret", generator));
    for (kind, generator) in maps.chain(secrets) {
        let resource = generate(reader, dir, loaded, kind, generator)?;
        absorb(all, resource).map_err(|message| Error::Invalid { file: loaded.file.clone(), message })?;
    }
    Ok(())
}

/// Appends the hash of their content to the names that ask for it.
pub(crate) fn add_hashes(resources: &mut [Resource]) {
    for resource in resources.iter_mut().filter(|resource| resource.needs_hash) {
        let hash = hash(&resource.object);
        resource.remember_id();
        let name = format!("{}-{hash}", meta::name(&resource.object));
        resource.set_name(&name);
    }
}

/// kustomize's content hash: ten letters and digits that spell no words.
pub(crate) fn hash(object: &Value) -> String {
    let text = go_json(&hashed_part(object));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let hex = digest.as_ref().iter().take(5).flat_map(|byte| [byte >> 4, byte & 15]);
    let letter = |nibble: u8| match nibble {
        0 => 'g',
        1 => 'h',
        3 => 'k',
        10 => 'm',
        14 => 't',
        other => char::from_digit(u32::from(other), 16).unwrap_or('0'),
    };
    hex.map(letter).collect()
}

fn hashed_part(object: &Value) -> Value {
    let or_empty = |field: &str| match object.get(field) {
        None | Some(Value::Null) => Value::String(String::new()),
        Some(value) => value.clone(),
    };
    let mut part = Map::new();
    // Sorted, as Go writes maps.
    match meta::kind(object) {
        "ConfigMap" => {
            if object["binaryData"].is_object() {
                part.insert("binaryData".into(), object["binaryData"].clone());
            }
            part.insert("data".into(), or_empty("data"));
        }
        "Secret" => {
            part.insert("data".into(), or_empty("data"));
        }
        _ => return object.clone(),
    }
    part.insert("kind".into(), object["kind"].clone());
    // kustomize means the name here, but looks it up in a field called `metadata/name`, which is never there.
    part.insert("name".into(), "".into());
    if meta::kind(object) == "Secret" {
        if object["stringData"].is_object() {
            part.insert("stringData".into(), object["stringData"].clone());
        }
        part.insert("type".into(), or_empty("type"));
    }
    Value::Object(part)
}

/// JSON as Go writes it: sorted keys, and `<`, `>`, `&` escaped.
fn go_json(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    let mut out = String::new();
    for character in sorted.to_string().chars() {
        match character {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

fn generate(
    reader: &Reader<'_>,
    dir: &str,
    loaded: &Loaded,
    kind: &str,
    generator: &Generator,
) -> Result<Resource, Error> {
    let invalid = |message: String| Error::Invalid { file: loaded.file.clone(), message };
    if generator.name.is_empty() {
        return Err(invalid("a configmap must have a name".to_owned()));
    }
    let pairs = pairs(reader, dir, loaded, generator)?;
    let global = &loaded.kustomization.generator_options;
    let options = merged_options(global, &generator.options);
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": generator.name}});
    if !generator.namespace.is_empty() {
        object["metadata"]["namespace"] = generator.namespace.as_str().into();
    }
    if !options.labels.is_empty() {
        object["metadata"]["labels"] = json!(options.labels);
    }
    if !options.annotations.is_empty() {
        object["metadata"]["annotations"] = json!(options.annotations);
    }
    if kind == "Secret" {
        let secret_type = if generator.secret_type.is_empty() { "Opaque" } else { &generator.secret_type };
        object["type"] = secret_type.into();
    }
    for (key, content) in pairs {
        match (kind, String::from_utf8(content)) {
            ("ConfigMap", Ok(text)) => object["data"][key] = text.into(),
            ("ConfigMap", Err(error)) => object["binaryData"][key] = base64_lines(error.as_bytes()).into(),
            (_, Ok(text)) => object["data"][key] = base64_lines(text.as_bytes()).into(),
            (_, Err(error)) => object["data"][key] = base64_lines(error.as_bytes()).into(),
        }
    }
    if options.immutable {
        object["immutable"] = true.into();
    }
    let mut resource = Resource::new(object);
    resource.needs_hash = !options.disable_name_suffix_hash;
    resource.behavior = match generator.behavior.as_str() {
        "" | "create" | "unspecified" => Behavior::Create,
        "merge" => Behavior::Merge,
        "replace" => Behavior::Replace,
        other => return Err(invalid(format!("unknown behavior '{other}' of {kind} '{}'", generator.name))),
    };
    Ok(resource)
}

/// Base64, in lines of 70 when it is longer than that: the line ends are part of the hashed content.
fn base64_lines(content: &[u8]) -> String {
    const LINE: usize = 70;
    let packed = STANDARD.encode(content);
    if packed.len() < LINE {
        return packed;
    }
    let mut out = String::with_capacity(packed.len() + packed.len() / LINE + 1);
    for line in packed.as_bytes().chunks(LINE) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out
}

fn merged_options(global: &GeneratorOptions, own: &GeneratorOptions) -> GeneratorOptions {
    let over = |global: &BTreeMap<String, String>, own: &BTreeMap<String, String>| {
        let mut merged = global.clone();
        merged.extend(own.clone());
        merged
    };
    GeneratorOptions {
        labels: over(&global.labels, &own.labels),
        annotations: over(&global.annotations, &own.annotations),
        disable_name_suffix_hash: global.disable_name_suffix_hash || own.disable_name_suffix_hash,
        immutable: global.immutable || own.immutable,
    }
}

/// Keys and contents from all three kinds of source.
fn pairs(
    reader: &Reader<'_>,
    dir: &str,
    loaded: &Loaded,
    generator: &Generator,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let file = &loaded.file;
    let invalid = |message: String| Error::Invalid { file: file.clone(), message };
    let mut pairs = vec![];
    let single = Some(&generator.env).filter(|env| !env.is_empty());
    for path in generator.envs.iter().chain(single) {
        let (_, text) = reader.load_text(dir, file, path)?;
        pairs.extend(env_lines(&text).map_err(|message| invalid(format!("env source {path}: {message}")))?);
    }
    for literal in &generator.literals {
        let pair = literal.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) =
            pair.ok_or_else(|| invalid(format!("invalid literal source {literal}, expected key=value")))?;
        pairs.push((key.to_owned(), without_quotes(value).as_bytes().to_vec()));
    }
    for source in &generator.files {
        let (key, path) = file_source(source).map_err(&invalid)?;
        let (_, content) = reader.load(dir, file, path)?;
        pairs.push((key.to_owned(), content.to_vec()));
    }
    let mut known = BTreeMap::new();
    for (key, content) in pairs {
        let legal = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if key.is_empty() || !legal || key.len() > 253 {
            return Err(invalid(format!("\"{key}\" is not a valid key name for a ConfigMap")));
        }
        if known.insert(key.clone(), content).is_some() {
            let name = &generator.name;
            return Err(invalid(format!("configmap {name} illegally repeats the key `{key}`")));
        }
    }
    Ok(known)
}

fn file_source(source: &str) -> Result<(&str, &str), String> {
    match source.split_once('=') {
        None => Ok((source.rsplit('/').next().unwrap_or(source), source)),
        Some(("", path)) => Err(format!("missing key name for file path \"{path}\" in source \"{source}\"")),
        Some((key, "")) => Err(format!("missing file path for key name \"{key}\" in source \"{source}\"")),
        Some((_, path)) if path.contains('=') => {
            Err(format!("source \"{source}\" key name or file path contains '='"))
        }
        Some(pair) => Ok(pair),
    }
}

fn env_lines(text: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut pairs = vec![];
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let legal = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !legal || key.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("\"{key}\" is not a valid environment variable name"));
        }
        pairs.push((key.to_owned(), value.as_bytes().to_vec()));
    }
    Ok(pairs)
}

fn without_quotes(text: &str) -> &str {
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(text)
}

/// Adds a generated object, or merges it with the one of its name, as its behavior says.
fn absorb(all: &mut Vec<Resource>, mut new: Resource) -> Result<(), String> {
    let id = new.id();
    let matches: Vec<usize> = all
        .iter()
        .enumerate()
        .filter(|(_, old)| old.any_id(|other| other.same(&id)))
        .map(|(at, _)| at)
        .collect();
    match (matches.as_slice(), new.behavior) {
        ([], Behavior::Create) => append(all, new).map_err(|error| error.to_string()),
        ([], _) => Err(format!("id {id} does not exist; cannot merge or replace")),
        ([_], Behavior::Create) => {
            Err(format!("id {id} exists; can not use behavior: 'create', behavior must be merge or replace"))
        }
        ([at], behavior) => {
            let old = &all[*at];
            copy_identity(&mut new, old);
            if behavior == Behavior::Merge {
                for field in ["data", "binaryData"] {
                    let merged = merged_map(&old.object[field], &new.object[field]);
                    if let (Some(merged), Some(object)) = (merged, new.object.as_object_mut()) {
                        object.insert(field.to_owned(), merged);
                    }
                }
            }
            all[*at] = new;
            Ok(())
        }
        (_, _) => Err(format!("found multiple objects that could accept merge of {id}")),
    }
}

/// The name, history, labels and annotations of the object that is replaced.
fn copy_identity(new: &mut Resource, old: &Resource) {
    for field in ["labels", "annotations"] {
        let merged = merged_map(&old.object["metadata"][field], &new.object["metadata"][field]);
        if let (Some(merged), Some(metadata)) = (merged, new.object["metadata"].as_object_mut()) {
            metadata.insert(field.to_owned(), merged);
        }
    }
    new.set_name(meta::name(&old.object));
    if !meta::namespace(&old.object).is_empty() {
        new.object["metadata"]["namespace"] = meta::namespace(&old.object).into();
    }
    new.previous.clone_from(&old.previous);
    new.prefixes.clone_from(&old.prefixes);
    new.suffixes.clone_from(&old.suffixes);
    // A resource that was not generated keeps its name, also when a generator adds to it.
    new.needs_hash &= old.needs_hash;
}

fn merged_map(old: &Value, new: &Value) -> Option<Value> {
    let mut merged: BTreeMap<String, Value> = BTreeMap::new();
    for map in [old, new].into_iter().filter_map(Value::as_object) {
        merged.extend(map.clone());
    }
    (!merged.is_empty()).then(|| Value::Object(merged.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_kustomizes() {
        let check = |object: Value, expected: &str| assert_eq!(hash(&object), expected);
        // From kustomize's own hasher tests.
        check(json!({"apiVersion": "v1", "kind": "ConfigMap"}), "6ct58987ht");
        check(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"one": ""}}), "9g67k2htb6");
        check(
            json!({"apiVersion": "v1", "kind": "Secret", "type": "my-type", "data": {"one": ""}}),
            "74bd68bm66",
        );
    }
}
