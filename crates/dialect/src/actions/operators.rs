//! Evaluation: access, operators and GitHub's coercions.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Environment, Error, Expression, Operator, functions, lexer};

/// The value of a parsed expression.
pub(super) fn evaluate(expression: &Expression, environment: &dyn Environment) -> Result<Value, Error> {
    Ok(walk(expression, environment)?.value)
}

/// Whether GitHub takes a value for true: all but `false`, `0`, the empty string and null.
pub fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// A value as text: null is empty, whole numbers have no fraction, lists and objects are only named.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if number.is_f64() => number.as_f64().map(number_text).unwrap_or_default(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(_) => "Array".to_owned(),
        Value::Object(_) => "Object".to_owned(),
    }
}

/// A number with 15 significant digits, as .NET's `G15` prints it, which GitHub uses.
fn number_text(number: f64) -> String {
    let scientific = format!("{number:.14e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-5..15).contains(&exponent) {
        let decimals = usize::try_from(14 - exponent).unwrap_or(0);
        let text = format!("{number:.decimals$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return text.to_owned();
    }
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}E{sign}{:02}", exponent.abs())
}

/// Loose equality: different kinds compare as numbers, strings ignore case.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.to_uppercase() == b.to_uppercase(),
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => a == b,
        (Value::Null, Value::Null) => true,
        _ => number_of(a) == number_of(b),
    }
}

/// A value with the mark that `.*` leaves: what follows applies to each element.
struct Walked {
    value: Value,
    each: bool,
}

fn walk(expression: &Expression, environment: &dyn Environment) -> Result<Walked, Error> {
    let plain = |value| Ok(Walked { value, each: false });
    match expression {
        Expression::Literal(value) => plain(value.clone()),
        Expression::Context(name) => {
            plain(environment.context(name).ok_or_else(|| Error::UnknownContext(name.clone()))?)
        }
        Expression::Index(object, index) => {
            let object = walk(object, environment)?;
            let index = walk(index, environment)?.value;
            if !object.each {
                return plain(access(&object.value, &index).unwrap_or(Value::Null));
            }
            let Value::Array(items) = object.value else { return plain(Value::Null) };
            let value = items.iter().filter_map(|item| access(item, &index)).collect();
            Ok(Walked { value, each: true })
        }
        Expression::Every(object) => {
            let object = walk(object, environment)?;
            let value = if object.each {
                let Value::Array(items) = object.value else { return plain(Value::Null) };
                items.into_iter().flat_map(elements).collect()
            } else {
                Value::Array(elements(object.value))
            };
            Ok(Walked { value, each: true })
        }
        Expression::Call(name, arguments) => {
            let arguments: Result<Vec<Value>, Error> =
                arguments.iter().map(|argument| evaluate(argument, environment)).collect();
            plain(functions::call(name, &arguments?, environment)?)
        }
        Expression::Not(inner) => plain(Value::Bool(!truthy(&evaluate(inner, environment)?))),
        Expression::Binary(operator, a, b) => plain(binary(*operator, a, b, environment)?),
    }
}

fn binary(
    operator: Operator,
    a: &Expression,
    b: &Expression,
    environment: &dyn Environment,
) -> Result<Value, Error> {
    let a = evaluate(a, environment)?;
    // `&&` and `||` give one of their operands and look at the second only if they must.
    match operator {
        Operator::Or => return if truthy(&a) { Ok(a) } else { evaluate(b, environment) },
        Operator::And => return if truthy(&a) { evaluate(b, environment) } else { Ok(a) },
        _ => {}
    }
    let b = evaluate(b, environment)?;
    let order = || order(&a, &b);
    let verdict = match operator {
        Operator::NotEqual => !equal(&a, &b),
        Operator::Less => order() == Some(Ordering::Less),
        Operator::LessOrEqual => matches!(order(), Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => order() == Some(Ordering::Greater),
        Operator::GreaterOrEqual => matches!(order(), Some(Ordering::Greater | Ordering::Equal)),
        _ => equal(&a, &b),
    };
    Ok(Value::Bool(verdict))
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.to_uppercase().cmp(&b.to_uppercase())),
        _ => number_of(a).partial_cmp(&number_of(b)),
    }
}

/// A value as a number; NaN, which equals nothing, where there is none.
fn number_of(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) if text.trim().is_empty() => 0.0,
        Value::String(text) => lexer::parse_number(text.trim()).unwrap_or(f64::NAN),
        Value::Array(_) | Value::Object(_) => f64::NAN,
    }
}

/// One step into a value; property names ignore case, an exact match wins.
fn access(value: &Value, index: &Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            let name = text_of(index);
            let loose =
                || map.iter().find(|(key, _)| key.eq_ignore_ascii_case(&name)).map(|(_, value)| value);
            map.get(&name).or_else(loose).cloned()
        }
        Value::Array(items) => {
            let number = number_of(index);
            let inside = number >= 0.0 && number < items.len() as f64;
            if inside { items.get(number.floor() as usize).cloned() } else { None }
        }
        _ => None,
    }
}

fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        Value::Object(map) => map.into_iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    }
}
