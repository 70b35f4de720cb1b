//! Physical lines into logical ones: comments, the escape directive, continuations, heredocs.

use super::DockerfileError;
use super::heredoc::{self, Heredoc};

/// One instruction.
#[derive(Debug)]
pub(super) struct Line {
    /// Of its first physical line, from 1.
    pub(super) number: usize,
    pub(super) text: String,
    pub(super) heredocs: Vec<Heredoc>,
}

pub(super) fn logical_lines(text: &str) -> Result<Vec<Line>, DockerfileError> {
    let physical: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).lines().collect();
    let escape = escape_directive(&physical)?;
    let mut lines = Vec::new();
    let mut at = 0;
    while at < physical.len() {
        let number = at + 1;
        let mut joined = String::new();
        let mut open = true;
        while open && at < physical.len() {
            let raw = physical[at];
            at += 1;
            let trimmed = raw.trim();
            // Comments and empty lines inside a continued instruction are skipped, too.
            if trimmed.starts_with('#') || (trimmed.is_empty() && !joined.is_empty()) {
                continue;
            }
            match raw.trim_end().strip_suffix(escape) {
                Some(head) => joined.push_str(head),
                None => {
                    joined.push_str(raw);
                    open = false;
                }
            }
            if joined.trim().is_empty() {
                break;
            }
        }
        let text = joined.trim().to_string();
        if text.is_empty() {
            continue;
        }
        let first = number + leading_skipped(&physical[number - 1..at]);
        let heredocs = read_heredocs(&text, first, &physical, &mut at)?;
        lines.push(Line { number: first, text, heredocs });
    }
    Ok(lines)
}

fn leading_skipped(lines: &[&str]) -> usize {
    lines.iter().take_while(|line| line.trim().is_empty() || line.trim().starts_with('#')).count()
}

/// `# escape=` may only stand among the directives at the very top.
fn escape_directive(lines: &[&str]) -> Result<char, DockerfileError> {
    for (at, line) in lines.iter().enumerate() {
        let Some((name, value)) = line.trim().strip_prefix('#').and_then(|rest| rest.split_once('=')) else {
            break;
        };
        let name = name.trim().to_ascii_lowercase();
        if !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            break;
        }
        if name == "escape" {
            return match value.trim() {
                "\\" => Ok('\\'),
                "`" => Ok('`'),
                other => {
                    Err(DockerfileError::new(at + 1, format!("{other:?} cannot be the escape character")))
                }
            };
        }
    }
    Ok('\\')
}

/// The bodies of the heredocs that an instruction opens; `at` moves behind them.
fn read_heredocs(
    text: &str,
    number: usize,
    physical: &[&str],
    at: &mut usize,
) -> Result<Vec<Heredoc>, DockerfileError> {
    let keyword = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") {
        return Ok(Vec::new());
    }
    let mut found = heredoc::openings(text);
    for heredoc in &mut found {
        loop {
            let Some(raw) = physical.get(*at) else {
                return Err(DockerfileError::new(
                    number,
                    format!("the heredoc {} does not end", heredoc.name),
                ));
            };
            *at += 1;
            let line = if heredoc.chomp { raw.trim_start_matches('\t') } else { raw };
            if line == heredoc.name {
                break;
            }
            heredoc.body.push_str(line);
            heredoc.body.push('\n');
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str)]) {
        let lines = logical_lines(text).unwrap();
        let found: Vec<_> = lines.iter().map(|line| (line.number, line.text.as_str())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn continuations_comments_and_empty_lines() {
        check("# syntax=docker/dockerfile:1\nFROM a\n", &[(2, "FROM a")]);
        check("RUN a \\\n  # why\n\n  && b\n\nRUN c", &[(1, "RUN a   && b"), (6, "RUN c")]);
        check("# escape=`\nRUN a `\n b\nRUN c\\", &[(2, "RUN a  b"), (4, "RUN c\\")]);
        check("RUN a \\  \n b", &[(1, "RUN a  b")]);
        check("\r\nFROM a\r\n", &[(2, "FROM a")]);
        check("\n\n# x\n  RUN # not a comment\n", &[(4, "RUN # not a comment")]);
    }

    #[test]
    fn heredocs_end_at_their_name() {
        let lines =
            logical_lines("RUN <<EOF cat\n# kept\n\nEOF \nEOF\nCOPY <<-'A' <<B /x/\n\ta\n\tA\n\tb\nB\nRUN x")
                .unwrap();
        let bodies: Vec<_> =
            lines.iter().flat_map(|line| &line.heredocs).map(|doc| doc.body.as_str()).collect();
        assert_eq!(bodies, ["# kept\n\nEOF \n", "a\n", "\tb\n"]);
        assert_eq!(lines[2].text, "RUN x");
        assert_eq!(lines[2].number, 11);
    }
}
