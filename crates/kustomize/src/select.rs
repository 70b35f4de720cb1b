//! Selectors: which resources a patch or a replacement is for.

use object::regexp;
use object::selector::LabelSelector;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::id::{Gvk, NOT_A_NAMESPACE, split_api_version};
use crate::node::Node;
use crate::resource::Resource;
use crate::resources::Resources;
use crate::schema::Schema;

/// Conditions on a resource, all of which must hold. Group to namespace are patterns for the whole text; an empty one
/// holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Selector {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) annotation_selector: String,
    pub(crate) label_selector: String,
}

/// A selector with its patterns compiled.
#[derive(Debug)]
pub(crate) struct Matcher {
    group: Pattern,
    version: Pattern,
    kind: Pattern,
    name: Pattern,
    namespace: Pattern,
    /// A selector that cannot be read is an error only when a resource meets all other conditions.
    labels: Result<LabelSelector, String>,
    annotations: Result<LabelSelector, String>,
}

#[derive(Debug)]
enum Pattern {
    Anything,
    Text(String),
    Regex(Regex),
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Anything);
        }
        // Most patterns are names; those need no regular expression.
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | b':'))
        {
            return Ok(Self::Text(text.to_owned()));
        }
        let regex = regexp::compile(&format!("^(?:{text})$"));
        regex.map(Self::Regex).map_err(|reason| format!("error parsing regexp: '{text}': {reason}"))
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Text(wanted) => wanted == text,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl Matcher {
    pub(crate) fn new(selector: &Selector) -> Result<Self, String> {
        let parse = |text: &str| LabelSelector::parse(text).map_err(|error| error.to_string());
        Ok(Self {
            group: Pattern::new(&selector.group)?,
            version: Pattern::new(&selector.version)?,
            kind: Pattern::new(&selector.kind)?,
            name: Pattern::new(&selector.name)?,
            namespace: Pattern::new(&selector.namespace)?,
            labels: parse(&selector.label_selector),
            annotations: parse(&selector.annotation_selector),
        })
    }

    pub(crate) fn fits_gvk(&self, gvk: &Gvk) -> bool {
        self.group.fits(&gvk.group) && self.version.fits(&gvk.version) && self.kind.fits(&gvk.kind)
    }

    pub(crate) fn fits_name(&self, name: &str) -> bool {
        self.name.fits(name)
    }

    /// `namespace` is an effective one.
    pub(crate) fn fits_namespace(&self, namespace: &str) -> bool {
        self.namespace.fits(namespace)
    }

    /// Whether an object's labels and annotations satisfy the selectors.
    pub(crate) fn fits_metadata(&self, object: &Node) -> Result<bool, String> {
        for (selector, field) in [(&self.labels, "labels"), (&self.annotations, "annotations")] {
            let selector = selector.as_ref().map_err(Clone::clone)?;
            if !selector.is_everything() && !selector.matches(&texts(object.at(&["metadata", field]))) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The positions of the resources that a patch's target selects: by the kind that they have now, and the first or
    /// the current name and namespace.
    pub(crate) fn select(&self, resources: &Resources, schema: &Schema) -> Result<Vec<usize>, String> {
        let mut selected = vec![];
        for (index, resource) in resources.iter().enumerate() {
            if self.fits_id(resource, schema) && self.fits_metadata(&resource.node)? {
                selected.push(index);
            }
        }
        Ok(selected)
    }

    fn fits_id(&self, resource: &Resource, schema: &Schema) -> bool {
        let (group, version) = split_api_version(resource.node.text_at(&["apiVersion"]));
        let kind = resource.kind();
        if !self.kind.fits(kind) || !self.group.fits(group) || !self.version.fits(version) {
            return false;
        }
        let first = resource.previous.first();
        let name = resource.name();
        if !first.is_some_and(|first| self.name.fits(&first.name)) && !self.name.fits(name) {
            return false;
        }
        if matches!(self.namespace, Pattern::Anything) {
            return true;
        }
        let effective = |namespace: &str| if namespace.is_empty() { "default" } else { namespace }.to_owned();
        let now = if schema.is_namespaced(group, version, kind) == Some(false) {
            NOT_A_NAMESPACE.to_owned()
        } else {
            effective(resource.namespace())
        };
        first.is_some_and(|first| self.namespace.fits(&effective(&first.namespace)))
            || self.namespace.fits(&now)
    }
}

/// A map's values as texts, whatever they are.
fn texts(map: Option<&Node>) -> Value {
    let fields = map.and_then(Node::as_map).into_iter().flat_map(|map| map.iter());
    let text = |node: &Node| Value::from(node.text().unwrap_or_default());
    Value::Object(fields.map(|(name, node)| (name.to_string(), text(node))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use super::*;
    use crate::node::read_documents;

    fn selected(selector: Selector) -> Result<Vec<usize>, String> {
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {tier: 1}}\n---\n\
            apiVersion: v1\nkind: Namespace\nmetadata: {name: web-ns, annotations: {a: b}}\n";
        let resources = read_documents(text).unwrap().into_iter().map(Resource::new).collect();
        Matcher::new(&selector)?.select(&Resources::from_list(resources), &Schema::default())
    }

    #[test]
    fn patterns_are_for_the_whole_text() {
        let name = |name: &str| Selector { name: name.into(), ..Selector::default() };
        assert_eq!(selected(Selector::default()).unwrap(), [0, 1]);
        assert_eq!(selected(name("web")).unwrap(), [0]);
        assert_eq!(selected(name("we.*")).unwrap(), [0, 1]);
        assert_eq!(selected(name("we|b")).unwrap(), [0_usize; 0]);
        assert!(selected(name("(")).is_err());
    }

    #[test]
    fn namespaces_are_effective_and_labels_are_texts() {
        let namespace = Selector { namespace: "default".into(), ..Selector::default() };
        assert_eq!(selected(namespace).unwrap(), [0]);
        let labels = Selector { label_selector: "tier in (1)".into(), ..Selector::default() };
        assert_eq!(selected(labels).unwrap(), [0]);
        let annotations = Selector { annotation_selector: "a!=b".into(), ..Selector::default() };
        assert_eq!(selected(annotations).unwrap(), [0]);
        let wrong =
            |kind: &str| Selector { kind: kind.into(), label_selector: "a in".into(), ..Selector::default() };
        assert!(selected(wrong("")).is_err());
        assert_eq!(selected(wrong("Pod")).unwrap(), [0_usize; 0]);
    }
}
