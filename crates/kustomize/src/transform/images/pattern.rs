//! Whether a text is an image of a name: the name is part of a regular expression, followed by a tag and a digest.

use object::regexp;
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
        regexp::compile(&format!("^{name}{REST}")).map_or(Self::Nothing, |regex| Self::Regex(Box::new(regex)))
    }

    pub(super) fn matches(&self, image: &str) -> bool {
        match self {
            Self::Plain(name) if image.is_ascii() => plain_matches(name, image.as_bytes()),
            Self::Plain(name) => {
                // A dot is a letter of several bytes here: rare enough for the slow way.
                let name = String::from_utf8_lossy(name);
                regexp::compile(&format!("^{name}{REST}")).is_ok_and(|regex| regex.is_match(image))
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
                let regex =
                    regexp::compile(&format!("^{name}{REST}")).is_ok_and(|regex| regex.is_match(image));
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
