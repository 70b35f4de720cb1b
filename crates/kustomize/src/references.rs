//! Name references: fields that name another resource follow it when its name changes.

use object::meta;
use serde_json::Value;

use crate::Error;
use crate::config::Config;
use crate::fieldspec::{FieldSpec, Leaf};
use crate::resource::{Gvk, Resource};

/// What a referrer may point to, as it was before any field was changed.
struct Candidate {
    resource: Resource,
}

/// Mends every name reference. Runs once, after all names are final.
pub(crate) fn fix(resources: &mut [Resource], config: &Config) -> Result<(), Error> {
    // Only resources that were ever renamed can be referred to by an old name.
    for resource in resources.iter().filter(|resource| meta::kind(&resource.object) == "RoleBinding") {
        let mut subjects = resource.object["subjects"].as_array().into_iter().flatten();
        if subjects
            .any(|s| s["kind"] == "ServiceAccount" && s.get("namespace").is_some_and(|n| !n.is_string()))
        {
            let id = resource.id();
            return Err(Error::Conflict(format!("Invalid Input: namespace is blank for resource \"{id}\"")));
        }
    }
    let candidates: Vec<Candidate> = resources
        .iter()
        .filter(|resource| !resource.previous.is_empty())
        .map(|resource| Candidate { resource: resource.clone() })
        .collect();
    if candidates.is_empty() {
        return Ok(());
    }
    for resource in resources.iter_mut() {
        let original = resource.original_id().gvk;
        for reference in &config.name_reference {
            let target = reference.target();
            for spec in reference.field_specs.iter().filter(|spec| original.matches(&spec.gvk())) {
                fix_field(resource, spec, &target, &candidates).map_err(Error::Conflict)?;
            }
        }
    }
    Ok(())
}

fn fix_field(
    resource: &mut Resource,
    spec: &FieldSpec,
    target: &Gvk,
    candidates: &[Candidate],
) -> Result<(), String> {
    let referrer = Referrer { of: &resource.clone(), spec, target, candidates };
    let any_kind = FieldSpec { path: spec.path.clone(), ..FieldSpec::default() };
    any_kind.apply(&mut resource.object, Leaf::Nothing, &mut |node| match node {
        Value::Array(items) => items.iter_mut().try_for_each(|item| referrer.set(item)),
        node => referrer.set(node),
    })
}

struct Referrer<'a> {
    of: &'a Resource,
    spec: &'a FieldSpec,
    target: &'a Gvk,
    candidates: &'a [Candidate],
}

impl Referrer<'_> {
    fn set(&self, node: &mut Value) -> Result<(), String> {
        match node {
            Value::String(name) => {
                let all: Vec<&Resource> = self.candidates.iter().map(|c| &c.resource).collect();
                let same = |a: &Resource, b: &Resource| meta::name(&a.object) == meta::name(&b.object);
                if let Some(found) = self.select(name, all, same)? {
                    *name = meta::name(&found.object).to_owned();
                }
                Ok(())
            }
            Value::Object(_) => self.set_map(node),
            _ => Ok(()),
        }
    }

    /// A map with `name` and perhaps `namespace`, such as a subject of a role binding.
    fn set_map(&self, node: &mut Value) -> Result<(), String> {
        let Some(name) = node["name"].as_str().map(str::to_owned) else {
            return Err("path config error; no 'name' field in node".to_owned());
        };
        let all = self.candidates.iter().map(|c| &c.resource);
        let candidates: Vec<&Resource> = match node.get("namespace").and_then(Value::as_str) {
            None => all.collect(),
            Some(namespace) => {
                let by_original: Vec<&Resource> =
                    all.clone().filter(|r| r.original_id().namespace == namespace).collect();
                if by_original.is_empty() {
                    all.filter(|r| meta::namespace(&r.object) == namespace).collect()
                } else {
                    by_original
                }
            }
        };
        let same = |a: &Resource, b: &Resource| {
            meta::name(&a.object) == meta::name(&b.object)
                && meta::namespace(&a.object) == meta::namespace(&b.object)
        };
        let Some(found) = self.select(&name, candidates, same)? else { return Ok(()) };
        node["name"] = meta::name(&found.object).into();
        if !meta::namespace(&found.object).is_empty() {
            node["namespace"] = meta::namespace(&found.object).into();
        }
        Ok(())
    }

    /// The one resource that is meant; none when there is none, an error when it cannot be told.
    fn select<'r>(
        &self,
        old_name: &str,
        mut candidates: Vec<&'r Resource>,
        same: impl Fn(&Resource, &Resource) -> bool,
    ) -> Result<Option<&'r Resource>, String> {
        candidates.retain(|c| self.reachable(c));
        candidates.retain(|c| c.previous.iter().any(|id| id.name == old_name));
        candidates.retain(|c| c.previous.iter().any(|id| id.gvk.matches(self.target)));
        if self.spec.path.ends_with("roleRef/name") {
            let role = &self.of.object["roleRef"];
            if let (Some(group), Some(kind)) = (role["apiGroup"].as_str(), role["kind"].as_str()) {
                let wanted = Gvk { group: group.to_owned(), version: String::new(), kind: kind.to_owned() };
                candidates.retain(|c| c.previous.iter().any(|id| id.gvk.matches(&wanted)));
            }
        }
        if candidates.len() > 1 {
            candidates.retain(|c| self.same_layer(c, true));
        }
        if candidates.len() > 1 {
            candidates.retain(|c| self.same_layer(c, false));
        }
        match candidates.as_slice() {
            [] => Ok(None),
            [first, rest @ ..] if rest.iter().all(|other| same(first, other)) => Ok(Some(first)),
            several => {
                let ids: Vec<String> = several.iter().map(|c| c.id().to_string()).collect();
                Err(format!("found multiple possible referrals: {}", ids.join(", ")))
            }
        }
    }

    /// Whether an object in the referrer's place can refer to the candidate at all.
    fn reachable(&self, candidate: &Resource) -> bool {
        let (mine, other) = (self.of.id(), candidate.id());
        mine.gvk.is_cluster_scoped()
            || other.gvk.is_cluster_scoped()
            || mine.effective_namespace() == other.effective_namespace()
            || (other.gvk.kind == "ServiceAccount" && self.binds_in(&other.namespace))
    }

    /// A role binding may name service accounts of other namespaces.
    fn binds_in(&self, namespace: &str) -> bool {
        let subjects = self.of.object["subjects"].as_array().into_iter().flatten();
        meta::kind(&self.of.object) == "RoleBinding"
            && subjects.into_iter().any(|s| s["kind"] == "ServiceAccount" && s["namespace"] == namespace)
    }

    fn same_layer(&self, candidate: &Resource, allow_empty: bool) -> bool {
        let fits =
            |a: &[String], b: &[String]| (allow_empty && (a.is_empty() || b.is_empty())) || same_ending(a, b);
        fits(&self.of.prefixes, &candidate.prefixes) && fits(&self.of.suffixes, &candidate.suffixes)
    }
}

/// Whether the shorter list is the end of the longer one; an empty list is only the end of an empty one.
fn same_ending(a: &[String], b: &[String]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    if short.is_empty() { long.is_empty() } else { long.ends_with(short) }
}
