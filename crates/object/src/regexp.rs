//! Go's regular expressions, which Kubernetes' schemas, kustomize's selectors and compositions' transforms are written
//! in: translated to those of the `regex` crate, which has the same engine but reads some signs otherwise.

mod class;

use std::str::Chars;

use regex::Regex;

/// Compiles a pattern of Go's `regexp` package (RE2 syntax, Go 1.22 and newer). Refused, unlike there: a repetition
/// behind flags alone (`a(?i)*`), and two groups of one name, one inside of the other.
///
/// # Errors
/// What Go says of a pattern that it refuses, where it is known: `missing closing ]: "[a"`.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(&translate(pattern)?).map_err(|error| {
        // The lines before the last one draw where in the pattern.
        let error = error.to_string();
        error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// The same pattern as the `regex` crate writes it.
fn translate(pattern: &str) -> Result<String, String> {
    let mut translation =
        Translation { rest: pattern.chars(), out: String::with_capacity(pattern.len() + 8) };
    let mut repeated: Option<&str> = None;
    while let Some(next) = translation.rest.clone().next() {
        let from = translation.rest.as_str();
        let is_repetition = translation.step(next)?;
        if let (true, Some(before)) = (is_repetition, repeated) {
            let operators = &before[..before.len() - translation.rest.as_str().len()];
            return Err(format!("invalid nested repetition operator: `{operators}`"));
        }
        repeated = is_repetition.then_some(from);
    }
    Ok(translation.out)
}

struct Translation<'p> {
    rest: Chars<'p>,
    out: String,
}

impl Translation<'_> {
    /// Over one sign; true if it repeats what stands before it.
    fn step(&mut self, next: char) -> Result<bool, String> {
        match next {
            '*' | '+' | '?' => {
                self.copy();
                self.copy_if('?');
                return Ok(true);
            }
            '{' => return self.braces(),
            '[' => class::translate(&mut self.rest, &mut self.out)?,
            '\\' => self.escape()?,
            '(' => self.group()?,
            '|' | ')' | '.' | '^' | '$' => self.copy(),
            _ => {
                self.rest.next();
                literal(next, &mut self.out);
            }
        }
        Ok(false)
    }

    fn copy(&mut self) {
        self.out.extend(self.rest.next());
    }

    fn copy_if(&mut self, wanted: char) {
        if self.rest.as_str().starts_with(wanted) {
            self.copy();
        }
    }

    /// `{n}`, `{n,}` or `{n,m}`; other braces are themselves.
    fn braces(&mut self) -> Result<bool, String> {
        let text = self.rest.as_str();
        let Some((repetition, counts)) = repetition(text) else {
            self.rest.next();
            literal('{', &mut self.out);
            return Ok(false);
        };
        if counts.1.is_some_and(|most| most < counts.0) || counts.0.max(counts.1.unwrap_or(0)) > 1000 {
            return Err(format!("invalid repeat count: `{repetition}`"));
        }
        self.out.push_str(repetition);
        self.rest = text[repetition.len()..].chars();
        self.copy_if('?');
        Ok(true)
    }

    /// A parenthesis and its flags: not all that the crate knows.
    fn group(&mut self) -> Result<(), String> {
        let text = self.rest.as_str();
        self.copy();
        let Some(flags) = text.strip_prefix("(?") else { return Ok(()) };
        if flags.starts_with('<') || flags.starts_with("P<") {
            return Ok(());
        }
        match flags.find(|flag: char| !matches!(flag, 'i' | 'm' | 's' | 'U' | '-')) {
            Some(end) if flags[end..].starts_with([':', ')']) => {
                self.out.push_str(&text[1..end + 2]);
                self.rest = flags[end..].chars();
                self.copy();
                Ok(())
            }
            Some(end) => {
                let length = end + flags[end..].chars().next().map_or(0, char::len_utf8);
                Err(format!("invalid or unsupported Perl syntax: `(?{}`", &flags[..length]))
            }
            None => Err(format!("missing argument to repetition operator: `{text}`")),
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let text = self.rest.as_str();
        match text.chars().nth(1) {
            Some('Q') => {
                let quoted = &text[2..];
                let (quoted, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                quoted.chars().for_each(|sign| literal(sign, &mut self.out));
                self.rest = rest.chars();
            }
            Some('A' | 'z') => {
                self.copy();
                self.copy();
            }
            // Letters of a word are those of ASCII.
            Some(boundary @ ('b' | 'B')) => {
                self.rest.nth(1);
                self.out.push_str(if boundary == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            }
            _ => match class::named(&mut self.rest)? {
                Some(class) => self.out.push_str(&format!("[{class}]")),
                None => {
                    let sign = class::sign(&mut self.rest, "")?;
                    literal(sign, &mut self.out);
                }
            },
        }
        Ok(())
    }
}

/// A repetition at the beginning of a text, and its least and most counts.
fn repetition(text: &str) -> Option<(&str, (u32, Option<u32>))> {
    let inside = text.strip_prefix('{')?.split('}').next()?;
    let repetition = text.get(..inside.len() + 2)?;
    let (least, most) = match inside.split_once(',') {
        None => (count(inside)?, Some(count(inside)?)),
        Some((least, "")) => (count(least)?, None),
        Some((least, most)) => (count(least)?, Some(count(most)?)),
    };
    Some((repetition, (least, most)))
}

/// A count without leading zeros; one that is far too large is just that.
fn count(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && (text == "0" || !text.starts_with('0'))).then(|| text.parse().unwrap_or(u32::MAX))
}

/// A character that stands for itself, outside and inside of a class.
fn literal(sign: char, out: &mut String) {
    if sign.is_ascii_punctuation() && sign != '<' && sign != '>' {
        out.push('\\');
    }
    out.push(sign);
}
