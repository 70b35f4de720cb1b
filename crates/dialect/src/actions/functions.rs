//! The functions that need nothing but their arguments.

use serde_json::Value;

use super::operators::{equal, text_of, truthy};
use super::{Environment, Error, TEXT_LIMIT};

/// Calls a function by its name in lower case.
pub(super) fn call(name: &str, arguments: &[Value], environment: &dyn Environment) -> Result<Value, Error> {
    let failed = |message: String| Error::Call { function: name.to_owned(), message };
    let result = match (name, arguments) {
        ("contains", [search, item]) => Ok(Value::Bool(contains(search, item))),
        ("startswith", [text, start]) => Ok(Value::Bool(upper(text).starts_with(&upper(start)))),
        ("endswith", [text, end]) => Ok(Value::Bool(upper(text).ends_with(&upper(end)))),
        ("format", [template, values @ ..]) => format(&text_of(template), values).map(Value::String),
        ("join", [list]) => Ok(Value::String(join(list, ","))),
        ("join", [list, separator]) => Ok(Value::String(join(list, &text_of(separator)))),
        ("tojson", [value]) => {
            serde_json::to_string_pretty(value).map(Value::String).map_err(|e| e.to_string())
        }
        ("fromjson", [text]) => {
            serde_json::from_str(&text_of(text)).map_err(|e| format!("the argument is not JSON: {e}"))
        }
        ("case", [_, _, _, ..]) if arguments.len() % 2 == 1 => Ok(case(arguments)),
        ("case", _) => Err("needs pairs of a condition and a value, then a default".to_owned()),
        ("contains" | "startswith" | "endswith" | "format" | "join" | "tojson" | "fromjson", _) => {
            Err(format!("called with {} arguments", arguments.len()))
        }
        _ => environment.call(name, arguments).ok_or_else(|| Error::UnknownFunction(name.to_owned()))?,
    };
    let value = result.map_err(failed)?;
    if matches!(&value, Value::String(text) if text.len() > TEXT_LIMIT) {
        return Err(Error::Limit("the text that it makes"));
    }
    Ok(value)
}

fn upper(value: &Value) -> String {
    text_of(value).to_uppercase()
}

fn contains(search: &Value, item: &Value) -> bool {
    match search {
        Value::Array(items) => items.iter().any(|other| equal(other, item)),
        Value::Object(_) => false,
        _ => upper(search).contains(&upper(item)),
    }
}

/// The value behind the first condition that holds; the last argument if none does.
fn case(arguments: &[Value]) -> Value {
    let chosen = arguments.chunks_exact(2).find(|pair| truthy(&pair[0])).map(|pair| &pair[1]);
    chosen.or(arguments.last()).cloned().unwrap_or(Value::Null)
}

fn join(list: &Value, separator: &str) -> String {
    match list {
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(separator),
        other => text_of(other),
    }
}

/// `{0}` is the first value; doubled braces are braces.
fn format(template: &str, values: &[Value]) -> Result<String, String> {
    let (mut result, mut rest) = (String::new(), template);
    while let Some(at) = rest.find(['{', '}']) {
        result.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            result.push_str(brace);
            rest = after;
            continue;
        }
        let placeholder = if brace == "{" { rest.split_once('}') } else { None };
        let Some((index, after)) = placeholder else {
            return Err(format!("`{template}` has a single brace: double it to mean itself"));
        };
        let value = index.trim().parse::<usize>().ok().and_then(|index| values.get(index));
        result.push_str(&text_of(
            value.ok_or_else(|| format!("`{template}` asks for value {index}, which is not given"))?,
        ));
        rest = after;
        if result.len() > TEXT_LIMIT {
            break;
        }
    }
    result.push_str(rest);
    Ok(result)
}
