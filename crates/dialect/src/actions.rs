//! GitHub Actions expressions: what stands between `${{` and `}}` in a workflow, with GitHub's coercions.
//!
//! Semantics: GitHub's documentation "Evaluate expressions in workflows and actions". Names of contexts, properties and
//! functions ignore case. What an expression can see comes from an [`Environment`], so that this module touches
//! neither files nor the state of a run. Numbers are finite: the literals `NaN` and `Infinity` are not known.

use serde_json::Value;

mod functions;
mod lexer;
mod operators;
mod parser;

pub use operators::{text_of, truthy};

/// Longest expression in characters; GitHub's own limit.
pub const EXPRESSION_LIMIT: usize = 21_000;
/// Deepest nesting, which is also how deep parsing and evaluation recurse; GitHub's own limit.
pub const DEPTH_LIMIT: usize = 50;
/// Longest text that one evaluation may make, in bytes: `format` and `join` can repeat what they are given.
pub const TEXT_LIMIT: usize = 1 << 20;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not an expression.
    #[error("{message}, at position {position} of `{expression}`")]
    Syntax { expression: String, position: usize, message: String },
    /// A context that does not exist here.
    #[error("unrecognized named-value: `{0}`")]
    UnknownContext(String),
    /// A function that does not exist.
    #[error("unrecognized function: `{0}`")]
    UnknownFunction(String),
    /// A function that was called wrongly, or failed.
    #[error("{function}: {message}")]
    Call { function: String, message: String },
    /// One of the limits.
    #[error("the expression is too large: {0}")]
    Limit(&'static str),
}

/// What an expression can see.
pub trait Environment {
    /// The value of a context such as `github`; the name is in lower case. `None`: there is no such context here.
    fn context(&self, name: &str) -> Option<Value>;

    /// Functions that need the state of a run or files: `success`, `failure`, `always`, `cancelled`, `hashfiles` (names in
    /// lower case). `None`: there is no such function here.
    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>>;
}

/// A parsed expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Literal(Value),
    Context(String),
    /// `object.name` and `object['name']` and `array[0]`.
    Index(Box<Expression>, Box<Expression>),
    /// `object.*`.
    Every(Box<Expression>),
    Call(String, Vec<Expression>),
    Not(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Reads an expression (without `${{` and `}}`).
pub fn parse(expression: &str) -> Result<Expression, Error> {
    parser::parse(expression)
}

/// The value of an expression (without `${{` and `}}`).
pub fn evaluate(expression: &str, environment: &dyn Environment) -> Result<Value, Error> {
    operators::evaluate(&parse(expression)?, environment)
}

/// A text with `${{ … }}` in it. A text that is one expression and nothing else has that expression's value; any other
/// becomes a string.
pub fn interpolate(text: &str, environment: &dyn Environment) -> Result<Value, Error> {
    let parts = split(text)?;
    if let [Part::Expression(expression)] = parts.as_slice() {
        return evaluate(expression, environment);
    }
    let mut result = String::new();
    for part in parts {
        match part {
            Part::Text(text) => result.push_str(text),
            Part::Expression(expression) => result.push_str(&text_of(&evaluate(expression, environment)?)),
        }
        if result.len() > TEXT_LIMIT {
            return Err(Error::Limit("the text that it makes"));
        }
    }
    Ok(Value::String(result))
}

/// As [`interpolate`], as text.
pub fn interpolate_text(text: &str, environment: &dyn Environment) -> Result<String, Error> {
    interpolate(text, environment).map(|value| text_of(&value))
}

/// All strings of a value, replaced by [`interpolate`]; object keys stay.
pub fn interpolate_value(value: &Value, environment: &dyn Environment) -> Result<Value, Error> {
    match value {
        Value::String(text) => interpolate(text, environment),
        Value::Array(items) => items.iter().map(|item| interpolate_value(item, environment)).collect(),
        Value::Object(map) => {
            let entry =
                |(key, value): (&String, &Value)| Ok((key.clone(), interpolate_value(value, environment)?));
            map.iter()
                .map(entry)
                .collect::<Result<serde_json::Map<String, Value>, Error>>()
                .map(Value::Object)
        }
        other => Ok(other.clone()),
    }
}

/// The verdict of an `if:`. The `${{ }}` around it is optional; without a status function in it, `success()` is implied.
pub fn condition(text: &str, environment: &dyn Environment) -> Result<bool, Error> {
    let text = text.trim();
    let parts = split(text)?;
    let expression = match parts.as_slice() {
        [] => Expression::Call("success".to_owned(), Vec::new()),
        [Part::Expression(expression)] => parse(expression)?,
        [Part::Text(text)] => parse(text)?,
        // Text around expressions is a non-empty string, as GitHub's own warning says.
        _ => Expression::Literal(Value::String(interpolate_text(text, environment)?)),
    };
    if !asks_for_status(&expression) {
        let success = Expression::Call("success".to_owned(), Vec::new());
        if !truthy(&operators::evaluate(&success, environment)?) {
            return Ok(false);
        }
    }
    operators::evaluate(&expression, environment).map(|value| truthy(&value))
}

fn asks_for_status(expression: &Expression) -> bool {
    match expression {
        Expression::Literal(_) | Expression::Context(_) => false,
        Expression::Call(name, arguments) => {
            matches!(name.as_str(), "success" | "failure" | "always" | "cancelled")
                || arguments.iter().any(asks_for_status)
        }
        Expression::Index(a, b) | Expression::Binary(_, a, b) => asks_for_status(a) || asks_for_status(b),
        Expression::Every(inner) | Expression::Not(inner) => asks_for_status(inner),
    }
}

enum Part<'a> {
    Text(&'a str),
    Expression(&'a str),
}

/// Splits a text at its expressions; `}}` inside a string literal does not end one.
fn split(text: &str) -> Result<Vec<Part<'_>>, Error> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find("${{") {
        if start > 0 {
            parts.push(Part::Text(&rest[..start]));
        }
        let inner = &rest[start + 3..];
        let Some(end) = end_of_expression(inner) else {
            let message = "`${{` is never closed by `}}`".to_owned();
            return Err(Error::Syntax {
                expression: text.to_owned(),
                position: text.len() - inner.len(),
                message,
            });
        };
        parts.push(Part::Expression(inner[..end].trim()));
        rest = &inner[end + 2..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

fn end_of_expression(inner: &str) -> Option<usize> {
    let bytes = inner.as_bytes();
    let mut quoted = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'}' if !quoted && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
