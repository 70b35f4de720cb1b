//! From tokens to nodes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::node::{Data, Node, Style};
use crate::scan::{Mark, Scanner, Spanned, Token};
use crate::{DEPTH_LIMIT, Error, SIZE_LIMIT};

/// Where tags begin that YAML itself has.
const CORE: &str = "tag:yaml.org,2002:";

/// Reads a stream into one node for each document. A byte order mark at the start is skipped.
pub fn compose(text: &str) -> Result<Vec<Node>, Error> {
    if text.len() > SIZE_LIMIT {
        let message = format!("the text has {} bytes, more than the limit of {SIZE_LIMIT}", text.len());
        return Err(Error { line: 1, column: 1, message });
    }
    let body = text.trim_start_matches('\u{feff}');
    refuse_control_characters(body)?;
    let mut composer = Composer {
        scanner: Scanner::new(body),
        skipped: text.len() - body.len(),
        handles: vec![],
        anchors: HashMap::new(),
        depth: 0,
    };
    composer.documents()
}

fn refuse_control_characters(text: &str) -> Result<(), Error> {
    let refused = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}');
    // Most texts have nothing but these.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return Ok(());
    }
    let Some(at) = text.find(refused) else { return Ok(()) };
    let (before, _) = text.split_at(at);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Err(Error { line, column, message: "control characters are not allowed".to_owned() })
}

struct Composer<'t> {
    scanner: Scanner<'t>,
    /// Bytes of the byte order mark.
    skipped: usize,
    /// The document's own handles of tags, and what they stand for.
    handles: Vec<(String, String)>,
    anchors: HashMap<String, Arc<Node>>,
    depth: usize,
}

/// What stands before a node.
#[derive(Default)]
struct Properties {
    anchor: Option<String>,
    tag: Option<String>,
    start: Option<Mark>,
    end: Mark,
}

/// The inside of a list or a map.
struct Inside {
    data: Data,
    end: Mark,
}

impl Composer<'_> {
    fn peek(&mut self) -> Result<&Token, Error> {
        Ok(&self.scanner.peek()?.token)
    }

    fn next(&mut self) -> Result<Spanned, Error> {
        self.scanner.next()
    }

    /// An error at the next token.
    fn unexpected<T>(&mut self, message: &str) -> Result<T, Error> {
        Err(Scanner::error_at(self.scanner.peek()?.start, message))
    }

    fn documents(&mut self) -> Result<Vec<Node>, Error> {
        let mut documents = vec![];
        loop {
            // Only the first document may do without `---`.
            while !documents.is_empty() && *self.peek()? == Token::DocumentEnd {
                self.next()?;
            }
            let explicit = matches!(
                self.peek()?,
                Token::Version(..) | Token::TagDirective { .. } | Token::DocumentStart
            );
            if !explicit && *self.peek()? == Token::StreamEnd {
                return Ok(documents);
            }
            self.anchors.clear();
            if explicit || !documents.is_empty() {
                documents.push(self.explicit_document()?);
            } else {
                documents.push(self.node(true, false)?);
            }
            if *self.peek()? == Token::DocumentEnd {
                self.next()?;
            }
            self.handles.clear();
        }
    }

    fn explicit_document(&mut self) -> Result<Node, Error> {
        self.directives()?;
        if *self.peek()? != Token::DocumentStart {
            return self.unexpected("did not find expected <document start>");
        }
        let mark = self.next()?.end;
        match self.peek()? {
            Token::Version(..)
            | Token::TagDirective { .. }
            | Token::DocumentStart
            | Token::DocumentEnd
            | Token::StreamEnd => Ok(self.empty(mark)),
            _ => self.node(true, false),
        }
    }

    fn directives(&mut self) -> Result<(), Error> {
        let mut version = false;
        while matches!(self.peek()?, Token::Version(..) | Token::TagDirective { .. }) {
            let Spanned { token, start, .. } = self.next()?;
            match token {
                Token::Version(..) if version => {
                    return Err(Scanner::error_at(start, "found duplicate %YAML directive"));
                }
                Token::Version(1, 1) => version = true,
                Token::Version(..) => {
                    return Err(Scanner::error_at(start, "found incompatible YAML document"));
                }
                Token::TagDirective { handle, .. }
                    if self.handles.iter().any(|(known, _)| *known == handle) =>
                {
                    return Err(Scanner::error_at(start, "found duplicate %TAG directive"));
                }
                Token::TagDirective { handle, prefix } => self.handles.push((handle, prefix)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Nothing, which reads as null.
    fn empty(&self, mark: Mark) -> Node {
        self.made(Data::Scalar { text: String::new(), style: Style::Plain }, None, mark, mark)
    }

    fn made(&self, data: Data, tag: Option<String>, start: Mark, end: Mark) -> Node {
        let span = start.byte + self.skipped..end.byte + self.skipped;
        Node { data, tag, span, line: start.line + 1, column: start.column + 1 }
    }

    /// A node; `block`: in block context, `indentless`: a list may stand at the indent of its field.
    fn node(&mut self, block: bool, indentless: bool) -> Result<Node, Error> {
        if let Token::Alias(_) = self.peek()? {
            return self.alias();
        }
        let properties = self.properties()?;
        let next = self.scanner.peek()?;
        let (start, token) = (properties.start.unwrap_or(next.start), next.start);
        if self.depth > DEPTH_LIMIT {
            return Err(Scanner::error_at(start, &format!("nested deeper than {DEPTH_LIMIT} levels")));
        }
        self.depth += 1;
        let inside = match &next.token {
            Token::BlockEntry if indentless => self.indentless()?,
            Token::Scalar { .. } => {
                let end = next.end;
                let Token::Scalar { text, style } = self.next()?.token else {
                    return self.unexpected("did not find expected node content");
                };
                Inside { data: Data::Scalar { text, style }, end }
            }
            Token::FlowSequenceStart => self.flow_sequence()?,
            Token::FlowMappingStart => self.flow_mapping()?,
            Token::BlockSequenceStart if block => self.block_sequence()?,
            Token::BlockMappingStart if block => self.block_mapping()?,
            _ if properties.anchor.is_some() || properties.tag.is_some() => {
                let data = Data::Scalar { text: String::new(), style: Style::Plain };
                Inside { data, end: properties.end }
            }
            _ => return self.unexpected("did not find expected node content"),
        };
        self.depth -= 1;
        // A scalar's span is its text alone, so that it can be replaced; nothing stands behind its properties.
        let is_text = matches!(inside.data, Data::Scalar { .. });
        let from = if is_text { token.min_byte(inside.end) } else { start };
        let mut node = self.made(inside.data, properties.tag, from, inside.end);
        (node.line, node.column) = (start.line + 1, start.column + 1);
        if let Some(anchor) = properties.anchor {
            self.anchors.insert(anchor, Arc::new(node.clone()));
        }
        Ok(node)
    }

    fn alias(&mut self) -> Result<Node, Error> {
        let Spanned { token: Token::Alias(name), start, end } = self.next()? else {
            return self.unexpected("did not find expected node content");
        };
        match self.anchors.get(&name) {
            Some(node) => Ok(self.made(Data::Alias(node.clone()), None, start, end)),
            None => Err(Scanner::error_at(start, &format!("unknown anchor '{name}' referenced"))),
        }
    }

    /// An anchor and a tag, in either order, each at most once.
    fn properties(&mut self) -> Result<Properties, Error> {
        let mut properties = Properties::default();
        loop {
            match self.peek()? {
                Token::Anchor(_) if properties.anchor.is_none() => {}
                Token::Tag { .. } if properties.tag.is_none() => {}
                _ => return Ok(properties),
            }
            let Spanned { token, start, end } = self.next()?;
            properties.start = properties.start.or(Some(start));
            properties.end = end;
            match token {
                Token::Anchor(name) => properties.anchor = Some(name),
                Token::Tag { handle, suffix } => {
                    let tag = self.expanded(&handle, &suffix);
                    let tag = tag.ok_or_else(|| Scanner::error_at(start, "found undefined tag handle"))?;
                    properties.tag = Some(tag);
                }
                _ => {}
            }
        }
    }

    fn expanded(&self, handle: &str, suffix: &str) -> Option<String> {
        let own = self.handles.iter().find(|(known, _)| known == handle);
        let prefix = match (own, handle) {
            (Some((_, prefix)), _) => prefix,
            (None, "" | "!") => handle,
            (None, "!!") => CORE,
            (None, _) => return None,
        };
        Some(format!("{prefix}{suffix}")).filter(|tag| !tag.is_empty())
    }

    /// The node behind an indicator that ended at `mark`, or nothing if one of the tokens that may follow comes.
    fn item(
        &mut self,
        mark: Mark,
        block: bool,
        indentless: bool,
        ends: fn(&Token) -> bool,
    ) -> Result<Node, Error> {
        if ends(self.peek()?) { Ok(self.empty(mark)) } else { self.node(block, indentless) }
    }

    fn block_sequence(&mut self) -> Result<Inside, Error> {
        self.next()?;
        let mut items = vec![];
        loop {
            match self.peek()? {
                Token::BlockEntry => {
                    let mark = self.next()?.end;
                    let ends = |token: &Token| matches!(token, Token::BlockEntry | Token::BlockEnd);
                    items.push(self.item(mark, true, false, ends)?);
                }
                Token::BlockEnd => {
                    let end = self.next()?.end;
                    return Ok(Inside { data: Data::Sequence(items), end });
                }
                _ => return self.unexpected("did not find expected '-' indicator"),
            }
        }
    }

    /// A list whose items stand at the indent of their field.
    fn indentless(&mut self) -> Result<Inside, Error> {
        let mut items = vec![];
        while *self.peek()? == Token::BlockEntry {
            let mark = self.next()?.end;
            let ends = |token: &Token| {
                matches!(token, Token::BlockEntry | Token::Key | Token::Value | Token::BlockEnd)
            };
            items.push(self.item(mark, true, false, ends)?);
        }
        let end = self.scanner.peek()?.start;
        Ok(Inside { data: Data::Sequence(items), end })
    }

    fn block_mapping(&mut self) -> Result<Inside, Error> {
        self.next()?;
        let ends = |token: &Token| matches!(token, Token::Key | Token::Value | Token::BlockEnd);
        let mut pairs = vec![];
        loop {
            match self.peek()? {
                Token::Key => {
                    let mark = self.next()?.end;
                    let key = self.item(mark, true, true, ends)?;
                    let value = if *self.peek()? == Token::Value {
                        let mark = self.next()?.end;
                        self.item(mark, true, true, ends)?
                    } else {
                        let mark = self.scanner.peek()?.start;
                        self.empty(mark)
                    };
                    pairs.push((key, value));
                }
                Token::BlockEnd => {
                    let end = self.next()?.end;
                    return Ok(Inside { data: Data::Mapping(pairs), end });
                }
                _ => return self.unexpected("did not find expected key"),
            }
        }
    }

    /// Over the comma before every item but the first; whether the collection ends here.
    fn flow_ends(&mut self, first: bool, end: &Token, message: &str) -> Result<bool, Error> {
        if self.peek()? == end {
            return Ok(true);
        }
        if !first {
            if *self.peek()? != Token::FlowEntry {
                return self.unexpected(message);
            }
            self.next()?;
        }
        Ok(self.peek()? == end)
    }

    fn flow_sequence(&mut self) -> Result<Inside, Error> {
        self.next()?;
        let mut items = vec![];
        while !self.flow_ends(
            items.is_empty(),
            &Token::FlowSequenceEnd,
            "did not find expected ',' or ']'",
        )? {
            let item = if *self.peek()? == Token::Key { self.pair()? } else { self.node(false, false)? };
            items.push(item);
        }
        let end = self.next()?.end;
        Ok(Inside { data: Data::Sequence(items), end })
    }

    /// `key: value` as an item of a list: a map of one field.
    fn pair(&mut self) -> Result<Node, Error> {
        let start = self.next()?.start;
        let ends = |token: &Token| matches!(token, Token::Value | Token::FlowEntry | Token::FlowSequenceEnd);
        let key = if ends(self.peek()?) {
            // libyaml swallows what comes instead of the key.
            let mark = self.next()?.end;
            self.empty(mark)
        } else {
            self.node(false, false)?
        };
        let ends = |token: &Token| matches!(token, Token::FlowEntry | Token::FlowSequenceEnd);
        let value = self.flow_value(ends)?;
        let end = self.scanner.peek()?.start;
        Ok(self.made(Data::Mapping(vec![(key, value)]), None, start, end))
    }

    /// The value behind a key in brackets, if there is one.
    fn flow_value(&mut self, ends: fn(&Token) -> bool) -> Result<Node, Error> {
        if *self.peek()? == Token::Value {
            self.next()?;
            if !ends(self.peek()?) {
                return self.node(false, false);
            }
        }
        let mark = self.scanner.peek()?.start;
        Ok(self.empty(mark))
    }

    fn flow_mapping(&mut self) -> Result<Inside, Error> {
        self.next()?;
        let mut pairs = vec![];
        while !self.flow_ends(pairs.is_empty(), &Token::FlowMappingEnd, "did not find expected ',' or '}'")? {
            let ends = |token: &Token| matches!(token, Token::FlowEntry | Token::FlowMappingEnd);
            if *self.peek()? != Token::Key {
                let key = self.node(false, false)?;
                let mark = self.scanner.peek()?.start;
                pairs.push((key, self.empty(mark)));
                continue;
            }
            self.next()?;
            let key = if *self.peek()? == Token::Value || ends(self.peek()?) {
                let mark = self.scanner.peek()?.start;
                self.empty(mark)
            } else {
                self.node(false, false)?
            };
            let value = self.flow_value(ends)?;
            pairs.push((key, value));
        }
        let end = self.next()?.end;
        Ok(Inside { data: Data::Mapping(pairs), end })
    }
}
