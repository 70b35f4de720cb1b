//! The facts about built-in kinds, from kyaml's OpenAPI bundle of Kubernetes v1.21.2.
//!
//! `builtin.txt` holds what a merge can notice: lists that are merged, and every object type on a way to one or known
//! to have fields. First come the types, numbered by their lines: `field=type …` (`*` is any field) or
//! `[key,key] type of the items`. After `---` comes a line for every api version: `Kind:scope type`, where the scope is
//! `n` (namespaced), `c` (cluster) or `-` (not said). After another `---` come the names of the definitions, to which a
//! schema of a build's own may refer: a line for every package, `Name:type`.

use std::collections::HashMap;
use std::sync::OnceLock;

const TEXT: &str = include_str!("builtin.txt");

/// What is known about a value.
#[derive(Debug, Default)]
pub(crate) struct Type {
    /// Sorted.
    fields: Vec<(&'static str, usize)>,
    any_field: Option<usize>,
    items: Option<usize>,
    /// Set for lists that merge.
    pub(crate) keys: Option<Vec<&'static str>>,
}

/// What is known about a kind.
pub(crate) struct Kind {
    pub(crate) namespaced: Option<bool>,
    pub(crate) facts: Option<&'static Type>,
}

struct Table {
    types: Vec<Type>,
    kinds: HashMap<&'static str, Vec<(&'static str, &'static str)>>,
    /// Of the definitions: package to names and types.
    packages: HashMap<&'static str, &'static str>,
}

impl Type {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Type> {
        let found = self.fields.binary_search_by(|(other, _)| (*other).cmp(name));
        let index = found.ok().map(|at| self.fields[at].1).or(self.any_field)?;
        table().types.get(index)
    }

    pub(crate) fn items(&self) -> Option<&'static Type> {
        table().types.get(self.items?)
    }
}

/// The kind, if it is built in.
pub(crate) fn kind(group: &str, version: &str, kind: &str) -> Option<Kind> {
    let table = table();
    table.kinds.get(kind)?.iter().find_map(|(api_version, about)| {
        let (own_group, own_version) = crate::id::split_api_version(api_version);
        if own_group != group || own_version != version {
            return None;
        }
        let (namespaced, facts) = match about.as_bytes().first() {
            Some(b'n') => (Some(true), &about[1..]),
            Some(b'c') => (Some(false), &about[1..]),
            _ => (None, about.get(1..).unwrap_or_default()),
        };
        let facts = facts.parse().ok().and_then(|index: usize| table.types.get(index));
        Some(Kind { namespaced, facts })
    })
}

/// The definition of this name, if it is built in.
pub(crate) fn definition(name: &str) -> Option<&'static Type> {
    let (package, name) = name.rsplit_once('.')?;
    let mut entries = table().packages.get(package)?.split(' ').filter_map(|entry| entry.split_once(':'));
    let (_, index) = entries.find(|(other, _)| *other == name)?;
    table().types.get(index.parse::<usize>().ok()?)
}

/// The api versions of all kinds.
pub(super) fn api_versions() -> impl Iterator<Item = &'static str> {
    let (_, rest) = TEXT.split_once("---\n").unwrap_or_default();
    let (kinds, _) = rest.split_once("---\n").unwrap_or_default();
    kinds.lines().filter_map(|line| line.split(' ').next())
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let (types, rest) = TEXT.split_once("---\n").unwrap_or_default();
        let (kinds, packages) = rest.split_once("---\n").unwrap_or_default();
        let mut table = Table {
            types: types.lines().map(read_type).collect(),
            kinds: HashMap::new(),
            packages: packages.lines().filter_map(|line| line.split_once(' ')).collect(),
        };
        for line in kinds.lines() {
            let mut words = line.split(' ');
            let api_version = words.next().unwrap_or_default();
            for (kind, about) in words.filter_map(|word| word.split_once(':')) {
                table.kinds.entry(kind).or_default().push((api_version, about));
            }
        }
        table
    })
}

fn read_type(line: &'static str) -> Type {
    if let Some((keys, items)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let keys = keys.split(',').filter(|key| !key.is_empty()).collect();
        return Type { items: items.trim().parse().ok(), keys: Some(keys), ..Type::default() };
    }
    let mut read = Type::default();
    for (name, index) in line.split(' ').filter_map(|word| word.split_once('=')) {
        match (name, index.parse()) {
            ("*", Ok(index)) => read.any_field = Some(index),
            (name, Ok(index)) => read.fields.push((name, index)),
            _ => {}
        }
    }
    read
}
