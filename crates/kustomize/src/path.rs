//! Paths to fields as `replacements` and `vars` write them: names between dots, `[name=x]` and numbers for list items.

use object::regexp;
use regex::Regex;

use crate::fieldspec::wrong_kind;
use crate::node::{Node, Scalar};

/// The parts of a path. `\.` is a dot in a name; `[…]` keeps its dots, and its brackets if there is a `=` in it.
pub(crate) fn split(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![];
    let mut pieces = unescaped(path).into_iter();
    while let Some(mut part) = pieces.next() {
        if !part.starts_with('[') || part.ends_with(']') {
            parts.push(part);
            continue;
        }
        for piece in pieces.by_ref() {
            part.push('.');
            part.push_str(&piece);
            if piece.ends_with(']') {
                break;
            }
        }
        if !part.contains('=') {
            part = part.trim_matches(['[', ']']).to_owned();
        }
        parts.push(part);
    }
    parts
}

/// Split at dots that are not escaped; one dot may lead.
fn unescaped(path: &str) -> Vec<String> {
    let path = path.strip_prefix('.').unwrap_or(path);
    let mut parts: Vec<String> = vec![];
    for piece in path.split('.') {
        match parts.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
                last.push('.');
                last.push_str(piece);
            }
            _ => parts.push(piece.to_owned()),
        }
    }
    parts
}

/// Moves indices out of names, as the field paths of vars have them: `ports[0]` is `ports`, `0`.
pub(crate) fn split_indices(parts: Vec<String>) -> Vec<String> {
    let mut split = vec![];
    for part in parts {
        let index = part.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
        match index.filter(|(_, index)| !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit())) {
            Some((name, index)) => {
                split.extend((!name.is_empty()).then(|| name.to_owned()));
                split.push(index.to_owned());
            }
            None => split.push(part),
        }
    }
    split
}

/// What one part of a path asks for.
enum Step<'p> {
    Field(&'p str),
    Index(i64),
    Last,
    Every,
    /// The items whose field has a value; with an empty name the items that are this value.
    Matching(&'p str, &'p str),
}

impl<'p> Step<'p> {
    fn of(part: &'p str) -> Result<Self, String> {
        if let Ok(index) = part.parse() {
            return Ok(Self::Index(index));
        }
        let condition = part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        Ok(match (part, condition) {
            ("-", _) => Self::Last,
            ("*", _) => Self::Every,
            (_, Some(condition)) => {
                let (name, value) = condition
                    .split_once('=')
                    .ok_or("list path element must contain fieldName=fieldValue for element to match")?;
                Self::Matching(name, value)
            }
            _ => Self::Field(part),
        })
    }
}

/// A part of a node.
enum Place<'p> {
    Field(&'p str),
    Item(usize),
}

/// The one node at a path, none when there is none. A condition takes the first item whose text is the value.
pub(crate) fn get<'n>(node: &'n Node, path: &[String]) -> Result<Option<&'n Node>, String> {
    let mut node = node;
    for part in parts(path) {
        match locate(node, Step::of(part)?)?.and_then(|place| at(node, &place)) {
            Some(next) => node = next,
            None => return Ok(None),
        }
    }
    Ok(Some(node))
}

/// The path of names and indices to what [`get`] finds: it leads there also when conditions no longer hold.
pub(crate) fn settled(node: &Node, path: &[String]) -> Vec<String> {
    let mut node = Some(node);
    let settle = |part: &str| {
        let place = locate(node?, Step::of(part).ok()?).ok()??;
        node = at(node?, &place);
        Some(match place {
            Place::Field(name) => name.to_owned(),
            Place::Item(index) => index.to_string(),
        })
    };
    parts(path).map_while(settle).collect()
}

/// The tree with another node at a path that [`get`] found something at.
pub(crate) fn replaced(node: &Node, path: &[String], new: Node) -> Result<Node, String> {
    fn replace(node: &Node, path: &[&str], new: Node) -> Result<Node, String> {
        let Some((part, rest)) = path.split_first() else { return Ok(new) };
        let place = locate(node, Step::of(part)?)?;
        let Some((place, old)) = place.and_then(|place| Some((at(node, &place)?, place))) else {
            return Err(format!("there is nothing at '{part}'"));
        };
        let new = replace(place, rest, new)?;
        let mut changed = node.clone();
        match old {
            Place::Field(name) => changed.set(name, new),
            Place::Item(index) => {
                let slot = changed.as_list_mut().and_then(|list| list.get_mut(index));
                slot.into_iter().for_each(|slot| *slot = new.clone());
            }
        }
        Ok(changed)
    }
    replace(node, &parts(path).collect::<Vec<_>>(), new)
}

fn parts(path: &[String]) -> impl Iterator<Item = &str> {
    path.iter().map(|part| part.trim()).filter(|part| !part.is_empty())
}

fn at<'n>(node: &'n Node, place: &Place<'_>) -> Option<&'n Node> {
    match place {
        Place::Field(name) => node.get(name),
        Place::Item(index) => node.as_list()?.get(*index),
    }
}

fn locate<'p>(node: &Node, step: Step<'p>) -> Result<Option<Place<'p>>, String> {
    let item = |index: Option<usize>| Ok(index.map(Place::Item));
    match step {
        Step::Field(name) => Ok(fields(node)?.map(|_| Place::Field(name))),
        Step::Index(index) if index < 0 => Err(format!("array index {index} cannot be negative")),
        Step::Index(index) => items(node).map(|_| usize::try_from(index).ok().map(Place::Item)),
        Step::Last => item(items(node)?.len().checked_sub(1)),
        Step::Every => Err("wildcard is not supported in PathGetter".to_owned()),
        Step::Matching("", value) => item(items(node)?.iter().position(|item| text(item) == value)),
        Step::Matching(name, value) => {
            let fits = |node: &Node| node.get(name).is_some_and(|field| text(field) == value);
            item(items(node)?.iter().position(fits))
        }
    }
}

/// A map; none for null, an error for anything else.
fn fields(node: &Node) -> Result<Option<&Node>, String> {
    match node {
        Node::Map(_) => Ok(Some(node)),
        node if node.is_null() => Ok(None),
        _ => Err(wrong_kind("MappingNode", node)),
    }
}

/// The items of a list; none for null, an error for anything else.
fn items(node: &Node) -> Result<&[Node], String> {
    match node {
        Node::List(items) => Ok(items),
        node if node.is_null() => Ok(&[]),
        _ => Err(wrong_kind("SequenceNode", node)),
    }
}

fn text(node: &Node) -> &str {
    node.text().unwrap_or_default()
}

/// A change of every node that a path leads to. Unlike in [`get`], the value of a condition is a regular expression
/// that has to match somewhere in the text of the field.
pub(crate) struct Change<'c> {
    /// What to make at the end of a path where there is nothing, if that is to be made.
    pub(crate) create: Option<Node>,
    /// What a node becomes.
    pub(crate) set: &'c dyn Fn(&Node) -> Result<Node, String>,
}

/// What became of a node, none if it is as it was, and how many nodes the path led to.
pub(crate) type Changed = (Option<Node>, usize);

impl Change<'_> {
    /// Changes what is at a path.
    pub(crate) fn apply(&self, node: &Node, path: &[String]) -> Result<Changed, String> {
        let Some((part, rest)) = path.split_first() else { return Ok((Some((self.set)(node)?), 1)) };
        if self.create.is_some() && node.is_null() {
            // kyaml hangs what it makes under the null, which is still written as null.
            return Ok((None, 1));
        }
        match Step::of(part)? {
            Step::Index(index) if index >= 0 => self.index(node, index, part, rest),
            Step::Matching(name, value) => self.matching(node, (name, value), rest),
            Step::Every => {
                items(node)?;
                self.items(node, rest, &|_| Ok(true))
            }
            Step::Field(_) | Step::Index(_) | Step::Last => self.field(node, part, rest),
        }
    }

    fn field(&self, node: &Node, name: &str, rest: &[String]) -> Result<Changed, String> {
        if name.is_empty() {
            return Err(wrong_kind("ScalarNode", node));
        }
        let Some(map) = fields(node)? else { return Ok((None, 0)) };
        let made;
        let next = match (map.get(name), self.made(rest)) {
            (Some(next), _) => next,
            (None, Some(new)) => {
                made = new;
                &made
            }
            (None, None) => return Ok((None, 0)),
        };
        if let (Node::Scalar(scalar), false) = (next, rest.is_empty()) {
            return self.lost(scalar, rest);
        }
        let (new, count) = self.apply(next, rest)?;
        let Some(new) = new else { return Ok((None, count)) };
        let mut changed = node.clone();
        changed.set(name, new);
        Ok((Some(changed), count))
    }

    /// Structured text behind a path that `transform::embedded` does not take: kustomize looks into it, but
    /// forgets what it changed there.
    fn lost(&self, scalar: &Scalar, rest: &[String]) -> Result<Changed, String> {
        let documents = crate::node::read_embedded(&scalar.text).map_err(|error| error.to_string())?;
        let Some(inside) = documents.first() else {
            return Err(wrong_kind("MappingNode", &Node::Scalar(scalar.clone())));
        };
        let (_, count) = self.apply(inside, rest)?;
        Ok((None, count))
    }

    fn index(&self, node: &Node, index: i64, part: &str, rest: &[String]) -> Result<Changed, String> {
        let list = items(node)?;
        let count = list.len();
        let wanted = usize::try_from(index).unwrap_or(usize::MAX);
        let mut longer = node.clone();
        if let (true, Some(new)) = (wanted == count, self.made(rest)) {
            longer.as_list_mut().ok_or("a list was expected")?.push(new);
        } else if wanted >= count {
            return Err(format!("index {part} specified but only {count} elements found"));
        }
        self.items(&longer, rest, &|at| Ok(at == wanted))
    }

    fn matching(&self, node: &Node, (name, value): (&str, &str), rest: &[String]) -> Result<Changed, String> {
        let pattern = Pattern::new(value);
        let matches = |item: &Node| match item {
            item if name.is_empty() => pattern.is_in(&written(item)),
            item => item.get(name).map_or(Ok(false), |field| pattern.is_in(&written(field))),
        };
        // An item that is itself the value is the end of the path, whatever follows.
        let rest = if name.is_empty() { &[] } else { rest };
        let list = items(node)?;
        let (changed, count) = self.items(node, rest, &|at| list.get(at).map_or(Ok(false), matches))?;
        if count > 0 || self.create.is_none() {
            return Ok((changed, count));
        }
        let new = if name.is_empty() { Node::implicit(value) } else { one_field(name, value) };
        if !matches(&new)? {
            return Err(format!("the element that is made for [{name}={value}] does not match it"));
        }
        let mut longer = changed.unwrap_or_else(|| node.clone());
        let list = longer.as_list_mut().ok_or("a list was expected")?;
        list.push(new);
        let last = list.len() - 1;
        self.items(&longer, rest, &|at| Ok(at == last))
    }

    /// Changes the chosen items of a list.
    fn items(
        &self,
        node: &Node,
        rest: &[String],
        chosen: &dyn Fn(usize) -> Result<bool, String>,
    ) -> Result<Changed, String> {
        let mut changed: Option<Node> = None;
        let mut total = 0;
        for (at, item) in items(node)?.iter().enumerate() {
            if !chosen(at)? {
                continue;
            }
            let (new, count) = self.apply(item, rest)?;
            total += count;
            let Some(new) = new else { continue };
            let list = changed.get_or_insert_with(|| node.clone()).as_list_mut();
            if let Some(slot) = list.and_then(|list| list.get_mut(at)) {
                *slot = new;
            }
        }
        Ok((changed, total))
    }

    /// What is made where a part of a path is missing, given the parts after it.
    fn made(&self, rest: &[String]) -> Option<Node> {
        let leaf = self.create.as_ref()?;
        let Some(next) = rest.first().filter(|next| !next.is_empty()) else { return Some(leaf.clone()) };
        let is_index = next.parse::<i64>().is_ok_and(|index| index >= 0);
        let is_item = is_index || (next.starts_with('[') && next.ends_with(']'));
        Some(if is_item { Node::list(vec![]) } else { Node::map() })
    }
}

fn one_field(name: &str, value: &str) -> Node {
    let mut map = Node::map();
    map.set(name, Node::implicit(value));
    map
}

/// A regular expression, or a text without any of its signs.
enum Pattern<'p> {
    Text(&'p str),
    Regex(Result<Regex, String>),
}

impl<'p> Pattern<'p> {
    fn new(text: &'p str) -> Self {
        if regex::escape(text) == text
            || text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/:=,".contains(&b))
        {
            return Self::Text(text);
        }
        Self::Regex(regexp::compile(text))
    }

    fn is_in(&self, text: &str) -> Result<bool, String> {
        match self {
            Self::Text(wanted) => Ok(text.contains(wanted)),
            Self::Regex(regex) => Ok(regex.as_ref().map_err(Clone::clone)?.is_match(text)),
        }
    }
}

/// The text that a condition is matched against: the value as YAML, with its quotes.
fn written(node: &Node) -> String {
    match node {
        Node::Scalar(scalar) if !scalar.is_quoted() => scalar.text.trim().to_owned(),
        Node::Scalar(scalar) => format!("{:?}", &*scalar.text),
        _ => crate::node::to_yaml(node).unwrap_or_default().trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use super::*;
    use crate::node::{read_documents, to_value};

    fn node(text: &str) -> Node {
        read_documents(text).unwrap().remove(0)
    }

    #[test]
    fn parts_of_paths() {
        let check = |path: &str, expected: &[&str]| assert_eq!(split(path), expected, "{path}");
        check("a.b", &["a", "b"]);
        check(".a.b", &["a", "b"]);
        check("a.b\\.c/d", &["a", "b.c/d"]);
        check("a.[b.c/d].e", &["a", "b.c/d", "e"]);
        check("a.[name=b.c].d", &["a", "[name=b.c]", "d"]);
        check("a.[b].c", &["a", "[b]", "c"]);
        let indices = split_indices(split("spec.ports[0].x[a]"));
        assert_eq!(indices, ["spec", "ports", "0", "x[a]"]);
    }

    #[test]
    fn one_node() {
        let tree = node("a: [{name: x, v: 1}, {name: xy, v: 2}, z]\nn: null\n");
        let check = |path: &str, expected: Result<Option<&str>, &str>| {
            let found = get(&tree, &split(path)).map(|node| node.and_then(Node::text));
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected), "{path}"),
                Err(expected) => assert!(found.unwrap_err().contains(expected), "{path}"),
            }
        };
        check("a.[name=xy].v", Ok(Some("2")));
        check("a.0.v", Ok(Some("1")));
        check("a.-", Ok(Some("z")));
        check("a.[=z]", Ok(Some("z")));
        check("a.7", Ok(None));
        check("n.x", Ok(None));
        check("a.x", Err("wrong node kind: expected MappingNode but got SequenceNode"));
        check("a.*", Err("wildcard is not supported"));
        check("a.[x]", Err("fieldName=fieldValue"));
    }

    fn change(tree: &str, path: &str, create: bool) -> Result<(String, usize), String> {
        let create = create.then(|| Node::implicit(""));
        let set = |_: &Node| Ok(Node::string("NEW"));
        let tree = node(tree);
        let (changed, count) = Change { create, set: &set }.apply(&tree, &split(path))?;
        Ok((to_value(&changed.unwrap_or(tree)).unwrap().to_string(), count))
    }

    #[test]
    fn every_node() {
        let tree = "a: [{name: x, v: 1}, {name: xy, v: 2}]\n";
        let check = |path: &str, expected: &str, count: usize| {
            assert_eq!(change(tree, path, false), Ok((expected.to_owned(), count)), "{path}");
        };
        check("a.[name=^x$].v", r#"{"a":[{"name":"x","v":"NEW"},{"name":"xy","v":2}]}"#, 1);
        check("a.[name=x].v", r#"{"a":[{"name":"x","v":"NEW"},{"name":"xy","v":"NEW"}]}"#, 2);
        check("a.[name={x}].v", r#"{"a":[{"name":"x","v":1},{"name":"xy","v":2}]}"#, 0);
        check("a.*.v", r#"{"a":[{"name":"x","v":"NEW"},{"name":"xy","v":"NEW"}]}"#, 2);
        check("a.1", r#"{"a":[{"name":"x","v":1},"NEW"]}"#, 1);
        check("b.c", r#"{"a":[{"name":"x","v":1},{"name":"xy","v":2}]}"#, 0);
        assert!(
            change(tree, "a.2", false).unwrap_err().contains("index 2 specified but only 2 elements found")
        );
        assert!(change(tree, "*.x", false).unwrap_err().contains("expected SequenceNode"));
    }

    #[test]
    fn what_is_made() {
        let check = |tree: &str, path: &str, expected: &str| {
            assert_eq!(change(tree, path, true), Ok((expected.to_owned(), 1)), "{path}");
        };
        check("a: {}", "a.b.c", r#"{"a":{"b":{"c":"NEW"}}}"#);
        check("a: {}", "a.b.0.c", r#"{"a":{"b":[{"c":"NEW"}]}}"#);
        check("a: [{name: x}]", "a.[name=y].c", r#"{"a":[{"name":"x"},{"name":"y","c":"NEW"}]}"#);
        check("a: [x]", "a.[=y]", r#"{"a":["x","NEW"]}"#);
        check("a: [x]", "a.1", r#"{"a":["x","NEW"]}"#);
        check("a: [null]", "a.0.b", r#"{"a":[null]}"#);
        assert!(change("a: []", "a.[name=^x$].b", true).unwrap_err().contains("does not match it"));
    }
}
