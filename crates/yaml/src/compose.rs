//! From libyaml's events to nodes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use libyaml_safer::{Event, EventData, Mark, Parser, ScalarStyle};

use crate::node::{Data, Node, Style};
use crate::{DEPTH_LIMIT, Error, SIZE_LIMIT};

/// Reads a stream into one node for each document. A byte order mark at the start is skipped.
pub fn compose(text: &str) -> Result<Vec<Node>, Error> {
    if text.len() > SIZE_LIMIT {
        let message = format!("the text has {} bytes, more than the limit of {SIZE_LIMIT}", text.len());
        return Err(Error { line: 1, column: 1, message });
    }
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let ended = with_end(body);
    let mut input = ended.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    parser.set_encoding(libyaml_safer::Encoding::Utf8);
    let last_line = (ended.len() > body.len()).then(|| body.rsplit('\n').next().unwrap_or(body));
    let (skipped, end) = (text.len() - body.len(), text.len());
    let last = Mark::default();
    let mut composer = Composer { parser, skipped, end, last_line, anchors: HashMap::new(), last };
    let mut documents = vec![];
    loop {
        let event = composer.next()?;
        match event.data {
            EventData::StreamEnd => return Ok(documents),
            EventData::DocumentStart { .. } => {
                composer.anchors.clear();
                let first = composer.next()?;
                documents.push(composer.node(first, 0)?);
            }
            _ => {}
        }
    }
}

/// The text with a line end behind a last line that has none: this libyaml fails where a block of text ends there.
fn with_end(text: &str) -> Cow<'_, str> {
    let may_have_block = text.contains(['|', '>']);
    if !may_have_block || text.is_empty() || text.ends_with('\n') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{text}\n"))
}

fn is_block(style: ScalarStyle) -> bool {
    matches!(style, ScalarStyle::Literal | ScalarStyle::Folded)
}

struct Composer<'a, 'b> {
    parser: Parser<&'a mut &'b [u8]>,
    /// Bytes of the byte order mark.
    skipped: usize,
    /// Bytes of the whole text.
    end: usize,
    /// The last line of the text, if it got a line end.
    last_line: Option<&'b str>,
    anchors: HashMap<String, Arc<Node>>,
    /// Where the last event ended.
    last: Mark,
}

impl Composer<'_, '_> {
    fn next(&mut self) -> Result<Event, Error> {
        // The library panics where it is not finished: at a comma that ends a tag (Go's takes it for a part of the tag)
        // and at odd escapes in tags. The parser is not used again after that.
        let parser = &mut self.parser;
        match catch_unwind(AssertUnwindSafe(|| parser.parse())) {
            Ok(Ok(event)) => {
                self.last = event.end_mark;
                Ok(event)
            }
            Ok(Err(error)) => Err(syntax_error(&error)),
            Err(_) => Err(at(self.last, "what follows has a malformed tag".to_owned())),
        }
    }

    fn node(&mut self, event: Event, depth: usize) -> Result<Node, Error> {
        let (start, end) = (event.start_mark, event.end_mark);
        if depth > DEPTH_LIMIT {
            return Err(at(start, format!("nested deeper than {DEPTH_LIMIT} levels")));
        }
        let (data, tag, anchor, end) = match event.data {
            EventData::Alias { anchor } => {
                let known = self.anchors.get(&anchor).cloned();
                let node = known.ok_or_else(|| at(start, format!("unknown anchor '{anchor}' referenced")))?;
                (Data::Alias(node), None, None, end)
            }
            EventData::Scalar { anchor, tag, mut value, style, .. } => {
                if is_block(style) && self.is_added_end(end, &value) {
                    value.pop();
                }
                (Data::Scalar { text: value, style: style_of(style) }, tag, anchor, end)
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                let (items, end) = self.sequence(depth)?;
                (Data::Sequence(items), tag, anchor, end)
            }
            EventData::MappingStart { anchor, tag, .. } => {
                let (pairs, end) = self.mapping(depth)?;
                (Data::Mapping(pairs), tag, anchor, end)
            }
            _ => return Err(at(start, "expected a value".to_owned())),
        };
        let span = self.byte(start)..self.byte(end);
        let node = Node { data, tag, span, line: one_based(start.line), column: one_based(start.column) };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Arc::new(node.clone()));
        }
        Ok(node)
    }

    /// Whether the last line end of a block of text is the one that [`with_end`] has added.
    fn is_added_end(&self, end: Mark, block: &str) -> bool {
        let Some(last_line) = self.last_line else { return false };
        let end = usize::try_from(end.index).unwrap_or(usize::MAX).saturating_add(self.skipped);
        // A last line of blanks belongs to the block only if it is deeper than that; then the block has the rest of it.
        let is_blank = |line: &str| !line.is_empty() && line.trim_matches(' ').is_empty();
        let before = block.strip_suffix('\n').unwrap_or_default();
        let is_in_block = !is_blank(last_line)
            || before.ends_with('\n')
            || before.rsplit('\n').next().is_some_and(is_blank);
        end > self.end && is_in_block && block.ends_with('\n')
    }

    /// This libyaml counts bytes, unlike the C one.
    fn byte(&self, mark: Mark) -> usize {
        usize::try_from(mark.index).unwrap_or(usize::MAX).saturating_add(self.skipped).min(self.end)
    }

    fn sequence(&mut self, depth: usize) -> Result<(Vec<Node>, Mark), Error> {
        let mut items = vec![];
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::SequenceEnd) {
                return Ok((items, event.end_mark));
            }
            items.push(self.node(event, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<(Vec<(Node, Node)>, Mark), Error> {
        let mut pairs = vec![];
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::MappingEnd) {
                return Ok((pairs, event.end_mark));
            }
            let key = self.node(event, depth + 1)?;
            let event = self.next()?;
            pairs.push((key, self.node(event, depth + 1)?));
        }
    }
}

fn style_of(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::SingleQuoted => Style::SingleQuoted,
        ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
        ScalarStyle::Literal => Style::Literal,
        ScalarStyle::Folded => Style::Folded,
        _ => Style::Plain,
    }
}

fn one_based(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX - 1) + 1
}

fn at(mark: Mark, message: String) -> Error {
    Error { line: one_based(mark.line), column: one_based(mark.column), message }
}

fn syntax_error(error: &libyaml_safer::Error) -> Error {
    let mark = error.problem_mark().unwrap_or_default();
    let problem = match error.kind() {
        libyaml_safer::ErrorKind::Scanner | libyaml_safer::ErrorKind::Parser => error.problem().to_owned(),
        _ => error.to_string(),
    };
    at(mark, problem)
}
