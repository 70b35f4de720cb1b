//! JSON patches (RFC 6902) as kustomize's library applies them.
//!
//! It is more lenient than the standard: `replace` of a field that is not there adds it, `copy` of one gives null, a
//! negative index counts from the end. The object goes through JSON on the way: afterwards numbers are written as Go
//! writes floats (`1000000` is `1e+06` to whoever copies its text), and strings have quotes only where they need them.

use std::borrow::Cow;

use serde_json::Value;

use crate::node::{Node, Scalar, Style, Tag, from_value, to_value};

/// A patch, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patch {
    operations: Vec<Operation>,
}

#[derive(Clone, Debug, PartialEq)]
struct Operation {
    kind: String,
    path: Option<String>,
    from: Option<String>,
    value: Option<Node>,
}

impl Patch {
    /// Reads a patch: JSON if it begins with `[`, else YAML.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let value: Value = if text.starts_with('[') {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            let documents = yaml::parse_documents(text, yaml::Resolver::Kubectl);
            documents.map_err(|error| error.to_string())?.into_iter().next().unwrap_or_default()
        };
        let operations = match &value {
            Value::Null => vec![],
            Value::Array(items) => items.iter().map(Operation::read).collect::<Result<_, _>>()?,
            _ => return Err("a JSON patch has to be a list of operations".to_owned()),
        };
        Ok(Self { operations })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The object after all operations. An error names the operation.
    pub(crate) fn apply(&self, object: &Node) -> Result<Node, String> {
        let mut object = through_json(object)?;
        for operation in &self.operations {
            operation.apply(&mut object)?;
        }
        if object.as_map().is_none() {
            return Err("the patched object is not a map".to_owned());
        }
        Ok(object)
    }
}

impl Operation {
    fn read(value: &Value) -> Result<Self, String> {
        if !value.is_object() && !value.is_null() {
            return Err(format!("an operation of a JSON patch has to be a map, not {value}"));
        }
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let operand = value.get("value").map(|value| through_json(&from_value(value))).transpose()?;
        Ok(Self {
            kind: text("op").unwrap_or_else(|| "unknown".to_owned()),
            path: text("path"),
            from: text("from"),
            value: operand,
        })
    }

    fn apply(&self, object: &mut Node) -> Result<(), String> {
        match self.kind.as_str() {
            "add" => self.add(object),
            "remove" => self.remove(object),
            "replace" => self.replace(object),
            "move" => self.move_value(object),
            "copy" => self.copy(object),
            "test" => self.test(object),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn path(&self) -> Result<&str, String> {
        let missing = || format!("{} operation failed to decode path: missing value", self.kind);
        self.path.as_deref().ok_or_else(missing)
    }

    fn from(&self) -> Result<&str, String> {
        let missing = || format!("{} operation failed to decode from: missing value", self.kind);
        self.from.as_deref().ok_or_else(missing)
    }

    fn value(&self) -> Node {
        self.value.clone().unwrap_or_else(Node::null)
    }

    /// Where a path leads: the map or list, and the key in it. The error says which of the paths is not there.
    fn place<'n, 'p>(
        &self,
        object: &'n mut Node,
        path: &'p str,
        which: &str,
    ) -> Result<(&'n mut Node, Cow<'p, str>), String> {
        let missing = || {
            format!("{} operation does not apply: doc is missing {which}: {path}: missing value", self.kind)
        };
        container(object, path).ok_or_else(missing)
    }

    fn add(&self, object: &mut Node) -> Result<(), String> {
        let path = self.path()?;
        let quoted = || format!("add operation does not apply: doc is missing path: {path:?}: missing value");
        let (place, key) = container(object, path).ok_or_else(quoted)?;
        add(place, &key, self.value()).map_err(|reason| format!("error in add for path: '{path}': {reason}"))
    }

    fn remove(&self, object: &mut Node) -> Result<(), String> {
        let path = self.path()?;
        let quoted =
            || format!("remove operation does not apply: doc is missing path: {path:?}: missing value");
        let (place, key) = container(object, path).ok_or_else(quoted)?;
        take(place, &key)
            .map(|_| ())
            .map_err(|reason| format!("error in remove for path: '{path}': {reason}"))
    }

    fn replace(&self, object: &mut Node) -> Result<(), String> {
        let path = self.path()?;
        if path.is_empty() {
            let value = self.value();
            if value.as_scalar().is_some() {
                return Err("replace operation value must be object or array".to_owned());
            }
            *object = value;
            return Ok(());
        }
        let (place, key) = self.place(object, path, "path")?;
        match place {
            Node::Map(_) => place.set(&key, self.value()),
            place => {
                let missing = |_| {
                    format!("replace operation does not apply: doc is missing key: {path}: missing value")
                };
                let index = index_of(place, &key).map_err(missing)?;
                if let Some(item) = place.as_list_mut().and_then(|items| items.get_mut(index)) {
                    *item = self.value();
                }
            }
        }
        Ok(())
    }

    fn move_value(&self, object: &mut Node) -> Result<(), String> {
        let from = self.from()?;
        let (place, key) = self.place(object, from, "from path")?;
        let value =
            take(place, &key).map_err(|reason| format!("error in move for path: '{key}': {reason}"))?;
        let path = self.path()?;
        let (place, key) = self.place(object, path, "destination path")?;
        add(place, &key, value).map_err(|reason| format!("error in move for path: '{path}': {reason}"))
    }

    fn copy(&self, object: &mut Node) -> Result<(), String> {
        let from = self.from()?;
        let (place, key) = self.place(object, from, "from path")?;
        let value =
            get(place, &key).map_err(|reason| format!("error in copy for from: '{from}': {reason}"))?;
        let value = value.cloned().unwrap_or_else(Node::null);
        let path = self.path()?;
        let (place, key) = self.place(object, path, "destination path")?;
        add(place, &key, value).map_err(|reason| format!("error while adding value during copy: {reason}"))
    }

    fn test(&self, object: &mut Node) -> Result<(), String> {
        let path = self.path()?;
        let failed = || format!("testing value {path} failed: test failed");
        let wanted = self.value();
        if path.is_empty() {
            return if equal(object, &wanted) { Ok(()) } else { Err(failed()) };
        }
        let missing = || format!("test operation does not apply: is missing path: {path}: missing value");
        let (place, key) = container(object, path).ok_or_else(missing)?;
        let found =
            get(place, &key).map_err(|reason| format!("error in test for path: '{path}': {reason}"))?;
        // A field that is not there is null.
        if equal(found.unwrap_or(&Node::null()), &wanted) { Ok(()) } else { Err(failed()) }
    }
}

/// The map or list that holds the last name of a path, and that name. What is before the first slash does not count.
fn container<'n, 'p>(object: &'n mut Node, path: &'p str) -> Option<(&'n mut Node, Cow<'p, str>)> {
    let (_, path) = path.split_once('/')?;
    let (parents, key) = match path.rsplit_once('/') {
        Some((parents, key)) => (Some(parents), key),
        None => (None, path),
    };
    let mut place = object;
    for name in parents.into_iter().flat_map(|parents| parents.split('/')) {
        let name = unescaped(name);
        place = match place {
            Node::Map(_) => place.get_mut(&name)?,
            list => {
                let index = index_of(list, &name).ok()?;
                list.as_list_mut()?.get_mut(index)?
            }
        };
        if place.as_scalar().is_some() {
            return None;
        }
    }
    Some((place, unescaped(key)))
}

fn unescaped(name: &str) -> Cow<'_, str> {
    if !name.contains('~') {
        return Cow::Borrowed(name);
    }
    // A pass for each escape would take `~01` for a slash.
    let parts: Vec<String> = name.split("~1").map(|part| part.replace("~0", "~")).collect();
    Cow::Owned(parts.join("/"))
}

/// The position of an item that is there; a negative one counts from the end.
fn index_of(list: &Node, key: &str) -> Result<usize, String> {
    let length = list.as_list().map_or(0, <[Node]>::len);
    let index = number(key)?;
    position(index, length).filter(|at| *at < length).ok_or_else(|| no_index(index))
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn number(key: &str) -> Result<i64, String> {
    key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))
}

fn no_index(index: i64) -> String {
    format!("Unable to access invalid index: {index}: invalid index referenced")
}

fn get<'n>(place: &'n Node, key: &str) -> Result<Option<&'n Node>, String> {
    match place {
        Node::Map(map) => Ok(map.get(key)),
        list => {
            let index = index_of(list, key)?;
            Ok(list.as_list().and_then(|items| items.get(index)))
        }
    }
}

fn add(place: &mut Node, key: &str, value: Node) -> Result<(), String> {
    let Some(items) = place.as_list_mut() else {
        place.set(key, value);
        return Ok(());
    };
    if key == "-" {
        items.push(value);
        return Ok(());
    }
    let index =
        number(key).map_err(|reason| format!("value was not a proper array index: '{key}': {reason}"))?;
    // The new item counts: -1 is behind the last one.
    let at =
        position(index, items.len() + 1).filter(|at| *at <= items.len()).ok_or_else(|| no_index(index))?;
    items.insert(at, value);
    Ok(())
}

fn take(place: &mut Node, key: &str) -> Result<Node, String> {
    if let Node::Map(_) = place {
        let missing = || format!("Unable to remove nonexistent key: {key}: missing value");
        return place.remove(key).ok_or_else(missing);
    }
    let index = index_of(place, key)?;
    match place.as_list_mut() {
        Some(items) => Ok(items.remove(index)),
        None => Err(no_index(0)),
    }
}

/// Equal whatever the order of fields.
fn equal(a: &Node, b: &Node) -> bool {
    match (a, b) {
        (Node::Map(a), Node::Map(b)) => {
            a.len() == b.len()
                && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| equal(value, other)))
        }
        (Node::List(a), Node::List(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(a, b))
        }
        _ => a == b,
    }
}

/// What a node is after it was written as JSON and read again. What does not change is shared.
fn through_json(node: &Node) -> Result<Node, String> {
    match node {
        Node::Scalar(scalar) => scalar_through_json(scalar),
        Node::List(items) => {
            let mut changed = node.clone();
            for (index, item) in items.iter().enumerate() {
                let read = through_json(item)?;
                if !is_unchanged(&read, item)
                    && let Some(place) = changed.as_list_mut().and_then(|items| items.get_mut(index))
                {
                    *place = read;
                }
            }
            Ok(changed)
        }
        Node::Map(map) => {
            let mut changed = node.clone();
            for (name, value) in map.iter() {
                let read = through_json(value)?;
                if !is_unchanged(&read, value) {
                    changed.set(name.clone(), read);
                }
            }
            Ok(changed)
        }
    }
}

fn is_unchanged(read: &Node, node: &Node) -> bool {
    read.is_same(node) && read.as_scalar().map(|s| s.style) == node.as_scalar().map(|s| s.style)
}

fn scalar_through_json(scalar: &Scalar) -> Result<Node, String> {
    let text = match scalar.tag {
        Tag::Str if !scalar.text.contains('\n') => scalar.text.clone(),
        _ => match to_value(&Node::Scalar(scalar.clone()))? {
            Value::String(text) => text.into(),
            Value::Number(number) => return Ok(float(number.as_f64().unwrap_or_default())),
            other => return Ok(from_value(&other)),
        },
    };
    let style = if yaml::is_quoted(&text) { Style::Quoted } else { Style::Plain };
    Ok(Node::Scalar(Scalar::new(text, Tag::Str, style)))
}

/// A number as go-yaml writes and reads a float.
fn float(number: f64) -> Node {
    let text = go_text(number);
    let tag = if text.contains(['.', 'e']) { Tag::Float } else { Tag::Int };
    Node::tagged(text, tag)
}

/// Go's `FormatFloat(number, 'g', -1, 64)`: the shortest digits that read back the same, with an exponent if that is
/// below -4 or above 5.
fn go_text(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use super::*;
    use crate::node::{read_documents, to_yaml};

    fn node(text: &str) -> Node {
        read_documents(text).unwrap().remove(0)
    }

    fn patched(object: &str, patch: &str) -> Result<String, String> {
        Patch::read(patch)?.apply(&node(object)).map(|object| to_yaml(&object).unwrap())
    }

    #[track_caller]
    fn check(object: &str, patch: &str, expected: &str) {
        assert_eq!(patched(object, patch).unwrap(), to_yaml(&node(expected)).unwrap());
    }

    #[track_caller]
    fn check_error(object: &str, patch: &str, expected: &str) {
        let error = patched(object, patch).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn operations() {
        check(
            "{a: [1, 2]}",
            "- {op: add, path: /a/-, value: 3}\n- {op: add, path: /a/0, value: 0}",
            "{a: [0, 1, 2, 3]}",
        );
        check("{a: [1, 2]}", r#"[{"op": "add", "path": "/a/-1", "value": 3}]"#, "{a: [1, 2, 3]}");
        check("{a: [1, 2]}", "[{\"op\": \"remove\", \"path\": \"/a/-1\"}]", "{a: [1]}");
        check(
            "{a/b: 1, c~d: 2}",
            "- {op: remove, path: /a~1b}\n- {op: replace, path: /c~0d, value: x}",
            "{c~d: x}",
        );
        check(
            "{a: {b: 1}}",
            "- {op: move, from: /a/b, path: /c}\n- {op: copy, from: /c, path: /a/d}",
            "{a: {d: 1}, c: 1}",
        );
        check(
            "{a: {b: [1]}}",
            "- {op: test, path: /a, value: {b: [1]}}\n- {op: test, path: /x, value: null}",
            "{a: {b: [1]}}",
        );
        check("{a: 1}", "- {op: add, path: /b}", "{a: 1, b: null}");
    }

    #[test]
    fn the_library_is_lenient() {
        check("{a: 1}", "- {op: replace, path: /b, value: yes}", "{a: 1, b: true}");
        check("{a: 1}", "- {op: copy, from: /x, path: /b}", "{a: 1, b: null}");
        check("{a: 1}", "- {op: add, path: x/b, value: 2}", "{a: 1, b: 2}");
    }

    #[test]
    fn errors_name_the_operation_and_the_path() {
        check_error(
            "{}",
            "- {op: add, path: /a/b, value: 1}",
            "add operation does not apply: doc is missing path: \"/a/b\"",
        );
        check_error(
            "{}",
            "- {op: remove, path: /a}",
            "error in remove for path: '/a': Unable to remove nonexistent key: a",
        );
        check_error(
            "{a: []}",
            "- {op: replace, path: /a/0, value: 1}",
            "replace operation does not apply: doc is missing key: /a/0",
        );
        check_error("{a: []}", "- {op: add, path: /a/1, value: 1}", "Unable to access invalid index: 1");
        check_error("{a: 1}", "- {op: test, path: /a, value: 2}", "testing value /a failed");
        check_error("{a: 1}", "- {op: bad, path: /a}", "Unexpected kind: bad");
        check_error("{a: 1}", "- {op: replace, path: '', value: 1}", "must be object or array");
        assert!(Patch::read("{op: add}").is_err());
    }

    #[test]
    fn numbers_become_floats_of_go() {
        let texts = [
            (8080.0, "8080"),
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (1e-5, "1e-05"),
            (0.25, "0.25"),
        ];
        for (number, text) in texts {
            assert_eq!(go_text(number), text);
        }
        let object = Patch::read("[]").unwrap().apply(&node("{a: 1000000, b: \"x\", c: '8'}")).unwrap();
        let scalar = |name: &str| object.get(name).unwrap().as_scalar().unwrap();
        assert_eq!((&*scalar("a").text, &scalar("a").tag), ("1e+06", &Tag::Float));
        assert!(!scalar("b").is_quoted() && scalar("c").is_quoted());
    }
}
