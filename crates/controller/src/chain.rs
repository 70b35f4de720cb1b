//! An error as one line: a status, an event or a log is all that a person sees of it, so its causes belong to the text.

use std::error::Error;

/// The error and its causes, outermost first, joined by `: `. A cause that the text before it already tells is left out:
/// many libraries put their source into their own message.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !last.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
            last = told;
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn causes_are_told_once() {
        let check = |layers: &[&'static str], expected: &str| {
            let wrap =
                |source: Option<Box<Layer>>, text: &&'static str| Some(Box::new(Layer { text, source }));
            let error = layers.iter().rev().fold(None, wrap).unwrap();
            assert_eq!(chain(&error), expected);
        };
        check(&["cannot start"], "cannot start");
        check(&["cannot start", "no such file"], "cannot start: no such file");
        check(&["no answer: refused", "connect", "refused"], "no answer: refused: connect: refused");
        check(&["no answer: refused", "refused"], "no answer: refused");
        check(&["connect", "connect", "refused"], "connect: refused");
    }
}
