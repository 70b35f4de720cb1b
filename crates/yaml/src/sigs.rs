//! From values to text exactly as sigs.k8s.io/yaml writes them, which is what kustomize and kubectl print: JSON that is
//! read as YAML and written by go-yaml 2. Fields are sorted in its order, long lines are folded at 80 columns, and what
//! the reader of the JSON does not take is an error.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::{Number, Value};

use crate::resolve::looks_like_float;

/// A line is folded at the first space after this column.
const WIDTH: usize = 80;
/// Longest key, in bytes, that is written on one line with its value.
const SIMPLE_KEY_LENGTH: usize = 128;
/// Longest key, in characters of the JSON text, that the reader takes.
const KEY_LIMIT: usize = 1024;
/// go-yaml reads a next line in a quoted string as a line break, and folds it.
const NEXT_LINE: char = '\u{85}';
/// A field of this name is lost when the JSON is read, whatever its value.
const MERGE_KEY: &str = "<<";
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What can be written: a tree of values, in whatever form it is kept.
pub trait Emit: Sized {
    /// What the value is. The error says why it has no form in JSON.
    fn view(&self) -> Result<View<'_, Self>, String>;
}

/// A value, seen from outside.
#[derive(Debug)]
pub enum View<'v, T> {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Cow<'v, str>),
    /// A list.
    List(&'v [T]),
    /// A map, every name once.
    Map(Vec<(&'v str, &'v T)>),
}

impl Emit for Value {
    fn view(&self) -> Result<View<'_, Self>, String> {
        Ok(match self {
            Self::Null => View::Null,
            Self::Bool(flag) => View::Bool(*flag),
            Self::Number(number) => View::Number(number.clone()),
            Self::String(text) => View::Text(Cow::Borrowed(text)),
            Self::Array(items) => View::List(items),
            Self::Object(map) => View::Map(map.iter().map(|(name, value)| (name.as_str(), value)).collect()),
        })
    }
}

/// One document with a line end. The error names a text that the way through JSON does not survive.
pub fn marshal<T: Emit>(value: &T) -> Result<String, String> {
    let mut out = String::new();
    marshal_into(&mut out, value)?;
    Ok(out)
}

/// As [`marshal`], at the end of a text.
pub fn marshal_into<T: Emit>(out: &mut String, value: &T) -> Result<(), String> {
    let mut emitter = Emitter { out: std::mem::take(out), ..Emitter::default() };
    let written = emitter.node(value, Place::Root);
    emitter.out.push('\n');
    *out = emitter.out;
    written
}

/// One step from a value to a value in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathStep {
    /// The field of a map.
    Field(String),
    /// The item of a list.
    Item(usize),
}

/// The bytes at which values begin, and the ways to these.
pub type Places = Vec<(usize, Vec<PathStep>)>;

/// As [`marshal`], and for each value the byte at which it begins, with its key: parents before what is in them.
pub fn marshal_with_places<T: Emit>(value: &T) -> Result<(String, Places), String> {
    let mut emitter = Emitter { places: Some(vec![]), ..Emitter::default() };
    emitter.node(value, Place::Root)?;
    emitter.out.push('\n');
    Ok((emitter.out, emitter.places.unwrap_or_default()))
}

/// Where a node stands, and the indent of the collection that it is in.
#[derive(Clone, Copy)]
enum Place {
    Root,
    Value {
        indent: usize,
    },
    /// After the `: ` of a key that has a line of its own.
    LongValue {
        indent: usize,
    },
    Item {
        indent: usize,
    },
}

impl Place {
    /// The indent of what is inside.
    fn inner(self) -> usize {
        match self {
            Self::Root => 0,
            Self::Value { indent } | Self::LongValue { indent } | Self::Item { indent } => indent + 2,
        }
    }
}

#[derive(Default)]
struct Emitter {
    out: String,
    column: usize,
    /// The way to the current value, and where each value began, if somebody wants to know.
    path: Vec<PathStep>,
    places: Option<Places>,
}

impl Emitter {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn put_ascii(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.len();
    }

    fn put_char(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    fn pad(&mut self, indent: usize) {
        let missing = indent.saturating_sub(self.column);
        self.out.extend(std::iter::repeat_n(' ', missing));
        self.column += missing;
    }

    fn new_line(&mut self, indent: usize) {
        self.out.push('\n');
        self.column = 0;
        self.pad(indent);
    }

    fn enter(&mut self, step: impl FnOnce() -> PathStep) {
        if let Some(places) = &mut self.places {
            self.path.push(step());
            places.push((self.out.len(), self.path.clone()));
        }
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn node<T: Emit>(&mut self, value: &T, place: Place) -> Result<(), String> {
        match value.view()? {
            View::Map(fields) if !fields.is_empty() => self.mapping(fields, place),
            View::List(items) if !items.is_empty() => self.sequence(items, place),
            scalar => {
                if let Place::Value { .. } = place {
                    self.put_char(' ');
                }
                self.scalar(&scalar, place.inner())
            }
        }
    }

    fn mapping<T: Emit>(&mut self, mut fields: Vec<(&str, &T)>, place: Place) -> Result<(), String> {
        let indent = place.inner();
        fields.retain(|(key, _)| *key != MERGE_KEY);
        // After a key the first field has a line of its own; elsewhere it stands where the map begins.
        let mut on_new_line = matches!(place, Place::Value { .. });
        for (key, value) in sorted(fields) {
            if on_new_line {
                self.new_line(indent);
            }
            on_new_line = true;
            self.enter(|| PathStep::Field(key.to_owned()));
            let is_word = key.len() <= SIMPLE_KEY_LENGTH && is_word(key);
            if !is_word {
                check_key(key)?;
            }
            if is_word || (key.len() <= SIMPLE_KEY_LENGTH && !key.contains(is_break)) {
                if is_word {
                    self.put_ascii(key)
                } else {
                    self.text(key, indent + 2, true)
                }
                self.put_char(':');
                self.node(value, Place::Value { indent })?;
            } else {
                self.put("? ");
                self.text(key, indent + 2, false);
                self.new_line(indent);
                self.put(": ");
                self.node(value, Place::LongValue { indent })?;
            }
            self.leave();
        }
        Ok(())
    }

    fn sequence<T: Emit>(&mut self, items: &[T], place: Place) -> Result<(), String> {
        // The items of a field stand at the field's own indent.
        let (indent, mut on_new_line) = match place {
            Place::Value { indent } => (indent, true),
            other => (other.inner(), false),
        };
        for (position, item) in items.iter().enumerate() {
            if on_new_line {
                self.new_line(indent);
            }
            on_new_line = true;
            self.enter(|| PathStep::Item(position));
            self.put("- ");
            self.node(item, Place::Item { indent })?;
            self.leave();
        }
        Ok(())
    }

    fn scalar<T>(&mut self, value: &View<'_, T>, indent: usize) -> Result<(), String> {
        match value {
            View::Null => self.put("null"),
            View::Bool(flag) => self.put(if *flag { "true" } else { "false" }),
            View::Number(number) => self.put(&number_text(number)),
            View::Text(text) if is_word(text) => self.put_ascii(text),
            View::Text(text) => self.text(&read_text(text)?, indent, false),
            View::List(_) => self.put("[]"),
            View::Map(_) => self.put("{}"),
        }
        Ok(())
    }

    /// A string in the style that the text needs.
    fn text(&mut self, text: &str, indent: usize, simple_key: bool) {
        let facts = Facts::of(text);
        if text.contains('\n') {
            if facts.block_allowed && !simple_key {
                self.literal(text, indent);
            } else {
                self.double_quoted(text, indent, simple_key);
            }
        } else if !is_string(text) {
            self.double_quoted(text, indent, simple_key);
        } else if facts.plain_allowed {
            self.plain(text, indent, simple_key);
        } else if facts.single_quoted_allowed {
            self.single_quoted(text, indent, simple_key);
        } else {
            self.double_quoted(text, indent, simple_key);
        }
    }

    fn folds(&self, simple_key: bool, after_space: bool) -> bool {
        !simple_key && !after_space && self.column > WIDTH
    }

    fn plain(&mut self, text: &str, indent: usize, simple_key: bool) {
        // Most strings are short, and nothing happens to them.
        if self.column + text.len() <= WIDTH {
            return self.put(text);
        }
        let mut after_space = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            if character == ' ' && self.folds(simple_key, after_space) && characters.peek() != Some(&' ') {
                self.new_line(indent);
            } else {
                self.put_char(character);
            }
            after_space = character == ' ';
        }
    }

    fn single_quoted(&mut self, text: &str, indent: usize, simple_key: bool) {
        self.put_char('\'');
        let (mut after_space, mut after_break, mut first) = (false, false, true);
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek();
            if character == ' ' {
                let inside = !first && next.is_some_and(|next| *next != ' ');
                if inside && self.folds(simple_key, after_space) {
                    self.new_line(indent);
                } else {
                    self.put_char(' ');
                }
            } else if is_break(character) {
                self.out.push(character);
                self.column = 0;
            } else {
                if after_break {
                    self.pad(indent);
                }
                if character == '\'' {
                    self.put_char('\'');
                }
                self.put_char(character);
            }
            after_space = character == ' ';
            after_break = is_break(character) || (after_break && character == ' ');
            first = false;
        }
        self.put_char('\'');
    }

    fn double_quoted(&mut self, text: &str, indent: usize, simple_key: bool) {
        self.put_char('"');
        // go-yaml looks for the mark at the start of the text wherever it is.
        let marked = text.starts_with(BYTE_ORDER_MARK);
        let (mut after_space, mut first) = (false, true);
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek().copied();
            if marked || !is_printable(character) || is_break(character) || "\"\\".contains(character) {
                self.escaped(character);
                after_space = false;
            } else if character == ' ' {
                if !first && next.is_some() && self.folds(simple_key, after_space) {
                    self.new_line(indent);
                    if next == Some(' ') {
                        self.put_char('\\');
                    }
                } else {
                    self.put_char(' ');
                }
                after_space = true;
            } else {
                self.put_char(character);
                after_space = false;
            }
            first = false;
        }
        self.put_char('"');
    }

    fn escaped(&mut self, character: char) {
        let short = match character {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            NEXT_LINE => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            other => {
                let code = u32::from(other);
                let long = match code {
                    0..=0xff => format!("\\x{code:02X}"),
                    0x100..=0xffff => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                };
                return self.put(&long);
            }
        };
        self.put_char('\\');
        self.put_char(short);
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put_char('|');
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            self.put_char('2');
        }
        let mut from_the_end = text.chars().rev();
        match (from_the_end.next().is_some_and(is_break), from_the_end.next().is_none_or(is_break)) {
            (false, _) => self.put_char('-'),
            (true, true) => self.put_char('+'),
            (true, false) => {}
        }
        self.out.push('\n');
        self.column = 0;
        let mut after_break = true;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            if is_break(character) {
                // The line end of the scalar itself is written by whatever comes next.
                if character == '\n' && characters.peek().is_none() {
                    break;
                }
                self.out.push(character);
                self.column = 0;
                after_break = true;
                continue;
            }
            if after_break {
                self.pad(indent);
            }
            self.put_char(character);
            after_break = false;
        }
    }
}

/// What may be done with a text.
struct Facts {
    plain_allowed: bool,
    single_quoted_allowed: bool,
    block_allowed: bool,
}

impl Facts {
    fn of(text: &str) -> Self {
        let (mut break_space, mut space_break, mut special) = (false, false, false);
        let (mut after_space, mut after_break) = (false, false);
        for character in text.chars() {
            special |= !is_printable(character);
            break_space |= character == ' ' && after_break;
            space_break |= is_break(character) && after_space;
            after_space = character == ' ';
            after_break = is_break(character);
        }
        let is_margin = |c: Option<char>| c.is_some_and(|c| c == ' ' || is_break(c));
        let margins = is_margin(text.chars().next()) || is_margin(text.chars().next_back());
        let broken = break_space || space_break || special;
        Self {
            plain_allowed: !margins && !broken && !text.contains(is_break) && !has_indicators(text),
            single_quoted_allowed: !broken,
            block_allowed: !text.is_empty() && !text.ends_with(' ') && !space_break && !special,
        }
    }
}

/// Whether a text without quotes would begin or end something in block context.
fn has_indicators(text: &str) -> bool {
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let blank = |c: &char| matches!(c, ' ' | '\t');
    let mut before_is_space = true;
    let mut first = true;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let space_follows = characters.peek().is_none_or(blank);
        let indicator = match character {
            ':' => space_follows,
            '?' | '-' => first && space_follows,
            '#' => before_is_space,
            other => first && ",[]{}&*!|>'\"%@`".contains(other),
        };
        if indicator {
            return true;
        }
        before_is_space = blank(&character) || is_break(character);
        first = false;
    }
    false
}

/// Whether a text is certainly written as it is, on one line; most are. What begins with a letter and has no spaces can
/// only be a word that is known, or the key that a colon at its end would make it.
fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(u8::is_ascii_graphic)
        && bytes.last() != Some(&b':')
        && (bytes.len() > 5 || !is_known(text))
}

fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | NEXT_LINE | '\u{2028}' | '\u{2029}')
}

/// What go-yaml 2 writes as it is: no tabs, and nothing beyond 16 bits.
fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// A text after it was JSON that go-yaml read.
fn read_text(text: &str) -> Result<Cow<'_, str>, String> {
    if text.bytes().all(|byte| byte < 0x7f) {
        return Ok(Cow::Borrowed(text));
    }
    if let Some(control) = text.chars().find(|c| is_refused(*c)) {
        return Err(format!("control characters are not allowed: {control:?} in {text:?}"));
    }
    if !text.contains(NEXT_LINE) {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(NEXT_LINE) {
        let (before, after) = rest.split_at(at);
        out.push_str(before.trim_end_matches(' '));
        rest = after.trim_start_matches([' ', NEXT_LINE]);
        let breaks = after[..after.len() - rest.len()].matches(NEXT_LINE).count();
        if breaks == 1 {
            out.push(' ');
        } else {
            out.extend(std::iter::repeat_n('\n', breaks - 1));
        }
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// Whether a key comes through JSON as it is.
fn check_key(key: &str) -> Result<(), String> {
    let too_long = || {
        let escaped = key.chars().filter(|c| matches!(c, '<' | '>' | '&')).count() * 5;
        serde_json::to_string(key).is_ok_and(|text| text.chars().count() + escaped > KEY_LIMIT)
    };
    if key.contains(NEXT_LINE) || (key.len() > KEY_LIMIT / 6 && too_long()) {
        return Err(format!("the key {key:?} cannot be read again: it is too long or has a line end in it"));
    }
    read_text(key).map(drop)
}

/// The least integer of 64 bits with a sign, and what is above all without.
const INT_MIN: f64 = -9_223_372_036_854_775_808.0;
const INT_END: f64 = 18_446_744_073_709_551_616.0;

/// What JSON does not escape and YAML does not take.
fn is_refused(character: char) -> bool {
    matches!(character, '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}')
}

/// Texts that are no strings without quotes.
#[rustfmt::skip]
fn is_known(text: &str) -> bool {
    matches!(
        text,
        "~" | "null" | "Null" | "NULL" | "true" | "True" | "TRUE" | "false" | "False" | "FALSE" | "y" | "Y" | "yes"
            | "Yes" | "YES" | "on" | "On" | "ON" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | ".nan"
            | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF"
    )
}

/// Whether go-yaml 2, and readers of YAML 1.1 with base 60, take a text without quotes for a string.
fn is_string(text: &str) -> bool {
    let Some(first) = text.bytes().next() else { return false };
    if is_known(text) {
        return false;
    }
    match first {
        b'.' => !is_go_float(text),
        b'0'..=b'9' | b'+' | b'-' => !is_number(text) && !is_timestamp(text) && !is_base_60(text),
        _ => true,
    }
}

/// A decimal fraction as Go reads one: `_` only between digits.
fn is_go_float(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| digit(at.checked_sub(1)) && digit(at.checked_add(1));
    let fits = bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || separates(at));
    fits && is_finite_float(&text.replace('_', ""))
}

/// Go's reader of numbers refuses what is too large for 64 bits.
fn is_finite_float(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    looks_like_float(digits) && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn is_number(text: &str) -> bool {
    let packed = text.replace('_', "");
    let (negative, digits) = match packed.as_bytes().first() {
        Some(b'-') => (true, &packed[1..]),
        Some(b'+') => (false, &packed[1..]),
        _ => (false, packed.as_str()),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let magnitude = match rest.as_bytes().first() {
        Some(byte) if byte.is_ascii_alphanumeric() => u64::from_str_radix(rest, base).ok(),
        _ => None,
    };
    let fits = magnitude.is_some_and(|magnitude| match (negative, packed.starts_with('+')) {
        (true, _) => magnitude <= 1 << 63,
        (false, true) => i64::try_from(magnitude).is_ok(),
        (false, false) => true,
    });
    fits || is_finite_float(&packed)
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`
fn is_base_60(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let head = parts.next().unwrap_or_default();
    let digits_or_underscores = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let parts: Vec<&[u8]> = parts.map(str::as_bytes).collect();
    let is_part = |part: &&[u8]| match part {
        [one] => one.is_ascii_digit(),
        [ten, one] => matches!(ten, b'0'..=b'5') && one.is_ascii_digit(),
        _ => false,
    };
    head.starts_with(|c: char| c.is_ascii_digit())
        && digits_or_underscores(head)
        && !parts.is_empty()
        && parts.iter().all(is_part)
        && digits_or_underscores(fraction)
}

/// The forms of a time that go-yaml knows: a date, or a date with a time after `T`, `t` (with a zone) or a space.
fn is_timestamp(text: &str) -> bool {
    let Some((year, rest)) = text.split_once('-') else { return false };
    let (date, time) = match rest.find(['T', 't', ' ']) {
        Some(at) => (&rest[..at], Some(&rest[at..])),
        None => (rest, None),
    };
    let Some((month, day)) = date.split_once('-') else { return false };
    let is_year = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit());
    let (Ok(year), Some(month), Some(day)) = (year.parse::<u32>(), short(month), short(day)) else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return false,
    };
    is_year && (1..=days).contains(&day) && time.is_none_or(is_time)
}

/// A number of one or two digits.
fn short(text: &str) -> Option<u32> {
    let fits = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

/// A time with the separator before it.
fn is_time(text: &str) -> bool {
    let (separator, text) = text.split_at(1);
    let (clock, zoned) = if separator == " " { (text, true) } else { without_zone(text) };
    let mut parts = clock.splitn(3, ':');
    let [Some(hours), Some(minutes), Some(seconds)] = [parts.next(), parts.next(), parts.next()] else {
        return false;
    };
    let (seconds, fraction) = match seconds.find(['.', ',']) {
        Some(at) => (&seconds[..at], Some(&seconds[at + 1..])),
        None => (seconds, None),
    };
    let below = |text: &str, limit: u32| short(text).is_some_and(|number| number < limit);
    let is_fraction = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    zoned && below(hours, 24) && below(minutes, 60) && below(seconds, 60) && fraction.is_none_or(is_fraction)
}

/// A clock time, and whether a zone came after it.
fn without_zone(text: &str) -> (&str, bool) {
    if let Some(clock) = text.strip_suffix('Z') {
        return (clock, true);
    }
    let Some(at) = text.len().checked_sub(6).filter(|at| text.is_char_boundary(*at)) else {
        return (text, false);
    };
    let (clock, zone) = text.split_at(at);
    let bytes = zone.as_bytes();
    let two =
        |range: &str, limit: u32| range.len() == 2 && short(range).is_some_and(|number| number <= limit);
    let fits = zone.is_ascii()
        && matches!(bytes[0], b'+' | b'-')
        && bytes[3] == b':'
        && two(&zone[1..3], 24)
        && two(&zone[4..6], 60);
    (clock, fits)
}

/// A number in Go's shortest form.
fn number_text(number: &Number) -> String {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (None, None, Some(0.0)) => "0".to_owned(),
        // JSON has whole numbers without a point, and the reader takes them for integers of 64 bits.
        (None, None, Some(float)) if float.fract() == 0.0 && (INT_MIN..INT_END).contains(&float) => {
            float.to_string()
        }
        (None, None, Some(float)) => float_text(float),
        _ => number.to_string(),
    }
}

/// Go's `%g` with the fewest digits: below 1e-4 and from 1e6 on with an exponent of two digits or more.
fn float_text(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return float.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let mut out = String::new();
    let _ = write!(out, "{digits}e{sign}{:02}", exponent.unsigned_abs());
    out
}

/// Fields in go-yaml's order of keys. Its comparison is no order for some odd keys, which a sort of the standard library
/// could refuse; this one takes any answers.
fn sorted<'a, T>(mut fields: Vec<(&'a str, &'a T)>) -> Vec<(&'a str, &'a T)> {
    // Of such keys the order is that of their bytes.
    let is_usual = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'.' | b'/');
    if fields.iter().all(|(key, _)| key.bytes().all(is_usual)) {
        fields.sort_unstable_by_key(|(key, _)| *key);
        return fields;
    }
    merge_sorted(fields)
}

fn merge_sorted<'a, T>(mut keys: Vec<(&'a str, &'a T)>) -> Vec<(&'a str, &'a T)> {
    if keys.len() < 2 {
        return keys;
    }
    let right = merge_sorted(keys.split_off(keys.len() / 2));
    let left = merge_sorted(keys);
    if let (Some(last), Some(first)) = (left.last(), right.first())
        && compare(last.0, first.0) != Ordering::Greater
    {
        return left.into_iter().chain(right).collect();
    }
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if compare(a.0, b.0) == Ordering::Greater { right.next() } else { left.next() };
        merged.extend(next);
    }
    merged.extend(left.chain(right));
    merged
}

/// Numbers within keys count as numbers, and letters come after everything else.
fn compare(a: &str, b: &str) -> Ordering {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let at = (0..=same).rev().find(|at| a.is_char_boundary(*at) && b.is_char_boundary(*at)).unwrap_or(0);
    let ((common, a), b) = (a.split_at(at), &b[at..]);
    let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) else {
        return a.len().cmp(&b.len());
    };
    match (first.is_alphabetic(), second.is_alphabetic()) {
        (true, true) => return first.cmp(&second),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (count_a, count_b) = (digits(a), digits(b));
    let before = &common[common.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
    // Zeros after a digit are part of a larger number: then only the lengths and the digits count.
    let within = (first == '0' || second == '0') && before.bytes().any(|digit| digit != b'0');
    let number = |text: &str, start: i64| {
        text.bytes().fold(start, |n, digit| n.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')))
    };
    let start = i64::from(within);
    number(&a[..count_a], start)
        .cmp(&number(&b[..count_b], start))
        .then(count_a.cmp(&count_b))
        .then(first.cmp(&second))
}
