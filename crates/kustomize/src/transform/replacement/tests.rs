//! What a replacement copies, where, and what it refuses.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use serde_json::Value;

use super::*;
use crate::node::{read_documents, to_value};
use crate::schema::Schema;

const SOURCE: &str = "apiVersion: v1\nkind: Source\nmetadata: {name: s}\n\
    data: {text: a-b-c, number: 8080, quoted: '1.10', map: {x: 1}, none: null, empty: ''}\n";

/// What becomes of an object `data`, given a replacement.
fn replaced(data: &str, replacement: &str) -> Result<String, String> {
    let value = yaml::parse(replacement, yaml::Resolver::Kubectl).unwrap();
    let replacement: Replacement = json::strict(&value)?;
    let text = format!(
        "{SOURCE}---\napiVersion: apps/v1\nkind: Target\nmetadata: {{name: t, labels: {{l: x}}}}\ndata: {data}\n"
    );
    let list: Vec<Resource> = read_documents(&text).unwrap().into_iter().map(Resource::new).collect();
    let mut resources = Resources::from_list(list);
    replacement.apply(&mut resources)?;
    Ok(to_value(resources.get(1).unwrap().node.get("data").unwrap())?.to_string())
}

/// One field to another one.
fn copied(data: &str, from: &str, to: &str) -> Result<String, String> {
    replaced(
        data,
        &format!(
            "{{source: {{kind: Source, fieldPath: {from}}}, targets: [{{select: {{kind: Target}}, {to}}}]}}"
        ),
    )
}

#[test]
fn a_scalar_keeps_its_tag() {
    let check = |data: &str, from: &str, expected: &str| {
        assert_eq!(copied(data, from, "fieldPaths: [data.f]"), Ok(expected.to_owned()), "{data} {from}");
    };
    check("{f: x}", "data.number", r#"{"f":"8080"}"#);
    check("{f: 1}", "data.number", r#"{"f":8080}"#);
    check("{f: {y: 1}}", "data.quoted", r#"{"f":"1.10"}"#);
    check("{f: [1]}", "data.map", r#"{"f":{"x":1}}"#);
    check("{f: x}", "data.map", r#"{"f":""}"#);
    check("{f: x}", "data.empty", r#"{"f":""}"#);
    let error = copied("{f: 1}", "data.text", "fieldPaths: [data.f]").unwrap_err();
    assert!(error.contains("cannot decode `a-b-c` as a !!int"), "{error}");
    let error = copied("{f: 1}", "data.none", "fieldPaths: [data.f]").unwrap_err();
    assert_eq!(
        error,
        "fieldPath `data.none` is missing for replacement source Source.[noVer].[noGrp]/[noName].[noNs]"
    );
}

/// As kustomize does: the value is not a copy, and the condition that led to it does not have to hold any more.
#[test]
fn a_source_that_changes_is_looked_at_again() {
    let replacement = "{source: {kind: Target, fieldPath: 'data.f.[n=a].n'}, targets: [{select: {kind: Target}, \
        fieldPaths: ['data.f.[n=a].n', data.g], options: {create: true, delimiter: ':', index: 1}}]}";
    let found = replaced("{f: [{n: a}]}", replacement);
    assert_eq!(found.as_deref(), Ok(r#"{"f":[{"n":"a:a"}],"g":":a:a"}"#));
    let replacement = "{source: {kind: Target, fieldPath: data.0.n}, targets: [{select: {kind: Target}, \
        fieldPaths: ['data.*.n'], options: {delimiter: '.', index: 1}}]}";
    let found = replaced("[{n: a}, {n: b}]", replacement);
    assert_eq!(found.as_deref(), Ok(r#"[{"n":"a.a"},{"n":"b.a.a"}]"#));
}

#[test]
fn parts() {
    let check = |data: &str, index: i64, expected: &str| {
        let to = format!("fieldPaths: [data.f], options: {{delimiter: '.', index: {index}}}");
        assert_eq!(copied(data, "data.number", &to), Ok(expected.to_owned()), "{data} {index}");
    };
    check("{f: a.b}", 0, r#"{"f":"8080.b"}"#);
    check("{f: a.b}", 1, r#"{"f":"a.8080"}"#);
    check("{f: a.b}", 2, r#"{"f":"a.b.8080"}"#);
    check("{f: a.b}", -1, r#"{"f":"8080.a.b"}"#);
    let part = |index: i64| {
        let source =
            format!("{{kind: Source, fieldPath: data.text, options: {{delimiter: '-', index: {index}}}}}");
        replaced(
            "{f: x}",
            &format!(
                "{{source: {source}, targets: [{{select: {{}}, fieldPaths: [data.f], reject: [{{kind: Source}}]}}]}}"
            ),
        )
    };
    assert_eq!(part(2), Ok(r#"{"f":"c"}"#.to_owned()));
    assert_eq!(part(3).unwrap_err(), "options.index 3 is out of bounds for value a-b-c");
    assert!(part(-1).unwrap_err().contains("out of bounds"));
    let to = "fieldPaths: [data.f], options: {delimiter: '.'}";
    assert!(copied("{f: {}}", "data.number", to).unwrap_err().contains("only be used with scalar nodes"));
}

#[test]
fn what_is_made_takes_the_type_of_its_text() {
    let made = |from: &str, path: &str| {
        copied("{l: []}", from, &format!("fieldPaths: ['{path}'], options: {{create: true}}"))
    };
    assert_eq!(made("data.quoted", "data.a.b"), Ok(r#"{"l":[],"a":{"b":1.1}}"#.to_owned()));
    assert_eq!(made("data.map", "data.a.b"), Ok(r#"{"l":[],"a":{"b":{"x":1}}}"#.to_owned()));
    assert_eq!(made("data.text", "data.l.0"), Ok(r#"{"l":["a-b-c"]}"#.to_owned()));
    assert_eq!(made("data.text", "data.l.[k=v].w"), Ok(r#"{"l":[{"k":"v","w":"a-b-c"}]}"#.to_owned()));
    assert!(
        made("data.text", "data.l.1").unwrap_err().contains("unable to find or create field \"data.l.1\"")
    );
}

#[test]
fn who_is_meant() {
    let to = |target: &str| {
        replaced("{f: x}", &format!("{{sourceValue: NEW, targets: [{{fieldPaths: [data.f], {target}}}]}}"))
    };
    for target in ["select: {kind: T.*}", "select: {group: apps, labelSelector: l=x}", "select: {name: t}"] {
        assert_eq!(to(target), Ok(r#"{"f":"NEW"}"#.to_owned()), "{target}");
    }
    for target in [
        "select: {kind: Tar}",
        "select: {name: t}, reject: [{name: t}]",
        "select: {name: t}, reject: [{labelSelector: l}]",
        "select: {namespace: default}",
    ] {
        assert_eq!(to(target), Ok(r#"{"f":"x"}"#.to_owned()), "{target}");
    }
    assert_eq!(to("select: {}").unwrap_err(), "unable to find field \"data.f\" in replacement target");
    assert_eq!(to("reject: []").unwrap_err(), "target must specify resources to select");
    assert!(to("select: {name: '('}").unwrap_err().contains("error creating target selector"));

    let from = |source: &str| replaced("{f: x}", &format!("{{source: {source}, targets: []}}")).unwrap_err();
    assert_eq!(from("{kind: Nope, name: x}"), "nothing selected by Nope.[noVer].[noGrp]/x.[noNs]");
    assert_eq!(
        from("{fieldPath: a, options: {delimiter: /, index: 1}}"),
        "multiple matches for selector [noKind].[noVer].[noGrp]/[noName].[noNs]:a:/(1), create=false"
    );
    let neither = "replacements must specify a source and at least one target";
    assert_eq!(replaced("{}", "{sourceValue: x}").unwrap_err(), neither);
    assert_eq!(replaced("{}", "{targets: []}").unwrap_err(), neither);
    let both = replaced("{}", "{source: {}, sourceValue: x, targets: []}").unwrap_err();
    assert_eq!(both, "value and resource selectors are mutually exclusive");
}

#[test]
fn a_resource_is_known_by_former_names() {
    let mut resource = Resource::new(read_documents(SOURCE).unwrap().remove(0));
    resource.remember_id(&Schema::default());
    resource.set_name("new");
    let source = |name: &str, namespace: &str| {
        Source { name: name.into(), namespace: namespace.into(), ..Source::default() }.selects(&resource)
    };
    assert!(source("new", "") && source("s", "") && source("s", "default"));
    assert!(!source("old", "") && !source("s", "other"));
}

#[test]
fn text_inside_of_text() {
    let check = |text: &str, path: &str, expected: &str| {
        let data = serde_json::json!({"f": text}).to_string();
        let found = copied(&data, "data.number", &format!("fieldPaths: ['data.f.{path}']")).unwrap();
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["f"], expected, "{text}");
    };
    check(r#"{"b": {"c": 1}, "a": "<"}"#, "b.c", r#"{"a":"\u003c","b":{"c":8080}}"#);
    check("{\n  \"a\": 1\n}\n", "a", "{\n  \"a\": 8080\n}");
    check("b:\n    c: 1\na:\n  - 'x'\n  - {y: \"z\"}\n", "b.c", "b:\n  c: 8080\na:\n- 'x'\n- {y: \"z\"}");
    check("a: 1 # why\nb: 2\n", "a", "a: 8080 # why\nb: 2");
    check("a: x # why\nb:\n  - 1\n", "a", "a: \"8080\" # why\nb:\n  - 1");
    let error = copied("{f: plain}", "data.number", "fieldPaths: [data.f.x]").unwrap_err();
    assert!(error.contains("unable to find field \"data.f.x\""), "{error}");
}
