//! Words of an instruction: splitting, quotes, and `${variable:-forms}`, as BuildKit's shell lexer does them.

/// Where the values of variables come from.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Splits at white space outside quotes; quotes and escapes stay for [`expand`].
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Replaces variables and removes quotes and escapes. Unknown variables are empty.
///
/// # Errors
/// An open quote or brace, a form that is not supported, or `${name:?message}` without a value.
pub fn expand(word: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = word.chars().peekable();
    let mut double = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' if !double => loop {
                match chars.next() {
                    Some('\'') => break,
                    Some(c) => out.push(c),
                    None => return Err("a quote ' does not end".to_string()),
                }
            },
            '"' => double = !double,
            '\\' => match chars.next() {
                // Inside double quotes a backslash only escapes what would be special there.
                Some(next) if double && !matches!(next, '"' | '$' | '\\') => out.extend(['\\', next]),
                Some(next) => out.push(next),
                None => out.push('\\'),
            },
            '$' => out.push_str(&variable(&mut chars, lookup)?),
            c => out.push(c),
        }
    }
    if double { Err("a quote \" does not end".to_string()) } else { Ok(out) }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn variable(chars: &mut Chars<'_>, lookup: Lookup<'_>) -> Result<String, String> {
    if chars.next_if_eq(&'{').is_none() {
        let name = name(chars);
        return Ok(if name.is_empty() { "$".to_string() } else { lookup(&name).unwrap_or_default() });
    }
    let name = name(chars);
    if name.is_empty() {
        return Err("${ without a name".to_string());
    }
    let rest = braced(chars)?;
    let value = lookup(&name);
    // With a colon, an empty value counts as none.
    let (colon, rest) = rest.strip_prefix(':').map_or((false, rest.as_str()), |rest| (true, rest));
    let set = value.clone().filter(|value| !(colon && value.is_empty()));
    let mut form = rest.chars();
    match form.next() {
        None if !colon => Ok(value.unwrap_or_default()),
        Some('-') => set.map_or_else(|| expand(form.as_str(), lookup), Ok),
        Some('+') => {
            if set.is_some() {
                expand(form.as_str(), lookup)
            } else {
                Ok(String::new())
            }
        }
        Some('?') => match set {
            Some(value) => Ok(value),
            None => Err(format!("{name}: {}", expand(form.as_str(), lookup)?)),
        },
        _ => Err(format!("${{{name}{}{rest}}} is not supported", if colon { ":" } else { "" })),
    }
}

fn name(chars: &mut Chars<'_>) -> String {
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    name
}

/// The text up to the closing brace; braces inside are kept together.
fn braced(chars: &mut Chars<'_>) -> Result<String, String> {
    let mut text = String::new();
    let mut depth = 1;
    for c in chars.by_ref() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(text);
        }
        text.push(c);
    }
    Err("${ without }".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        match name {
            "A" => Some("a b".to_string()),
            "EMPTY" => Some(String::new()),
            "V" => Some("20".to_string()),
            _ => None,
        }
    }

    #[test]
    fn variables_quotes_and_escapes() {
        let check =
            |word: &str, expected: &str| assert_eq!(expand(word, &value).as_deref(), Ok(expected), "{word}");
        check("node:${V}-slim", "node:20-slim");
        check("$V.$NONE.", "20..");
        check("${NONE:-x$V}", "x20");
        check("${EMPTY:-d}${EMPTY-d}", "d");
        check("${V:+yes}${EMPTY:+no}${EMPTY+yes}", "yesyes");
        check("${NONE:-${V}}", "20");
        check("'$V' \"$A\"", "$V a b");
        check(r"\$V \\ \n", r"$V \ n");
        check(r#""a\"b\n$V""#, r#"a"b\n20"#);
        check("a$", "a$");
        check("${V:?gone}", "20");
    }

    #[test]
    fn what_is_not_closed_or_known_is_an_error() {
        for bad in ["${V", "${}", "'x", "\"x", "${V#2}", "${V:x}", "${NONE:?must be set}"] {
            assert!(expand(bad, &value).is_err(), "{bad}");
        }
        assert_eq!(expand("${NONE:?must be set}", &value).unwrap_err(), "NONE: must be set");
    }

    #[test]
    fn words_are_split_outside_quotes() {
        let check = |text: &str, expected: &[&str]| assert_eq!(split(text), expected, "{text}");
        check("a  b\tc", &["a", "b", "c"]);
        check(r#"A="x y" B='p q' C=r\ s"#, &[r#"A="x y""#, "B='p q'", r"C=r\ s"]);
        check("", &[]);
    }
}
