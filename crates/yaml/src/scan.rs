//! From text to tokens, with the rules of libyaml, which go-yaml follows to the letter: where a key may stand is only
//! known once its `:` comes, so that tokens wait in a queue until that is settled.
//!
//! Every position is within the text, and the byte after its end counts as 0, which the text itself cannot hold.

mod scalar;
mod tag;

use std::collections::VecDeque;

use crate::Error;
use crate::node::Style;

/// How far the `:` of a key may be away from its start, in characters.
const KEY_LENGTH: usize = 1024;
/// How far behind a comment another one is looked for, in characters.
const COMMENT_DISTANCE: usize = 512;
/// Deepest nesting in brackets while a token is looked for; the composer's own limit comes first in all real texts.
const FLOW_LIMIT: usize = 10_000;

/// A place in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) byte: usize,
    /// Characters before it.
    index: usize,
    /// From 0.
    pub(crate) line: usize,
    /// From 0, in characters.
    pub(crate) column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// `%YAML`, with its two numbers.
    Version(u32, u32),
    /// `%TAG`
    TagDirective {
        handle: String,
        prefix: String,
    },
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    Tag {
        handle: String,
        suffix: String,
    },
    Scalar {
        text: String,
        style: Style,
    },
    StreamEnd,
}

#[derive(Clone, Debug)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) start: Mark,
    pub(crate) end: Mark,
}

/// A token that is a key if a `:` follows on the same line.
#[derive(Clone, Copy, Debug, Default)]
struct PossibleKey {
    possible: bool,
    /// It stands where nothing but a key may.
    required: bool,
    /// Its number among all tokens.
    token: usize,
    mark: Mark,
}

pub(crate) struct Scanner<'t> {
    text: &'t str,
    mark: Mark,
    queue: VecDeque<Spanned>,
    /// Tokens that were taken out of the queue.
    taken: usize,
    ended: bool,
    /// Column of the current block, -1 outside of any.
    indent: isize,
    indents: Vec<isize>,
    key_allowed: bool,
    /// One for each level of brackets, and one for the block around them.
    keys: Vec<PossibleKey>,
    /// Whether it is known that the first token in the queue is the next.
    settled: bool,
}

fn column(column: usize) -> isize {
    isize::try_from(column).unwrap_or(isize::MAX)
}

impl<'t> Scanner<'t> {
    /// The text has no control characters but tabs and line ends.
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            mark: Mark::default(),
            queue: VecDeque::new(),
            taken: 0,
            ended: false,
            indent: -1,
            indents: vec![],
            key_allowed: true,
            keys: vec![PossibleKey::default()],
            settled: false,
        }
    }

    /// The next token, which stays the next; [`Token::StreamEnd`] comes again and again.
    pub(crate) fn peek(&mut self) -> Result<&Spanned, Error> {
        if !self.settled {
            while !self.ended && (self.queue.is_empty() || self.head_may_be_key()?) {
                self.fetch()?;
            }
            let end = self.mark;
            if self.queue.is_empty() {
                self.queue.push_back(Spanned { token: Token::StreamEnd, start: end, end });
            }
            self.settled = true;
        }
        Ok(&self.queue[0])
    }

    pub(crate) fn next(&mut self) -> Result<Spanned, Error> {
        self.peek()?;
        self.taken += 1;
        self.settled = false;
        let mark = self.mark;
        let end = || Spanned { token: Token::StreamEnd, start: mark, end: mark };
        Ok(self.queue.pop_front().unwrap_or_else(end))
    }

    fn error(&self, message: &str) -> Error {
        Self::error_at(self.mark, message)
    }

    pub(crate) fn error_at(mark: Mark, message: &str) -> Error {
        Error { line: mark.line + 1, column: mark.column + 1, message: message.to_owned() }
    }

    /// The byte so far ahead; 0 behind the end.
    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.mark.byte + ahead).copied().unwrap_or(0)
    }

    /// The length of the line break that stands so far ahead, in bytes; 0 if there is none. A carriage return and
    /// a line feed are one break.
    fn line_break(&self, ahead: usize) -> usize {
        match self.byte(ahead) {
            b'\n' => 1,
            b'\r' => 1 + usize::from(self.byte(ahead + 1) == b'\n'),
            0xc2 if self.byte(ahead + 1) == 0x85 => 2,
            0xe2 if self.byte(ahead + 1) == 0x80 && matches!(self.byte(ahead + 2), 0xa8 | 0xa9) => 3,
            _ => 0,
        }
    }

    fn is_break(&self) -> bool {
        self.line_break(0) > 0
    }

    fn is_end(&self) -> bool {
        self.mark.byte >= self.text.len()
    }

    fn is_blank(&self) -> bool {
        matches!(self.byte(0), b' ' | b'\t')
    }

    /// Whether a space, a tab, a line break or the end is so far ahead.
    fn is_space_at(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), b' ' | b'\t' | 0) || self.line_break(ahead) > 0
    }

    /// One character on, which is no line break.
    fn skip(&mut self) {
        let width = match self.byte(0) {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        self.mark.byte = (self.mark.byte + width).min(self.text.len());
        self.mark.index += 1;
        self.mark.column += 1;
    }

    /// On over so many characters of a byte each, none of them a line break.
    fn skip_ascii(&mut self, count: usize) {
        self.mark.byte += count;
        self.mark.index += count;
        self.mark.column += count;
    }

    /// How many bytes from here on satisfy a condition, which only ASCII does.
    fn count(&self, fits: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(self.mark.byte..).unwrap_or_default();
        rest.iter().position(|byte| !fits(*byte)).unwrap_or(rest.len())
    }

    fn skip_line(&mut self) {
        let length = self.line_break(0);
        if length == 0 {
            return;
        }
        self.mark.index += if self.byte(0) == b'\r' { length } else { 1 };
        self.mark.byte += length;
        self.mark.line += 1;
        self.mark.column = 0;
    }

    /// The line break that stands here, as it is kept: a separator of lines or paragraphs stays what it is.
    fn take_line(&mut self) -> &'t str {
        let (start, length) = (self.mark.byte, self.line_break(0));
        self.skip_line();
        match length {
            0 => "",
            3 => self.text.get(start..start + length).unwrap_or("\n"),
            _ => "\n",
        }
    }

    fn skip_blanks(&mut self) {
        while self.is_blank() {
            self.skip();
        }
    }

    fn skip_comment(&mut self) {
        if self.byte(0) == b'#' {
            while !self.is_end() && !self.is_break() {
                self.skip();
            }
        }
    }

    fn is_valid(&self, key: &PossibleKey) -> Result<bool, Error> {
        if !key.possible {
            return Ok(false);
        }
        if key.mark.line == self.mark.line && key.mark.index + KEY_LENGTH >= self.mark.index {
            return Ok(true);
        }
        if key.required {
            return Err(Self::error_at(key.mark, "could not find expected ':'"));
        }
        Ok(false)
    }

    /// Whether the first token in the queue may turn out to be a key.
    fn head_may_be_key(&self) -> Result<bool, Error> {
        // Numbers grow from level to level, so that only few can be that of the first token.
        let from = self.keys.partition_point(|key| key.token < self.taken);
        for key in self.keys.iter().skip(from).take_while(|key| key.token == self.taken) {
            if self.is_valid(key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn push(&mut self, token: Token, start: Mark) {
        self.queue.push_back(Spanned { token, start, end: self.mark });
    }

    /// Puts a token without length before the token of a number.
    fn insert(&mut self, token: Token, number: usize, mark: Mark) {
        let at = number.saturating_sub(self.taken).min(self.queue.len());
        self.queue.insert(at, Spanned { token, start: mark, end: mark });
    }

    /// A key may begin here.
    fn save_key(&mut self) -> Result<(), Error> {
        if self.key_allowed {
            let required = self.keys.len() == 1 && self.indent == column(self.mark.column);
            self.remove_key()?;
            let token = self.taken + self.queue.len();
            if let Some(last) = self.keys.last_mut() {
                *last = PossibleKey { possible: true, required, token, mark: self.mark };
            }
        }
        Ok(())
    }

    /// What may have been a key at this level is none.
    fn remove_key(&mut self) -> Result<(), Error> {
        match self.keys.last_mut() {
            Some(key) if key.possible && key.required => {
                Err(Self::error_at(key.mark, "could not find expected ':'"))
            }
            Some(key) => {
                key.possible = false;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn in_flow(&self) -> bool {
        self.keys.len() > 1
    }

    /// Opens a block if the column is deeper than the current one; its token comes before token `number`.
    fn indent_to(&mut self, to: usize, number: Option<usize>, token: Token, mark: Mark) {
        if self.in_flow() || self.indent >= column(to) {
            return;
        }
        self.indents.push(self.indent);
        self.indent = column(to);
        self.insert(token, number.unwrap_or(usize::MAX), mark);
    }

    /// Closes the blocks that are deeper than the column.
    fn dedent_to(&mut self, to: isize) {
        if self.in_flow() {
            return;
        }
        while self.indent > to {
            self.push(Token::BlockEnd, self.mark);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn fetch(&mut self) -> Result<(), Error> {
        self.skip_to_token();
        self.dedent_to(column(self.mark.column));
        if self.is_end() {
            return self.fetch_end();
        }
        self.fetch_token()?;
        // An item's comment belongs to what follows.
        if self.queue.back().is_some_and(|last| last.token != Token::BlockEntry) {
            self.skip_line_comment();
        }
        Ok(())
    }

    fn fetch_token(&mut self) -> Result<(), Error> {
        let first = self.byte(0);
        if self.mark.column == 0 {
            if first == b'%' {
                self.dedent_to(-1);
                self.remove_key()?;
                self.key_allowed = false;
                return self.fetch_directive();
            }
            if self.at_document_indicator() {
                self.dedent_to(-1);
                self.remove_key()?;
                self.key_allowed = false;
                let token = if first == b'-' { Token::DocumentStart } else { Token::DocumentEnd };
                return self.take(token, 3);
            }
        }
        let space_follows = self.is_space_at(1);
        match first {
            b'[' => self.open(Token::FlowSequenceStart),
            b'{' => self.open(Token::FlowMappingStart),
            b']' => self.close(Token::FlowSequenceEnd),
            b'}' => self.close(Token::FlowMappingEnd),
            b',' => {
                self.remove_key()?;
                self.key_allowed = true;
                self.take(Token::FlowEntry, 1)
            }
            b'-' if space_follows => self.fetch_block_entry(),
            b'?' if self.in_flow() || space_follows => self.fetch_key(),
            b':' if self.in_flow() || space_follows => self.fetch_value(),
            b'*' | b'&' => self.fetch_anchor(first == b'*'),
            b'!' => self.fetch_tag(),
            b'|' | b'>' if !self.in_flow() => self.fetch_block_scalar(first == b'|'),
            b'\'' | b'"' => self.fetch_quoted(first == b'\''),
            b'#' | b'|' | b'>' | b'%' | b'@' | b'`' | b'\t' => {
                Err(self.error("found character that cannot start any token"))
            }
            _ => self.fetch_plain(),
        }
    }

    /// `---` or `...` at the start of a line, with space behind it.
    fn at_document_indicator(&self) -> bool {
        if self.mark.column > 0 {
            return false;
        }
        let three = [self.byte(0), self.byte(1), self.byte(2)];
        (three == *b"---" || three == *b"...") && self.is_space_at(3)
    }

    /// Over spaces, line breaks and comments. A tab is a space only where no key may begin.
    fn skip_to_token(&mut self) {
        loop {
            let tabs = self.in_flow() || !self.key_allowed;
            self.skip_ascii(self.count(|byte| byte == b' ' || (byte == b'\t' && tabs)));
            if self.byte(0) == b'#' {
                self.skip_comment();
                self.skip_more_comments();
            }
            if !self.is_break() {
                return;
            }
            self.skip_line();
            if !self.in_flow() {
                self.key_allowed = true;
            }
        }
    }

    /// Over comments on the lines behind a comment: unlike elsewhere, tabs may stand before them.
    fn skip_more_comments(&mut self) {
        loop {
            let before = self.mark;
            while (self.is_blank() || self.is_break()) && self.mark.index - before.index < COMMENT_DISTANCE {
                if self.is_blank() {
                    self.skip();
                } else {
                    self.skip_line();
                }
            }
            if self.byte(0) != b'#' {
                self.mark = before;
                return;
            }
            self.skip_comment();
        }
    }

    /// Over a comment behind a token on the same line: there, too, tabs may stand before it.
    fn skip_line_comment(&mut self) {
        if !self.is_blank() && self.byte(0) != b'#' {
            return;
        }
        let before = self.mark;
        let line = self.text.get(..before.byte).unwrap_or_default().trim_end_matches([' ', '\t']);
        if line.ends_with(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            return;
        }
        self.skip_blanks();
        if self.byte(0) == b'#' {
            self.skip_comment();
        } else {
            self.mark = before;
        }
    }

    fn take(&mut self, token: Token, characters: usize) -> Result<(), Error> {
        let start = self.mark;
        (0..characters).for_each(|_| self.skip());
        self.push(token, start);
        Ok(())
    }

    fn fetch_end(&mut self) -> Result<(), Error> {
        self.dedent_to(-1);
        self.remove_key()?;
        self.key_allowed = false;
        self.push(Token::StreamEnd, self.mark);
        self.ended = true;
        Ok(())
    }

    fn open(&mut self, token: Token) -> Result<(), Error> {
        self.save_key()?;
        if self.keys.len() > FLOW_LIMIT {
            return Err(self.error(&format!("nested deeper than {FLOW_LIMIT} brackets")));
        }
        let token_number = self.taken + self.queue.len();
        self.keys.push(PossibleKey { token: token_number, ..PossibleKey::default() });
        self.key_allowed = true;
        self.take(token, 1)
    }

    fn close(&mut self, token: Token) -> Result<(), Error> {
        self.remove_key()?;
        if self.in_flow() {
            self.keys.pop();
        }
        self.key_allowed = false;
        self.take(token, 1)
    }

    fn fetch_block_entry(&mut self) -> Result<(), Error> {
        if !self.in_flow() {
            if !self.key_allowed {
                return Err(self.error("block sequence entries are not allowed in this context"));
            }
            self.indent_to(self.mark.column, None, Token::BlockSequenceStart, self.mark);
        }
        self.remove_key()?;
        self.key_allowed = true;
        self.take(Token::BlockEntry, 1)
    }

    fn fetch_key(&mut self) -> Result<(), Error> {
        if !self.in_flow() {
            if !self.key_allowed {
                return Err(self.error("mapping keys are not allowed in this context"));
            }
            self.indent_to(self.mark.column, None, Token::BlockMappingStart, self.mark);
        }
        self.remove_key()?;
        self.key_allowed = !self.in_flow();
        self.take(Token::Key, 1)
    }

    fn fetch_value(&mut self) -> Result<(), Error> {
        let key = self.keys.last().copied().unwrap_or_default();
        if self.is_valid(&key)? {
            self.insert(Token::Key, key.token, key.mark);
            self.indent_to(key.mark.column, Some(key.token), Token::BlockMappingStart, key.mark);
            if let Some(last) = self.keys.last_mut() {
                last.possible = false;
            }
            self.key_allowed = false;
        } else {
            if !self.in_flow() {
                if !self.key_allowed {
                    return Err(self.error("mapping values are not allowed in this context"));
                }
                self.indent_to(self.mark.column, None, Token::BlockMappingStart, self.mark);
            }
            self.key_allowed = !self.in_flow();
        }
        self.take(Token::Value, 1)
    }
}

impl Mark {
    /// The earlier of two places.
    pub(crate) fn min_byte(self, other: Self) -> Self {
        if self.byte <= other.byte { self } else { other }
    }
}
