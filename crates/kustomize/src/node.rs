//! The tree that a build works on: what kyaml's nodes say, and nothing of how they were laid out.
//!
//! A scalar keeps its text and its tag, because kustomize joins, compares and copies texts and resolves them only at
//! the end: `0644`, `1.0` and `"8080"` have to survive until then. Lists and maps are shared and copied when they are
//! changed, so that a base that many overlays use is read once and cloned for nothing.

mod block;
mod intern;
mod read;
mod timestamp;
mod write;

use std::sync::Arc;

pub(crate) use read::{check_key, from_value, read_documents, read_embedded};
pub(crate) use write::{check, to_value, to_yaml};

/// A text that is cheap to clone.
pub(crate) type Text = Arc<str>;

/// What a scalar is, as go-yaml v3 tags it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Nothing was said: the text decides when it is written (kyaml's `NewScalarRNode`).
    Implicit,
    Null,
    Bool,
    Int,
    Float,
    /// Quoted, or said to be a string: stays one whatever the text looks like.
    Str,
    Timestamp,
    Binary,
    /// Somebody's own tag, which says nothing here: the value is a text.
    Other,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    /// In single or double quotes.
    Quoted,
    /// As lines of text behind `|`.
    Block,
    /// Behind `>`.
    Folded,
}

/// A text and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: Text,
    pub(crate) tag: Tag,
    /// A field keeps this when it gets another value, as in kyaml: `80` over `"http"` is the string `"80"`. It makes
    /// no difference to equality.
    pub(crate) style: Style,
}

/// Fields in their order; a name is there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    fields: Vec<(Text, Node)>,
}

/// A value. Cloning is cheap; changing copies what is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Scalar(Scalar),
    List(Arc<Vec<Node>>),
    Map(Arc<Map>),
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.tag == other.tag
    }
}

impl Eq for Scalar {}

impl Scalar {
    pub(crate) fn new(text: impl Into<Text>, tag: Tag, style: Style) -> Self {
        Self { text: text.into(), tag, style }
    }

    /// Written in quotes or as a block.
    pub(crate) fn is_quoted(&self) -> bool {
        self.style != Style::Plain
    }

    /// The tag, with an implicit one resolved from the text.
    pub(crate) fn resolved_tag(&self) -> Tag {
        if self.tag == Tag::Implicit { Tag::of_plain(&self.text) } else { self.tag }
    }
}

impl Tag {
    /// What a text without quotes and without a tag is.
    pub(crate) fn of_plain(text: &str) -> Self {
        match yaml::resolve_plain(text) {
            yaml::Scalar::Null => Self::Null,
            yaml::Scalar::Bool(_) => Self::Bool,
            yaml::Scalar::Int(_) | yaml::Scalar::Uint(_) => Self::Int,
            yaml::Scalar::Float(_) => Self::Float,
            yaml::Scalar::Text if timestamp::normalize(text).is_some() => Self::Timestamp,
            yaml::Scalar::Text => Self::Str,
        }
    }
}

impl Map {
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Text, &Node)> {
        self.fields.iter().map(|(name, node)| (name, node))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Text> {
        self.fields.iter().map(|(name, _)| name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.fields.iter().find(|(n, _)| &**n == name).map(|(_, node)| node)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.fields.iter_mut().find(|(n, _)| &**n == name).map(|(_, node)| node)
    }

    /// Replaces a field where it stands, or adds it at the end.
    pub(crate) fn set(&mut self, name: impl AsRef<str>, node: Node) {
        match self.get_mut(name.as_ref()) {
            Some(old) => *old = node,
            None => self.add(intern::name(name.as_ref()), node),
        }
    }

    /// Sets a field as kyaml's `FieldSetter` does: null takes the field away, and a scalar in the place of a quoted one
    /// is quoted too, which makes it a string.
    pub(crate) fn put(&mut self, name: &str, mut node: Node) {
        if matches!(&node, Node::Scalar(scalar) if scalar.tag == Tag::Null) {
            self.remove(name);
            return;
        }
        match self.get_mut(name) {
            Some(old) => {
                node.take_quotes_of(old);
                *old = node;
            }
            None => {
                node.quote_if_ambiguous();
                self.add(intern::name(name), node);
            }
        }
    }

    /// Adds a field at the end. Most maps are small and grow once, if ever: there is room for what is there.
    fn add(&mut self, name: Text, node: Node) {
        if self.fields.len() == self.fields.capacity() {
            self.fields.reserve_exact(1 + self.fields.len() / 2);
        }
        self.fields.push((name, node));
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Node> {
        let at = self.fields.iter().position(|(n, _)| &**n == name)?;
        Some(self.fields.remove(at).1)
    }
}

impl FromIterator<(Text, Node)> for Map {
    fn from_iter<I: IntoIterator<Item = (Text, Node)>>(fields: I) -> Self {
        let mut map = Self::default();
        fields.into_iter().for_each(|(name, node)| map.set(name, node));
        map
    }
}

impl Node {
    /// A string, whatever it looks like.
    pub(crate) fn string(text: impl Into<Text>) -> Self {
        Self::tagged(text, Tag::Str)
    }

    /// A scalar whose text decides what it is.
    pub(crate) fn implicit(text: impl Into<Text>) -> Self {
        Self::tagged(text, Tag::Implicit)
    }

    pub(crate) fn tagged(text: impl Into<Text>, tag: Tag) -> Self {
        Self::Scalar(Scalar::new(text, tag, Style::Plain))
    }

    pub(crate) fn null() -> Self {
        Self::tagged("null", Tag::Null)
    }

    pub(crate) fn map() -> Self {
        Self::Map(Arc::default())
    }

    pub(crate) fn list(items: Vec<Node>) -> Self {
        Self::List(Arc::new(items))
    }

    /// A map of strings, in the order given.
    pub(crate) fn string_map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let fields = pairs.into_iter().map(|(name, text)| (Text::from(name), Self::string(text)));
        Self::Map(Arc::new(fields.collect()))
    }

    /// Takes the quotes of the value that this one replaces, or has none as that one has none.
    pub(crate) fn take_quotes_of(&mut self, old: &Node) {
        let (Self::Scalar(new), Self::Scalar(old)) = (self, old) else { return };
        new.style = old.style;
        // The tag stays: if the text gets another value, it has to fit.
        if new.is_quoted() && new.tag == Tag::Implicit {
            new.tag = Tag::Str;
        }
    }

    /// A new text that nothing was said about, but that YAML 1.1 does not take for a string, is quoted.
    pub(crate) fn quote_if_ambiguous(&mut self) {
        let Self::Scalar(scalar) = self else { return };
        if matches!(scalar.tag, Tag::Implicit | Tag::Str)
            && !scalar.is_quoted()
            && yaml::is_ambiguous(&scalar.text)
        {
            scalar.style = Style::Quoted;
            scalar.tag = Tag::Str;
        }
    }

    /// kyaml's `IsTaggedNull`: a text without a tag that only looks like null is not.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(scalar) if scalar.tag == Tag::Null)
    }

    /// kyaml's `IsNilOrEmpty`: null, a map or a list of nothing, or the empty text.
    pub(crate) fn is_nil_or_empty(&self) -> bool {
        match self {
            Self::Scalar(scalar) => scalar.text.is_empty() || self.is_null(),
            Self::List(items) => items.is_empty(),
            Self::Map(map) => map.is_empty(),
        }
    }

    pub(crate) fn as_scalar(&self) -> Option<&Scalar> {
        if let Self::Scalar(scalar) = self { Some(scalar) } else { None }
    }

    /// The text of a scalar, of whatever tag.
    pub(crate) fn text(&self) -> Option<&str> {
        self.as_scalar().map(|scalar| &*scalar.text)
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        if let Self::Map(map) = self { Some(Arc::make_mut(map)) } else { None }
    }

    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    pub(crate) fn as_list_mut(&mut self) -> Option<&mut Vec<Node>> {
        if let Self::List(items) = self { Some(Arc::make_mut(items)) } else { None }
    }

    /// The field of a map.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.as_map()?.get(name)
    }

    /// The field of a map, to change. Copies the map only if the field is there.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.get(name)?;
        self.as_map_mut()?.get_mut(name)
    }

    /// The node under field names, through maps only.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The text under field names; `""` where there is none.
    pub(crate) fn text_at(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Self::text).unwrap_or_default()
    }

    /// The text of a field of `metadata`; `""` where there is none, and where it is null.
    pub(crate) fn metadata_text(&self, name: &str) -> &str {
        self.at(&["metadata", name]).filter(|field| !field.is_null()).and_then(Self::text).unwrap_or_default()
    }

    /// As [`Node::metadata_text`], shared with the node.
    pub(crate) fn metadata_name(&self, name: &str) -> Text {
        let field = self.at(&["metadata", name]).filter(|field| !field.is_null());
        field.and_then(Self::as_scalar).map(|scalar| scalar.text.clone()).unwrap_or_default()
    }

    /// Sets a field of a map; anything else becomes a map first.
    pub(crate) fn set(&mut self, name: impl AsRef<str>, node: Node) {
        self.make_map().set(name, node);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Node> {
        self.get(name)?;
        self.as_map_mut()?.remove(name)
    }

    /// The map that this is; anything else is replaced by an empty one.
    pub(crate) fn make_map(&mut self) -> &mut Map {
        if !matches!(self, Self::Map(_)) {
            *self = Self::map();
        }
        match self {
            Self::Map(map) => Arc::make_mut(map),
            _ => unreachable!("it was made a map above"),
        }
    }

    /// The map under a field, made if it is not there.
    pub(crate) fn map_at(&mut self, name: &str) -> &mut Map {
        let map = self.make_map();
        if map.get(name).is_none() {
            map.set(name, Self::map());
        }
        match map.get_mut(name) {
            Some(node) => node.make_map(),
            None => unreachable!("it was set above"),
        }
    }

    /// The bytes that it takes, about, as if nothing in it were shared.
    pub(crate) fn size(&self) -> usize {
        const OVERHEAD: usize = 16;
        let text = |text: &Text| text.len() + OVERHEAD;
        size_of::<Self>()
            + match self {
                Self::Scalar(scalar) => text(&scalar.text),
                Self::List(items) => items.iter().map(Self::size).sum::<usize>() + OVERHEAD,
                Self::Map(map) => {
                    let field = |(name, node): (&Text, &Self)| size_of::<Text>() + text(name) + node.size();
                    map.iter().map(field).sum::<usize>() + OVERHEAD
                }
            }
    }

    /// The bytes that its text takes where a line begins with `indent` spaces, about.
    pub(crate) fn text_size(&self, indent: usize) -> usize {
        const SIGNS: usize = 4;
        match self {
            Self::Scalar(scalar) => scalar.text.len() + SIGNS,
            Self::List(items) => items.iter().map(|item| item.text_size(indent + 2) + indent + SIGNS).sum(),
            Self::Map(map) => {
                let field =
                    |(name, node): (&Text, &Self)| name.len() + node.text_size(indent + 2) + indent + SIGNS;
                map.iter().map(field).sum()
            }
        }
    }

    /// Whether two nodes are the very same memory: then they are equal without a look.
    pub(crate) fn is_same(&self, other: &Node) -> bool {
        match (self, other) {
            (Self::Map(a), Self::Map(b)) => Arc::ptr_eq(a, b),
            (Self::List(a), Self::List(b)) => Arc::ptr_eq(a, b),
            (Self::Scalar(a), Self::Scalar(b)) => Arc::ptr_eq(&a.text, &b.text) && a.tag == b.tag,
            _ => false,
        }
    }
}
