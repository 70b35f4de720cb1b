//! What a scalar means: the three readings of the same text.
//!
//! `Kubectl` is sigs.k8s.io/yaml over its copy of go-yaml v2 and then JSON; `Kyaml` is go-yaml v3 as kustomize uses
//! it; `Json` is the JSON schema of YAML 1.2.

use base64::Engine as _;
use serde_json::{Map, Number, Value};

use crate::Error;
use crate::node::{Data, Node, Style};

/// Whose reading of scalars, keys and duplicates is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// As `kubectl` and the API server: YAML 1.1 booleans (also as keys), the last duplicate key wins, whole floats
    /// become integers and integers beyond 64 bits signed become floats (both are what the way through JSON does).
    Kubectl,
    /// As kustomize: only `true` and `false` are booleans, keys are texts, a duplicate key is an error.
    Kyaml,
    /// Only what JSON would read as something else than a string; a duplicate key is an error.
    Json,
}

const TAG_PREFIX: &str = "tag:yaml.org,2002:";

/// The JSON value of a node. `budget` limits how many values aliases may add.
pub(crate) fn value(node: &Node, resolver: Resolver, budget: &mut usize) -> Result<Value, Error> {
    Reader { resolver, budget, in_alias: false, depth: 0 }.value(node)
}

/// What a plain scalar without a tag means.
pub(crate) fn plain(text: &str, resolver: Resolver) -> Scalar {
    match resolver {
        Resolver::Json => json_scalar(text),
        _ => go_scalar(text, resolver),
    }
}

/// A resolved scalar. Infinities and not-a-number have no JSON form, so they are told apart here.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number of 64 bits with a sign.
    Int(i64),
    /// A whole number beyond that.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// A string: the text itself.
    Text,
}

struct Reader<'a> {
    resolver: Resolver,
    budget: &'a mut usize,
    in_alias: bool,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self, node: &Node) -> Result<Value, Error> {
        if self.in_alias {
            *self.budget = self.budget.checked_sub(1).ok_or_else(|| {
                node.error(format!("aliases expand to more than {} values", crate::ALIAS_LIMIT))
            })?;
        }
        // An alias inside an anchored node can make the expansion deeper than the text is.
        if self.depth > crate::DEPTH_LIMIT {
            return Err(node.error(format!("nested deeper than {} levels", crate::DEPTH_LIMIT)));
        }
        self.depth += 1;
        let value = match &node.data {
            Data::Scalar { text, style } => self.scalar(node, text, *style),
            Data::Sequence(items) => {
                items.iter().map(|item| self.value(item)).collect::<Result<_, _>>().map(Value::Array)
            }
            Data::Mapping(pairs) => self.mapping(pairs),
            Data::Alias(target) => {
                let before = std::mem::replace(&mut self.in_alias, true);
                let value = self.value(target);
                self.in_alias = before;
                value
            }
        };
        self.depth -= 1;
        value
    }

    fn scalar(&mut self, node: &Node, text: &str, style: Style) -> Result<Value, Error> {
        let tag = node.tag.as_deref().filter(|tag| *tag != "!");
        let scalar = match tag.map(|tag| tag.strip_prefix(TAG_PREFIX).unwrap_or("")) {
            None if style == Style::Plain && node.tag.is_none() => plain(text, self.resolver),
            Some("binary") => return binary(node, text),
            Some("int" | "bool" | "null" | "float" | "timestamp") => self.tagged(node, text)?,
            // `!!str`, a quoted scalar, and tags of somebody's own all keep the text.
            _ => Scalar::Text,
        };
        json(scalar, text, self.resolver).ok_or_else(|| node.error(format!("{text} has no form in JSON")))
    }

    fn tagged(&self, node: &Node, text: &str) -> Result<Scalar, Error> {
        let tag = node.tag.as_deref().and_then(|tag| tag.strip_prefix(TAG_PREFIX)).unwrap_or_default();
        let scalar = plain(text, self.resolver);
        match (tag, &scalar) {
            ("timestamp", _) => Ok(Scalar::Text),
            ("int", Scalar::Int(_) | Scalar::Uint(_))
            | ("float", Scalar::Float(_))
            | ("bool", Scalar::Bool(_))
            | ("null", Scalar::Null) => Ok(scalar),
            #[expect(clippy::cast_precision_loss, reason = "go-yaml converts in the same way")]
            ("float", Scalar::Int(number)) => Ok(Scalar::Float(*number as f64)),
            _ => Err(node.error(format!("cannot decode `{text}` as a !!{tag}"))),
        }
    }

    fn mapping(&mut self, pairs: &[(Node, Node)]) -> Result<Value, Error> {
        let mut map = Map::new();
        let mut merges = vec![];
        for (key, value) in pairs {
            if key.is_merge() && self.resolver != Resolver::Json {
                merges.push(value);
                continue;
            }
            let name = self.key(key)?;
            if self.resolver != Resolver::Kubectl && map.contains_key(&name) {
                let same = pairs.iter().find(|(other, _)| other.text() == Some(&name));
                let line = same.map_or(key.line, |(other, _)| other.line);
                return Err(key.error(format!("mapping key {name:?} already defined at line {line}")));
            }
            let value = self.value(value)?;
            map.insert(name, value);
        }
        for merge in merges {
            self.merge(merge, &mut map)?;
        }
        Ok(Value::Object(map))
    }

    /// Adds what `<<` names, without touching keys that are there.
    fn merge(&mut self, node: &Node, map: &mut Map<String, Value>) -> Result<(), Error> {
        let sources: Vec<&Node> = match &node.target().data {
            Data::Sequence(items) => items.iter().collect(),
            _ => vec![node],
        };
        for source in sources {
            if !matches!(source.target().data, Data::Mapping(_)) {
                return Err(node.error("map merge requires map or sequence of maps as the value"));
            }
            let Value::Object(fields) = self.value(source)? else { continue };
            for (name, value) in fields {
                if !map.contains_key(&name) {
                    map.insert(name, value);
                }
            }
        }
        Ok(())
    }

    fn key(&mut self, key: &Node) -> Result<String, Error> {
        let node = key.target();
        let Data::Scalar { text, style } = &node.data else {
            return Err(key.error("a key has to be a scalar"));
        };
        if self.resolver != Resolver::Kubectl {
            return Ok(text.clone());
        }
        match self.scalar(node, text, *style)? {
            Value::String(text) => Ok(text),
            Value::Null => Err(key.error("a key cannot be null")),
            other => Ok(other.to_string()),
        }
    }
}

fn binary(node: &Node, text: &str) -> Result<Value, Error> {
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(packed)
        .map_err(|error| node.error(format!("!!binary value contains invalid base64 data: {error}")))?;
    Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()))
}

fn json(scalar: Scalar, text: &str, resolver: Resolver) -> Option<Value> {
    Some(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(flag) => Value::Bool(flag),
        Scalar::Int(number) => Value::Number(number.into()),
        #[expect(clippy::cast_precision_loss, reason = "the way through JSON does the same")]
        Scalar::Uint(number) if resolver == Resolver::Kubectl => {
            Value::Number(Number::from_f64(number as f64)?)
        }
        Scalar::Uint(number) => Value::Number(number.into()),
        Scalar::Float(number) => Value::Number(float(number, resolver)?),
        Scalar::Text => Value::String(text.to_owned()),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "only whole numbers below 2^53 are converted")]
fn float(number: f64, resolver: Resolver) -> Option<Number> {
    // Go writes a whole float without a fraction, and the reader of that JSON takes it for an integer.
    if resolver == Resolver::Kubectl && number.fract() == 0.0 && number.abs() < 9.0e15 {
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

fn json_scalar(text: &str) -> Scalar {
    match text {
        "" | "null" | "~" => return Scalar::Null,
        "true" => return Scalar::Bool(true),
        "false" => return Scalar::Bool(false),
        _ => {}
    }
    match serde_json::from_str::<Number>(text) {
        Ok(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Scalar::Int(number),
            (_, Some(number)) => Scalar::Uint(number),
            _ => number.as_f64().map_or(Scalar::Text, Scalar::Float),
        },
        Err(_) => Scalar::Text,
    }
}

/// go-yaml's `resolve`, for a scalar without a tag.
fn go_scalar(text: &str, resolver: Resolver) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if resolver == Resolver::Kubectl {
        match text {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Scalar::Bool(true),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Scalar::Bool(false),
            _ => {}
        }
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        number(text)
    } else {
        Scalar::Text
    }
}

fn number(text: &str) -> Scalar {
    // Most numbers are short and have no sign, and no zero that could stand for another base.
    if text.len() < 18
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
    {
        return text.parse().map_or(Scalar::Text, Scalar::Int);
    }
    let packed = text.replace('_', "");
    let (negative, digits) = match packed.as_bytes().first() {
        Some(b'-') => (true, &packed[1..]),
        Some(b'+') => (false, &packed[1..]),
        _ => (false, packed.as_str()),
    };
    if let Some(magnitude) = magnitude(digits) {
        return match (i64::try_from(magnitude), negative) {
            (Ok(number), false) => Scalar::Int(number),
            (Ok(number), true) => Scalar::Int(-number),
            (Err(_), true) if magnitude == 1 << 63 => Scalar::Int(i64::MIN),
            (Err(_), false) if !packed.starts_with('+') => Scalar::Uint(magnitude),
            _ => as_float(&packed),
        };
    }
    if looks_like_float(digits) { as_float(&packed) } else { Scalar::Text }
}

/// Go's `ParseUint` with base 0.
fn magnitude(digits: &str) -> Option<u64> {
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, base).ok()
}

fn as_float(packed: &str) -> Scalar {
    match packed.parse::<f64>() {
        Ok(number) if number.is_finite() => Scalar::Float(number),
        _ => Scalar::Text,
    }
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
pub(crate) fn looks_like_float(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && all_digits(exponent)
    });
    mantissa_fits && exponent_fits
}
