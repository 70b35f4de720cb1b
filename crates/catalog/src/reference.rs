//! Entity references `[kind:][namespace/]name`; the canonical form is lower case with all three parts.

use std::fmt;

/// A canonical entity reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityRef {
    /// Kind, lower case.
    pub kind: String,
    /// Namespace, lower case.
    pub namespace: String,
    /// Name, lower case.
    pub name: String,
}

/// Why a text is not an entity reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{text}\" is not an entity reference of the form [kind:][namespace/]name{hint}")]
pub struct RefError {
    text: String,
    hint: &'static str,
}

impl EntityRef {
    /// A reference from its parts; the case does not matter.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_lowercase(), namespace: namespace.to_lowercase(), name: name.to_lowercase() }
    }

    /// Reads a reference that names its kind.
    ///
    /// # Errors
    /// When the kind or another part is missing or empty.
    pub fn parse(text: &str) -> Result<Self, RefError> {
        Self::parse_with(text, None, "default")
    }

    /// Reads a reference; parts that the text leaves out come from the defaults.
    ///
    /// # Errors
    /// When a part is empty, or the kind is in neither place.
    pub fn parse_with(text: &str, kind: Option<&str>, namespace: &str) -> Result<Self, RefError> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (Some(kind), rest),
            None => (kind, text),
        };
        let refused = |hint| RefError { text: text.to_owned(), hint };
        let kind = kind.ok_or_else(|| refused(": the kind is missing"))?;
        let (namespace, name) = rest.split_once('/').unwrap_or((namespace, rest));
        if kind.is_empty() || namespace.is_empty() || name.is_empty() || name.contains(['/', ':']) {
            return Err(refused(""));
        }
        Ok(Self::new(kind, namespace, name))
    }
}

impl fmt::Display for EntityRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}/{}", self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::EntityRef;

    #[test]
    fn references_are_read_with_defaults_and_printed_canonically() {
        let check = |text: &str, kind: Option<&str>, expected: Option<&str>| {
            let parsed =
                EntityRef::parse_with(text, kind, "default").ok().map(|reference| reference.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        };
        check("Component:default/Web", None, Some("component:default/web"));
        check("web", Some("Component"), Some("component:default/web"));
        check("other/web", Some("Component"), Some("component:other/web"));
        check("group:ops", Some("User"), Some("group:default/ops"));
        check("web", None, None);
        check("component:", None, None);
        check("component:/web", None, None);
        check("component:a/b/c", None, None);
    }
}
