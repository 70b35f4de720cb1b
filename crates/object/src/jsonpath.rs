//! kubectl's JSONPath dialect, as printer columns and scale subresources use it: `.spec.a[0].b`, `[*]`, `..name`,
//! slices, unions and filters such as `.status.conditions[?(@.type=="Ready")].status`. After client-go's
//! `util/jsonpath`; `range` templates are not part of it.

use std::cmp::Ordering;

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice { from: Option<i64>, to: Option<i64>, by: i64 },
    All,
    Recursive,
    Union(Vec<Step>),
    Filter(Filter),
}

/// `?(left op right)`, or `?(left)` for existence.
#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    compare: Option<(Comparison, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonPathError(String);

impl JsonPath {
    /// Parses `.a.b`, `{.a.b}` or `$.a.b`.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        let trimmed = text.trim();
        let inner = trimmed.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(trimmed);
        let inner = inner.trim();
        let inner = inner.strip_prefix(['$', '@']).unwrap_or(inner);
        Ok(Self { steps: steps(inner)? })
    }

    /// All values that the path reaches. A field that is not there reaches nothing.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut current = vec![value];
        for step in &self.steps {
            current = current.into_iter().flat_map(|v| step.apply(v)).collect();
        }
        current
    }

    /// The values as kubectl prints them: strings plain, everything else as JSON, separated by blanks.
    pub fn text(&self, value: &Value) -> String {
        let print = |v: &&Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        self.find(value).iter().map(print).collect::<Vec<_>>().join(" ")
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Step::Field(name) => value.get(name.as_str()).into_iter().collect(),
            Step::Index(index) => {
                let Some(items) = value.as_array() else { return Vec::new() };
                items.get(absolute(*index, items.len())).into_iter().collect()
            }
            Step::Slice { from, to, by } => slice(value, *from, *to, *by),
            Step::All => children(value),
            Step::Recursive => {
                let mut out = vec![value];
                for child in children(value) {
                    out.extend(self.apply(child));
                }
                out
            }
            Step::Union(steps) => steps.iter().flat_map(|s| s.apply(value)).collect(),
            Step::Filter(filter) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                items.iter().filter(|item| filter.holds(item)).collect()
            }
        }
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let Some(left) = self.left.first(item) else { return false };
        let Some((comparison, right)) = &self.compare else { return true };
        let Some(right) = right.first(item) else { return false };
        let order = compare(&left, &right);
        match comparison {
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::NotEqual => order != Some(Ordering::Equal),
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

impl Operand {
    fn first(&self, item: &Value) -> Option<Value> {
        match self {
            Operand::Value(value) => Some(value.clone()),
            Operand::Path(path) => path.find(item).first().map(|v| (*v).clone()),
        }
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) if a == b => Some(Ordering::Equal),
        _ => None,
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// Negative indices count from the end; one that is still out of range reaches nothing.
fn absolute(index: i64, length: usize) -> usize {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let index = if index < 0 { index + length } else { index };
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn slice(value: &Value, from: Option<i64>, to: Option<i64>, by: i64) -> Vec<&Value> {
    let Some(items) = value.as_array() else { return Vec::new() };
    let start = absolute(from.unwrap_or(0), items.len()).min(items.len());
    let end = to.map_or(items.len(), |to| absolute(to, items.len()).min(items.len()));
    let by = usize::try_from(by).unwrap_or(1).max(1);
    items.get(start..end).unwrap_or_default().iter().step_by(by).collect()
}

fn steps(text: &str) -> Result<Vec<Step>, JsonPathError> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            out.push(Step::Recursive);
            rest = after;
            if !rest.is_empty() && !rest.starts_with(['[', '.']) {
                rest = field(rest, &mut out)?;
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = if after.is_empty() || after.starts_with('[') { after } else { field(after, &mut out)? };
        } else if rest.starts_with('[') {
            let end = closing(rest)?;
            out.push(brackets(rest[1..end].trim())?);
            rest = &rest[end + 1..];
        } else if out.is_empty() {
            rest = field(rest, &mut out)?;
        } else {
            return Err(JsonPathError(format!("unexpected {rest:?}")));
        }
    }
    Ok(out)
}

/// A field's name up to the next step; `\.` is a dot in the name.
fn field<'a>(text: &'a str, out: &mut Vec<Step>) -> Result<&'a str, JsonPathError> {
    let mut name = String::new();
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        if !escaped && (c == '.' || c == '[') {
            out.push(named(name)?);
            return Ok(&text[i..]);
        }
        if !escaped && c == '\\' {
            escaped = true;
            continue;
        }
        escaped = false;
        name.push(c);
    }
    out.push(named(name)?);
    Ok("")
}

fn named(name: String) -> Result<Step, JsonPathError> {
    match name.as_str() {
        "" => Err(JsonPathError("a field has no name".to_owned())),
        "*" => Ok(Step::All),
        _ => Ok(Step::Field(name)),
    }
}

/// The position of the bracket that closes the first one; quotes hide brackets.
fn closing(text: &str) -> Result<usize, JsonPathError> {
    let mut depth = 0;
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Ok(i);
                }
            }
            _ => {}
        }
    }
    Err(JsonPathError(format!("unterminated array in {text:?}")))
}

fn brackets(inner: &str) -> Result<Step, JsonPathError> {
    if inner == "*" {
        return Ok(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return parse_filter(filter).map(Step::Filter);
    }
    let parts = split_commas(inner);
    if parts.len() > 1 {
        return parts.into_iter().map(|p| brackets(p.trim())).collect::<Result<_, _>>().map(Step::Union);
    }
    if let Some(name) = quoted(inner) {
        return Ok(Step::Field(name.to_owned()));
    }
    let number = |text: &str| {
        let text = text.trim();
        let bad = |_| JsonPathError(format!("invalid array index {inner}"));
        if text.is_empty() { Ok(None) } else { text.parse::<i64>().map(Some).map_err(bad) }
    };
    if inner.contains(':') {
        let mut bounds = inner.splitn(3, ':');
        let from = number(bounds.next().unwrap_or_default())?;
        let to = number(bounds.next().unwrap_or_default())?;
        let by = number(bounds.next().unwrap_or_default())?.unwrap_or(1);
        return Ok(Step::Slice { from, to, by });
    }
    match number(inner)? {
        Some(index) => Ok(Step::Index(index)),
        None => Err(JsonPathError("an array index is empty".to_owned())),
    }
}

fn split_commas(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut quote) = (0, None);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ',') => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|q| text.strip_prefix(q)?.strip_suffix(q))
}

fn parse_filter(text: &str) -> Result<Filter, JsonPathError> {
    const OPERATORS: [(&str, Comparison); 6] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, _) => {
                let found = OPERATORS.iter().find(|(symbol, _)| text[i..].starts_with(symbol));
                if let Some((symbol, comparison)) = found {
                    let left = operand(&text[..i])?;
                    let right = operand(&text[i + symbol.len()..])?;
                    return Ok(Filter { left, compare: Some((*comparison, right)) });
                }
            }
        }
    }
    Ok(Filter { left: operand(text)?, compare: None })
}

fn operand(text: &str) -> Result<Operand, JsonPathError> {
    let text = text.trim();
    if let Some(plain) = quoted(text) {
        return Ok(Operand::Value(plain.into()));
    }
    if text.starts_with(['@', '$']) {
        return JsonPath::parse(text).map(Operand::Path);
    }
    match serde_json::from_str(text) {
        Ok(value) => Ok(Operand::Value(value)),
        Err(_) => Err(JsonPathError(format!("unrecognized value {text:?} in a filter"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        let object = json!({"spec": {"a": [{"b": 1, "t": "x"}, {"b": 2, "t": "y"}], "m": {"k.v": "dot", "n": true}},
            "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        for (path, expected) in [
            (".spec.a[0].b", "1"),
            ("{.spec.a[*].t}", "x y"),
            (".spec.a[-1].b", "2"),
            (".spec.a[0:1].b", "1"),
            (".spec.m.k\\.v", "dot"),
            (".spec.m['k.v']", "dot"),
            (".spec.m.n", "true"),
            (".status.conditions[?(@.type==\"Ready\")].status", "True"),
            (".status.conditions[?(@.type=='Nope')].status", ""),
            (".spec.a[?(@.b>1)].t", "y"),
            ("$.spec.a[0,1].b", "1 2"),
            ("..t", "x y"),
            (".missing.field", ""),
            (".spec.a[9].b", ""),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().text(&object), expected, "{path}");
        }
        for bad in [".a[", ".a[x]", ".a[?(b==1)]", ".a[]"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
