//! Scalars: plain, in quotes, and blocks.

use super::{Scanner, Token, column};
use crate::Error;
use crate::node::Style;

/// Line breaks and spaces between two parts of a scalar that may go on.
#[derive(Default)]
struct Gap<'t> {
    spaces: &'t str,
    first: &'t str,
    more: String,
    /// Whether there was a line break, an escaped one included.
    broken: bool,
}

impl Gap<'_> {
    /// One break is a space, several lose one; what is no line feed stays.
    fn fold_into(&self, out: &mut String) {
        if !self.broken {
            out.push_str(self.spaces);
        } else if self.first == "\n" {
            out.push_str(if self.more.is_empty() { " " } else { &self.more });
        } else {
            out.push_str(self.first);
            out.push_str(&self.more);
        }
    }
}

/// What a block does with the line breaks at its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chomping {
    Strip,
    Clip,
    Keep,
}

impl<'t> Scanner<'t> {
    /// The text from a byte to here.
    fn since(&self, byte: usize) -> &'t str {
        self.text.get(byte..self.mark.byte).unwrap_or_default()
    }

    /// Over spaces and line breaks, which go into the gap.
    fn gap(&mut self, gap: &mut Gap<'t>, tabs_from: Option<isize>) -> Result<(), Error> {
        let start = self.mark.byte;
        while self.is_blank() || self.is_break() {
            if self.is_blank() {
                if gap.broken
                    && self.byte(0) == b'\t'
                    && tabs_from.is_some_and(|from| column(self.mark.column) < from)
                {
                    return Err(self.error("found a tab character that violates indentation"));
                }
                self.skip();
                if !gap.broken {
                    gap.spaces = self.since(start);
                }
            } else if gap.broken {
                let line = self.take_line();
                gap.more.push_str(line);
            } else {
                gap.first = self.take_line();
                gap.broken = true;
            }
        }
        Ok(())
    }

    pub(super) fn fetch_plain(&mut self) -> Result<(), Error> {
        self.save_key()?;
        self.key_allowed = false;
        let start = self.mark;
        let mut end = start;
        let indent = self.indent + 1;
        let mut text = String::new();
        let mut gap = Gap::default();
        loop {
            if self.at_document_indicator() || self.byte(0) == b'#' {
                break;
            }
            let from = self.mark.byte;
            self.skip_plain();
            if self.mark.byte > from {
                if text.is_empty() && !gap.broken && gap.spaces.is_empty() {
                    text = self.since(from).to_owned();
                } else {
                    gap.fold_into(&mut text);
                    text.push_str(self.since(from));
                }
                gap = Gap::default();
                end = self.mark;
            }
            if !self.is_blank() && !self.is_break() {
                break;
            }
            self.gap(&mut gap, Some(indent))?;
            if !self.in_flow() && column(self.mark.column) < indent {
                break;
            }
        }
        if gap.broken {
            self.key_allowed = true;
        }
        let token = Token::Scalar { text, style: Style::Plain };
        self.queue.push_back(super::Spanned { token, start, end });
        Ok(())
    }

    /// Over characters of a plain scalar up to a space, a line break or an indicator that ends it.
    fn skip_plain(&mut self) {
        let in_flow = self.in_flow();
        loop {
            // Most characters are these.
            self.skip_ascii(
                self.count(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/' | b'_')),
            );
            match self.byte(0) {
                0 | b' ' | b'\t' | b'\n' | b'\r' => return,
                b':' if self.is_space_at(1) => return,
                b',' | b'?' | b'[' | b']' | b'{' | b'}' if in_flow => return,
                0xc2 | 0xe2 if self.is_break() => return,
                _ => {}
            }
            self.skip();
        }
    }

    pub(super) fn fetch_quoted(&mut self, single: bool) -> Result<(), Error> {
        self.save_key()?;
        self.key_allowed = false;
        let start = self.mark;
        let quote = self.byte(0);
        self.skip();
        let mut text = String::new();
        loop {
            if self.at_document_indicator() {
                return Err(self.error("found unexpected document indicator"));
            }
            if self.is_end() {
                return Err(self.error("found unexpected end of stream"));
            }
            let mut gap = Gap { broken: self.quoted_part(single, &mut text)?, ..Gap::default() };
            if self.byte(0) == quote {
                break;
            }
            self.gap(&mut gap, None)?;
            gap.fold_into(&mut text);
        }
        self.skip();
        let style = if single { Style::SingleQuoted } else { Style::DoubleQuoted };
        self.push(Token::Scalar { text, style }, start);
        Ok(())
    }

    /// Up to a space, a line break or the closing quote; whether an escaped line break was met.
    fn quoted_part(&mut self, single: bool, out: &mut String) -> Result<bool, Error> {
        let mut from = self.mark.byte;
        loop {
            match self.byte(0) {
                b'\'' if single => {
                    out.push_str(self.since(from));
                    if self.byte(1) != b'\'' {
                        return Ok(false);
                    }
                    out.push('\'');
                    self.skip();
                    self.skip();
                    from = self.mark.byte;
                    continue;
                }
                b'\\' if !single => {
                    out.push_str(self.since(from));
                    if self.line_break(1) > 0 {
                        self.skip();
                        self.skip_line();
                        return Ok(true);
                    }
                    let character = self.escape()?;
                    out.push(character);
                    from = self.mark.byte;
                    continue;
                }
                b'"' if !single => {}
                _ if !self.is_space_at(0) => {
                    self.skip();
                    continue;
                }
                _ => {}
            }
            out.push_str(self.since(from));
            return Ok(false);
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let (character, digits) = match self.byte(1) {
            b'0' => ('\0', 0),
            b'a' => ('\u{7}', 0),
            b'b' => ('\u{8}', 0),
            b't' | b'\t' => ('\t', 0),
            b'n' => ('\n', 0),
            b'v' => ('\u{b}', 0),
            b'f' => ('\u{c}', 0),
            b'r' => ('\r', 0),
            b'e' => ('\u{1b}', 0),
            // The last one is JSON's.
            same @ (b' ' | b'"' | b'\'' | b'\\' | b'/') => (char::from(same), 0),
            b'N' => ('\u{85}', 0),
            b'_' => ('\u{a0}', 0),
            b'L' => ('\u{2028}', 0),
            b'P' => ('\u{2029}', 0),
            b'x' => ('\0', 2),
            b'u' => ('\0', 4),
            b'U' => ('\0', 8),
            _ => return Err(self.error("found unknown escape character")),
        };
        self.skip();
        self.skip();
        if digits == 0 {
            return Ok(character);
        }
        let mut code: u32 = 0;
        for ahead in 0..digits {
            let digit = char::from(self.byte(ahead)).to_digit(16);
            let digit = digit.ok_or_else(|| self.error("did not find expected hexdecimal number"))?;
            code = code.wrapping_mul(16).wrapping_add(digit);
        }
        let character =
            char::from_u32(code).ok_or_else(|| self.error("found invalid Unicode character escape code"))?;
        (0..digits).for_each(|_| self.skip());
        Ok(character)
    }

    pub(super) fn fetch_block_scalar(&mut self, literal: bool) -> Result<(), Error> {
        self.remove_key()?;
        self.key_allowed = true;
        let start = self.mark;
        self.skip();
        let (chomping, increment) = self.block_header()?;
        self.skip_blanks();
        self.skip_comment();
        if !self.is_end() && !self.is_break() {
            return Err(self.error("did not find expected comment or line break"));
        }
        self.skip_line();
        // 0: not known yet.
        let mut indent =
            if increment == 0 { 0 } else { usize::try_from(self.indent.max(0)).unwrap_or(0) + increment };
        let mut end = self.mark;
        let mut breaks = self.block_breaks(&mut indent, &mut end)?;
        let mut text = String::new();
        let mut before = "";
        let mut after_blank = false;
        while self.mark.column == indent && !self.is_end() {
            let blank = self.is_blank();
            let folds = !literal && !after_blank && !blank && before == "\n";
            if !folds {
                text.push_str(before);
            } else if breaks.is_empty() {
                text.push(' ');
            }
            text.push_str(&breaks);
            after_blank = blank;
            let from = self.mark.byte;
            loop {
                self.skip_ascii(self.count(|byte| matches!(byte, b' '..=b'~' | b'\t')));
                if self.is_end() || self.is_break() {
                    break;
                }
                self.skip();
            }
            text.push_str(self.since(from));
            before = self.take_line();
            breaks = self.block_breaks(&mut indent, &mut end)?;
        }
        if chomping != Chomping::Strip {
            text.push_str(before);
        }
        if chomping == Chomping::Keep {
            text.push_str(&breaks);
        }
        let style = if literal { Style::Literal } else { Style::Folded };
        self.queue.push_back(super::Spanned { token: Token::Scalar { text, style }, start, end });
        Ok(())
    }

    /// `+` or `-` and a digit, in either order, each at most once.
    fn block_header(&mut self) -> Result<(Chomping, usize), Error> {
        let (mut chomping, mut increment) = (None, None);
        for _ in 0..2 {
            match self.byte(0) {
                sign @ (b'+' | b'-') if chomping.is_none() => {
                    chomping = Some(if sign == b'+' { Chomping::Keep } else { Chomping::Strip });
                }
                b'0' if increment.is_none() => {
                    return Err(self.error("found an indentation indicator equal to 0"));
                }
                digit @ b'1'..=b'9' if increment.is_none() => increment = Some(usize::from(digit - b'0')),
                _ => break,
            }
            self.skip();
        }
        Ok((chomping.unwrap_or(Chomping::Clip), increment.unwrap_or(0)))
    }

    /// Over the indent and empty lines, whose breaks it gives; finds out the indent where it is not known.
    fn block_breaks(&mut self, indent: &mut usize, end: &mut super::Mark) -> Result<String, Error> {
        let mut breaks = String::new();
        let mut deepest = 0;
        *end = self.mark;
        loop {
            let within = |scanner: &Self| *indent == 0 || scanner.mark.column < *indent;
            while within(self) && self.byte(0) == b' ' {
                self.skip();
            }
            deepest = deepest.max(self.mark.column);
            if within(self) && self.byte(0) == b'\t' {
                return Err(self.error("found a tab character where an indentation space is expected"));
            }
            if !self.is_break() {
                break;
            }
            let line = self.take_line();
            breaks.push_str(line);
            *end = self.mark;
        }
        if *indent == 0 {
            *indent = deepest.max(usize::try_from(self.indent + 1).unwrap_or(0)).max(1);
        }
        Ok(breaks)
    }
}
