//! Roles and bindings, read from the store into one value that answers questions. After Kubernetes' `pkg/registry/rbac/validation/rule.go`.

use std::collections::HashMap;

use object::selector::LabelSelector;
use object::{Resource, kinds, meta};
use serde_json::Value;

use crate::User;
use crate::catalog::collection;
use crate::convert;
use crate::store::Store;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// One rule of a role.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) paths: Vec<String>,
}

struct Binding {
    subjects: Vec<Value>,
    namespace: String,
    rules: Vec<Rule>,
}

/// All bindings with the rules of their roles.
pub(crate) struct Rules {
    cluster: Vec<Binding>,
    /// By namespace.
    local: HashMap<String, Vec<Binding>>,
}

impl Rules {
    /// Reads the stored roles and bindings.
    pub(crate) fn load(store: &Store) -> Self {
        let all = |resource: &Resource| -> Vec<Value> {
            store
                .list(&collection(resource), "")
                .items
                .iter()
                .map(|(_, e)| convert::parse(&e.value))
                .collect()
        };
        let cluster_roles = all(&kinds::CLUSTER_ROLE);
        let cluster_rules: HashMap<String, Vec<Rule>> = cluster_roles
            .iter()
            .map(|role| (meta::name(role).to_owned(), role_rules(role, &cluster_roles)))
            .collect();
        let local_rules: HashMap<(String, String), Vec<Rule>> = all(&kinds::ROLE)
            .iter()
            .map(|role| {
                ((meta::namespace(role).to_owned(), meta::name(role).to_owned()), rules(&role["rules"]))
            })
            .collect();
        let bind = |binding: &Value| {
            let namespace = meta::namespace(binding).to_owned();
            let name = binding["roleRef"]["name"].as_str().unwrap_or_default().to_owned();
            let found = if binding["roleRef"]["kind"] == "ClusterRole" {
                cluster_rules.get(&name)
            } else {
                local_rules.get(&(namespace.clone(), name))
            };
            let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
            Binding { subjects, namespace, rules: found.cloned().unwrap_or_default() }
        };
        let cluster = all(&kinds::CLUSTER_ROLE_BINDING).iter().map(bind).collect();
        let mut local: HashMap<String, Vec<Binding>> = HashMap::new();
        for binding in all(&kinds::ROLE_BINDING).iter().map(bind) {
            local.entry(binding.namespace.clone()).or_default().push(binding);
        }
        Self { cluster, local }
    }

    /// The rules of the role that a binding names.
    pub(crate) fn of_role(store: &Store, reference: &Value, namespace: &str) -> Vec<Rule> {
        let name = reference["name"].as_str().unwrap_or_default();
        let get = |resource: &Resource, key: &str| {
            store.get(&collection(resource), key).map(|e| convert::parse(&e.value))
        };
        if reference["kind"] != "ClusterRole" {
            return get(&kinds::ROLE, &format!("{namespace}/{name}"))
                .map(|r| rules(&r["rules"]))
                .unwrap_or_default();
        }
        let all = store.list(&collection(&kinds::CLUSTER_ROLE), "");
        let all: Vec<Value> = all.items.iter().map(|(_, e)| convert::parse(&e.value)).collect();
        all.iter().find(|r| meta::name(r) == name).map(|r| role_rules(r, &all)).unwrap_or_default()
    }

    /// The rules that hold for a user in a namespace (`""`: only those of the whole cluster).
    pub(crate) fn of<'a>(&'a self, user: &'a User, namespace: &str) -> impl Iterator<Item = &'a Rule> {
        let local = self.local.get(namespace).map(Vec::as_slice).unwrap_or_default();
        self.cluster.iter().chain(local).filter(move |b| b.covers(user)).flat_map(|b| &b.rules)
    }

    pub(crate) fn allows(&self, user: &User, attributes: &Attributes<'_>) -> bool {
        self.of(user, attributes.namespace).any(|rule| rule.allows(attributes))
    }

    pub(crate) fn allows_path(&self, user: &User, verb: &str, path: &str) -> bool {
        self.of(user, "")
            .any(|rule| has(&rule.verbs, verb) && rule.paths.iter().any(|p| path_matches(p, path)))
    }
}

impl Binding {
    fn covers(&self, user: &User) -> bool {
        self.subjects.iter().any(|subject| {
            let name = subject["name"].as_str().unwrap_or_default();
            match subject["kind"].as_str() {
                Some("User") => name == user.name,
                Some("Group") => user.groups.iter().any(|g| g == name),
                Some("ServiceAccount") => {
                    let namespace =
                        subject["namespace"].as_str().filter(|n| !n.is_empty()).unwrap_or(&self.namespace);
                    user.name == format!("system:serviceaccount:{namespace}:{name}")
                }
                _ => false,
            }
        })
    }
}

impl Rule {
    pub(crate) fn allows(&self, wanted: &Attributes<'_>) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|n| n == wanted.name);
        has(&self.verbs, wanted.verb)
            && has(&self.groups, wanted.group)
            && named
            && self.covers_resource(wanted)
    }

    fn covers_resource(&self, wanted: &Attributes<'_>) -> bool {
        self.resources.iter().any(|resource| match (resource.as_str(), wanted.subresource) {
            ("*", _) => true,
            (resource, "") => resource == wanted.resource,
            (resource, sub) => resource
                .split_once('/')
                .is_some_and(|(parent, s)| s == sub && (parent == "*" || parent == wanted.resource)),
        })
    }
}

/// A role's own rules, or the union of those that its aggregation rule selects.
fn role_rules(role: &Value, all: &[Value]) -> Vec<Rule> {
    let mut found = vec![];
    let mut seen = vec![];
    collect_rules(role, all, &mut seen, &mut found);
    found
}

/// Follows aggregations of aggregations (admin selects edit, edit selects view), each role once.
fn collect_rules<'a>(role: &'a Value, all: &'a [Value], seen: &mut Vec<&'a str>, found: &mut Vec<Rule>) {
    if seen.contains(&meta::name(role)) {
        return;
    }
    seen.push(meta::name(role));
    let Some(selectors) = role["aggregationRule"]["clusterRoleSelectors"].as_array() else {
        found.extend(rules(&role["rules"]));
        return;
    };
    let selectors: Vec<LabelSelector> =
        selectors.iter().filter_map(|s| LabelSelector::from_object(s).ok()).collect();
    for other in all {
        if selectors.iter().any(|s| s.matches(&other["metadata"]["labels"])) {
            collect_rules(other, all, seen, found);
        }
    }
}

/// The `rules` of a role.
pub(crate) fn rules(value: &Value) -> Vec<Rule> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let rule = |value: &Value| Rule {
        verbs: strings(&value["verbs"]),
        groups: strings(&value["apiGroups"]),
        resources: strings(&value["resources"]),
        names: strings(&value["resourceNames"]),
        paths: strings(&value["nonResourceURLs"]),
    };
    value.as_array().into_iter().flatten().map(rule).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_covers_what_it_names() {
        let check = |rule: Value, [verb, group, resource, subresource, name]: [&str; 5], expected: bool| {
            let attributes = Attributes { verb, group, resource, subresource, namespace: "", name };
            assert_eq!(rules(&json!([rule]))[0].allows(&attributes), expected, "{attributes:?}");
        };
        let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        check(pods.clone(), ["get", "", "pods", "", "a"], true);
        check(pods.clone(), ["list", "", "pods", "", ""], false);
        check(pods.clone(), ["get", "apps", "pods", "", "a"], false);
        check(pods, ["get", "", "pods", "log", "a"], false);
        let any_scale = json!({"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["*"]});
        check(any_scale.clone(), ["patch", "apps", "deployments", "scale", "a"], true);
        check(any_scale, ["patch", "apps", "deployments", "", "a"], false);
        let named = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get", "list"]});
        check(named.clone(), ["get", "", "secrets", "", "a"], true);
        check(named.clone(), ["get", "", "secrets", "", "b"], false);
        check(named, ["list", "", "secrets", "", ""], false);
    }
}
