//! Label and field selectors: parsing with Kubernetes' grammar and error texts, and matching.
//! The grammar and texts follow apimachinery's `pkg/labels/selector.go` and `pkg/fields/selector.go`.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::names;

/// A list of requirements, all of which must hold. The empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// In the order they were written.
    pub requirements: Vec<Requirement>,
    /// True for a selector made of `null`, which selects no object.
    nothing: bool,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How the label's value is compared.
    pub operator: Operator,
    /// Sorted; empty for `Exists` and `DoesNotExist`.
    pub values: BTreeSet<String>,
}

/// The operators of label selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=` and `==`
    Equals,
    /// `!=`: also true without the label.
    NotEquals,
    /// `in (a,b)`
    In,
    /// `notin (a,b)`: also true without the label.
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`, integers
    GreaterThan,
    /// `key<1`, integers
    LessThan,
}

/// The exact text that a 400 BadRequest carries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl LabelSelector {
    /// Parses the string form of `?labelSelector=`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let tokens = tokens(text);
        let mut parser = Parser { tokens, at: 0 };
        let requirements = parser.selector().map_err(SelectorError)?;
        Ok(Self { requirements, nothing: false })
    }

    /// From a LabelSelector object (`matchLabels`, `matchExpressions`). `null` selects nothing, `{}` everything.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(Self { requirements: Vec::new(), nothing: true });
        }
        let mut requirements = equalities(selector.get("matchLabels"));
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{other:?} is not a valid label selector operator")));
                }
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(requirement(text("key"), operator, values).map_err(SelectorError)?);
        }
        Ok(Self { requirements, nothing: false })
    }

    /// From a plain map of labels, such as `Service.spec.selector`. `null` or an empty map selects nothing,
    /// as a Service without a selector has no endpoints of its own.
    pub fn from_map(labels: &Value) -> Self {
        let requirements = equalities(Some(labels));
        let nothing = requirements.is_empty();
        Self { requirements, nothing }
    }

    /// Whether an object with these labels (`metadata.labels`, or null) is selected.
    pub fn matches(&self, labels: &Value) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }
}

impl fmt::Display for LabelSelector {
    /// The form that `status.selector` of a Scale has; requirements sorted by key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Requirement> = self.requirements.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let texts: Vec<String> = sorted.iter().map(|r| r.to_string()).collect();
        f.write_str(&texts.join(","))
    }
}

impl Requirement {
    /// Whether the labels satisfy this one condition.
    pub fn matches(&self, labels: &Value) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        match self.operator {
            Operator::Equals | Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(|v| self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compare(value, |a, b| a > b),
            Operator::LessThan => self.compare(value, |a, b| a < b),
        }
    }

    fn compare(&self, value: Option<&str>, holds: fn(i64, i64) -> bool) -> bool {
        let actual = value.and_then(|v| v.parse::<i64>().ok());
        let bound = self.values.first().and_then(|v| v.parse::<i64>().ok());
        matches!((actual, bound), (Some(a), Some(b)) if holds(a, b))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = self.values.first().map(String::as_str).unwrap_or_default();
        let list = || self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::Equals => write!(f, "{}={one}", self.key),
            Operator::NotEquals => write!(f, "{}!={one}", self.key),
            Operator::In => write!(f, "{} in ({})", self.key, list()),
            Operator::NotIn => write!(f, "{} notin ({})", self.key, list()),
            Operator::Exists => f.write_str(&self.key),
            Operator::DoesNotExist => write!(f, "!{}", self.key),
            Operator::GreaterThan => write!(f, "{}>{one}", self.key),
            Operator::LessThan => write!(f, "{}<{one}", self.key),
        }
    }
}

/// A list of comparisons of fields, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// In the order they were written.
    pub requirements: Vec<FieldRequirement>,
}

/// `field=value` or `field!=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// For example `metadata.name`.
    pub field: String,
    /// False for `!=`.
    pub equal: bool,
    /// Compared as a string.
    pub value: String,
}

impl FieldSelector {
    /// Parses `?fieldSelector=`: `=`, `==`, `!=`, commas as AND, and the escapes `\,` `\=` `\\`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for term in field_terms(text) {
            if term.is_empty() {
                continue;
            }
            let Some((field, equal, value)) = field_term(&term) else {
                let text = format!("invalid selector: '{text}'; can't understand '{term}'");
                return Err(SelectorError(text));
            };
            let value = unescape(value)?;
            requirements.push(FieldRequirement { field: field.to_owned(), equal, value });
        }
        Ok(Self { requirements })
    }

    /// Whether all comparisons hold; `value_of` gives a field's value, empty if unset.
    pub fn matches(&self, value_of: &dyn Fn(&str) -> String) -> bool {
        self.requirements.iter().all(|r| (value_of(&r.field) == r.value) == r.equal)
    }

    /// Whether all comparisons hold for `object`, reading fields by their path.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches(&|field| field_value(object, field))
    }

    /// The value that `field` is required to equal, if there is one: lets a list of one name be a get.
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.equal && r.field == field).map(|r| r.value.as_str())
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }
}

/// The value of a dotted field as field selectors compare it: strings plain, numbers and booleans printed, empty if unset.
pub fn field_value(object: &Value, field: &str) -> String {
    let mut at = object;
    for part in field.split('.') {
        match at.get(part) {
            Some(next) => at = next,
            None => return String::new(),
        }
    }
    match at {
        Value::String(s) => s.clone(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
        other => other.to_string(),
    }
}

fn equalities(labels: Option<&Value>) -> Vec<Requirement> {
    let Some(map) = labels.and_then(Value::as_object) else { return Vec::new() };
    map.iter()
        .map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: BTreeSet::from([value.as_str().unwrap_or_default().to_owned()]),
        })
        .collect()
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    End,
    Identifier(String),
    /// A keyword or symbol, `in` and `notin` included.
    Symbol(&'static str),
    Bad(String),
}

impl Token {
    fn literal(&self) -> &str {
        match self {
            Token::End => "",
            Token::Identifier(s) | Token::Bad(s) => s,
            Token::Symbol(s) => s,
        }
    }
}

const SYMBOLS: [&str; 9] = [")", ",", "!", "==", "=", "(", "!=", ">", "<"];

fn tokens(text: &str) -> Vec<Token> {
    let is_symbol = |c: char| "=!(),><".contains(c);
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if is_symbol(first) {
            let two = rest.get(..2).and_then(|t| SYMBOLS.iter().find(|s| **s == t));
            let one = rest.get(..1).and_then(|t| SYMBOLS.iter().find(|s| **s == t));
            match two.or(one) {
                Some(symbol) => {
                    out.push(Token::Symbol(symbol));
                    rest = &rest[symbol.len()..];
                }
                None => {
                    out.push(Token::Bad(format!("error expected: keyword found '{first}'")));
                    rest = &rest[first.len_utf8()..];
                }
            }
        } else {
            let end = rest.find(|c: char| is_symbol(c) || c.is_ascii_whitespace()).unwrap_or(rest.len());
            let word = &rest[..end];
            out.push(match word {
                "in" => Token::Symbol("in"),
                "notin" => Token::Symbol("notin"),
                _ => Token::Identifier(word.to_owned()),
            });
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    out.push(Token::End);
    out
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Token {
        self.tokens.get(self.at).cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Where a key or value is expected, `in` and `notin` are ordinary words.
    fn as_word(token: Token) -> Token {
        match token {
            Token::Symbol(word @ ("in" | "notin")) => Token::Identifier(word.to_owned()),
            other => other,
        }
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut out = Vec::new();
        loop {
            match Self::as_word(self.peek()) {
                Token::Identifier(_) | Token::Symbol("!") => {
                    let one = self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?;
                    out.push(one);
                    match self.next() {
                        Token::End => return Ok(out),
                        Token::Symbol(",") => match Self::as_word(self.peek()) {
                            Token::Identifier(_) | Token::Symbol("!") => {}
                            other => {
                                let found = other.literal();
                                return Err(format!("found '{found}', expected: identifier after ','"));
                            }
                        },
                        other => {
                            let found = other.literal();
                            return Err(format!("found '{found}', expected: ',' or 'end of string'"));
                        }
                    }
                }
                Token::End => return Ok(out),
                other => {
                    let found = other.literal();
                    return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.next();
        }
        let key = match Self::as_word(token) {
            Token::Identifier(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.literal())),
        };
        check_key(&key, "<nil>")?;
        if negated {
            return requirement(&key, Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return requirement(&key, Operator::Exists, BTreeSet::new());
        }
        let operator = match self.next() {
            Token::Symbol("=" | "==") => Operator::Equals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol("in") => Operator::In,
            Token::Symbol("notin") => Operator::NotIn,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            other => {
                let found = other.literal();
                return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        requirement(&key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match Self::as_word(self.next()) {
            Token::Identifier(value) => Ok(value),
            other => Err(format!("found '{}', expected: identifier", other.literal())),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.literal()));
        }
        let mut values = BTreeSet::new();
        if self.peek() == Token::Symbol(")") {
            self.at += 1;
            return Ok(values);
        }
        let mut last = String::new();
        loop {
            match Self::as_word(self.next()) {
                Token::Identifier(value) => last = value,
                Token::Symbol(",") => {
                    values.insert(std::mem::take(&mut last));
                }
                Token::Symbol(")") => {
                    values.insert(last);
                    return Ok(values);
                }
                other if values.is_empty() && last.is_empty() => {
                    return Err(format!("found '{}', expected: ',', ')' or identifier", other.literal()));
                }
                other => return Err(format!("found '{}', expected: ')'", other.literal())),
            }
        }
    }
}

fn requirement(key: &str, operator: Operator, values: BTreeSet<String>) -> Result<Requirement, String> {
    check_key(key, "key")?;
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            return Err("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                .to_owned());
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            return Err(
                "values: Invalid value: values set must be empty for exists and does not exist".into()
            );
        }
        Operator::GreaterThan | Operator::LessThan => {
            if let Some(value) = values.iter().find(|v| v.parse::<i64>().is_err()) {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(format!("values[0]: Invalid value: {value:?}: {detail}"));
            }
        }
        _ => {}
    }
    for (i, value) in values.iter().enumerate() {
        if let Some(problem) = names::label_value(value).first() {
            return Err(format!("values[{i}][{key}]: Invalid value: {value:?}: {problem}"));
        }
    }
    Ok(Requirement { key: key.to_owned(), operator, values })
}

fn check_key(key: &str, path: &str) -> Result<(), String> {
    let problems = names::qualified_name(key);
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!("{path}: Invalid value: {key:?}: {}", problems.join("; ")))
}

/// Splits at commas that are not escaped; escapes stay in the terms.
fn field_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            terms.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = terms.last_mut() {
            last.push(c);
        }
    }
    terms
}

fn field_term(term: &str) -> Option<(&str, bool, &str)> {
    let mut escaped = false;
    for (i, c) in term.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        if c == '\\' {
            escaped = true;
            continue;
        }
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = term[i..].strip_prefix(operator) {
                return Some((&term[..i], equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(SelectorError(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    )));
                }
            },
            ',' | '=' => {
                let text = format!("invalid field selector: unescaped character in value: {c}");
                return Err(SelectorError(text));
            }
            other => out.push(other),
        }
    }
    Ok(out)
}
