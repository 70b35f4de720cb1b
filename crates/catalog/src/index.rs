//! Stitching: from the documents of every source to one index of entities with uid, etag, relations in both
//! directions, errors and search rows. Pure; the same input gives the same index.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

use crate::api::Entity;
use crate::reference::EntityRef;
use crate::relations::{self, Relation};
use crate::source::{File, Source};
use crate::validate;

/// All stitched entities, by reference.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) entities: BTreeMap<EntityRef, Entity>,
    /// The location entity that brought each entity in.
    pub(crate) parents: HashMap<EntityRef, EntityRef>,
}

/// An entity that is taken but not yet stitched.
struct Taken {
    json: Value,
    errors: Vec<String>,
    parent: Option<EntityRef>,
}

/// Builds the index of all sources. `previous` lends entities whose file is broken now: a mistake in a file shows as
/// an error on the entity, it does not take the entity away.
pub(crate) fn build(sources: &BTreeMap<String, Source>, previous: &Index) -> Index {
    let mut taken: BTreeMap<EntityRef, Taken> = BTreeMap::new();
    for source in sources.values() {
        take_source(source, previous, &mut taken);
    }
    let mut all: Vec<Relation> = Vec::new();
    for (reference, entity) in &mut taken {
        let (found, problems) = relations::of(reference, &entity.json);
        all.extend(found);
        entity.errors.extend(problems);
    }
    let mut by_source: HashMap<EntityRef, BTreeSet<(&'static str, EntityRef)>> = HashMap::new();
    for relation in all {
        by_source.entry(relation.source).or_default().insert((relation.kind, relation.target));
    }
    let mut index = Index::default();
    for (reference, entity) in taken {
        let relations = by_source.remove(&reference).unwrap_or_default();
        if let Some(parent) = &entity.parent {
            index.parents.insert(reference.clone(), parent.clone());
        }
        index.entities.insert(reference.clone(), stitch(reference, entity, &relations));
    }
    index
}

/// The location entity that stands for a source's root file.
pub(crate) fn location_ref(target: &str) -> EntityRef {
    EntityRef::new("location", "default", &format!("generated-{}", &hex(&sha256(target.as_bytes()))[..40]))
}

fn take_source(source: &Source, previous: &Index, taken: &mut BTreeMap<EntityRef, Taken>) {
    if source.files.is_empty() {
        return;
    }
    let root = location_ref(&source.target());
    let mut errors = Vec::new();
    for file in &source.files {
        if let Err(message) = &file.documents {
            errors.push(format!("{}: {message}", file.path));
            keep_previous(source, file, message, previous, taken);
        }
        let parent = file.included_by.clone().unwrap_or_else(|| root.clone());
        for document in file.documents.iter().flatten() {
            errors.extend(take_document(source, file, document, &parent, previous, taken));
        }
    }
    let location = json!({
        "apiVersion": "backstage.io/v1alpha1", "kind": "Location",
        "metadata": {"name": root.name, "namespace": "default", "annotations": {
            "backstage.io/managed-by-location": format!("url:{}", source.target()),
            "backstage.io/managed-by-origin-location": format!("url:{}", source.target()),
        }},
        "spec": {"type": "url", "target": source.target()},
    });
    taken.insert(root, Taken { json: location, errors, parent: None });
}

/// Takes one document; what is wrong with it is returned, to be shown on the location.
fn take_document(
    source: &Source,
    file: &File,
    document: &Value,
    parent: &EntityRef,
    previous: &Index,
    taken: &mut BTreeMap<EntityRef, Taken>,
) -> Vec<String> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let namespace =
        if text("/metadata/namespace").is_empty() { "default" } else { text("/metadata/namespace") };
    let reference = EntityRef::new(text("/kind"), namespace, text("/metadata/name"));
    let problems = validate::problems(document);
    if !problems.is_empty() {
        if let Some(old) = previous.entities.get(&reference).filter(|_| !taken.contains_key(&reference)) {
            let json = unstitched(&old.json);
            taken.insert(
                reference.clone(),
                Taken { json, errors: problems.clone(), parent: Some(parent.clone()) },
            );
        }
        return problems
            .into_iter()
            .map(|problem| format!("{}: {reference}: {problem}", file.path))
            .collect();
    }
    if let Some(other) = taken.get(&reference) {
        let place = other.json.pointer("/metadata/annotations/backstage.io~1managed-by-location");
        let place = place.and_then(Value::as_str).unwrap_or("another location");
        return vec![format!("{}: {reference} exists already: it is defined by {place}", file.path)];
    }
    let mut json = document.clone();
    annotate(source, file, &reference, &mut json);
    if json.pointer("/metadata/namespace").is_none()
        && let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("namespace".to_owned(), Value::from("default"));
    }
    taken.insert(reference, Taken { json, errors: Vec::new(), parent: Some(parent.clone()) });
    Vec::new()
}

/// Entities that a file gave before it broke stay, with the error on them.
fn keep_previous(
    source: &Source,
    file: &File,
    message: &str,
    previous: &Index,
    taken: &mut BTreeMap<EntityRef, Taken>,
) {
    let place = format!("url:{}", source.url("blob", &file.path));
    for (reference, entity) in &previous.entities {
        let is_generated = reference.kind == "location" && reference.name.starts_with("generated-");
        if is_generated || entity.annotation("backstage.io/managed-by-location") != Some(place.as_str()) {
            continue;
        }
        taken.entry(reference.clone()).or_insert_with(|| Taken {
            json: unstitched(&entity.json),
            errors: vec![message.to_owned()],
            parent: previous.parents.get(reference).cloned(),
        });
    }
}

/// An entity as it was before stitching added its outputs.
fn unstitched(json: &Value) -> Value {
    let mut json = json.clone();
    if let Some(fields) = json.as_object_mut() {
        fields.shift_remove("relations");
        fields.shift_remove("status");
    }
    if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("uid");
        metadata.shift_remove("etag");
    }
    json
}

fn annotate(source: &Source, file: &File, reference: &EntityRef, json: &mut Value) {
    let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if !annotations.is_object() {
        *annotations = Value::Object(Map::new());
    }
    let Some(annotations) = annotations.as_object_mut() else { return };
    let mut put = |key: &str, value: String, overwrite: bool| {
        if overwrite || !annotations.contains_key(key) {
            annotations.insert(key.to_owned(), Value::from(value));
        }
    };
    let folder = file.path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    put("backstage.io/managed-by-location", format!("url:{}", source.url("blob", &file.path)), true);
    put("backstage.io/managed-by-origin-location", format!("url:{}", source.target()), true);
    put("backstage.io/view-url", source.url("blob", &file.path), false);
    put("backstage.io/edit-url", source.url("edit", &file.path), false);
    put("backstage.io/source-location", format!("url:{}", source.url("tree", &folder)), false);
    if reference.kind == "component" || reference.kind == "template" {
        put("github.com/project-slug", source.repository.clone(), false);
    }
}

fn stitch(reference: EntityRef, entity: Taken, relations: &BTreeSet<(&'static str, EntityRef)>) -> Entity {
    let mut json = entity.json;
    if let Some(fields) = json.as_object_mut() {
        let relations =
            relations.iter().map(|(kind, target)| json!({"type": kind, "targetRef": target.to_string()}));
        fields.insert("relations".to_owned(), relations.collect());
        if !entity.errors.is_empty() {
            let items: Vec<Value> = entity.errors.iter().map(|message| status_item(message)).collect();
            fields.insert("status".to_owned(), json!({ "items": items }));
        }
    }
    let etag = hex(&sha256(json.to_string().as_bytes()))[..40].to_owned();
    if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), Value::from(uid_of(&reference)));
        metadata.insert("etag".to_owned(), Value::from(etag));
    }
    let rows = crate::filter::rows_of(&json);
    Entity { reference, json, rows }
}

fn status_item(message: &str) -> Value {
    json!({
        "type": "backstage.io/catalog-processing", "level": "error", "message": format!("InputError: {message}"),
        "error": {"name": "InputError", "message": message},
    })
}

/// A uid that is the same for the same reference, so that an empty cache changes no address.
fn uid_of(reference: &EntityRef) -> String {
    let digest = hex(&sha256(reference.to_string().as_bytes()));
    format!(
        "{}-{}-4{}-a{}-{}",
        &digest[..8],
        &digest[8..12],
        &digest[13..16],
        &digest[17..20],
        &digest[20..32]
    )
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents;

    fn sources(files: &[(&str, &str)]) -> BTreeMap<String, Source> {
        let files = files
            .iter()
            .map(|(path, text)| File {
                path: (*path).to_owned(),
                documents: documents::parse(text),
                included_by: None,
            })
            .collect();
        let source = Source {
            repository: "platform/web".to_owned(),
            web_url: "http://h/platform/web".to_owned(),
            branch: "main".to_owned(),
            commit: "c1".to_owned(),
            files,
        };
        BTreeMap::from([("platform/web".to_owned(), source)])
    }

    const WEB: &str = "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: web}\n\
        spec: {type: website, lifecycle: production, owner: ops, system: shop}\n";
    const OPS: &str = "apiVersion: backstage.io/v1alpha1\nkind: Group\nmetadata: {name: ops}\n\
        spec: {type: team, children: []}\n";

    fn web() -> EntityRef {
        EntityRef::new("component", "default", "web")
    }

    #[test]
    fn relations_go_both_ways_and_annotations_say_where_from() {
        let both = format!("{WEB}---\n{OPS}");
        let index = build(&sources(&[("catalog-info.yaml", &both)]), &Index::default());
        let ops = EntityRef::new("group", "default", "ops");
        assert_eq!(
            index.entities[&web()].json["relations"],
            json!([{"type": "ownedBy", "targetRef": "group:default/ops"},
                   {"type": "partOf", "targetRef": "system:default/shop"}])
        );
        assert_eq!(
            index.entities[&ops].json["relations"],
            json!([{"type": "ownerOf", "targetRef": "component:default/web"}])
        );
        let web = &index.entities[&web()];
        let place = "url:http://h/platform/web/blob/main/catalog-info.yaml";
        assert_eq!(web.annotation("backstage.io/managed-by-location"), Some(place));
        assert_eq!(
            web.annotation("backstage.io/source-location"),
            Some("url:http://h/platform/web/tree/main/")
        );
    }

    #[test]
    fn a_broken_file_keeps_its_entities_and_shows_the_error() {
        let good = build(&sources(&[("catalog-info.yaml", WEB)]), &Index::default());
        for broken in ["a: [", "apiVersion: v1\nkind: Component\nmetadata: {name: web}\nspec: {}\n"] {
            let index = build(&sources(&[("catalog-info.yaml", broken)]), &good);
            let kept = &index.entities[&web()].json;
            assert_eq!(kept["spec"]["owner"], "ops");
            assert_eq!(kept["status"]["items"][0]["level"], "error");
            let location =
                index.entities.values().find(|entity| entity.reference.kind == "location").unwrap();
            assert!(location.json["status"]["items"][0]["message"].is_string());
        }
        let gone = build(&sources(&[("catalog-info.yaml", OPS)]), &good);
        assert!(!gone.entities.contains_key(&web()));
    }

    #[test]
    fn the_second_definition_of_an_entity_is_refused() {
        let index = build(&sources(&[("a.yaml", WEB), ("b.yaml", WEB)]), &Index::default());
        let location = index.entities.values().find(|entity| entity.reference.kind == "location").unwrap();
        let message = location.json["status"]["items"][0]["message"].as_str().unwrap();
        assert!(message.contains("exists already"), "{message}");
    }
}
