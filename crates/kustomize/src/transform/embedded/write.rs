//! YAML as go-yaml writes a tree that it has read: every value in the style that it had.

use yaml::{Data, Style};

use crate::node::{Node, Scalar, Tag, Text};

/// A changed document. Quotes, blocks and flow style stay; comments stay where only scalars have changed.
pub(super) fn yaml(before: &str, changed: &Node) -> Option<String> {
    let documents = yaml::compose(before).ok()?;
    let old = documents.first()?;
    if has_comment(before) {
        let mut edits = vec![];
        if find_edits(old, changed, &mut edits).is_some() {
            return splice(before, edits);
        }
    }
    let mut writer = Writer { before, out: String::new() };
    writer.node(changed, Some(old), 0);
    Some(writer.out)
}

fn has_comment(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with('#') || line.contains(" #"))
}

/// The scalars that have another text; none where something else has changed, or a block of text.
fn find_edits<'n, 's>(
    old: &'n yaml::Node,
    new: &'s Node,
    edits: &mut Vec<(&'n yaml::Node, &'s Scalar)>,
) -> Option<()> {
    match (&old.data, new) {
        (Data::Scalar { text, .. }, Node::Scalar(scalar)) if **text == *scalar.text => Some(()),
        (Data::Scalar { style: Style::Literal | Style::Folded, .. }, _) => None,
        (Data::Scalar { .. }, Node::Scalar(scalar)) if !scalar.text.contains('\n') => {
            edits.push((old, scalar));
            Some(())
        }
        (Data::Sequence(old), Node::List(new)) if old.len() == new.len() => {
            old.iter().zip(new.iter()).try_for_each(|(old, new)| find_edits(old, new, edits))
        }
        (Data::Mapping(old), Node::Map(new)) if old.len() == new.len() => {
            old.iter().try_for_each(|(key, value)| find_edits(value, new.get(key.text()?)?, edits))
        }
        _ => None,
    }
}

fn splice(before: &str, mut edits: Vec<(&yaml::Node, &Scalar)>) -> Option<String> {
    edits.sort_by_key(|(node, _)| std::cmp::Reverse(node.span.start));
    edits.into_iter().try_fold(before.to_owned(), |text, (node, new)| {
        let mut writer = Writer { before, out: text.get(..node.span.start)?.to_owned() };
        if writer.out.ends_with([':', '-']) {
            writer.out.push(' ');
        }
        writer.scalar(new, Some(node), 0);
        Some(writer.out + text.get(node.span.end..)?)
    })
}

struct Writer<'b> {
    before: &'b str,
    out: String,
}

impl Writer<'_> {
    /// A node at the place where the writer stands, with the line end.
    fn node(&mut self, node: &Node, old: Option<&yaml::Node>, indent: usize) {
        match node {
            Node::Map(map) if !map.is_empty() && !self.is_flow(old) => {
                for (position, (name, value)) in map.iter().enumerate() {
                    if position > 0 {
                        self.spaces(indent);
                    }
                    let (key, value_was) = pair(old, name);
                    self.key(name, key, indent);
                    self.out.push(':');
                    self.below(value, value_was, indent);
                }
            }
            Node::List(list) if !list.is_empty() && !self.is_flow(old) => {
                for (position, item) in list.iter().enumerate() {
                    if position > 0 {
                        self.spaces(indent);
                    }
                    self.out.push_str("- ");
                    self.node(item, item_of(old, position), indent + 2);
                }
            }
            _ => {
                self.flow(node, old, indent);
                // Nothing stands for null without a blank before it.
                self.out.truncate(self.out.trim_end_matches(' ').len());
                self.out.push('\n');
            }
        }
    }

    /// The value of a field, behind the colon.
    fn below(&mut self, node: &Node, old: Option<&yaml::Node>, indent: usize) {
        let deeper = match node {
            Node::Map(map) if !map.is_empty() => indent + 2,
            Node::List(list) if !list.is_empty() => indent,
            _ => {
                self.out.push(' ');
                return self.node(node, old, indent + 2);
            }
        };
        if self.is_flow(old) {
            self.out.push(' ');
        } else {
            self.out.push('\n');
            self.spaces(deeper);
        }
        self.node(node, old, deeper);
    }

    /// A node on one line, unless it is a block of text.
    fn flow(&mut self, node: &Node, old: Option<&yaml::Node>, indent: usize) {
        match node {
            Node::Scalar(scalar) => self.scalar(scalar, old, indent),
            Node::List(list) => {
                self.out.push('[');
                for (position, item) in list.iter().enumerate() {
                    self.out.push_str(if position > 0 { ", " } else { "" });
                    self.flow(item, item_of(old, position), indent);
                }
                self.out.push(']');
            }
            Node::Map(map) => {
                self.out.push('{');
                for (position, (name, value)) in map.iter().enumerate() {
                    self.out.push_str(if position > 0 { ", " } else { "" });
                    let (key, value_was) = pair(old, name);
                    self.key(name, key, indent);
                    self.out.push_str(": ");
                    self.flow(value, value_was, indent);
                }
                self.out.push('}');
            }
        }
    }

    /// A key stays as it was, and a new one is a string.
    fn key(&mut self, name: &Text, old: Option<&yaml::Node>, indent: usize) {
        let tag = if old.is_some() { Tag::Implicit } else { Tag::Str };
        self.scalar(&Scalar::new(name.clone(), tag, crate::node::Style::Plain), old, indent);
    }

    fn scalar(&mut self, scalar: &Scalar, old: Option<&yaml::Node>, indent: usize) {
        let text = &*scalar.text;
        let style = match old.map(|old| &old.data) {
            Some(Data::Scalar { style, .. }) => *style,
            _ => Style::Plain,
        };
        match style {
            Style::SingleQuoted if !text.chars().any(char::is_control) => {
                self.out.push_str(&format!("'{}'", text.replace('\'', "''")));
            }
            // The library writes every line end of a folded text twice, which makes it one more when it is read again.
            Style::Folded => self.block('>', &text.replace('\n', "\n\n"), indent),
            Style::Literal => self.block('|', text, indent),
            Style::Plain if text.contains('\n') => self.block('|', text, indent),
            Style::Plain => self.plain(scalar, old.and_then(|old| old.tag.as_deref())),
            _ => self.double_quoted(text),
        }
    }

    /// Text without quotes where that says the same. A tag that the text does not show is written out; somebody's own
    /// one is that of the text before.
    fn plain(&mut self, scalar: &Scalar, own_tag: Option<&str>) {
        let text = &*scalar.text;
        let shown = Tag::of_plain(text);
        match scalar.tag {
            Tag::Str if shown != Tag::Str => return self.double_quoted(text),
            Tag::Other => {
                self.out.push_str(&format!("{} ", own_tag.unwrap_or("!")));
            }
            Tag::Null | Tag::Bool | Tag::Int | Tag::Float if scalar.tag != shown => {
                self.out.push_str(&format!("!!{} ", format!("{:?}", scalar.tag).to_lowercase()));
            }
            _ => {}
        }
        if shown != Tag::Str || yaml::is_ambiguous(text) {
            self.out.push_str(text);
        } else {
            self.out.push_str(yaml::emit(&text.into()).trim_end());
        }
    }

    fn double_quoted(&mut self, text: &str) {
        // JSON's escapes are YAML's, too.
        self.out.push_str(&serde_json::Value::from(text).to_string());
    }

    fn block(&mut self, sign: char, text: &str, indent: usize) {
        let indent = indent.max(2);
        let ends = text.len() - text.trim_end_matches('\n').len();
        self.out.push(sign);
        if text.starts_with([' ', '\n']) {
            self.out.push('2');
        }
        self.out.push_str(match ends {
            0 => "-",
            1 => "",
            2 if sign == '>' => "",
            _ => "+",
        });
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.spaces(indent);
                self.out.push_str(line);
            }
        }
    }

    fn is_flow(&self, old: Option<&yaml::Node>) -> bool {
        let text = old.and_then(|old| self.before.get(old.span.start..));
        text.is_some_and(|text| text.starts_with(['{', '[']))
    }

    fn spaces(&mut self, count: usize) {
        self.out.extend(std::iter::repeat_n(' ', count));
    }
}

/// The key and the value of a field, as they were.
fn pair<'n>(old: Option<&'n yaml::Node>, name: &str) -> (Option<&'n yaml::Node>, Option<&'n yaml::Node>) {
    let Some(Data::Mapping(pairs)) = old.map(|old| &old.target().data) else { return (None, None) };
    let found = pairs.iter().find(|(key, _)| key.text() == Some(name));
    (found.map(|(key, _)| key), found.map(|(_, value)| value))
}

fn item_of(old: Option<&yaml::Node>, position: usize) -> Option<&yaml::Node> {
    match old.map(|old| &old.target().data) {
        Some(Data::Sequence(items)) => items.get(position),
        _ => None,
    }
}
