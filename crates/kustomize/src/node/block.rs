//! Texts of several lines as kyaml writes them: it writes a resource as YAML and reads it again before it turns it into
//! JSON, and not every block comes back as it went.

fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether the writer takes a block for a text, which is not in quotes; else it takes quotes.
fn is_block(text: &str) -> bool {
    let is_printable = |c: char| matches!(c, '\t' | '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}');
    let space_before_break = || text.match_indices(' ').any(|(at, _)| text[at + 1..].starts_with(is_break));
    text.contains('\n') && !text.ends_with(' ') && text.chars().all(is_printable) && !space_before_break()
}

/// A block may not begin with a tab.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.starts_with('\t') && is_block(text) {
        return Err(format!("found a tab character where an indentation space is expected: {text:?}"));
    }
    Ok(())
}

/// A folded text (`>`) after it was written and read again: the writer adds lines where others would not.
pub(super) fn refolded(text: &str) -> String {
    let read = yaml::compose(&folded(text));
    let node = read.ok().and_then(|documents| Some(documents.first()?.get("a")?.text()?.to_owned()));
    node.filter(|_| is_block(text)).unwrap_or_else(|| text.to_owned())
}

/// The text as a folded block under the key `a`.
fn folded(text: &str) -> String {
    let mut out = "a: >".to_owned();
    if text.starts_with(|c| c == ' ' || is_break(c)) {
        out.push('2');
    }
    let mut from_the_end = text.chars().rev();
    match (from_the_end.next().is_some_and(is_break), from_the_end.next().is_none_or(is_break)) {
        (false, _) => out.push('-'),
        (true, true) => out.push('+'),
        (true, false) => {}
    }
    out.push('\n');
    // It should look behind the line break that it is at, but looks behind those at the start of the text.
    let doubles = !text.trim_start_matches(is_break).starts_with([' ', '\t']) && !text.chars().all(is_break);
    let (mut after_break, mut from_blank) = (true, true);
    for character in text.chars() {
        if is_break(character) {
            if !after_break && !from_blank && character == '\n' && doubles {
                out.push('\n');
            }
            out.push(character);
            after_break = true;
            continue;
        }
        if after_break {
            out.push_str("  ");
            from_blank = matches!(character, ' ' | '\t');
        }
        out.push(character);
        after_break = false;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{check, refolded};

    #[test]
    fn deeper_lines_get_an_empty_line_before_them() {
        for same in ["one", "one\n", "one two\nthree\n", "  one\n", "one \ntwo\n", "tab\there\n\nx\n"] {
            assert_eq!(refolded(same), same);
        }
        assert_eq!(refolded("one\n  two\nthree\n"), "one\n\n  two\nthree\n");
        assert_eq!(refolded("one\n\n"), "one\n\n\n");
    }

    #[test]
    fn a_block_does_not_begin_with_a_tab() {
        assert!(check("\tone\ntwo").is_err());
        for text in ["\tone", "\tone \ntwo", "\n\tone", "\tone\n\u{1f600}"] {
            assert_eq!(check(text), Ok(()));
        }
    }
}
