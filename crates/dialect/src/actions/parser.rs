//! Tokens into an [`Expression`], by precedence: `||`, `&&`, equality, comparison, `!`, then access and calls.

use serde_json::Value;

use super::lexer::{self, Token};
use super::{DEPTH_LIMIT, Error, Expression, Operator};

pub(super) fn parse(expression: &str) -> Result<Expression, Error> {
    let mut parser = Parser { text: expression, tokens: lexer::tokens(expression)?, at: 0, depth: 0 };
    let parsed = parser.binary(0)?;
    if parser.at < parser.tokens.len() { Err(parser.unexpected()) } else { Ok(parsed) }
}

/// Operators by rising precedence.
const LEVELS: [&[(&str, Operator)]; 4] = [
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[("==", Operator::Equal), ("!=", Operator::NotEqual)],
    &[
        ("<", Operator::Less),
        ("<=", Operator::LessOrEqual),
        (">", Operator::Greater),
        (">=", Operator::GreaterOrEqual),
    ],
];

/// Operators of one precedence in a row. Each makes the tree one level deeper, and evaluation recurses.
const CHAIN_LIMIT: usize = 250;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn binary(&mut self, level: usize) -> Result<Expression, Error> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        let mut length = 0;
        while let Some(operator) = self.operator(operators) {
            length += 1;
            if length > CHAIN_LIMIT {
                return Err(Error::Limit("its nesting"));
            }
            left = Expression::Binary(operator, Box::new(left), Box::new(self.binary(level + 1)?));
        }
        Ok(left)
    }

    fn operator(&mut self, operators: &[(&str, Operator)]) -> Option<Operator> {
        let Some((_, Token::Sign(sign))) = self.tokens.get(self.at) else { return None };
        let operator = operators.iter().find(|(text, _)| text == sign)?.1;
        self.at += 1;
        Some(operator)
    }

    fn unary(&mut self) -> Result<Expression, Error> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(Error::Limit("its nesting"));
        }
        let parsed = if self.take("!") {
            self.unary().map(|inner| Expression::Not(Box::new(inner)))
        } else {
            self.primary().and_then(|start| self.access(start))
        };
        self.depth -= 1;
        parsed
    }

    fn primary(&mut self) -> Result<Expression, Error> {
        if self.take("(") {
            let inner = self.binary(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        match self.tokens.get(self.at).map(|(_, token)| token.clone()) {
            Some(Token::Literal(value)) => {
                self.at += 1;
                Ok(Expression::Literal(value))
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                let name = name.to_ascii_lowercase();
                if self.take("(") { self.arguments(name) } else { Ok(Expression::Context(name)) }
            }
            _ => Err(self.unexpected()),
        }
    }

    fn arguments(&mut self, name: String) -> Result<Expression, Error> {
        let mut arguments = Vec::new();
        if !self.take(")") {
            loop {
                arguments.push(self.binary(0)?);
                if !self.take(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        Ok(Expression::Call(name, arguments))
    }

    fn access(&mut self, mut value: Expression) -> Result<Expression, Error> {
        let mut length = 0;
        loop {
            // A chain of accesses is a deep tree without nested text.
            length += 1;
            if length > DEPTH_LIMIT {
                return Err(Error::Limit("its nesting"));
            }
            if self.take(".") {
                if self.take("*") {
                    value = Expression::Every(Box::new(value));
                    continue;
                }
                let name = self.property()?;
                value =
                    Expression::Index(Box::new(value), Box::new(Expression::Literal(Value::String(name))));
            } else if self.take("[") {
                if self.take("*") {
                    value = Expression::Every(Box::new(value));
                } else {
                    value = Expression::Index(Box::new(value), Box::new(self.binary(0)?));
                }
                self.expect("]")?;
            } else {
                return Ok(value);
            }
        }
    }

    /// A name after a dot; the words `true`, `false` and `null` are names there.
    fn property(&mut self) -> Result<String, Error> {
        let name = match self.tokens.get(self.at) {
            Some((_, Token::Name(name))) => name.clone(),
            Some((_, Token::Literal(value @ (Value::Bool(_) | Value::Null)))) => value.to_string(),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(name)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some((_, Token::Sign(found))) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Error> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Error {
        let position = self.tokens.get(self.at).map_or(self.text.len(), |(position, _)| *position);
        lexer::unexpected(self.text, position)
    }
}
