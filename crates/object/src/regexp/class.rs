//! Classes of characters, and escapes that are a class or one character.

use std::str::Chars;

use super::literal;

/// A class in brackets.
pub(super) fn translate(rest: &mut Chars, out: &mut String) -> Result<(), String> {
    let whole = rest.as_str();
    let inside = &whole[1..];
    let (negation, inside) = inside.strip_prefix('^').map_or(("", inside), |inside| ("^", inside));
    *rest = inside.chars();
    out.push('[');
    out.push_str(negation);
    let mut is_first = true;
    loop {
        let text = rest.as_str();
        if text.is_empty() {
            return Err(format!("missing closing ]: `{whole}`"));
        }
        if text.starts_with(']') && !is_first {
            rest.next();
            out.push(']');
            return Ok(());
        }
        is_first = false;
        match posix(rest)? {
            Some(class) => out.push_str(class),
            None => match named(rest)? {
                Some(class) => out.push_str(&class),
                None => range(rest, whole, out)?,
            },
        }
    }
}

/// `[:alpha:]`; what has no end is no such class.
fn posix<'p>(rest: &mut Chars<'p>) -> Result<Option<&'p str>, String> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    let text = rest.as_str();
    let Some(end) = text.strip_prefix("[:").and_then(|inside| inside.find(":]")) else { return Ok(None) };
    let (class, after) = text.split_at(end + 4);
    let name = &text[2..end + 2];
    if !NAMES.contains(&name.trim_start_matches('^')) || name.starts_with("^^") {
        return Err(format!("invalid character class range: `{class}`"));
    }
    *rest = after.chars();
    Ok(Some(class))
}

/// `\d` and the like, which know ASCII alone, and `\pL`.
pub(super) fn named(rest: &mut Chars) -> Result<Option<String>, String> {
    let text = rest.as_str();
    let Some(escaped) = text.strip_prefix('\\') else { return Ok(None) };
    let mut after = escaped.chars();
    let class = match after.next() {
        Some('d') => "[0-9]".to_owned(),
        Some('D') => "[^0-9]".to_owned(),
        Some('s') => r"[\t\n\x0C\r ]".to_owned(),
        Some('S') => r"[^\t\n\x0C\r ]".to_owned(),
        Some('w') => "[0-9A-Za-z_]".to_owned(),
        Some('W') => "[^0-9A-Za-z_]".to_owned(),
        Some(letter @ ('p' | 'P')) => {
            let name = after.as_str();
            let (name, rest) = match name.strip_prefix('{').map(|name| name.split_once('}')) {
                Some(found) => found.ok_or_else(|| format!("invalid character class range: `{text}`"))?,
                None => name.split_at(name.chars().next().map_or(0, char::len_utf8)),
            };
            let (is_negated, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
            after = rest.chars();
            format!("\\{}{{{name}}}", if (letter == 'P') == is_negated { 'p' } else { 'P' })
        }
        _ => return Ok(None),
    };
    *rest = after;
    Ok(Some(class))
}

/// A character, or the first and the last one of several.
fn range(rest: &mut Chars, whole: &str, out: &mut String) -> Result<(), String> {
    let text = rest.as_str();
    let first = sign(rest, whole)?;
    literal(first, out);
    let after = rest.as_str();
    // In `[a-]` the last sign is itself.
    if after.starts_with('-') && !after.starts_with("-]") && after.len() > 1 {
        rest.next();
        let last = sign(rest, whole)?;
        if last < first {
            let range = &text[..text.len() - rest.as_str().len()];
            return Err(format!("invalid character class range: `{range}`"));
        }
        out.push('-');
        literal(last, out);
    }
    Ok(())
}

/// One character, maybe escaped. `class` is the class around it, if there is one.
pub(super) fn sign(rest: &mut Chars, class: &str) -> Result<char, String> {
    let text = rest.as_str();
    match rest.next() {
        None => Err(format!("missing closing ]: `{class}`")),
        Some('\\') => escaped(rest, text),
        Some(sign) => Ok(sign),
    }
}

fn escaped(rest: &mut Chars, text: &str) -> Result<char, String> {
    let Some(sign) = rest.next() else {
        return Err("trailing backslash at end of expression: ``".to_owned());
    };
    let is_octal = |sign: &char| sign.is_digit(8);
    let invalid =
        |rest: &Chars| format!("invalid escape sequence: `{}`", &text[..text.len() - rest.as_str().len()]);
    let value = match sign {
        'a' => 7,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'v' => 11,
        // One digit alone would refer to a group.
        '1'..='7' if !rest.clone().next().is_some_and(|sign| is_octal(&sign)) => return Err(invalid(rest)),
        '0'..='7' => {
            let digits: String = rest.as_str().chars().take(2).take_while(is_octal).collect();
            rest.by_ref().take(digits.len()).for_each(drop);
            u32::from_str_radix(&format!("{sign}{digits}"), 8).unwrap_or_default()
        }
        'x' => hexadecimal(rest).ok_or_else(|| invalid(rest))?,
        sign if sign.is_ascii() && !sign.is_ascii_alphanumeric() => return Ok(sign),
        _ => return Err(invalid(rest)),
    };
    char::from_u32(value).ok_or_else(|| invalid(rest))
}

/// `FF` or `{10FFFF}`.
fn hexadecimal(rest: &mut Chars) -> Option<u32> {
    let text = rest.as_str();
    let (digits, after) = match text.strip_prefix('{') {
        Some(text) => text.split_once('}')?,
        None => text.split_at_checked(2)?,
    };
    *rest = after.chars();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}
