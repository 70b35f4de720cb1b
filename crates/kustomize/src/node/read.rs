//! From text and from JSON values to nodes.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::{Map, Node, Scalar, Style, Tag, Text, intern};
use crate::FIELD_LIMIT;

const CORE: &str = "tag:yaml.org,2002:";

/// Every document of a text, empty ones included as null. Aliases are copied in and merge keys are carried out, as
/// kustomize's `DeAnchor` does; a duplicate key is an error.
pub(crate) fn read_documents(text: &str) -> Result<Vec<Node>, yaml::Error> {
    read(text, false)
}

/// As [`read_documents`], for text that a field of an object holds: its keys may be numbers and whatever else.
pub(crate) fn read_embedded(text: &str) -> Result<Vec<Node>, yaml::Error> {
    read(text, true)
}

fn read(text: &str, any_key: bool) -> Result<Vec<Node>, yaml::Error> {
    let mut reader = Reader { budget: yaml::ALIAS_LIMIT, in_alias: false, depth: 0, any_key };
    yaml::compose(text)?.iter().map(|node| reader.node(node)).collect()
}

/// Whether a key that kustomize sets itself is a string without quotes, too: it adds none, and cannot write what reads
/// as something else.
pub(crate) fn check_key(name: &str) -> Result<(), String> {
    match Tag::of_plain(name) {
        Tag::Str => Ok(()),
        _ => Err(format!("the key {name:?} has to be a string, and kustomize writes it without quotes")),
    }
}

/// What a JSON value says.
pub(crate) fn from_value(value: &Value) -> Node {
    match value {
        Value::Null => Node::null(),
        Value::Bool(flag) => Node::tagged(if *flag { "true" } else { "false" }, Tag::Bool),
        Value::Number(number) => {
            let tag = if number.is_f64() { Tag::Float } else { Tag::Int };
            Node::tagged(number.to_string(), tag)
        }
        Value::String(text) => Node::string(text.as_str()),
        Value::Array(items) => Node::list(items.iter().map(from_value).collect()),
        Value::Object(fields) => Node::Map(Arc::new(
            fields.iter().map(|(name, value)| (Text::from(name.as_str()), from_value(value))).collect(),
        )),
    }
}

struct Reader {
    /// How many nodes aliases may still add.
    budget: usize,
    in_alias: bool,
    depth: usize,
    /// Whether keys may be something else than strings.
    any_key: bool,
}

impl Reader {
    fn node(&mut self, node: &yaml::Node) -> Result<Node, yaml::Error> {
        if self.in_alias {
            self.budget = self.budget.checked_sub(1).ok_or_else(|| {
                node.error(format!("aliases expand to more than {} values", yaml::ALIAS_LIMIT))
            })?;
        }
        if self.depth > yaml::DEPTH_LIMIT {
            return Err(node.error(format!("nested deeper than {} levels", yaml::DEPTH_LIMIT)));
        }
        self.depth += 1;
        let read = match &node.data {
            yaml::Data::Scalar { text, style } => Ok(Node::Scalar(scalar(node, text, *style))),
            yaml::Data::Sequence(items) => {
                items.iter().map(|item| self.node(item)).collect::<Result<_, _>>().map(Node::list)
            }
            yaml::Data::Mapping(pairs) => self.map(pairs),
            yaml::Data::Alias(target) => {
                let before = std::mem::replace(&mut self.in_alias, true);
                let read = self.node(target);
                self.in_alias = before;
                read
            }
        };
        self.depth -= 1;
        read
    }

    fn map(&mut self, pairs: &[(yaml::Node, yaml::Node)]) -> Result<Node, yaml::Error> {
        let mut fields = Fields::new(pairs.len());
        let mut merges = vec![];
        for (key, value) in pairs {
            if key.is_merge() {
                merges.push(value);
                continue;
            }
            let name = intern::name(key.text().ok_or_else(|| key.error("a key has to be a scalar"))?);
            // kustomize reads such an object and then cannot write it.
            if !self.any_key && !is_string(key) {
                return Err(key.error(format!("a key has to be a string; put {name:?} in quotes")));
            }
            if fields.has(&name) {
                let line = pairs.iter().find(|(k, _)| k.text() == Some(&name)).map_or(0, |(k, _)| k.line);
                return Err(key.error(format!("mapping key {name:?} already defined at line {line}")));
            }
            let value = self.node(value)?;
            fields.push(name, value);
        }
        for merge in merges {
            self.merge(merge, &mut fields)?;
        }
        let fields = fields.list;
        if let Some((key, _)) = pairs.first().filter(|_| fields.len() > FIELD_LIMIT) {
            return Err(key.error(format!("a map of {} fields, the limit is {FIELD_LIMIT}", fields.len())));
        }
        Ok(Node::Map(Arc::new(Map { fields })))
    }

    /// Adds what `<<` names, without touching fields that are there.
    fn merge(&mut self, node: &yaml::Node, fields: &mut Fields) -> Result<(), yaml::Error> {
        let sources: Vec<&yaml::Node> = match &node.target().data {
            yaml::Data::Sequence(items) => items.iter().collect(),
            _ => vec![node],
        };
        for source in sources {
            let Node::Map(more) = self.node(source)? else {
                return Err(node.error("map merge requires map or sequence of maps as the value"));
            };
            for (name, value) in more.iter() {
                if !fields.has(name) {
                    fields.push(name.clone(), value.clone());
                }
            }
        }
        Ok(())
    }
}

/// The fields of a map that is being read.
struct Fields {
    list: Vec<(Text, Node)>,
    /// The names, once there are so many that looking through the list takes longer.
    names: HashSet<Text>,
}

impl Fields {
    const MANY: usize = 24;

    fn new(count: usize) -> Self {
        Self { list: Vec::with_capacity(count), names: HashSet::new() }
    }

    fn has(&self, name: &Text) -> bool {
        if self.list.len() < Self::MANY {
            return self.list.iter().any(|(other, _)| other == name);
        }
        self.names.contains(name)
    }

    fn push(&mut self, name: Text, node: Node) {
        self.list.push((name.clone(), node));
        if self.list.len() == Self::MANY {
            self.names.extend(self.list.iter().map(|(name, _)| name.clone()));
        } else if self.list.len() > Self::MANY {
            self.names.insert(name);
        }
    }
}

fn is_string(key: &yaml::Node) -> bool {
    let key = key.target();
    match &key.data {
        yaml::Data::Scalar { text, style } => {
            matches!(tag(key, text, *style), Tag::Str | Tag::Binary | Tag::Other)
        }
        _ => false,
    }
}

fn tag(node: &yaml::Node, text: &str, style: yaml::Style) -> Tag {
    match node.tag.as_deref() {
        Some(tag) if tag != "!" => match tag.strip_prefix(CORE) {
            Some("null") => Tag::Null,
            Some("bool") => Tag::Bool,
            Some("int") => Tag::Int,
            Some("float") => Tag::Float,
            Some("str") => Tag::Str,
            Some("timestamp") => Tag::Timestamp,
            Some("binary") => Tag::Binary,
            _ => Tag::Other,
        },
        None if style == yaml::Style::Plain => Tag::of_plain(text),
        _ => Tag::Str,
    }
}

fn scalar(node: &yaml::Node, text: &str, style: yaml::Style) -> Scalar {
    let tag = tag(node, text, style);
    let style = match style {
        // What is written out does not go by its quotes.
        _ if node.tag.as_deref().is_some_and(|tag| tag != "!") => Style::Plain,
        yaml::Style::Plain => Style::Plain,
        yaml::Style::SingleQuoted | yaml::Style::DoubleQuoted => Style::Quoted,
        yaml::Style::Literal => Style::Block,
        yaml::Style::Folded => Style::Folded,
    };
    Scalar { text: intern::value(text), tag, style }
}
