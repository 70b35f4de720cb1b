//! From nodes to values and to text.
//!
//! kustomize writes a resource by way of JSON: numbers take Go's shortest form, fields are sorted, comments and styles
//! are gone. The text is that of sigs.k8s.io/yaml.

use std::borrow::Cow;

use serde_json::{Map as JsonMap, Number, Value};
use yaml::{Emit, View};

use super::{Node, Scalar, Style, Tag, block, timestamp};

/// The JSON value of a node, fields in their order. An error names the text that its tag does not allow.
pub(crate) fn to_value(node: &Node) -> Result<Value, String> {
    Ok(match node {
        Node::Scalar(scalar) => scalar_value(scalar)?,
        Node::List(items) => Value::Array(items.iter().map(to_value).collect::<Result<_, _>>()?),
        Node::Map(map) => {
            let mut fields = JsonMap::with_capacity(map.len());
            for (name, node) in map.iter() {
                fields.insert(name.to_string(), to_value(node)?);
            }
            Value::Object(fields)
        }
    })
}

/// Whether a node has a JSON value; the error is that of [`to_value`].
pub(crate) fn check(node: &Node) -> Result<(), String> {
    match node {
        Node::Scalar(Scalar { tag: Tag::Str | Tag::Other, text, style, .. }) => check_text(text, *style),
        Node::Scalar(scalar) => scalar_value(scalar).map(drop),
        Node::List(items) => items.iter().try_for_each(check),
        Node::Map(map) => map.iter().try_for_each(|(_, node)| check(node)),
    }
}

impl Emit for Node {
    fn view(&self) -> Result<View<'_, Self>, String> {
        Ok(match self {
            Self::Scalar(Scalar { tag: Tag::Str | Tag::Other, text, style: Style::Folded, .. }) => {
                View::Text(Cow::Owned(block::refolded(text)))
            }
            Self::Scalar(Scalar { tag: Tag::Str | Tag::Other, text, .. }) => View::Text(Cow::Borrowed(text)),
            Self::Scalar(scalar) => match scalar_value(scalar)? {
                Value::Bool(flag) => View::Bool(flag),
                Value::Number(number) => View::Number(number),
                Value::String(text) => View::Text(Cow::Owned(text)),
                _ => View::Null,
            },
            Self::List(items) => View::List(items),
            Self::Map(map) => View::Map(map.iter().map(|(name, node)| (&**name, node)).collect()),
        })
    }
}

/// One document in kustomize's output form: fields sorted, two spaces, lists at the indent of their field.
pub(crate) fn to_yaml(node: &Node) -> Result<String, String> {
    yaml::marshal(&to_value(node)?)
}

/// What is in quotes stays so.
fn check_text(text: &str, style: Style) -> Result<(), String> {
    if style == Style::Quoted { Ok(()) } else { block::check(text) }
}

fn scalar_value(scalar: &Scalar) -> Result<Value, String> {
    let text = &*scalar.text;
    // A tag that the text shows without quotes is not written; then the quotes make a string of it.
    let untagged = scalar.is_quoted() && scalar.tag != Tag::Binary && Tag::of_plain(text) == scalar.tag;
    if untagged || matches!(scalar.tag, Tag::Str | Tag::Other) {
        check_text(text, scalar.style)?;
        let folded = scalar.style == Style::Folded;
        return Ok(Value::String(if folded { block::refolded(text) } else { text.to_owned() }));
    }
    if let Tag::Timestamp | Tag::Implicit = scalar.tag
        && let Some(time) = timestamp::normalize(text)
    {
        return Ok(Value::String(time));
    }
    if scalar.tag == Tag::Binary {
        return binary(text);
    }
    let resolved = yaml::resolve_plain(text);
    let fits = matches!(
        (&scalar.tag, &resolved),
        (Tag::Implicit, _)
            | (Tag::Null, yaml::Scalar::Null)
            | (Tag::Bool, yaml::Scalar::Bool(_))
            | (Tag::Int, yaml::Scalar::Int(_) | yaml::Scalar::Uint(_))
            | (Tag::Float, yaml::Scalar::Float(_) | yaml::Scalar::Int(_) | yaml::Scalar::Uint(_))
    );
    if !fits {
        let tag = format!("{:?}", scalar.tag).to_lowercase();
        return Err(format!("cannot decode `{text}` as a !!{tag}"));
    }
    Ok(match resolved {
        yaml::Scalar::Null => Value::Null,
        yaml::Scalar::Bool(flag) => Value::Bool(flag),
        yaml::Scalar::Int(number) => Value::Number(number.into()),
        yaml::Scalar::Uint(number) => Value::Number(number.into()),
        yaml::Scalar::Float(number) => float(number).ok_or_else(|| format!("{text} has no form in JSON"))?,
        yaml::Scalar::Text => Value::String(text.to_owned()),
    })
}

/// Go's JSON writes a whole float below 1e21 without a fraction, in the fewest digits that tell it from others and
/// zeros, and its reader then sees an integer where it fits.
fn float(number: f64) -> Option<Value> {
    if number.fract() == 0.0 && number.abs() < 1e21 {
        let digits = number.to_string();
        let whole =
            digits.parse::<i64>().map(Number::from).or_else(|_| digits.parse::<u64>().map(Number::from));
        if let Ok(whole) = whole {
            return Some(Value::Number(whole));
        }
    }
    Number::from_f64(number).map(Value::Number)
}

fn binary(text: &str) -> Result<Value, String> {
    use base64::Engine as _;
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(packed)
        .map_err(|error| format!("!!binary value contains invalid base64 data: {error}"))?;
    Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()))
}
