//! `ValueAddTransformer`: one value for many fields, or as one name of many paths.

use serde::Deserialize;
use serde_json::Value;

use super::namespace::{Setter, Subjects};
use crate::fieldspec::{Path, replaced, wrong_kind};
use crate::node::{Node, Tag};
use crate::plugin::{Context, Transform};
use crate::resources::Resources;
use crate::select::{Matcher, Selector};
use crate::{Error, json};

/// A value and where it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ValueAddTransformer {
    /// The name of the kustomization's directory where there is none.
    pub(crate) value: String,
    pub(crate) targets: Vec<Target>,
    /// A file with more targets.
    pub(crate) target_file_path: String,
}

/// Fields that take the value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Target {
    /// Everything where there is none.
    pub(crate) selector: Option<Selector>,
    /// `/` between names, `[name=x]` for an element of a list.
    pub(crate) field_path: String,
    /// If above zero: the field is a path, and the value becomes its name at this position, counted from one.
    pub(crate) file_path_position: i64,
}

/// A file of targets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Targets {
    targets: Vec<Target>,
}

impl Transform for ValueAddTransformer {
    fn transform(&self, context: &Context<'_, '_>, resources: &mut Resources) -> Result<(), Error> {
        let value = match self.value.trim() {
            "" => context.dir.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/"),
            value => value,
        };
        let more = self.more_targets(context)?;
        if self.targets.is_empty() && more.is_empty() {
            return Err(context.invalid("ValueAddTransformer: must specify at least one target"));
        }
        let targets = || self.targets.iter().chain(&more);
        let invalid = |message: String| context.invalid(format!("ValueAddTransformer: {message}"));
        targets().try_for_each(Target::check).map_err(invalid)?;
        for target in targets() {
            let selected = match &target.selector {
                None => (0..resources.len()).collect(),
                Some(selector) => Matcher::new(selector)
                    .and_then(|matcher| matcher.select(resources, context.schema))
                    .map_err(invalid)?,
            };
            for index in selected {
                let Some(resource) = resources.get_mut(index) else { continue };
                let added = if target.field_path == "metadata/namespace" {
                    let setter = Setter {
                        namespace: value,
                        specs: &[],
                        unset_only: false,
                        subjects: Subjects::CalledDefault,
                    };
                    setter.set(&mut resource.node, context.schema)
                } else {
                    target.add(&mut resource.node, value)
                };
                added.map_err(|message| invalid(format!("fieldPath '{}': {message}", target.field_path)))?;
            }
        }
        Ok(())
    }
}

impl ValueAddTransformer {
    fn more_targets(&self, context: &Context<'_, '_>) -> Result<Vec<Target>, Error> {
        if self.target_file_path.is_empty() {
            return Ok(vec![]);
        }
        let (file, text) = context.reader.load_text(context.dir, context.file, &self.target_file_path)?;
        let value: Value = yaml::parse(&text, yaml::Resolver::Kyaml)
            .map_err(|error| Error::Yaml { file: file.clone(), error })?;
        let read: Targets = json::lenient(&value).map_err(|message| Error::Invalid { file, message })?;
        Ok(read.targets)
    }
}

impl Target {
    fn check(&self) -> Result<(), String> {
        if self.field_path.is_empty() {
            return Err("fieldPath cannot be empty".to_owned());
        }
        if self.file_path_position < 0 {
            return Err(format!(
                "value of FilePathPosition ({}) cannot be negative",
                self.file_path_position
            ));
        }
        Ok(())
    }

    fn add(&self, object: &mut Node, value: &str) -> Result<(), String> {
        let path = Path::from(self.field_path.as_str());
        let names = path.names().iter().map(|name| name.shown().trim());
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        set_at(object, &names, &|old| {
            let position = usize::try_from(self.file_path_position).unwrap_or(usize::MAX);
            match (position.checked_sub(1), old.text()) {
                (Some(position), Some(path)) => {
                    replaced(old, insert_in_path(path, position, value), Tag::Implicit)
                }
                _ => replaced(old, value, Tag::Implicit),
            }
        })
    }
}

/// Sets the node at a path. Fields and elements that are not there are made, but nothing is made inside of a null.
fn set_at(node: &mut Node, path: &[&str], set: &dyn Fn(&Node) -> Result<Node, String>) -> Result<(), String> {
    let Some((name, rest)) = path.split_first() else {
        *node = set(node)?;
        return Ok(());
    };
    if *name == "*" {
        return Err("wildcard is not supported in PathGetter".to_owned());
    }
    if node.is_null() {
        return Ok(());
    }
    let is_element = is_element(name) || *name == "-";
    let next = if is_element {
        let Node::List(_) = node else { return Err(wrong_kind("SequenceNode", node)) };
        element(node, name)?
    } else {
        let Node::Map(_) = node else { return Err(wrong_kind("MappingNode", node)) };
        let map = node.make_map();
        if map.get(name).is_none() {
            let made = match rest.first() {
                None => Node::implicit(""),
                Some(next) if is_element_of_new_list(next) => Node::list(vec![]),
                Some(_) => Node::map(),
            };
            map.set(*name, made);
        }
        map.get_mut(name)
    };
    next.map_or(Ok(()), |next| set_at(next, rest, set))
}

fn is_element(name: &str) -> bool {
    name.parse::<i64>().is_ok() || (name.starts_with('[') && name.ends_with(']'))
}

fn is_element_of_new_list(name: &str) -> bool {
    is_element(name) && !name.starts_with('-')
}

/// The element of a list: by its index, the last one for `-`, or by a field's value, in which case it is made if it is
/// not there.
fn element<'n>(list: &'n mut Node, name: &str) -> Result<Option<&'n mut Node>, String> {
    let Some(items) = list.as_list_mut() else { return Ok(None) };
    if name == "-" {
        return items.last_mut().map(Some).ok_or_else(|| "the list has no last element".to_owned());
    }
    if let Ok(index) = name.parse::<i64>() {
        let index = usize::try_from(index).map_err(|_| format!("array index {index} cannot be negative"))?;
        return Ok(items.get_mut(index));
    }
    let condition = name.trim_start_matches('[').trim_end_matches(']');
    let (field, wanted) = condition.split_once('=').ok_or_else(|| {
        "list path element must contain fieldName=fieldValue for element to match".to_owned()
    })?;
    let fits = |item: &Node| match (field, item.get(field)) {
        ("", _) => item.text() == Some(wanted),
        (_, Some(value)) => wanted.is_empty() || value.text() == Some(wanted),
        (_, None) => false,
    };
    let index = items.iter().position(fits).unwrap_or_else(|| {
        let mut made = Node::implicit(wanted);
        if !field.is_empty() {
            let value = std::mem::replace(&mut made, Node::map());
            made.set(field, value);
        }
        items.push(made);
        items.len() - 1
    });
    Ok(items.get_mut(index))
}

/// A path with one more name, at the end if the position is behind it. An absolute path stays one.
fn insert_in_path(path: &str, position: usize, name: &str) -> String {
    let relative = path.strip_prefix('/');
    let mut names: Vec<&str> = match relative.unwrap_or(path) {
        "" => vec![],
        names => names.split('/').collect(),
    };
    names.insert(position.min(names.len()), name);
    let root = if relative.is_some() { "/" } else { "" };
    format!("{root}{}", cleaned(&names))
}

/// Names joined without empty ones and detours.
fn cleaned(names: &[&str]) -> String {
    let mut clean: Vec<&str> = vec![];
    for name in names {
        match *name {
            "" | "." => {}
            ".." if clean.last().is_some_and(|last| *last != "..") => {
                clean.pop();
            }
            name => clean.push(name),
        }
    }
    if clean.is_empty() { ".".to_owned() } else { clean.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_inserted_in_paths() {
        let check = |path: &str, position: usize, expected: &str| {
            assert_eq!(insert_in_path(path, position, "P"), expected, "{path} at {position}");
        };
        check("", 0, "P");
        check("/", 5, "/P");
        check("pie", 0, "P/pie");
        check("/pie", 0, "/P/pie");
        check("raw", 1, "raw/P");
        check("/raw", 9999, "/raw/P");
        check("a/nice/warm/pie", 3, "a/nice/warm/P/pie");
        check("/a/nice/warm/pie", 3, "/a/nice/warm/P/pie");
        check("a/./b/../c/", 0, "P/a/c");
    }
}
