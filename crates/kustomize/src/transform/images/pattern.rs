//! Whether a text is an image of a name: the name is part of a regular expression, followed by a tag and a digest.

use regex::Regex;

/// What follows the name: a tag, then a digest of any algorithm, both optional.
const REST: &str = "(:[a-zA-Z0-9_.{}-]*)?(@[a-zA-Z0-9]+([.+_-][a-zA-Z0-9]+)*:[a-zA-Z0-9_.{}-]*)?$";

/// The images of one name.
pub(super) enum Pattern {
    /// Letters that are themselves, and dots, which are any letter: what names are, and far faster than the other one.
    Plain(Vec<u8>),
    Regex(Box<Regex>),
    /// What is no regular expression matches nothing.
    Nothing,
}

impl Pattern {
    pub(super) fn new(name: &str) -> Self {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./_:@-".contains(&byte);
        if name.bytes().all(is_plain) {
            return Self::Plain(name.as_bytes().to_vec());
        }
        let pattern = format!("^{}{REST}", with_literal_braces(name));
        Regex::new(&pattern).map_or(Self::Nothing, |regex| Self::Regex(Box::new(regex)))
    }

    pub(super) fn matches(&self, image: &str) -> bool {
        match self {
            Self::Plain(name) if image.is_ascii() => plain_matches(name, image.as_bytes()),
            Self::Plain(name) => {
                // A dot is a letter of several bytes here: rare enough for the slow way.
                let name = String::from_utf8_lossy(name);
                Regex::new(&format!("^{name}{REST}")).is_ok_and(|regex| regex.is_match(image))
            }
            Self::Regex(regex) => regex.is_match(image),
            Self::Nothing => false,
        }
    }
}

fn plain_matches(name: &[u8], image: &[u8]) -> bool {
    let Some((head, rest)) = image.split_at_checked(name.len()) else { return false };
    let same = |(pattern, byte): (&u8, &u8)| pattern == byte || (*pattern == b'.' && *byte != b'\n');
    name.iter().zip(head).all(same) && is_tag_and_digest(rest)
}

/// Whether a text is what [`REST`] matches.
fn is_tag_and_digest(text: &[u8]) -> bool {
    let is_value =
        |text: &[u8]| text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.{}-".contains(byte));
    let (tag, digest) = match text.iter().position(|byte| *byte == b'@') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let tag_fits = match tag.split_first() {
        None => true,
        Some((b':', tag)) => is_value(tag),
        Some(_) => false,
    };
    let is_algorithm = |text: &[u8]| {
        let mut parts = text.split(|byte| b".+_-".contains(byte));
        parts.all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_alphanumeric))
    };
    let digest_fits = |digest: &[u8]| match digest.iter().position(|byte| *byte == b':') {
        Some(colon) => is_algorithm(&digest[..colon]) && is_value(&digest[colon + 1..]),
        None => false,
    };
    tag_fits && digest.is_none_or(digest_fits)
}

/// A regular expression of Go's with its literal braces escaped: where `{` does not begin a repetition, it is itself.
fn with_literal_braces(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut is_escaped = false;
    for (at, character) in pattern.char_indices() {
        let is_part_of_name = out.ends_with("\\p") || out.ends_with("\\P") || out.ends_with("\\x");
        if character == '{' && !is_escaped && !is_part_of_name && !is_repetition(&pattern[at..]) {
            out.push('\\');
        }
        out.push(character);
        is_escaped = character == '\\' && !is_escaped;
    }
    out
}

/// Whether a text begins with `{n}`, `{n,}` or `{n,m}`.
fn is_repetition(text: &str) -> bool {
    let Some((counts, _)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) else {
        return false;
    };
    let is_count = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
    is_count(least) && (most.is_empty() || is_count(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, matching: &[&str], others: &[&str]) {
        let pattern = Pattern::new(name);
        for image in matching {
            assert!(pattern.matches(image), "{name} is {image}");
        }
        for image in others {
            assert!(!pattern.matches(image), "{name} is not {image}");
        }
    }

    #[test]
    fn names_with_tag_and_digest() {
        check(
            "nginx",
            &["nginx", "nginx:1.2-a_{b}", "nginx:", "nginx@sha256:ab", "nginx:1@sha256:ab", "nginx@a+b.c:"],
            &[
                "nginx2",
                "a/nginx",
                "nginx:1/2",
                "nginx@",
                "nginx@sha256",
                "nginx@a+:b",
                "nginx@:b",
                "nginx:1:2",
            ],
        );
        check("host:80/a", &["host:80/a:1"], &["host/a", "host:80/b"]);
        check("", &["", ":1"], &["a"]);
    }

    #[test]
    fn the_plain_way_is_the_regex() {
        for image in ["a", "a:1", "a@b:c", "a:1@b.c+d:e", "a@b..c:d", "a@b", "a:b@", "a:é", "axb:1", "a\nb"]
        {
            for name in ["a", "a.b", "a:1", "a@b:c", ""] {
                let regex = Regex::new(&format!("^{name}{REST}")).is_ok_and(|regex| regex.is_match(image));
                assert_eq!(Pattern::new(name).matches(image), regex, "{name} {image:?}");
            }
        }
        check("a.b", &["a.b", "axb", "aéb:1"], &["a\nb"]);
    }

    #[test]
    fn names_are_patterns() {
        check("*", &["anything:1", "x"], &[]);
        check("my-.*", &["my-a:1", "my-b"], &["a"]);
        check("[", &[], &["[", "a"]);
        check("{registry}/a", &["{registry}/a:1"], &["registry/a"]);
        check("x{2}", &["xx"], &["x{2}"]);
        check("(a|b)", &["a:1", "b"], &["c"]);
    }
}
