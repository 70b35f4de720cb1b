//! JSON text to a value, with the duplicate keys that a strict reader reports.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parses a document; the second part lists `duplicate field "a.b"`. The last of two equal keys wins.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let found = RefCell::new(vec![]);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Node { path: String::new(), found: &found }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, found.into_inner()))
}

struct Node<'a> {
    path: String,
    found: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(item) = items
            .next_element_seed(Node { path: format!("{}[{}]", self.path, list.len()), found: self.found })?
        {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            let value = fields.next_value_seed(Node { path: path.clone(), found: self.found })?;
            if map.insert(key, value).is_some() {
                self.found.borrow_mut().push(format!("duplicate field \"{path}\""));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_named_by_their_path() {
        let check = |text: &str, value: Value, duplicates: &[&str]| {
            assert_eq!(
                parse(text.as_bytes()).unwrap(),
                (value, duplicates.iter().map(|d| (*d).to_owned()).collect())
            );
        };
        check(r#"{"a":1,"b":[true,null,"x",-1,1.5]}"#, json!({"a": 1, "b": [true, null, "x", -1, 1.5]}), &[]);
        check(r#"{"a":{"b":1,"b":2}}"#, json!({"a": {"b": 2}}), &[r#"duplicate field "a.b""#]);
        check(r#"[{"a":1,"a":1}]"#, json!([{"a": 1}]), &[r#"duplicate field "[0].a""#]);
        assert!(parse(b"{} x").is_err());
    }
}
