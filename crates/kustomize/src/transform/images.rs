//! `ImageTagTransformer`: `images`.

mod pattern;

use serde::Deserialize;

use crate::Error;
use crate::fieldspec::{Leaf, Specs, apply_all, replaced, wrong_kind};
use crate::node::{Node, Tag};
use crate::plugin::{Context, Transform};
use crate::resources::Resources;
use pattern::Pattern;

/// Another name, tag or digest for an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ImageTagTransformer {
    pub(crate) image_tag: Image,
    pub(crate) field_specs: Specs,
}

/// An entry of `images`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Image {
    /// The image without tag and digest: a regular expression, in which a `.` is any character.
    pub(crate) name: String,
    pub(crate) new_name: String,
    /// Added to the tag that is there, if neither a tag nor a digest is given.
    pub(crate) tag_suffix: String,
    pub(crate) new_tag: String,
    pub(crate) digest: String,
}

impl Transform for ImageTagTransformer {
    fn about(&self) -> &str {
        &self.image_tag.name
    }

    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        let pattern = Pattern::new(&self.image_tag.name);
        let mut set = |node: &Node| self.image_tag.applied(node, &pattern);
        // Twice, as kustomize does: a suffix of the tag is added once for each.
        for resource in resources.iter_mut().filter(|resource| resource.kind() != DEFINITION) {
            match in_containers(&resource.node, &mut set) {
                Ok(None) => {}
                Ok(Some(changed)) => resource.node = changed,
                Err(message) => return Err(context.invalid(message)),
            }
        }
        for resource in resources.iter_mut().filter(|resource| resource.kind() != DEFINITION) {
            apply_all(&self.field_specs, &mut resource.node, &Leaf::Nothing, &mut set)
                .map_err(|message| context.invalid(message))?;
        }
        resources.drop_empty();
        Ok(())
    }
}

/// A kind whose schemas may well have fields called `containers`.
const DEFINITION: &str = "CustomResourceDefinition";

/// Sets every `image` in a list called `containers` or `initContainers`, wherever that is.
fn in_containers(
    node: &Node,
    set: &mut dyn FnMut(&Node) -> Result<Option<Node>, String>,
) -> Result<Option<Node>, String> {
    let mut changed: Option<Node> = None;
    match node {
        Node::Scalar(_) => {}
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let Some(new) = in_containers(item, set)? else { continue };
                let list = changed.get_or_insert_with(|| node.clone());
                if let Some(slot) = list.as_list_mut().and_then(|list| list.get_mut(index)) {
                    *slot = new;
                }
            }
        }
        Node::Map(map) => {
            for (name, value) in map.iter() {
                let mut new = in_containers(value, set)?;
                if let "containers" | "initContainers" = &**name {
                    new = images_of(new.as_ref().unwrap_or(value), set)?.or(new);
                }
                if let Some(new) = new {
                    changed.get_or_insert_with(|| node.clone()).set(name.clone(), new);
                }
            }
        }
    }
    Ok(changed)
}

/// Sets `image` of every item of a list.
fn images_of(
    containers: &Node,
    set: &mut dyn FnMut(&Node) -> Result<Option<Node>, String>,
) -> Result<Option<Node>, String> {
    let mut changed: Option<Node> = None;
    for (index, container) in containers.as_list().unwrap_or_default().iter().enumerate() {
        if container.is_null() {
            continue;
        }
        let Some(map) = container.as_map() else { return Err(wrong_kind("MappingNode", container)) };
        let Some(image) = map.get("image") else { continue };
        let Some(new) = set(image)? else { continue };
        let list = changed.get_or_insert_with(|| containers.clone());
        if let Some(slot) = list.as_list_mut().and_then(|list| list.get_mut(index)) {
            slot.set("image", new);
        }
    }
    Ok(changed)
}

impl Image {
    /// What becomes of the value of an image field, none if it is another image.
    fn applied(&self, node: &Node, pattern: &Pattern) -> Result<Option<Node>, String> {
        let Some(current) = node.text() else { return Err(wrong_kind("ScalarNode", node)) };
        if !pattern.matches(current) {
            return Ok(None);
        }
        replaced(node, self.written(current), Tag::Implicit).map(Some)
    }

    fn written(&self, current: &str) -> String {
        let (name, tag, digest) = split_image(current);
        let name = if self.new_name.is_empty() { name } else { &self.new_name };
        let tag_and_suffix;
        // A new tag or digest takes the place of both.
        let (tag, digest) = match (self.new_tag.as_str(), self.digest.as_str()) {
            ("", "") if self.tag_suffix.is_empty() => (tag, digest),
            ("", "") => {
                tag_and_suffix = format!("{tag}{}", self.tag_suffix);
                (tag_and_suffix.as_str(), "")
            }
            given => given,
        };
        let mut written = name.to_owned();
        for (separator, part) in [(':', tag), ('@', digest)] {
            if !part.is_empty() {
                written.push(separator);
                written.push_str(part);
            }
        }
        written
    }
}

/// Name, tag and digest of an image; a `:` before the first `/` belongs to the host.
fn split_image(image: &str) -> (&str, &str, &str) {
    let (rest, digest) = image.split_once('@').unwrap_or((image, ""));
    let path = rest.find('/').filter(|at| *at > 0).unwrap_or(0);
    match rest[path..].find(':') {
        Some(colon) => (&rest[..path + colon], &rest[path + colon + 1..], digest),
        None => (rest, "", digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_split_at_tag_and_digest() {
        let check = |image: &str, expected: (&str, &str, &str)| assert_eq!(split_image(image), expected);
        check("nginx", ("nginx", "", ""));
        check("localhost:7007/a/b:sha-1", ("localhost:7007/a/b", "sha-1", ""));
        check("h:80/x:1@sha256:ab", ("h:80/x", "1", "sha256:ab"));
        check("x@sha256:ab", ("x", "", "sha256:ab"));
        check("h:80/x@sha256:ab", ("h:80/x", "", "sha256:ab"));
    }

    #[test]
    fn new_parts_replace_old_ones() {
        let check = |image: [&str; 4], current: &str, expected: &str| {
            let [new_name, new_tag, digest, tag_suffix] = image.map(str::to_owned);
            let image = Image { name: String::new(), new_name, tag_suffix, new_tag, digest };
            assert_eq!(image.written(current), expected);
        };
        check(["", "", "", ""], "a:1@d:2", "a:1@d:2");
        check(["b", "", "", ""], "h:5/a:1@d:2", "b:1@d:2");
        check(["", "2", "", "-s"], "a:1@d:2", "a:2");
        check(["", "", "d:3", ""], "a:1", "a@d:3");
        check(["", "2", "d:3", ""], "a:1", "a:2@d:3");
        check(["", "", "", "-s"], "a:1@d:2", "a:1-s");
        check(["", "", "", "-s"], "a", "a:-s");
    }
}
