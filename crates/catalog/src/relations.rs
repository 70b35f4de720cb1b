//! Which relations an entity's `spec` states, each with its counterpart (Backstage's `well-known-relations.md`).

use serde_json::Value;

use crate::reference::EntityRef;

/// One relation that kinds may state.
struct Rule {
    kinds: &'static [&'static str],
    /// Field of `spec`: a reference or a list of them.
    field: &'static str,
    forth: &'static str,
    back: &'static str,
    /// Kind of a target that names none; without one it must.
    kind: Option<&'static str>,
}

const fn rule(
    kinds: &'static [&'static str],
    field: &'static str,
    forth: &'static str,
    back: &'static str,
    kind: Option<&'static str>,
) -> Rule {
    Rule { kinds, field, forth, back, kind }
}

const RULES: &[Rule] = &[
    rule(
        &["component", "api", "resource", "system", "domain", "template"],
        "owner",
        "ownedBy",
        "ownerOf",
        Some("Group"),
    ),
    rule(&["component", "api", "resource"], "system", "partOf", "hasPart", Some("System")),
    rule(&["component"], "subcomponentOf", "partOf", "hasPart", Some("Component")),
    rule(&["component"], "providesApis", "providesApi", "apiProvidedBy", Some("API")),
    rule(&["component"], "consumesApis", "consumesApi", "apiConsumedBy", Some("API")),
    rule(&["component", "resource"], "dependsOn", "dependsOn", "dependencyOf", None),
    rule(&["component", "resource"], "dependencyOf", "dependencyOf", "dependsOn", None),
    rule(&["system"], "domain", "partOf", "hasPart", Some("Domain")),
    rule(&["domain"], "subdomainOf", "partOf", "hasPart", Some("Domain")),
    rule(&["group"], "parent", "childOf", "parentOf", Some("Group")),
    rule(&["group"], "children", "parentOf", "childOf", Some("Group")),
    rule(&["group"], "members", "hasMember", "memberOf", Some("User")),
    rule(&["user"], "memberOf", "memberOf", "hasMember", Some("Group")),
];

/// One directed relation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Relation {
    pub(crate) source: EntityRef,
    pub(crate) kind: &'static str,
    pub(crate) target: EntityRef,
}

/// The relations that `entity` states, in both directions, and what in them could not be read.
pub(crate) fn of(reference: &EntityRef, entity: &Value) -> (Vec<Relation>, Vec<String>) {
    let mut relations = Vec::new();
    let mut problems = Vec::new();
    for Rule { kinds, field, forth, back, kind } in RULES {
        if !kinds.contains(&reference.kind.as_str()) {
            continue;
        }
        let stated = entity.get("spec").and_then(|spec| spec.get(field));
        let targets: Vec<&str> = match stated {
            Some(Value::String(text)) => vec![text.as_str()],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => continue,
        };
        for target in targets {
            match EntityRef::parse_with(target, *kind, &reference.namespace) {
                Ok(target) => {
                    relations.push(Relation {
                        source: reference.clone(),
                        kind: forth,
                        target: target.clone(),
                    });
                    relations.push(Relation { source: target, kind: back, target: reference.clone() });
                }
                Err(problem) => problems.push(format!("spec.{field}: {problem}")),
            }
        }
    }
    (relations, problems)
}
