//! From values to text, in the layout of sigs.k8s.io/yaml: block style, two spaces, lists at the indent of their key.

use std::fmt::Write as _;

use serde_json::Value;

use crate::resolve::{self, Resolver, Scalar};

/// One document, keys in the order of the value, with a line end. Long lines are not folded.
///
/// Every string that a YAML 1.1 reader could take for something else is quoted, so that any reader gives back the
/// same value.
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, value, 0),
        _ => {
            inline(&mut out, value, 0);
            out.push('\n');
        }
    }
    out
}

/// Whether [`emit`] writes a string of this text with quotes or as a block.
pub fn is_quoted(text: &str) -> bool {
    !is_word(text) && (text.contains('\n') || !is_string_for_all(text) || !plain_allowed(text))
}

/// Whether go-yaml v2, a YAML 1.1 reader, takes this text, standing alone, for something else than a string.
pub fn is_ambiguous(text: &str) -> bool {
    if text.is_empty() || text.contains('\n') || is_word(text) {
        return false;
    }
    if plain_allowed(text) {
        return resolve::plain(text, Resolver::Kubectl) != Scalar::Text || looks_like_date(text);
    }
    crate::parse(text, Resolver::Kubectl).is_ok_and(|value| !value.is_string())
}

/// Whether a text is certainly a plain string to everybody; most are.
fn is_word(text: &str) -> bool {
    // No word that means a boolean or null has more than five letters.
    text.len() > 5
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
}

/// Several documents with `---` between them.
pub fn emit_documents<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(emit).collect::<Vec<_>>().join("---\n")
}

fn mapping(out: &mut String, value: &Value, indent: usize) {
    for (position, (key, value)) in value.as_object().into_iter().flatten().enumerate() {
        // The first key stands after `- ` or at the start, where the indent is already written.
        if position > 0 {
            spaces(out, indent);
        }
        out.push_str(&scalar(key));
        out.push(':');
        after_key(out, value, indent);
    }
}

fn after_key(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            spaces(out, indent + 2);
            mapping(out, value, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            spaces(out, indent);
            sequence(out, value, indent);
        }
        _ => {
            out.push(' ');
            inline(out, value, indent);
            out.push('\n');
        }
    }
}

fn sequence(out: &mut String, value: &Value, indent: usize) {
    for (position, item) in value.as_array().into_iter().flatten().enumerate() {
        if position > 0 {
            spaces(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(out, item, indent + 2),
            Value::Array(items) if !items.is_empty() => sequence(out, item, indent + 2),
            _ => {
                inline(out, item, indent);
                out.push('\n');
            }
        }
    }
}

/// A scalar or an empty collection, without the line end.
fn inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(text) if text.contains('\n') && fits_literal(text) => literal(out, text, indent + 2),
        Value::String(text) => out.push_str(&scalar(text)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// A string on one line: plain where that is safe, else quoted.
pub(crate) fn scalar(text: &str) -> String {
    if !is_string_for_all(text) {
        return double_quoted(text);
    }
    if plain_allowed(text) {
        return text.to_owned();
    }
    if single_quotes_allowed(text) { single_quoted(text) } else { double_quoted(text) }
}

pub(crate) fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(crate) fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            '\u{feff}' => out.push_str("\\uFEFF"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => {
                let _ = write!(out, "\\x{:02X}", u32::from(c));
            }
            c if u32::from(c) <= 0xffff => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

/// Whether every reader that we know takes this text, unquoted, for a string.
fn is_string_for_all(text: &str) -> bool {
    [Resolver::Kubectl, Resolver::Kyaml, Resolver::Json]
        .iter()
        .all(|r| resolve::plain(text, *r) == Scalar::Text)
        && !matches!(text, "<<" | "=")
        && !looks_like_other_number(text)
        && !looks_like_date(text)
}

/// Base 60 (`12:30`), and numbers of other readers: too large ones, with underscores, `1.`.
fn looks_like_other_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let base_60 =
        digits.contains(':') && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'_' | b'.'));
    base_60 || resolve::looks_like_float(&digits.replace('_', ""))
}

/// `2001-12-14`, alone or with a time after it.
fn looks_like_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(dash) = bytes.iter().position(|b| *b == b'-') else { return false };
    let digits = |range: &[u8]| !range.is_empty() && range.iter().all(u8::is_ascii_digit);
    if dash != 4 || !digits(&bytes[..4]) {
        return false;
    }
    let rest: Vec<&[u8]> = bytes[5..].splitn(2, |b| *b == b'-').collect();
    rest.len() == 2
        && rest[0].len() <= 2
        && digits(rest[0])
        && rest[1].first().is_some_and(u8::is_ascii_digit)
}

/// Whether the text can stand without quotes in block and in flow context.
pub(crate) fn plain_allowed(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    if text.starts_with("---") || text.starts_with("...") || text.starts_with(' ') || text.ends_with(' ') {
        return false;
    }
    if "#,[]{}&*!|>'\"%@`".contains(first) {
        return false;
    }
    let mut characters = text.chars().peekable();
    let mut before_is_space = false;
    let mut first_one = true;
    while let Some(character) = characters.next() {
        let space_follows = characters.peek().is_none_or(|next| next.is_whitespace());
        let indicator = match character {
            '?' | '-' if first_one => space_follows,
            ':' => space_follows,
            '#' => before_is_space,
            _ => false,
        };
        if indicator || !is_printable(character) || matches!(character, '\u{feff}') {
            return false;
        }
        before_is_space = character.is_whitespace();
        first_one = false;
    }
    true
}

/// Whether the text may also stand plain inside `[…]` or `{…}`.
pub(crate) fn plain_allowed_in_flow(text: &str) -> bool {
    is_string_for_all(text) && plain_allowed(text) && !text.contains([',', '[', ']', '{', '}', '?', ':'])
}

fn single_quotes_allowed(text: &str) -> bool {
    text.chars().all(|c| is_printable(c) && c != '\u{feff}')
}

/// Printable in YAML on one line: no control characters, no line breaks of any kind.
fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// Whether a text with line ends may be written as `|`: no spaces before a line end, nothing unprintable.
fn fits_literal(text: &str) -> bool {
    let all_blank = text.chars().all(|c| c == '\n' || c == ' ');
    !all_blank
        && !text.contains(" \n")
        && !text.ends_with(' ')
        && text.chars().all(|c| c == '\n' || c == '\t' || (is_printable(c) && c != '\u{feff}'))
}

fn literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    // A first line that begins with a space or is empty hides the indent from the reader.
    if text.starts_with([' ', '\n', '\t']) {
        out.push('2');
    }
    let body = text.trim_end_matches('\n');
    match text.len() - body.len() {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    let lines = text.strip_suffix('\n').unwrap_or(text);
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            spaces(out, indent);
            out.push_str(line);
        }
    }
}
