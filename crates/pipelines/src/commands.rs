//! What a step says to the runner: `::command::` lines on its output, and `name=value` files.

/// A workflow command of one output line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) value: String,
}

impl Command {
    /// One property.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads `::name key=value,key=value::text`.
pub(crate) fn parse(line: &str) -> Option<Command> {
    let (head, value) = line.trim_start().strip_prefix("::")?.split_once("::")?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return None;
    }
    let property = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), unescape(&unescape_property(value))))
    };
    Some(Command {
        name: name.to_ascii_lowercase(),
        properties: properties.split(',').filter_map(property).collect(),
        value: unescape(value),
    })
}

fn unescape_property(text: &str) -> String {
    text.replace("%3A", ":").replace("%2C", ",")
}

fn unescape(text: &str) -> String {
    text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
}

/// Reads the lines that a step appended to `GITHUB_OUTPUT`, `GITHUB_ENV` or `GITHUB_STATE`: `name=value`, or
/// `name<<END`, lines, `END`.
pub(crate) fn parse_file(text: &str) -> Result<Vec<(String, String)>, String> {
    let (mut pairs, mut lines) = (Vec::new(), text.lines());
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let assignment = line.find('=');
        let heredoc = line.find("<<").filter(|at| assignment.is_none_or(|equals| *at < equals));
        if let Some(at) = heredoc {
            let (name, end) = (&line[..at], &line[at + 2..]);
            let mut value: Vec<&str> = Vec::new();
            loop {
                match lines.next() {
                    Some(line) if line == end => break,
                    Some(line) => value.push(line),
                    None => return Err(format!("the value of `{name}` is never ended by `{end}`")),
                }
            }
            pairs.push((name.to_owned(), value.join("\n")));
        } else if let Some(at) = assignment {
            pairs.push((line[..at].to_owned(), line[at + 1..].to_owned()));
        } else {
            return Err(format!("`{line}` is not `name=value`"));
        }
    }
    match pairs.iter().find(|(name, _)| name.trim().is_empty()) {
        Some(_) => Err("a name is empty".to_owned()),
        None => Ok(pairs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_recognised() {
        type Expected<'a> = Option<(&'a str, &'a [(&'a str, &'a str)], &'a str)>;
        let check = |line: &str, expected: Expected<'_>| {
            let found = parse(line);
            let shown = found.as_ref().map(|c| {
                let properties: Vec<(&str, &str)> =
                    c.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                (c.name.clone(), properties, c.value.clone())
            });
            assert_eq!(shown, expected.map(|(n, p, v)| (n.to_owned(), p.to_vec(), v.to_owned())), "{line}");
        };
        check("::add-mask::s3cret", Some(("add-mask", &[], "s3cret")));
        check(
            "::error file=a.js,line=1::It%0Afails 100%25",
            Some(("error", &[("file", "a.js"), ("line", "1")], "It\nfails 100%")),
        );
        check("::set-output name=x::y::z", Some(("set-output", &[("name", "x")], "y::z")));
        check("  ::group::Tests", Some(("group", &[], "Tests")));
        check("::endgroup::", Some(("endgroup", &[], "")));
        check("std::vector::push", None);
        check("plain", None);
    }

    #[test]
    fn files_hold_pairs() {
        let check = |text: &str, expected: Result<&[(&str, &str)], &str>| {
            let pairs = parse_file(text);
            match expected {
                Ok(expected) => {
                    let pairs = pairs.unwrap();
                    let shown: Vec<(&str, &str)> =
                        pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                    assert_eq!(shown, expected, "{text}");
                }
                Err(expected) => assert!(pairs.unwrap_err().contains(expected), "{text}"),
            }
        };
        check("a=1\nb=x=y\n", Ok(&[("a", "1"), ("b", "x=y")]));
        check("a<<EOF\none\ntwo=2\nEOF\nb=\n", Ok(&[("a", "one\ntwo=2"), ("b", "")]));
        check("a=x<<y\n", Ok(&[("a", "x<<y")]));
        check("a<<EOF\none", Err("never ended"));
        check("nonsense", Err("not `name=value`"));
        check("=x", Err("empty"));
    }
}
