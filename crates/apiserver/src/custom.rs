//! CustomResourceDefinitions: from a definition to served kinds, and the definition's own defaults, checks and conditions.
//! After apiextensions-apiserver. Kinds are served from the moment the write of their definition is answered.

use std::cmp::Ordering;
use std::sync::Arc;

use object::schema::Schema;
use object::{Cause, Resource, kinds, meta};
use serde_json::{Value, json};

use crate::api::Api;
use crate::catalog::{self, Catalog, Kind, SCALE_SUBRESOURCE, STATUS_SUBRESOURCE, fact};
use crate::convert;
use crate::store::Page;

/// Keeps a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What a served version of a definition adds to its kind.
#[derive(Debug)]
pub(crate) struct Custom {
    /// The definition's name.
    pub(crate) definition: String,
    /// The definition's revision, by which unchanged ones are recognised.
    revision: u64,
    pub(crate) schema: Schema,
    /// `additionalPrinterColumns`; null: none given.
    pub(crate) columns: Value,
    pub(crate) scale: Option<Scale>,
    /// Paths without the leading dot.
    pub(crate) selectable_fields: Vec<String>,
    pub(crate) storage_version: String,
    /// The definition is being deleted: no new objects.
    pub(crate) terminating: bool,
}

/// The paths of `subresources.scale`, each as field names.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) replicas: Vec<String>,
    pub(crate) status: Vec<String>,
    pub(crate) selector: Vec<String>,
}

impl Custom {
    /// Prunes and defaults; returns the paths of unknown fields.
    pub(crate) fn decode(&self, object: &mut Value) -> Vec<String> {
        let unknown = self.schema.prune(object);
        self.schema.default(object);
        unknown
    }

    pub(crate) fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        self.schema.validate(object, old)
    }
}

impl Kind {
    /// How the kind's lists and maps merge.
    pub(crate) fn merge_facts(&self) -> object::facts::Facts<'_> {
        match &self.custom {
            Some(custom) => custom.schema.facts(),
            None => object::facts::Facts::builtin(&self.resource.group, &self.resource.kind),
        }
    }
}

/// The kinds of all definitions. Those of unchanged definitions are taken over.
pub(crate) fn kinds(definitions: &Page, current: &Catalog) -> Vec<Arc<Kind>> {
    let mut found = vec![];
    for (name, entry) in &definitions.items {
        let unchanged = |k: &&Arc<Kind>| {
            k.custom.as_ref().is_some_and(|c| *c.definition == **name && c.revision == entry.revision)
        };
        let before = found.len();
        found.extend(current.kinds.iter().filter(unchanged).cloned());
        if found.len() == before {
            found.extend(served(&convert::parse(&entry.value), entry.revision));
        }
    }
    found
}

fn served(definition: &Value, revision: u64) -> Vec<Arc<Kind>> {
    if !meta::condition_is_true(definition, "Established") {
        return vec![];
    }
    let spec = &definition["spec"];
    let mut versions: Vec<&Value> = items(&spec["versions"]).filter(|v| v["served"] == true).collect();
    versions.sort_by(|a, b| version_order(text(&b["name"]), text(&a["name"])));
    let storage_version = storage_version(spec).to_owned();
    versions
        .into_iter()
        .filter_map(|version| served_version(definition, version, &storage_version, revision))
        .collect()
}

fn served_version(
    definition: &Value,
    version: &Value,
    storage_version: &str,
    revision: u64,
) -> Option<Arc<Kind>> {
    let (spec, names) = (&definition["spec"], &definition["spec"]["names"]);
    let schema = match Schema::new(version["schema"]["openAPIV3Schema"].clone()) {
        Ok(schema) => schema,
        Err(causes) => {
            let first = causes.first().map(ToString::to_string);
            tracing::warn!(
                definition = meta::name(definition),
                cause = first,
                "the schema is not structural; the version is not served"
            );
            return None;
        }
    };
    let resource = Resource::new(
        text(&spec["group"]),
        text(&version["name"]),
        text(&names["plural"]),
        text(&names["kind"]),
        spec["scope"] == "Namespaced",
    );
    let mut subresources = vec![];
    let scale = version["subresources"]["scale"].as_object().map(|paths| {
        let path = |name: &str| path(paths.get(name).map(text).unwrap_or_default());
        Scale {
            replicas: path("specReplicasPath"),
            status: path("statusReplicasPath"),
            selector: path("labelSelectorPath"),
        }
    });
    if scale.is_some() {
        subresources.push(SCALE_SUBRESOURCE);
    }
    let has_status = version["subresources"]["status"].is_object();
    if has_status {
        subresources.push(STATUS_SUBRESOURCE);
    }
    let accepted = &definition["status"]["acceptedNames"];
    let strings = |value: &Value| items(value).map(|v| text(v).to_owned()).collect::<Vec<_>>();
    let custom = Custom {
        definition: meta::name(definition).to_owned(),
        revision,
        schema,
        columns: version["additionalPrinterColumns"].clone(),
        scale,
        selectable_fields: items(&version["selectableFields"])
            .map(|f| text(&f["jsonPath"]).trim_start_matches('.').to_owned())
            .collect(),
        storage_version: storage_version.to_owned(),
        terminating: meta::is_being_deleted(definition),
    };
    Some(Arc::new(Kind {
        singular: text(&names["singular"]).to_owned(),
        list_kind: text(&names["listKind"]).to_owned(),
        short_names: strings(&accepted["shortNames"]),
        categories: strings(&accepted["categories"]),
        facts: if has_status { fact::STATUS } else { 0 },
        subresources,
        custom: Some(Arc::new(custom)),
        collection: catalog::collection(&resource),
        resource,
    }))
}

/// Fills in what a definition may leave out and sets its status, before it is stored.
pub(crate) fn admit(api: &Api, definition: &mut Value) {
    let spec = &mut definition["spec"];
    let kind = text(&spec["names"]["kind"]).to_owned();
    let names = &mut spec["names"];
    if text(&names["singular"]).is_empty() {
        names["singular"] = kind.to_lowercase().into();
    }
    if text(&names["listKind"]).is_empty() {
        names["listKind"] = format!("{kind}List").into();
    }
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    let now = crate::http::write::now();
    let conflict = name_conflict(api, definition);
    let names = definition["spec"]["names"].clone();
    let storage = storage_version(&definition["spec"]).to_owned();
    if !meta::has_finalizer(definition, CLEANUP) && !meta::is_being_deleted(definition) {
        let mut finalizers = definition["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        finalizers.push(CLEANUP.into());
        definition["metadata"]["finalizers"] = finalizers.into();
    }
    let status = &mut definition["status"];
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let was_established = conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True");
    match &conflict {
        None => set(&mut conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", &now),
        Some((reason, message)) => set(&mut conditions, "NamesAccepted", "False", reason, message, &now),
    }
    if conflict.is_none() {
        status["acceptedNames"] = names;
        let message = "the initial names have been accepted";
        set(&mut conditions, "Established", "True", "InitialNamesAccepted", message, &now);
    } else if !was_established {
        status["acceptedNames"] = json!({"plural": "", "kind": ""});
        set(&mut conditions, "Established", "False", "NotAccepted", "not all names are accepted", &now);
    }
    status["conditions"] = conditions.into();
    let mut stored = status["storedVersions"].as_array().cloned().unwrap_or_default();
    if !stored.iter().any(|v| *v == storage) {
        stored.push(storage.into());
    }
    status["storedVersions"] = stored.into();
}

/// Sets the condition of a definition whose objects are about to be deleted.
pub(crate) fn set_terminating(definition: &mut Value, now: &str) {
    let mut conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let message = "CustomResource deletion is in progress";
    set(&mut conditions, "Terminating", "True", "InstanceDeletionInProgress", message, now);
    definition["status"]["conditions"] = conditions.into();
}

fn set(conditions: &mut Vec<Value>, kind: &str, status: &str, reason: &str, message: &str, now: &str) {
    let condition = json!({"type": kind, "status": status, "reason": reason, "message": message});
    meta::set_condition(conditions, condition, now);
}

/// The first name that another definition of the group has.
fn name_conflict(api: &Api, definition: &Value) -> Option<(&'static str, String)> {
    let spec = &definition["spec"];
    let group = text(&spec["group"]);
    let others = api.store.list(&catalog::collection(&kinds::CUSTOM_RESOURCE_DEFINITION), "");
    let (mut plurals, mut all_kinds) = (vec![], vec![]);
    for (name, entry) in &others.items {
        if **name == *meta::name(definition) {
            continue;
        }
        let other = convert::parse(&entry.value);
        if other["spec"]["group"] != group {
            continue;
        }
        let accepted = &other["status"]["acceptedNames"];
        plurals.push(text(&accepted["plural"]).to_owned());
        plurals.push(text(&accepted["singular"]).to_owned());
        plurals.extend(items(&accepted["shortNames"]).map(|n| text(n).to_owned()));
        all_kinds.push(text(&accepted["kind"]).to_owned());
        all_kinds.push(text(&accepted["listKind"]).to_owned());
    }
    let names = &spec["names"];
    let used = |name: &str, among: &[String]| !name.is_empty() && among.iter().any(|n| n == name);
    let message = |name: &str| format!("\"{name}\" is already in use");
    for (field, reason) in [("plural", "PluralConflict"), ("singular", "SingularConflict")] {
        let name = text(&names[field]);
        if used(name, &plurals) {
            return Some((reason, message(name)));
        }
    }
    if let Some(name) = items(&names["shortNames"]).map(text).find(|n| used(n, &plurals)) {
        return Some(("ShortNamesConflict", message(name)));
    }
    for (field, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
        let name = text(&names[field]);
        if used(name, &all_kinds) {
            return Some((reason, message(name)));
        }
    }
    None
}

/// What is wrong with a definition.
pub(crate) fn definition_causes(definition: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = vec![];
    let spec = &definition["spec"];
    let (group, names) = (text(&spec["group"]), &spec["names"]);
    let (plural, name) = (text(&names["plural"]), meta::name(definition));
    if group.is_empty() {
        causes.push(Cause::required("spec.group", ""));
    }
    for field in ["plural", "kind"] {
        if text(&names[field]).is_empty() {
            causes.push(Cause::required(format!("spec.names.{field}"), ""));
        }
    }
    if name != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &name.into(), detail));
    }
    if !matches!(text(&spec["scope"]), "Namespaced" | "Cluster") {
        let supported = ["Cluster", "Namespaced"].map(str::to_owned);
        causes.push(Cause::not_supported("spec.scope", &spec["scope"], &supported));
    }
    if spec["conversion"]["strategy"] == "Webhook" {
        // Refused rather than ignored: objects would be stored in a version that they do not have.
        let supported = ["None".to_owned()];
        causes.push(Cause::not_supported("spec.conversion.strategy", &"Webhook".into(), &supported));
    }
    let versions: Vec<&Value> = items(&spec["versions"]).collect();
    if versions.is_empty() {
        causes.push(Cause::required("spec.versions", "must have at least one version"));
    } else if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &spec["versions"], detail));
    }
    for (index, version) in versions.iter().enumerate() {
        causes.extend(version_causes(version, index));
    }
    for field in ["group", "scope"] {
        if old.is_some_and(|old| old["spec"][field] != spec[field]) {
            causes.push(Cause::invalid(format!("spec.{field}"), &spec[field], "field is immutable"));
        }
    }
    causes
}

fn version_causes(version: &Value, index: usize) -> Vec<Cause> {
    let at = format!("spec.versions[{index}].schema.openAPIV3Schema");
    let schema = &version["schema"]["openAPIV3Schema"];
    if !schema.is_object() {
        return vec![Cause::required(at, "schemas are required")];
    }
    let causes = Schema::new(schema.clone()).err().unwrap_or_default();
    causes.into_iter().map(|c| Cause { field: join(&at, &c.field), ..c }).collect()
}

fn join(base: &str, field: &str) -> String {
    if field.is_empty() { base.to_owned() } else { format!("{base}.{field}") }
}

fn storage_version(spec: &Value) -> &str {
    items(&spec["versions"]).find(|v| v["storage"] == true).map(|v| text(&v["name"])).unwrap_or_default()
}

/// Orders versions as Kubernetes prefers them: stable before beta before alpha, then higher numbers; others last.
pub(crate) fn version_order(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// `v1beta2` as (stability, major, minor).
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..digits].parse().ok()?;
    let suffix = &rest[digits..];
    if suffix.is_empty() {
        return Some((2, major, 0));
    }
    let (stability, number) = match (suffix.strip_prefix("beta"), suffix.strip_prefix("alpha")) {
        (Some(number), _) => (1, number),
        (_, Some(number)) => (0, number),
        _ => return None,
    };
    Some((stability, major, number.parse().ok()?))
}

fn path(text: &str) -> Vec<String> {
    text.split('.').filter(|p| !p.is_empty()).map(str::to_owned).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut versions = ["v1beta1", "foo", "v2", "v1", "v10", "v1alpha3", "v1beta2", "bar"];
        versions.sort_by(|a, b| version_order(b, a));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha3", "bar", "foo"]);
    }
}
