//! `${name}` substitution as Flux has it in `postBuild.substitute`: fluxcd/pkg's `envsubst`, itself after drone's.
//!
//! Only the braced form is a variable: `$name` stays as it is, `$${name}` gives the text `${name}`. Functions:
//! `${#v}` length, `${v^}` `${v^^}` `${v,}` `${v,,}` case, `${v:pos}` `${v:pos:len}` part, `${v#p}` `${v##p}` `${v%p}`
//! `${v%%p}` trimming by pattern, `${v/a/b}` `${v//a/b}` `${v/#a/b}` `${v/%a/b}` replacement, and the defaults
//! `${v=d}` `${v:=d}` `${v:-d}` `${v-d}`.

/// Why a template cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Strict mode: a variable without value and default.
    #[error("variable not set (strict mode): {0:?}")]
    NotSet(String),
    /// Something after `${` that is not a substitution.
    #[error("bad substitution near {0:?}")]
    Bad(String),
    /// A `${` without its `}`.
    #[error("missing closing brace")]
    Unclosed,
    /// Defaults inside defaults, deeper than anybody means.
    #[error("substitutions nested deeper than {NESTING_LIMIT} levels")]
    TooDeep,
}

/// Deepest nesting of `${a:=${b:=…}}`.
pub const NESTING_LIMIT: usize = 20;

/// Expands `template`; `lookup` gives a variable's value. In `strict` mode a variable that is not set and has no default
/// is an error, otherwise it is empty.
pub fn expand(
    template: &str,
    strict: bool,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Error> {
    let mut parser = Parser { rest: template, strict, lookup };
    parser.text(0, "")
}

struct Parser<'a> {
    rest: &'a str,
    strict: bool,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Parser<'_> {
    /// Text with substitutions, up to one of the characters in `stop` (which stays) or the end.
    fn text(&mut self, depth: usize, stop: &str) -> Result<String, Error> {
        if depth > NESTING_LIMIT {
            return Err(Error::TooDeep);
        }
        let mut out = String::new();
        while let Some(next) = self.rest.chars().next() {
            if let Some(rest) = self.rest.strip_prefix("$${") {
                out.push_str("${");
                self.rest = rest;
            } else if let Some(rest) = self.rest.strip_prefix("${") {
                self.rest = rest;
                out.push_str(&self.substitution(depth)?);
            } else if let Some(escaped) = if stop.is_empty() { None } else { self.escaped() } {
                out.push(escaped);
            } else if stop.contains(next) {
                return Ok(out);
            } else {
                out.push(next);
                self.rest = &self.rest[next.len_utf8()..];
            }
        }
        Ok(out)
    }

    /// Inside of a substitution, `\/` and the like stand for the second character.
    fn escaped(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let (first, second) = (characters.next()?, characters.next()?);
        if first != '\\' || !matches!(second, '/' | '\\' | '}') {
            return None;
        }
        self.rest = characters.as_str();
        Some(second)
    }

    /// What follows `${`, with its closing brace.
    fn substitution(&mut self, depth: usize) -> Result<String, Error> {
        if let Some(rest) = self.rest.strip_prefix('#') {
            self.rest = rest;
            let name = self.name()?;
            self.close()?;
            return Ok(self.value(&name)?.chars().count().to_string());
        }
        let name = self.name()?;
        let Some(next) = self.rest.chars().next() else { return Err(Error::Unclosed) };
        match next {
            '}' => {
                self.close()?;
                self.value(&name)
            }
            '=' | '-' => self.default(&name, 1, depth),
            ':' if self.rest[1..].starts_with(['=', '-']) => self.default(&name, 2, depth),
            ':' => self.part(&name, depth),
            '^' | ',' => self.case(&name, next),
            '#' | '%' => self.trim(&name, next, depth),
            '/' => self.replace(&name, depth),
            _ => Err(self.bad()),
        }
    }

    fn name(&mut self) -> Result<String, Error> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let name = &self.rest[..end];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.bad());
        }
        self.rest = &self.rest[end..];
        Ok(name.to_owned())
    }

    fn value(&self, name: &str) -> Result<String, Error> {
        match (self.lookup)(name) {
            Some(value) => Ok(value),
            None if self.strict => Err(Error::NotSet(name.to_owned())),
            None => Ok(String::new()),
        }
    }

    fn close(&mut self) -> Result<(), Error> {
        match self.rest.strip_prefix('}') {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None if self.rest.is_empty() => Err(Error::Unclosed),
            None => Err(self.bad()),
        }
    }

    fn bad(&self) -> Error {
        Error::Bad(self.rest.chars().take(20).collect())
    }

    /// An argument up to `stop` or the closing brace.
    fn argument(&mut self, depth: usize, stop: &str) -> Result<String, Error> {
        self.text(depth + 1, stop)
    }

    fn default(&mut self, name: &str, operator: usize, depth: usize) -> Result<String, Error> {
        self.rest = &self.rest[operator..];
        let default = self.argument(depth, "}")?;
        self.close()?;
        Ok((self.lookup)(name).filter(|value| !value.is_empty()).unwrap_or(default))
    }

    fn part(&mut self, name: &str, depth: usize) -> Result<String, Error> {
        self.rest = &self.rest[1..];
        let from = self.argument(depth, ":}")?;
        let length = match self.rest.strip_prefix(':') {
            Some(rest) => {
                self.rest = rest;
                Some(self.argument(depth, "}")?)
            }
            None => None,
        };
        self.close()?;
        let value: Vec<char> = self.value(name)?.chars().collect();
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| Error::Bad(text.to_owned()));
        let from = number(&from)?;
        if from > value.len() {
            return Ok(String::new());
        }
        let length = length.as_deref().map(number).transpose()?.unwrap_or(usize::MAX);
        let end = from.saturating_add(length).min(value.len());
        Ok(value[from..end].iter().collect())
    }

    fn case(&mut self, name: &str, sign: char) -> Result<String, Error> {
        let all = self.rest[1..].starts_with(sign);
        self.rest = &self.rest[if all { 2 } else { 1 }..];
        self.close()?;
        let value = self.value(name)?;
        let change = |text: &str| if sign == '^' { text.to_uppercase() } else { text.to_lowercase() };
        if all {
            return Ok(change(&value));
        }
        let first = value.chars().next().map_or(0, char::len_utf8);
        Ok(format!("{}{}", change(&value[..first]), &value[first..]))
    }

    fn trim(&mut self, name: &str, sign: char, depth: usize) -> Result<String, Error> {
        let longest = self.rest[1..].starts_with(sign);
        self.rest = &self.rest[if longest { 2 } else { 1 }..];
        let pattern = self.argument(depth, "}")?;
        self.close()?;
        let value = self.value(name)?;
        let cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
        let fits = |at: &usize| {
            let (before, after) = value.split_at(*at);
            matches(&pattern, if sign == '#' { before } else { after })
        };
        // The shortest prefix has the smallest cut, the shortest suffix the greatest.
        let smallest_first = (sign == '#') != longest;
        let cut = if smallest_first {
            cuts.iter().find(|at| fits(at))
        } else {
            cuts.iter().rev().find(|at| fits(at))
        };
        Ok(match (cut, sign) {
            (Some(at), '#') => value[*at..].to_owned(),
            (Some(at), _) => value[..*at].to_owned(),
            (None, _) => value,
        })
    }

    fn replace(&mut self, name: &str, depth: usize) -> Result<String, Error> {
        self.rest = &self.rest[1..];
        let mode = self.rest.chars().next().filter(|c| matches!(c, '/' | '#' | '%'));
        if mode.is_some() {
            self.rest = &self.rest[1..];
        }
        let old = self.argument(depth, "/}")?;
        let new = match self.rest.strip_prefix('/') {
            Some(rest) => {
                self.rest = rest;
                self.argument(depth, "}")?
            }
            None => String::new(),
        };
        self.close()?;
        let value = self.value(name)?;
        Ok(match mode {
            Some('/') => value.replace(&old, &new),
            Some('#') => {
                value.strip_prefix(old.as_str()).map_or(value.clone(), |rest| format!("{new}{rest}"))
            }
            Some('%') => {
                value.strip_suffix(old.as_str()).map_or(value.clone(), |rest| format!("{rest}{new}"))
            }
            _ => value.replacen(&old, &new, 1),
        })
    }
}

/// Shell patterns without character classes: `*` any run (slashes too), `?` one character, `\` escapes.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let literal = match pattern.get(p) {
            Some('\\') => pattern.get(p + 1).map(|c| (*c, 2)),
            Some('*' | '?') | None => None,
            Some(other) => Some((*other, 1)),
        };
        match (pattern.get(p), literal) {
            (Some('*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some('?'), _) if text[t] != '/' => (p, t) = (p + 1, t + 1),
            (_, Some((wanted, width))) if wanted == text[t] => (p, t) = (p + width, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn check(template: &str, expected: Result<&str, Error>) {
        let lookup = |name: &str| match name {
            "v" => Some("Hello".to_owned()),
            "empty" => Some(String::new()),
            _ => None,
        };
        assert_eq!(expand(template, true, &lookup).as_deref(), expected.as_ref().copied(), "{template}");
    }

    #[test]
    fn forms() {
        check("a ${v} $v $${v} $", Ok("a Hello $v ${v} $"));
        check("${none:=x} ${none:-${v}} ${empty:=y} ${v:=z}", Ok("x Hello y Hello"));
        check("${v/l/L} ${v//l/L} ${v/#H/J} ${v/%o/0} ${v//l}", Ok("HeLlo HeLLo Jello Hell0 Heo"));
        check("${v#*l} ${v##*l} ${v%l*} ${v%%l*}", Ok("lo o Hel He"));
        check("${none}", Err(Error::NotSet("none".into())));
        check("${v", Err(Error::Unclosed));
        check("${-}", Err(Error::Bad("-}".into())));
        check(&"${a:=".repeat(30), Err(Error::TooDeep));
    }

    /// The upstream table; it lies outside of the repository.
    #[test]
    fn upstream_cases() {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
        let root = std::env::var_os("PORTOLAN_CONFORMANCE").map_or(beside, PathBuf::from);
        let Ok(text) = std::fs::read_to_string(root.join("envsubst/cases.json")) else {
            println!("skipped: the conformance data is not there (set PORTOLAN_CONFORMANCE)");
            return;
        };
        let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let mut failed = vec![];
        for case in &cases {
            let lookup = |name: &str| case["variables"].get(name).and_then(|v| v.as_str()).map(str::to_owned);
            let strict = case["strict"].as_bool().unwrap_or(false);
            let found = expand(case["template"].as_str().unwrap(), strict, &lookup);
            let fits = match case.get("output").and_then(|o| o.as_str()) {
                Some(output) => found.as_deref() == Ok(output),
                None => found.is_err(),
            };
            if !fits {
                failed.push(format!("{case} gives {found:?}"));
            }
        }
        assert!(failed.is_empty(), "{} of {} cases fail:\n{}", failed.len(), cases.len(), failed.join("\n"));
    }
}
