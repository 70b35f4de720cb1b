//! The content hash in the names of generated objects.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::node::{Node, to_value};

/// How many hexadecimal digits of the digest count.
const DIGITS: usize = 10;

/// kustomize's content hash: ten letters and digits that spell no words. An error says what of the object has no form
/// in JSON.
pub(crate) fn hash(object: &Node) -> Result<String, String> {
    let mut text = String::new();
    write_json(&hashed_part(object)?, &mut text);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let digits = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]).take(DIGITS);
    Ok(digits.map(letter).collect())
}

/// A hexadecimal digit, vowels and what looks like them replaced.
fn letter(digit: u8) -> char {
    match digit {
        0 => 'g',
        1 => 'h',
        3 => 'k',
        10 => 'm',
        14 => 't',
        other => char::from_digit(u32::from(other), 16).unwrap_or('0'),
    }
}

/// What of an object is hashed. Of kinds other than ConfigMap and Secret it is all of it; kustomize hashes its nodes
/// there, with the lines that they were on, which no other reader can know.
fn hashed_part(object: &Node) -> Result<Value, String> {
    let fields: &[&str] = match object.text_at(&["kind"]) {
        "ConfigMap" => &["binaryData", "data"],
        "Secret" => &["data", "stringData", "type"],
        _ => return to_value(object),
    };
    let mut part = Map::new();
    part.insert("kind".to_owned(), object.text_at(&["kind"]).into());
    // kustomize means the name here, but looks it up in a field called `metadata/name`, which is never there.
    part.insert("name".to_owned(), text_or_map(object.get("metadata/name"))?);
    for field in fields {
        let value = text_or_map(object.get(field))?;
        let only_maps = matches!(*field, "binaryData" | "stringData");
        if !(only_maps && value.is_string()) {
            part.insert((*field).to_owned(), value);
        }
    }
    Ok(Value::Object(part))
}

/// The text of a scalar, a map; nothing is the empty text, and a list is null.
fn text_or_map(node: Option<&Node>) -> Result<Value, String> {
    match node {
        None => Ok(Value::String(String::new())),
        Some(Node::Scalar(scalar)) => Ok(Value::String(scalar.text.to_string())),
        Some(Node::List(_)) => Ok(Value::Null),
        Some(map) => to_value(map),
    }
}

/// JSON as Go writes it after reading it into untyped values: fields sorted, all numbers floats, and what could end a
/// script in HTML escaped.
fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(number.as_f64().unwrap_or_default(), out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write_json(value, out);
            }
            out.push('}');
        }
    }
}

/// The shortest text that reads as this number; with an exponent only where Go has one.
fn write_number(number: f64, out: &mut String) {
    let size = number.abs();
    let written = if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        // Go writes the plus of an exponent.
        write!(out, "{}", text.replacen('e', if size < 1.0 { "e" } else { "e+" }, 1))
    } else {
        write!(out, "{number}")
    };
    debug_assert!(written.is_ok(), "a text takes everything");
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..'\u{20}' => {
                let written = write!(out, "\\u{:04x}", u32::from(character));
                debug_assert!(written.is_ok(), "a text takes everything");
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use super::*;
    use crate::node::read_documents;

    fn check(kind: &str, rest: &str, expected: &str) {
        let text = format!("{{apiVersion: v1, kind: {kind}, metadata: {{name: x}}, {rest}}}");
        let object = read_documents(&text).unwrap().remove(0);
        assert_eq!(hash(&object).unwrap(), expected, "{text}");
    }

    #[test]
    fn config_maps() {
        check("ConfigMap", "", "6ct58987ht");
        check("ConfigMap", "data: {one: \"\"}", "9g67k2htb6");
        check("ConfigMap", "data: {two: 2, one: \"\", three: 3}", "7757f9kkct");
        check("ConfigMap", "binaryData: {one: \"\"}", "6mtk2m274t");
        check("ConfigMap", "data: {one: \"\"}, binaryData: {two: \"\"}", "698h7c7t9m");
        check("ConfigMap", "binaryData: ~", "6ct58987ht");
    }

    #[test]
    fn secrets() {
        check("Secret", "type: my-type", "5gmgkf8578");
        check("Secret", "type: my-type, data: {two: 2, one: \"\", three: 3}", "4gf75c7476");
        check("Secret", "type: my-type, data: {one: \"\"}, stringData: {two: 2}", "c4h4264gdb");
        check("Secret", "type: a<b, data: {a: Yg==}", "h5mdfhdg4h");
        check("Secret", "type: Opaque, data: {}", "46f8b28mk5");
    }

    #[test]
    fn json_is_gos() {
        let numbers = "data: {n: 12345678901234567890, f: 1e30, g: 1.50, h: 0.00000001, b: true, z: null, big: 12345678901234567}";
        check("ConfigMap", &format!("{numbers}, binaryData: [a]"), "57kgcfc25f");
        check("ConfigMap", &format!("{numbers}, binaryData: {{}}"), "ch5hk8fkk5");
        check("Secret", &format!("{numbers}, type: 5, stringData: {{a: b}}"), "gm2f7gcff4");
        let text = "data: {w: \"a\\b\\f<>&\\u2028\\\"\\\\\\t\\r\\x01/\\U0001F600\"}";
        check("ConfigMap", text, "2h7f7ctbbk");
    }
}
