//! From values to text, byte for byte as sigs.k8s.io/yaml writes it (kubectl and kustomize do it with that): lines are
//! folded after 80 characters, and only what its own reader would misread is quoted.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use crate::resolve::{self, Resolver, Scalar};

/// A line is folded at the first space after this many characters.
const WIDTH: usize = 80;
/// A longer key is written as `? key`.
const KEY_LIMIT: usize = 128;

/// One document with a line end. Keys are in the order of the library: numbers in them count as numbers.
pub fn emit_exact(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => writer.mapping(map, 0),
        Value::Array(items) if !items.is_empty() => writer.sequence(items, 0),
        _ => {
            writer.inline(value, 0);
            writer.end_line();
        }
    }
    writer.out
}

struct Writer {
    out: String,
    /// How many characters the current line has.
    column: usize,
}

/// How a string is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn character(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    fn line(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    /// Ends a line unless something did so already, as a block that keeps its line ends does.
    fn end_line(&mut self) {
        if self.column > 0 {
            self.line();
        }
    }

    fn indent(&mut self, count: usize) {
        while self.column < count {
            self.character(' ');
        }
    }

    fn mapping(&mut self, map: &Map<String, Value>, indent: usize) {
        for (key, value) in sorted(map) {
            // The first key stands after `- ` or at the start, where the indent is already written.
            self.indent(indent);
            if key.len() > KEY_LIMIT || key.contains('\n') {
                self.text("? ");
                self.string(key, style(key), indent + 2, true);
                self.end_line();
                self.indent(indent);
            } else {
                let style = if key.is_empty() { Style::Double } else { style(key) };
                self.string(key, style, indent + 2, false);
            }
            self.text(":");
            match value {
                Value::Object(map) if !map.is_empty() => {
                    self.line();
                    self.mapping(map, indent + 2);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.line();
                    self.sequence(items, indent);
                }
                _ => {
                    self.text(" ");
                    self.inline(value, indent);
                    self.end_line();
                }
            }
        }
    }

    fn sequence(&mut self, items: &[Value], indent: usize) {
        for item in items {
            self.indent(indent);
            self.text("- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.mapping(map, indent + 2),
                Value::Array(items) if !items.is_empty() => self.sequence(items, indent + 2),
                _ => {
                    self.inline(item, indent);
                    self.end_line();
                }
            }
        }
    }

    /// A scalar or an empty collection.
    fn inline(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.text("null"),
            Value::Bool(flag) => self.text(if *flag { "true" } else { "false" }),
            Value::Number(number) => self.text(&self::number(number)),
            Value::String(text) => self.string(text, style(text), indent + 2, true),
            Value::Array(_) => self.text("[]"),
            Value::Object(_) => self.text("{}"),
        }
    }

    fn string(&mut self, text: &str, style: Style, indent: usize, folds: bool) {
        match style {
            // Most strings are short, and nothing happens to them.
            Style::Plain if self.column + text.len() <= WIDTH => self.text(text),
            Style::Plain => self.plain(text, indent, folds),
            Style::Single => self.single(text, indent, folds),
            Style::Double => self.double(text, indent, folds),
            Style::Literal => self.literal(text, indent),
        }
    }

    fn fold(&mut self, indent: usize) {
        self.line();
        self.indent(indent);
    }

    fn plain(&mut self, text: &str, indent: usize, folds: bool) {
        let mut before_is_space = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let space = character == ' ';
            if space && folds && !before_is_space && self.column > WIDTH && characters.peek() != Some(&' ') {
                self.fold(indent);
            } else {
                self.character(character);
            }
            before_is_space = space;
        }
    }

    fn single(&mut self, text: &str, indent: usize, folds: bool) {
        self.character('\'');
        let (mut first, mut before_is_space, mut after_break) = (true, false, false);
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek();
            let space = character == ' ';
            if after_break && !is_break(character) && !space {
                self.indent(indent);
            }
            after_break = is_break(character) || (after_break && space);
            let inside = !first && next.is_some_and(|next| *next != ' ');
            if space && folds && !before_is_space && self.column > WIDTH && inside {
                self.fold(indent);
            } else if is_break(character) {
                self.out.push(character);
                self.column = 0;
            } else {
                if character == '\'' {
                    self.character('\'');
                }
                self.character(character);
            }
            before_is_space = space;
            first = false;
        }
        self.character('\'');
    }

    fn double(&mut self, text: &str, indent: usize, folds: bool) {
        self.character('"');
        let (mut first, mut before_is_space) = (true, false);
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek();
            let space = character == ' ';
            if space && folds && !before_is_space && self.column > WIDTH && !first && next.is_some() {
                self.fold(indent);
                if next == Some(&' ') {
                    self.character('\\');
                }
            } else if matches!(character, '"' | '\\') || is_break(character) || !is_printable(character) {
                self.text(&escape(character));
            } else {
                self.character(character);
            }
            before_is_space = space;
            first = false;
        }
        self.character('"');
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.character('|');
        // A first line that begins with a space or is empty hides the indent from the reader.
        if text.starts_with([' ', '\n']) {
            self.character('2');
        }
        let body = text.trim_end_matches('\n');
        match text.len() - body.len() {
            0 => self.character('-'),
            1 if !body.is_empty() => {}
            _ => self.character('+'),
        }
        let lines = text.strip_suffix('\n').unwrap_or(text);
        for line in lines.split('\n') {
            self.line();
            if !line.is_empty() {
                self.indent(indent);
                self.text(line);
            }
        }
        if text.ends_with('\n') {
            self.line();
        }
    }
}

fn style(text: &str) -> Style {
    let facts = Facts::of(text);
    if text.contains('\n') {
        return if facts.block { Style::Literal } else { Style::Double };
    }
    let is_string = matches!(text, "<<" | "=")
        || (resolve::plain(text, Resolver::Kubectl) == Scalar::Text
            && !is_base_60(text)
            && !crate::emit::looks_like_date(text)
            && !resolve::looks_like_float(&text.replace('_', "")));
    match () {
        () if !is_string => Style::Double,
        () if facts.plain => Style::Plain,
        () if facts.single => Style::Single,
        () => Style::Double,
    }
}

/// The fields in the library's order.
fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<(&String, &Value)> = map.iter().collect();
    // The order is not proven to be total for every text, and the sort of the standard library may panic then.
    let mut width = 1;
    while width < fields.len() {
        let mut merged = Vec::with_capacity(fields.len());
        for pair in fields.chunks(2 * width) {
            let (left, right) = pair.split_at(width.min(pair.len()));
            let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
            loop {
                let from_right = match (left.peek(), right.peek()) {
                    (Some((left, _)), Some((right, _))) => is_before(right, left),
                    (None, None) => break,
                    (_, right) => right.is_some(),
                };
                merged.extend(if from_right { right.next() } else { left.next() }.copied());
            }
        }
        fields = merged;
        width *= 2;
    }
    fields
}

/// Whether a key comes before another: at the first difference letters come after other characters, and digits count as
/// the number that they begin.
fn is_before(a: &str, b: &str) -> bool {
    let (left, right): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = left.iter().zip(&right).position(|(a, b)| a != b) else { return left.len() < right.len() };
    let (a, b) = (left[at], right[at]);
    match (a.is_alphabetic(), b.is_alphabetic()) {
        (true, true) => return a < b,
        (true, false) => return false,
        (false, true) => return true,
        (false, false) => {}
    }
    let before = left[..at].iter().rev().take_while(|c| c.is_ascii_digit());
    let inside_number = (a == '0' || b == '0') && before.into_iter().any(|c| *c != '0');
    let number = |text: &[char]| {
        let digits = text.iter().map_while(|c| c.to_digit(10)).map(i64::from);
        let start = (i64::from(inside_number), 0);
        digits.fold(start, |(number, count), digit| (number.wrapping_mul(10).wrapping_add(digit), count + 1))
    };
    let (left, right) = (number(&left[at..]), number(&right[at..]));
    if left == right { a < b } else { left < right }
}

/// Which styles a text allows.
struct Facts {
    plain: bool,
    single: bool,
    block: bool,
}

impl Facts {
    fn of(text: &str) -> Self {
        let indicators = text.starts_with("---") || text.starts_with("...");
        let mut facts = Self { plain: !indicators && !text.is_empty(), single: true, block: true };
        let (mut before, mut characters) = (None, text.chars().peekable());
        while let Some(character) = characters.next() {
            let next = characters.peek().copied();
            let blank_follows = next.is_none_or(|next| matches!(next, ' ' | '\t'));
            let blank_before = before.is_none_or(|before| matches!(before, ' ' | '\t') || is_break(before));
            let indicator = match character {
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                    before.is_none()
                }
                '#' => blank_before,
                '?' | '-' => before.is_none() && blank_follows,
                ':' => blank_follows,
                _ => false,
            };
            let at_edge = before.is_none() || next.is_none();
            if indicator || is_break(character) || (character == ' ' && at_edge) {
                facts.plain = false;
            }
            if character == ' ' {
                facts.block &= next.is_some();
                facts.single &= !before.is_some_and(is_break);
            }
            let space_before_break = is_break(character) && before == Some(' ');
            if space_before_break || !is_printable(character) {
                return Self { plain: false, single: false, block: false };
            }
            before = Some(character);
        }
        facts
    }
}

fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What the library takes for printable: nothing beyond the basic plane.
fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

/// `12:30`, a number to base 60 for older readers.
fn is_base_60(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = digits.split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest: Vec<&str> = parts.collect();
    let Some(last) = rest.pop() else { return false };
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let sixty = |text: &str| match text.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    first.starts_with(|c: char| c.is_ascii_digit())
        && number(first)
        && number(fraction)
        && rest.iter().all(|part| sixty(part))
        && sixty(last)
}

fn escape(character: char) -> String {
    let name = match character {
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
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        c if u32::from(c) <= 0xff => return format!("\\x{:02X}", u32::from(c)),
        c if u32::from(c) <= 0xffff => return format!("\\u{:04X}", u32::from(c)),
        c => return format!("\\U{:08X}", u32::from(c)),
    };
    format!("\\{name}")
}

/// Integers as they are, other numbers in Go's shortest form: `1e+21`, `1.2345675e+06`, `0.1`.
fn number(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    if float == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{float:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..=20).contains(&exponent) && (exponent < 6 || float.fract() == 0.0 && float.abs() < 1e15) {
        return format!("{float}");
    }
    let mut out = String::new();
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "{digits}e{sign}{:02}", exponent.abs());
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: &Value, expected: &str) {
        assert_eq!(emit_exact(value), expected);
    }

    /// The expected texts are those of `kubectl kustomize`.
    #[test]
    fn strings_as_the_library_quotes_them() {
        check(
            &json!({"a": "a\tb\nc\n", "b": "<<", "c": "12:30:45", "d": "12:99", "y": "", "e": "x \u{1f600}", "f": "-", "g": "\n", "h": "a\n\n"}),
            "a: \"a\\tb\\nc\\n\"\nb: <<\nc: \"12:30:45\"\nd: 12:99\ne: \"x \\U0001F600\"\nf: '-'\ng: |2+\n\nh: |+\n  a\n\n\"y\": \"\"\n",
        );
        let key = "k".repeat(130);
        check(&json!({ key.as_str(): "v" }), &format!("? {key}\n: v\n"));
    }

    #[test]
    fn keys_are_sorted_as_people_would() {
        let keys =
            ["a10", "a2", "A", "a_b", "ab", "a1b", "a1_", "a01", "a1", "_", "0", "1.10", "1.9", "ANO", "A_F"];
        let map: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), 1.into())).collect();
        let found = sorted(&map).into_iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(found, "_ 0 1.9 1.10 A A_F ANO a_b a1 a1_ a1b a01 a2 a10 ab");
    }

    #[test]
    fn long_lines_are_folded() {
        let words = "word ".repeat(20);
        let words = words.trim();
        let (head, tail) = ("word ".repeat(16), "word ".repeat(4));
        let (head, tail) = (head.trim(), tail.trim());
        check(&json!([words]), &format!("- {head}\n  {tail}\n"));
        check(
            &json!({"a": {"b": [format!("- {words}")]}}),
            &format!("a:\n  b:\n  - '- {}\n    word {tail}'\n", "word ".repeat(15).trim()),
        );
        check(&json!({"a": "x".repeat(100)}), &format!("a: {}\n", "x".repeat(100)));
        let spaced = "\u{1}wordy  ".repeat(12);
        assert!(emit_exact(&json!({"a": spaced})).contains("\n  \\ "));
    }

    #[test]
    fn numbers_are_in_gos_shortest_form() {
        check(
            &json!([1.5, 1e21, 1e-7, 0.1, 1_234_567.5, 123_456.7]),
            "- 1.5\n- 1e+21\n- 1e-07\n- 0.1\n- 1.2345675e+06\n- 123456.7\n",
        );
    }
}
