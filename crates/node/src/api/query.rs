//! Query strings in which a name may come several times (`command=sh&command=-c`).

use std::str::FromStr;

/// Decoded pairs in their order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Query(pairs.collect())
    }

    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    /// `true` and `1`, as Go reads them; the kubelet's own links write `1`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.one(name), Some("true" | "1" | "t" | "T" | "TRUE" | "True"))
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.one(name)?.parse().ok()
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.filter(|_| bytes[at] == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        match (bytes[at], byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_encoded_names() {
        let query = Query::parse(
            "command=sh&command=-c&command=echo%20%22a%26b%22+%C3%A9%&stdin=true&tty=false&tailLines=5",
        );
        assert_eq!(query.all("command"), ["sh", "-c", "echo \"a&b\" é%"]);
        assert!(query.flag("stdin") && !query.flag("tty") && !query.flag("stdout"));
        assert_eq!(query.number::<usize>("tailLines"), Some(5));
    }
}
