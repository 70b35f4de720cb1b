//! Go's `fmt.Sprintf` for the verbs that people use in patches (`%s %d %v %t %q %x %f %g %05d %-5s %[2]s %%`), with
//! Go's own error texts, because users see them in the result. Pure.

use serde_json::Value;

/// Wider than any sensible padding.
const WIDTH_LIMIT: usize = 1000;

/// Formats.
pub(crate) fn sprintf(format: &str, args: &[Value]) -> String {
    let (mut out, mut next, mut reordered) = (String::new(), 0, false);
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let directive = Directive::parse(&rest[at + 1..]);
        rest = &rest[at + 1 + directive.length..];
        let Some(verb) = directive.verb else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        if let Some(index) = directive.index {
            next = index.wrapping_sub(1);
            reordered = true;
        }
        match args.get(next) {
            _ if directive.bad_index => out.push_str(&format!("%!{verb}(BADINDEX)")),
            None if directive.index.is_some() => out.push_str(&format!("%!{verb}(BADINDEX)")),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
            Some(arg) => out.push_str(&directive.print(verb, arg)),
        }
        next = next.wrapping_add(1);
    }
    out.push_str(rest);
    if !reordered && next < args.len() {
        let extra: Vec<String> =
            args[next..].iter().map(|a| format!("{}={}", type_name(a), plain(a))).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

#[derive(Default)]
struct Directive {
    length: usize,
    zero: bool,
    minus: bool,
    plus: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
    index: Option<usize>,
    bad_index: bool,
    verb: Option<char>,
}

impl Directive {
    fn parse(text: &str) -> Self {
        let mut directive = Self::default();
        let mut rest = text;
        while let Some(flag) = rest.chars().next() {
            match flag {
                '0' => directive.zero = true,
                '-' => directive.minus = true,
                '+' => directive.plus = true,
                '#' => directive.sharp = true,
                ' ' => {}
                _ => break,
            }
            rest = &rest[1..];
        }
        rest = directive.take_index(rest);
        let (width, after) = digits(rest);
        directive.width = width.unwrap_or(0).min(WIDTH_LIMIT);
        rest = after;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = digits(after);
            directive.precision = Some(precision.unwrap_or(0).min(WIDTH_LIMIT));
            rest = after;
        }
        rest = directive.take_index(rest);
        directive.verb = rest.chars().next();
        let used = text.len() - rest.len() + directive.verb.map_or(0, char::len_utf8);
        directive.length = used;
        directive
    }

    fn take_index<'a>(&mut self, text: &'a str) -> &'a str {
        let Some(inner) = text.strip_prefix('[') else { return text };
        let Some((number, after)) = inner.split_once(']') else { return text };
        match number.parse() {
            Ok(index) if index > 0 => self.index = Some(index),
            _ => self.bad_index = true,
        }
        after
    }

    fn print(&self, verb: char, arg: &Value) -> String {
        let wrong = || format!("%!{verb}({}={})", type_name(arg), plain(arg));
        let body = match (verb, arg) {
            ('v', Value::Number(_)) | ('d', Value::Number(_)) if arg.as_f64().is_some() && !is_float(arg) => {
                let sign = if self.plus && arg.as_i64().is_some_and(|n| n >= 0) { "+" } else { "" };
                format!("{sign}{arg}")
            }
            ('v', _) => plain(arg),
            ('s', Value::String(text)) => {
                self.precision.map_or(text.clone(), |p| text.chars().take(p).collect())
            }
            ('q', Value::String(text)) => format!("{text:?}"),
            ('x', Value::String(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
            ('X', Value::String(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
            ('t', Value::Bool(flag)) => flag.to_string(),
            ('x' | 'X' | 'o' | 'b' | 'c', Value::Number(_)) if !is_float(arg) => self.integer(verb, arg),
            ('f' | 'F', Value::Number(n)) if is_float(arg) => {
                let precision = self.precision.unwrap_or(6);
                n.as_f64().map_or_else(wrong, |n| format!("{n:.precision$}"))
            }
            ('g', Value::Number(_)) if is_float(arg) => plain(arg),
            _ => wrong(),
        };
        self.pad(&body, matches!(arg, Value::Number(_)))
    }

    fn integer(&self, verb: char, arg: &Value) -> String {
        let number = arg.as_i64().unwrap_or_default();
        let (sign, size) =
            if number < 0 { ("-", number.unsigned_abs()) } else { ("", number.unsigned_abs()) };
        let prefix = if self.sharp { "0x" } else { "" };
        match verb {
            'x' => format!("{sign}{prefix}{size:x}"),
            'X' => format!("{sign}{}{size:X}", prefix.to_uppercase()),
            'o' => format!("{sign}{size:o}"),
            'b' => format!("{sign}{size:b}"),
            _ => u32::try_from(size).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string(),
        }
    }

    fn pad(&self, body: &str, number: bool) -> String {
        let missing = self.width.saturating_sub(body.chars().count());
        if missing == 0 {
            return body.to_owned();
        }
        if self.minus {
            return format!("{body}{}", " ".repeat(missing));
        }
        if self.zero {
            let (sign, digits) = body.split_at(usize::from(number && body.starts_with(['-', '+'])));
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        format!("{}{body}", " ".repeat(missing))
    }
}

fn digits(text: &str) -> (Option<usize>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().ok(), &text[end..])
}

fn is_float(value: &Value) -> bool {
    value.as_i64().is_none() && value.as_u64().is_none()
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) if is_float(value) => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// As `%v` prints.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", plain(v))).collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
        Value::Number(number) if is_float(value) => {
            let number = number.as_f64().unwrap_or_default();
            let exponent = if number == 0.0 { 0.0 } else { number.abs().log10().floor() };
            if (-4.0..21.0).contains(&exponent) {
                format!("{number}")
            } else {
                // Go writes at least two digits of exponent.
                let text = format!("{number:e}");
                let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
                let power: i32 = power.parse().unwrap_or_default();
                format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn verbs_print_as_go_does() {
        let check = |format: &str, args: Value, expected: &str| {
            assert_eq!(sprintf(format, args.as_array().unwrap()), expected, "{format} {args}");
        };
        check("%s-%s", json!(["a", "b"]), "a-b");
        check("%d/%v", json!([3, true]), "3/true");
        check("%05d|%-4s|%4s", json!([42, "a", "b"]), "00042|a   |   b");
        check("%[2]s%[1]s", json!(["a", "b"]), "ba");
        check("100%%", json!([]), "100%");
        check("%d", json!(["x"]), "%!d(string=x)");
        check("%s", json!([5]), "%!s(int64=5)");
        check("%s %s", json!(["a"]), "a %!s(MISSING)");
        check("%s", json!(["a", 1]), "a%!(EXTRA int64=1)");
        check("%.2f %v", json!([1.5, 0.1]), "1.50 0.1");
        check("%v", json!([1e21]), "1e+21");
        check("%x %X %q", json!([255, "hi", "a\"b"]), "ff 6869 \"a\\\"b\"");
        check("%v", json!([{"b": 1, "a": [1, 2]}]), "map[a:[1 2] b:1]");
        check("%", json!([]), "%!(NOVERB)");
        check("%[3]s", json!(["a"]), "%!s(BADINDEX)");
        check("é%s", json!(["ü"]), "éü");
    }
}
