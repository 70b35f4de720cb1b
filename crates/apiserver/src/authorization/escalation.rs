//! Nobody grants what they do not hold: checks of roles and bindings when they are written.

use object::{kinds, meta};
use serde_json::Value;

use super::rbac::{Attributes, Rule, Rules, rules};
use super::{allowed, is_master};
use crate::User;
use crate::catalog::Kind;
use crate::error::ApiError;
use crate::http::Context;

/// Refuses a role with rules that its writer does not hold (unless they may `escalate`), and a binding to such a role (unless they may
/// `bind`).
pub(crate) fn check(cx: &Context, kind: &Kind, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    if is_master(&cx.user) || old.is_some_and(|old| same_grant(old, object)) {
        return Ok(());
    }
    let is_role = kind.is(&kinds::ROLE) || kind.is(&kinds::CLUSTER_ROLE);
    let namespace = meta::namespace(object);
    let held = cx.api.rules();
    let reference = &object["roleRef"];
    let (verb, resource, name, granted) = if is_role {
        ("escalate", kind.resource.plural.to_string(), meta::name(object), rules(&object["rules"]))
    } else {
        let resource = if reference["kind"] == "ClusterRole" { "clusterroles" } else { "roles" };
        let name = reference["name"].as_str().unwrap_or_default();
        ("bind", resource.to_owned(), name, Rules::of_role(&cx.api.store, reference, namespace))
    };
    let special = Attributes {
        verb,
        group: &kind.resource.group,
        resource: &resource,
        subresource: "",
        namespace,
        name,
    };
    if allowed(&cx.api, &cx.user, &special) {
        return Ok(());
    }
    let missing: Vec<String> =
        granted.iter().filter(|rule| !holds(&held, &cx.user, rule, namespace)).map(describe).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        cx.user.name,
        cx.user.groups,
        missing.join("\n")
    );
    Err(ApiError::forbidden(&kind.resource, meta::name(object), why))
}

fn same_grant(old: &Value, new: &Value) -> bool {
    ["rules", "aggregationRule", "roleRef", "subjects"].iter().all(|field| old.get(*field) == new.get(*field))
}

/// Whether a user holds every single permission of a rule.
fn holds(held: &Rules, user: &User, rule: &Rule, namespace: &str) -> bool {
    let paths =
        rule.paths.iter().all(|path| rule.verbs.iter().all(|verb| held.allows_path(user, verb, path)));
    let any_name = [String::new()];
    let names = if rule.names.is_empty() { &any_name[..] } else { &rule.names };
    let resources = rule.groups.iter().all(|group| {
        rule.resources.iter().all(|full| {
            let (resource, subresource) = full.split_once('/').unwrap_or((full, ""));
            rule.verbs.iter().all(|verb| {
                names.iter().all(|name| {
                    held.allows(user, &Attributes { verb, group, resource, subresource, namespace, name })
                })
            })
        })
    });
    paths && resources
}

/// A rule as Kubernetes prints it in the refusal.
fn describe(rule: &Rule) -> String {
    let mut parts = vec![];
    let mut add = |name: &str, list: &[String]| {
        if !list.is_empty() {
            let quoted: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
            parts.push(format!("{name}:[{}]", quoted.join(", ")));
        }
    };
    add("APIGroups", &rule.groups);
    add("Resources", &rule.resources);
    add("ResourceNames", &rule.names);
    add("NonResourceURLs", &rule.paths);
    add("Verbs", &rule.verbs);
    format!("{{{}}}", parts.join(", "))
}
