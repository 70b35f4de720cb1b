//! What a promotion changes: the versions that one overlay of a deploy repository names, carried over to the next.
//!
//! A version is a scalar that Kustomize and Kubernetes use as one: `newTag` and `digest` of `images`, a value whose key
//! ends in `tag`, `Tag`, `image` or `Image`, and the `value` of a JSON patch whose path ends so. It is promoted when
//! the same place exists in both overlays. Everything else in the files stays byte for byte.

use std::collections::BTreeMap;

use yaml::{Data, Node};

/// Files of one overlay: path below the overlay's folder, and text.
pub(crate) type Overlay = BTreeMap<String, String>;

/// One version that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    /// Below the overlay's folder.
    pub(crate) file: String,
    /// Where in the file, for people.
    pub(crate) place: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// What a promotion would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) moves: Vec<Move>,
    /// New texts of the files that change.
    pub(crate) files: Overlay,
}

/// Why no plan can be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PlanError {
    /// A file is not YAML.
    #[error("{file} cannot be read as YAML: {message}")]
    Syntax {
        /// Overlay's file.
        file: String,
        /// With line and column.
        message: String,
    },
}

/// Compares two overlays and carries the versions of `from` over to `to`.
pub(crate) fn plan(from: &Overlay, to: &Overlay) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    for (file, target) in to {
        let Some(source) = from.get(file) else { continue };
        let wanted: BTreeMap<String, String> =
            versions(file, source)?.into_iter().map(|(place, node)| (place, text(&node))).collect();
        let mut edited = target.clone();
        // From the end to the start, so that earlier spans stay true while later ones are replaced.
        for (place, node) in versions(file, target)?.into_iter().rev() {
            let before = text(&node);
            let Some(after) = wanted.get(&place).filter(|after| **after != before) else { continue };
            if let Some(new) = yaml::splice::replace(&edited, &node, after) {
                edited = new;
                plan.moves.push(Move { file: file.clone(), place, before, after: after.clone() });
            }
        }
        if edited != *target {
            plan.files.insert(file.clone(), edited);
        }
    }
    plan.moves.sort_by(|a, b| (&a.file, &a.place).cmp(&(&b.file, &b.place)));
    Ok(plan)
}

fn versions(file: &str, content: &str) -> Result<Vec<(String, Node)>, PlanError> {
    let syntax = |e: yaml::Error| PlanError::Syntax { file: file.to_owned(), message: e.to_string() };
    let mut found = vec![];
    for (i, document) in yaml::compose(content).map_err(syntax)?.iter().enumerate() {
        let prefix = if i == 0 { String::new() } else { format!("document {} ", i + 1) };
        collect(document, &prefix, &mut found);
    }
    found.sort_by_key(|(_, node)| node.span.start);
    Ok(found)
}

fn collect(node: &Node, place: &str, found: &mut Vec<(String, Node)>) {
    match &node.data {
        Data::Mapping(entries) => {
            let patched = node.get("path").and_then(Node::text).filter(|_| node.get("op").is_some());
            for (key, value) in entries {
                let key = key.text().unwrap_or_default();
                let inner = if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
                let is_patch = key == "value" && patched.is_some_and(is_version);
                if value.text().is_some() && (is_version(key) || is_patch) {
                    found.push((patched.map_or(inner, str::to_owned), value.clone()));
                } else {
                    collect(value, &inner, found);
                }
            }
        }
        Data::Sequence(items) => {
            for (i, item) in items.iter().enumerate() {
                // An item that has a name keeps its place when the list is reordered.
                let name = item.get("name").and_then(Node::text).map_or_else(|| i.to_string(), str::to_owned);
                collect(item, &format!("{place}[{name}]"), found);
            }
        }
        _ => {}
    }
}

fn is_version(key: &str) -> bool {
    let last = key.rsplit('/').next().unwrap_or(key);
    last == "digest" || ["tag", "Tag", "image", "Image"].iter().any(|end| last.ends_with(end))
}

fn text(node: &Node) -> String {
    node.text().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(content: &str) -> Overlay {
        Overlay::from([("kustomization.yaml".to_owned(), content.to_owned())])
    }

    fn check(from: &str, to: &str, expected: Option<&str>) {
        let plan = plan(&overlay(from), &overlay(to)).unwrap();
        assert_eq!(plan.files.get("kustomization.yaml").map(String::as_str), expected);
        assert_eq!(plan.moves.is_empty(), expected.is_none());
    }

    #[test]
    fn tags_move_and_everything_else_stays() {
        check(
            "images:\n- name: web\n  newTag: sha-2\n- name: api\n  newTag: sha-9\n",
            "# prod\nimages:\n- name: api # the API\n  newTag: sha-9\n- name: web\n  newTag: 'sha-1' # pinned\n",
            Some(
                "# prod\nimages:\n- name: api # the API\n  newTag: sha-9\n- name: web\n  newTag: 'sha-2' # pinned\n",
            ),
        );
    }

    #[test]
    fn the_same_versions_are_no_plan() {
        check("images: [{name: a, newTag: x}]\n", "images: [{name: a, newTag: x}]\n", None);
    }

    #[test]
    fn only_places_that_both_have_move() {
        check("images: [{name: a, newTag: x}]\n", "images: [{name: b, newTag: y}]\nnamespace: prod\n", None);
    }

    #[test]
    fn fields_of_a_composite_and_json_patches_count() {
        check(
            "spec:\n  frontend: {image: 'r/f:2'}\n  replicas: 1\n",
            "spec:\n  frontend: {image: 'r/f:1'}\n  replicas: 3\n",
            Some("spec:\n  frontend: {image: 'r/f:2'}\n  replicas: 3\n"),
        );
        check(
            "- op: replace\n  path: /spec/backendTag\n  value: sha-2\n",
            "- op: replace\n  path: /spec/backendTag\n  value: sha-1\n",
            Some("- op: replace\n  path: /spec/backendTag\n  value: sha-2\n"),
        );
    }

    #[test]
    fn a_broken_file_is_named() {
        let error = plan(&overlay("a: ["), &overlay("a: 1\n")).unwrap_err();
        assert!(error.to_string().starts_with("kustomization.yaml cannot be read as YAML"), "{error}");
    }
}
