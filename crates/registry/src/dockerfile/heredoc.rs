//! Heredocs of `RUN` and `COPY`: `<<NAME`, `<<-NAME` (leading tabs go), `<<'NAME'` (variables stay).

/// A heredoc and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    pub body: String,
    /// Variables in the body are replaced (for `COPY`; a shell does it itself for `RUN`).
    pub expand: bool,
    /// Leading tabs are removed.
    pub chomp: bool,
}

/// The heredocs that a line opens, with empty bodies.
pub(super) fn openings(line: &str) -> Vec<Heredoc> {
    line.split_whitespace().filter_map(opening).collect()
}

/// Whether a word opens a heredoc.
pub(super) fn opening(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let quoted = |quote: char| rest.strip_prefix(quote)?.strip_suffix(quote);
    let (name, expand) = match quoted('\'').or_else(|| quoted('"')) {
        Some(name) => (name, false),
        None => (rest, true),
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-';
    let fine = !name.is_empty() && name.chars().all(word) && !name.starts_with('-');
    fine.then(|| Heredoc { name: name.to_string(), body: String::new(), expand, chomp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_the_right_form_open_one() {
        let check = |word: &str, expected: Option<(&str, bool, bool)>| {
            let found = opening(word).map(|doc| (doc.name, doc.expand, doc.chomp));
            let expected = expected.map(|(name, expand, chomp)| (name.to_string(), expand, chomp));
            assert_eq!(found, expected, "{word}");
        };
        check("<<EOF", Some(("EOF", true, false)));
        check("<<-EOF", Some(("EOF", true, true)));
        check("<<'EOF'", Some(("EOF", false, false)));
        check("3<<\"EOF\"", Some(("EOF", false, false)));
        check("<<<word", None);
        check("1<<", None);
        check("a<<EOF", None);
    }
}
