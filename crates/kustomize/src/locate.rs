//! Where an error is: the line of the kustomization's entry that it is about, looked up once there is an error.

use crate::Error;
use crate::tree::Tree;

/// A place in a file, with the line that stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to the tree's root.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line without its end.
    pub text: String,
}

/// What an error says about its place.
enum Hint<'e> {
    /// The way from the root of the file: `images[0].newTag`.
    Path(Vec<&'e str>),
    /// An entry with this text.
    Text(&'e str),
    /// The reader of the file knew.
    Exactly(usize, usize),
}

impl Error {
    /// The text with the line and column of the entry that it is about behind the name of the file, where they are
    /// known: `overlays/prod/kustomization.yaml:9:3: patches[1]: …`.
    pub fn located(&self, tree: &dyn Tree) -> String {
        let text = self.to_string();
        let Some(Place { file, line, column, .. }) = self.place(tree) else { return text };
        match text.strip_prefix(&format!("{file}: ")) {
            Some(rest) => format!("{file}:{line}:{column}: {rest}"),
            None => text,
        }
    }

    /// The place in a tree that this error is about; none where that is more than one file or cannot be told.
    pub fn place(&self, tree: &dyn Tree) -> Option<Place> {
        let (file, hint) = self.hint()?;
        let content = tree.read(file)?;
        let text = std::str::from_utf8(&content).ok()?;
        let (line, column) = match hint {
            Hint::Exactly(line, column) => (line, column),
            hint => {
                let documents = yaml::compose(text).ok()?;
                let node = match hint {
                    Hint::Path(path) => at(documents.first()?, &path)?,
                    Hint::Text(wanted) => documents.iter().find_map(|root| with_text(root, wanted))?,
                    Hint::Exactly(..) => return None,
                };
                (node.line, node.column)
            }
        };
        let text = text.lines().nth(line.checked_sub(1)?).unwrap_or_default().to_owned();
        Some(Place { file: file.to_owned(), line, column, text })
    }

    fn hint(&self) -> Option<(&str, Hint<'_>)> {
        match self {
            Self::Yaml { file, error } => Some((file, Hint::Exactly(error.line, error.column))),
            Self::Invalid { file, message } => Some((file, Hint::Path(path_in(message)?))),
            Self::Resource { file, path, .. } | Self::Neither { file, path, .. } => {
                Some((file, Hint::Text(path)))
            }
            Self::Remote { file, url, .. } => Some((file, Hint::Text(url))),
            _ => None,
        }
    }
}

/// The way that a message names: at its end, `… (in field images[0].name)`, or at its beginning, `patches[1]: …`.
fn path_in(message: &str) -> Option<Vec<&str>> {
    let unknown = message.split_once("unknown field \"").and_then(|(_, rest)| Some(rest.split_once('"')?.0));
    let named = match (message.rsplit_once("(in field "), unknown) {
        (Some((_, rest)), _) => rest.strip_suffix(')')?,
        (None, Some(_)) => "",
        (None, None) => message.split_once(": ")?.0,
    };
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '[' | ']');
    if !named.chars().all(name) {
        return None;
    }
    let steps = named.split(['.', '[']).map(|step| step.trim_end_matches(']'));
    let path: Vec<&str> = steps.filter(|step| !step.is_empty()).chain(unknown).collect();
    (!path.is_empty()).then_some(path)
}

/// The node at a path, field names in any case; or the last one on the way that is there.
fn at<'n>(root: &'n yaml::Node, path: &[&str]) -> Option<&'n yaml::Node> {
    let mut node = root;
    for (depth, step) in path.iter().enumerate() {
        let next = match &node.target().data {
            yaml::Data::Sequence(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            yaml::Data::Mapping(pairs) => {
                let is_step = |key: &yaml::Node| key.text().is_some_and(|key| key.eq_ignore_ascii_case(step));
                let found = pairs.iter().find(|(key, _)| is_step(key));
                // A field is where its name is; a way that goes on goes on in its value.
                found.map(|(key, value)| if depth + 1 == path.len() { key } else { value })
            }
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None if depth == 0 => return None,
            None => break,
        }
    }
    Some(node)
}

/// The first scalar of this text.
fn with_text<'n>(node: &'n yaml::Node, wanted: &str) -> Option<&'n yaml::Node> {
    match &node.data {
        yaml::Data::Scalar { text, .. } => (text == wanted).then_some(node),
        yaml::Data::Sequence(items) => items.iter().find_map(|item| with_text(item, wanted)),
        yaml::Data::Mapping(pairs) => pairs.iter().find_map(|(_, value)| with_text(value, wanted)),
        yaml::Data::Alias(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use crate::{MemoryTree, Options, build};

    #[test]
    fn errors_name_the_line_of_their_entry() {
        let check = |kustomization: &str, expected: &str| {
            let files = [
                ("kustomization.yaml", kustomization),
                ("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
                ("bad.yaml", "a: [\n"),
            ];
            let tree = MemoryTree::new(files.map(|(path, text)| (path.to_owned(), text.to_owned().into())));
            let error = build(&tree, "", Options::default()).unwrap_err();
            let located = error.located(&tree);
            assert!(located.starts_with(expected), "{located}");
        };
        check("resources:\n- a.yaml\n- b.yaml\n", "kustomization.yaml:3:3: accumulating resources");
        check("namePrefix: x-\nresource: []\n", "kustomization.yaml:2:1: invalid Kustomization");
        check("images:\n- name: x\n  newtagg: y\n", "kustomization.yaml:3:3: invalid Kustomization");
        check("resources: [a.yaml]\nnamePrefix: [x]\n", "kustomization.yaml:2:1: invalid Kustomization");
        check("resources: [a.yaml]\npatches:\n- path: no.yaml\n", "kustomization.yaml:3:3: patches[0]");
        check("resources:\n- bad.yaml\n", "kustomization.yaml:2:3: accumulating resources");
    }
}
