//! Directives, tags, anchors and aliases.

use super::{Scanner, Token};
use crate::Error;

/// What may stand in the address of a tag beside letters, digits, `_` and `-`.
const ADDRESS: &[u8] = b";/?:@&=+$,.!~*'()[]%";

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

impl Scanner<'_> {
    fn word(&mut self) -> String {
        let mut word = String::new();
        while is_word(self.byte(0)) {
            word.push(char::from(self.byte(0)));
            self.skip();
        }
        word
    }

    pub(super) fn fetch_anchor(&mut self, alias: bool) -> Result<(), Error> {
        self.save_key()?;
        self.key_allowed = false;
        let start = self.mark;
        self.skip();
        let name = self.word();
        let ends = self.is_space_at(0) || b"?:,]}%@`".contains(&self.byte(0));
        if name.is_empty() || !ends {
            return Err(self.error("did not find expected alphabetic or numeric character"));
        }
        self.push(if alias { Token::Alias(name) } else { Token::Anchor(name) }, start);
        Ok(())
    }

    pub(super) fn fetch_tag(&mut self) -> Result<(), Error> {
        self.save_key()?;
        self.key_allowed = false;
        let start = self.mark;
        let (handle, suffix) = if self.byte(1) == b'<' {
            self.skip();
            self.skip();
            let suffix = self.address("")?;
            if self.byte(0) != b'>' {
                return Err(self.error("did not find the expected '>'"));
            }
            self.skip();
            (String::new(), suffix)
        } else {
            let handle = self.handle(false)?;
            if handle.len() > 1 && handle.ends_with('!') {
                let suffix = self.address("")?;
                (handle, suffix)
            } else {
                let suffix = self.address(&handle)?;
                // `!` alone is a tag of its own.
                if suffix.is_empty() { (String::new(), "!".to_owned()) } else { ("!".to_owned(), suffix) }
            }
        };
        if !self.is_space_at(0) {
            return Err(self.error("did not find expected whitespace or line break"));
        }
        self.push(Token::Tag { handle, suffix }, start);
        Ok(())
    }

    /// `!`, `!!` or `!name!`; of a tag it may also be the beginning of its name.
    fn handle(&mut self, directive: bool) -> Result<String, Error> {
        if self.byte(0) != b'!' {
            return Err(self.error("did not find expected '!'"));
        }
        self.skip();
        let mut handle = format!("!{}", self.word());
        if self.byte(0) == b'!' {
            self.skip();
            handle.push('!');
        } else if directive && handle != "!" {
            return Err(self.error("did not find expected '!'"));
        }
        Ok(handle)
    }

    /// The rest of a tag, behind what was taken for a handle.
    fn address(&mut self, head: &str) -> Result<String, Error> {
        let mut bytes = head.strip_prefix('!').unwrap_or(head).as_bytes().to_vec();
        let mut found = !head.is_empty();
        while is_word(self.byte(0)) || (self.byte(0) != 0 && ADDRESS.contains(&self.byte(0))) {
            found = true;
            if self.byte(0) == b'%' {
                let digit = |ahead| char::from(self.byte(ahead)).to_digit(16);
                let (Some(high), Some(low)) = (digit(1), digit(2)) else {
                    return Err(self.error("did not find URI escaped octet"));
                };
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                (0..3).for_each(|_| self.skip());
            } else {
                bytes.push(self.byte(0));
                self.skip();
            }
        }
        if !found {
            return Err(self.error("did not find expected tag URI"));
        }
        String::from_utf8(bytes).map_err(|_| self.error("found an incorrect UTF-8 octet in a tag"))
    }

    pub(super) fn fetch_directive(&mut self) -> Result<(), Error> {
        let start = self.mark;
        self.skip();
        let name = self.word();
        if name.is_empty() {
            return Err(self.error("could not find expected directive name"));
        }
        if !self.is_space_at(0) {
            return Err(self.error("found unexpected non-alphabetical character"));
        }
        self.skip_blanks();
        let token = match name.as_str() {
            "YAML" => {
                let major = self.version_number()?;
                if self.byte(0) != b'.' {
                    return Err(self.error("did not find expected digit or '.' character"));
                }
                self.skip();
                Token::Version(major, self.version_number()?)
            }
            "TAG" => self.tag_directive()?,
            _ => return Err(self.error("found unknown directive name")),
        };
        self.push(token, start);
        self.skip_blanks();
        self.skip_comment();
        if !self.is_end() && !self.is_break() {
            return Err(self.error("did not find expected comment or line break"));
        }
        self.skip_line();
        Ok(())
    }

    fn tag_directive(&mut self) -> Result<Token, Error> {
        let handle = self.handle(true)?;
        if !self.is_blank() {
            return Err(self.error("did not find expected whitespace"));
        }
        self.skip_blanks();
        let prefix = self.address("")?;
        if !self.is_space_at(0) {
            return Err(self.error("did not find expected whitespace or line break"));
        }
        Ok(Token::TagDirective { handle, prefix })
    }

    fn version_number(&mut self) -> Result<u32, Error> {
        let mut number = 0;
        let mut digits = 0;
        while let Some(digit) = char::from(self.byte(0)).to_digit(10) {
            digits += 1;
            if digits > 2 {
                return Err(self.error("found extremely long version number"));
            }
            number = number * 10 + digit;
            self.skip();
        }
        if digits == 0 { Err(self.error("did not find expected version number")) } else { Ok(number) }
    }
}
