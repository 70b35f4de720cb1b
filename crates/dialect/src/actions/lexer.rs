//! Expression text into tokens.

use serde_json::{Number, Value};

use super::{EXPRESSION_LIMIT, Error};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Literal(Value),
    /// A context, property or function name.
    Name(String),
    /// `.`, `*`, `[`, `]`, `(`, `)`, `,`, `!` and the two-character operators.
    Sign(&'static str),
}

const SIGNS: [&str; 16] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", ".", "*", "[", "]", "(", ")", ","];

/// The tokens of an expression with their positions in bytes.
pub(super) fn tokens(expression: &str) -> Result<Vec<(usize, Token)>, Error> {
    if expression.len() > EXPRESSION_LIMIT {
        return Err(Error::Limit("its text"));
    }
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(next) = expression[at..].chars().next() {
        if next.is_whitespace() {
            at += next.len_utf8();
            continue;
        }
        let rest = &expression[at..];
        let after_value = matches!(tokens.last(), Some((_, Token::Name(_) | Token::Sign("]" | ")" | "*"))));
        let (token, length) = if next == '\'' {
            string(rest)
        } else if next.is_ascii_alphabetic() || next == '_' {
            Some(name(rest))
        } else if next.is_ascii_digit() || (matches!(next, '-' | '+' | '.') && !after_value) {
            number(rest)
        } else {
            SIGNS.iter().find(|sign| rest.starts_with(**sign)).map(|sign| (Token::Sign(sign), sign.len()))
        }
        .ok_or_else(|| unexpected(expression, at))?;
        tokens.push((at, token));
        at += length;
    }
    Ok(tokens)
}

pub(super) fn unexpected(expression: &str, position: usize) -> Error {
    let found = expression[position..].split_whitespace().next();
    let message =
        found.map_or_else(|| "unexpected end".to_owned(), |symbol| format!("unexpected `{symbol}`"));
    Error::Syntax { expression: expression.to_owned(), position, message }
}

/// `'it''s'`: a doubled quote is a quote.
fn string(rest: &str) -> Option<(Token, usize)> {
    let (mut text, mut at) = (String::new(), 1);
    loop {
        let end = at + rest[at..].find('\'')?;
        text.push_str(&rest[at..end]);
        if !rest[end + 1..].starts_with('\'') {
            return Some((Token::Literal(Value::String(text)), end + 1));
        }
        text.push('\'');
        at = end + 2;
    }
}

fn name(rest: &str) -> (Token, usize) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let length = rest.find(|c| !allowed(c)).unwrap_or(rest.len());
    let token = match &rest[..length] {
        "true" => Token::Literal(Value::Bool(true)),
        "false" => Token::Literal(Value::Bool(false)),
        "null" => Token::Literal(Value::Null),
        other => Token::Name(other.to_owned()),
    };
    (token, length)
}

fn number(rest: &str) -> Option<(Token, usize)> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
    let length = rest.find(|c| !allowed(c)).unwrap_or(rest.len());
    let number = parse_number(&rest[..length]).filter(|number| number.is_finite())?;
    Some((Token::Literal(number_value(number)), length))
}

/// A number as GitHub reads it from text: decimal with exponent, `0x…`, `0o…`.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let radix = |digits: &str, radix| i64::from_str_radix(digits, radix).ok().map(|n| n as f64);
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        radix(hex, 16)?
    } else if let Some(octal) = digits.strip_prefix("0o") {
        radix(octal, 8)?
    } else {
        let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        digits.parse::<f64>().ok().filter(|_| plain)?
    };
    Some(sign * value)
}

/// Whole numbers print without a fraction.
pub(super) fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return Value::Number(Number::from(number as i64));
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
