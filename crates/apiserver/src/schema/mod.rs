//! The types of the built-in kinds as one table (`types.txt`): field names, protobuf numbers, merge facts.
//!
//! From it come the protobuf reader, the check for unknown fields, and the OpenAPI documents. The table is text in the binary and is
//! parsed once for the whole process. Its lines:
//! `@package`, a type's name (` a`: atomic for server-side apply), and ` field number type flags…`, where the type is `s` string,
//! `i`/`l` integers of 32 and 64 bits, `b` boolean, `d` double, `y` bytes, or `package.Type` (`.Type`: same package), with `[]` for lists
//! and `{}` for maps; the flags are `p=strategy:key` (strategic merge), `l=type:keys` (server-side apply), `a` atomic, `>` inlined,
//! `*` optional even when empty.

pub(crate) mod fields;
pub(crate) mod json;
pub(crate) mod protobuf;

use std::collections::HashMap;
use std::sync::OnceLock;

const TABLE: &str = include_str!("types.txt");

/// A struct.
#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
    pub(crate) atomic: bool,
    pub(crate) fields: Vec<Field>,
}

/// A field of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) number: u32,
    pub(crate) many: Many,
    pub(crate) base: Base,
    /// `merge:name`, `merge,retainKeys:name`, …
    pub(crate) patch: Option<&'static str>,
    /// `map:name,protocol` or `set`
    pub(crate) list: Option<&'static str>,
    pub(crate) atomic: bool,
    /// The fields of the type stand in the place of this one in JSON.
    pub(crate) inline: bool,
    /// An empty value differs from none.
    pub(crate) pointer: bool,
}

/// One, a list, or a map from strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Many {
    One,
    List,
    Map,
}

/// The type of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Text,
    Int32,
    Int64,
    Bool,
    Double,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// Any JSON object or value.
    Raw,
    Duration,
    /// Index of a type.
    Struct(usize),
}

/// The parsed table.
pub(crate) struct Types {
    pub(crate) types: Vec<Type>,
    by_name: HashMap<String, usize>,
}

impl Types {
    /// `core.Pod` and the like.
    pub(crate) fn find(&self, name: &str) -> Option<&Type> {
        self.types.get(*self.by_name.get(name)?)
    }

    /// The type of a kind that is served.
    pub(crate) fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Type> {
        self.find(&format!("{}.{kind}", package(group, version)?))
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Type> {
        self.types.get(index)
    }
}

/// The table, parsed at first use.
pub(crate) fn types() -> &'static Types {
    static TYPES: OnceLock<Types> = OnceLock::new();
    TYPES.get_or_init(parse)
}

/// The table's name of an API group's package.
fn package(group: &str, version: &str) -> Option<&'static str> {
    Some(match (group, version) {
        ("", "v1") => "core",
        ("apps", "v1") => "apps",
        ("batch", "v1") => "batch",
        ("autoscaling", "v1") => "autoscaling",
        ("autoscaling", "v2") => "autoscaling2",
        ("policy", "v1") => "policy",
        ("networking.k8s.io", "v1") => "networking",
        ("rbac.authorization.k8s.io", "v1") => "rbac",
        ("storage.k8s.io", "v1") => "storage",
        ("discovery.k8s.io", "v1") => "discovery",
        ("coordination.k8s.io", "v1") => "coordination",
        ("events.k8s.io", "v1") => "events",
        ("scheduling.k8s.io", "v1") => "scheduling",
        ("node.k8s.io", "v1") => "node",
        ("certificates.k8s.io", "v1") => "certificates",
        ("authentication.k8s.io", "v1") => "authentication",
        ("authorization.k8s.io", "v1") => "authorization",
        ("apiextensions.k8s.io", "v1") => "apiextensions",
        ("meta.k8s.io", "v1") => "meta",
        _ => return None,
    })
}

fn parse() -> Types {
    let mut by_name = HashMap::new();
    let mut types: Vec<Type> = vec![];
    let mut lines: Vec<(usize, &'static str)> = vec![];
    let mut current = "";
    for line in TABLE.lines() {
        if let Some(name) = line.strip_prefix('@') {
            current = name;
        } else if line.starts_with(' ') {
            lines.push((types.len().saturating_sub(1), line));
        } else {
            let (name, atomic) = line.strip_suffix(" a").map_or((line, false), |name| (name, true));
            by_name.insert(format!("{current}.{name}"), types.len());
            types.push(Type { package: current, name, atomic, fields: vec![] });
        }
    }
    for (owner, line) in lines {
        let package = types[owner].package;
        if let Some(field) = parse_field(line, package, &by_name) {
            types[owner].fields.push(field);
        }
    }
    Types { types, by_name }
}

fn parse_field(line: &'static str, package: &str, by_name: &HashMap<String, usize>) -> Option<Field> {
    let mut words = line.split_ascii_whitespace();
    let (name, number, text) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let (many, text) = match (text.strip_prefix("[]"), text.strip_prefix("{}")) {
        (Some(rest), _) => (Many::List, rest),
        (_, Some(rest)) => (Many::Map, rest),
        _ => (Many::One, text),
    };
    let full = text.strip_prefix('.').map_or_else(|| text.to_owned(), |local| format!("{package}.{local}"));
    let base = match full.as_str() {
        "s" => Base::Text,
        "i" => Base::Int32,
        "l" => Base::Int64,
        "b" => Base::Bool,
        "d" => Base::Double,
        "y" => Base::Bytes,
        "meta.Time" => Base::Time,
        "meta.MicroTime" => Base::MicroTime,
        "meta.Duration" => Base::Duration,
        "resource.Quantity" => Base::Quantity,
        "intstr.IntOrString" => Base::IntOrString,
        other => by_name.get(other).map_or(Base::Raw, |index| Base::Struct(*index)),
    };
    let flags: Vec<&'static str> = words.collect();
    let value = |prefix: &str| flags.iter().find_map(|f| f.strip_prefix(prefix));
    let has = |flag: &str| flags.contains(&flag);
    Some(Field {
        name,
        number,
        many,
        base,
        patch: value("p="),
        list: value("l="),
        atomic: has("a"),
        inline: has(">"),
        pointer: has("*"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let types = types();
        let lines = TABLE.lines().filter(|l| l.starts_with(' ')).count();
        assert_eq!(
            types.types.iter().map(|t| t.fields.len()).sum::<usize>(),
            lines,
            "a line could not be read"
        );
        let pod = types.of_kind("", "v1", "Pod").unwrap();
        assert_eq!(pod.fields.iter().map(|f| f.name).collect::<Vec<_>>(), ["metadata", "spec", "status"]);
        let ports = types.find("core.Container").unwrap().fields.iter().find(|f| f.name == "ports").unwrap();
        assert_eq!(
            (ports.patch, ports.list),
            (Some("merge:containerPort"), Some("map:containerPort,protocol"))
        );
    }
}
