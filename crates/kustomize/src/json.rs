//! Values as Go's JSON reader takes them into structs: field names in any case, null as if nothing was said.
//!
//! [`strict`] is for kustomizations: unknown fields are refused, a number is not a text. [`lenient`] is for the
//! configuration objects of plugins, as sigs.k8s.io/yaml reads them: unknown fields do not matter, and a number or a
//! boolean is taken where a text is wanted. The structs need `#[serde(default, rename_all = "camelCase")]`; flattened
//! ones would lose the names and are not used.

use std::fmt;

use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde_json::{Map, Value};

/// Reads a part of a kustomization; the error names the field.
pub(crate) fn strict<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    read(value, true)
}

/// Reads the configuration object of a plugin.
pub(crate) fn lenient<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    read(value, false)
}

fn read<T: DeserializeOwned>(value: &Value, strict: bool) -> Result<T, String> {
    T::deserialize(Reader { value, strict, at: At::Root }).map_err(|error| error.to_string())
}

/// Where a value stands, for errors.
#[derive(Clone, Copy)]
enum At<'p> {
    Root,
    Field(&'p At<'p>, &'p str),
    Item(&'p At<'p>, usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Root => Ok(()),
            At::Field(At::Root, name) => f.write_str(name),
            At::Field(parent, name) => write!(f, "{parent}.{name}"),
            At::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[derive(Debug)]
struct Error {
    at: String,
    message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { at, message } = self;
        if at.is_empty() { f.write_str(message) } else { write!(f, "{message} (in field {at})") }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { at: String::new(), message: message.to_string() }
    }
}

#[derive(Clone, Copy)]
struct Reader<'v, 'p> {
    value: &'v Value,
    strict: bool,
    at: At<'p>,
}

impl<'v> Reader<'v, '_> {
    fn wrong(&self, wanted: &str) -> Error {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let message = format!("json: cannot unmarshal {found} into a value of type {wanted}");
        Error { at: self.at.to_string(), message }
    }

    /// Adds the place to an error that a type's own code made.
    fn place<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| Error {
            at: if error.at.is_empty() { self.at.to_string() } else { error.at },
            ..error
        })
    }

    fn map(&self, wanted: &str) -> Result<Option<&'v Map<String, Value>>, Error> {
        match self.value {
            Value::Object(map) => Ok(Some(map)),
            Value::Null => Ok(None),
            _ => Err(self.wrong(wanted)),
        }
    }

    /// The fields that a struct knows, under its names for them.
    fn fields(&self, known: &'static [&'static str]) -> Result<Vec<(&'v str, &'v Value)>, Error> {
        let mut fields: Vec<(&str, &Value)> = vec![];
        for (name, value) in self.map("object")?.into_iter().flatten() {
            let same = known.iter().find(|known| *known == name);
            let Some(known) = same.or_else(|| known.iter().find(|known| known.eq_ignore_ascii_case(name)))
            else {
                if self.strict {
                    let message = format!("json: unknown field \"{name}\"");
                    return Err(Error { at: self.at.to_string(), message });
                }
                continue;
            };
            fields.retain(|(other, _)| other != known);
            if !value.is_null() {
                fields.push((known, value));
            }
        }
        Ok(fields)
    }
}

macro_rules! numbers {
    ($($method:ident => $visit:ident, $as:ident, $cast:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = match self.value {
                Value::Null => Some(<$cast>::default()),
                other => other.$as(),
            };
            let number = number.ok_or_else(|| self.wrong(stringify!($cast)))?;
            self.place(visitor.$visit(number))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => visitor.visit_i64(number),
                (_, Some(number)) => visitor.visit_u64(number),
                _ => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Null => visitor.visit_bool(false),
            _ => Err(self.wrong("bool")),
        }
    }

    numbers! {
        deserialize_i8 => visit_i64, as_i64, i64;
        deserialize_i16 => visit_i64, as_i64, i64;
        deserialize_i32 => visit_i64, as_i64, i64;
        deserialize_i64 => visit_i64, as_i64, i64;
        deserialize_u8 => visit_u64, as_u64, u64;
        deserialize_u16 => visit_u64, as_u64, u64;
        deserialize_u32 => visit_u64, as_u64, u64;
        deserialize_u64 => visit_u64, as_u64, u64;
        deserialize_f32 => visit_f64, as_f64, f64;
        deserialize_f64 => visit_f64, as_f64, f64;
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let read = match self.value {
            Value::String(text) => visitor.visit_str(text),
            Value::Null => visitor.visit_str(""),
            Value::Number(number) if !self.strict => visitor.visit_str(&number.to_string()),
            Value::Bool(flag) if !self.strict => visitor.visit_str(if *flag { "true" } else { "false" }),
            _ => return Err(self.wrong("string")),
        };
        self.place(read)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = match self.value {
            Value::Array(items) => items.as_slice(),
            Value::Null => &[],
            _ => return Err(self.wrong("list")),
        };
        self.place(visitor.visit_seq(Items { list: self, items: items.iter(), index: 0 }))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let fields = self.map("map")?.into_iter().flatten().map(|(name, value)| (name.as_str(), value));
        let fields: Vec<_> = fields.collect();
        self.place(visitor.visit_map(Fields { map: self, fields: fields.into_iter(), value: None }))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let fields = self.fields(known)?.into_iter();
        self.place(visitor.visit_map(Fields { map: self, fields, value: None }))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.value.as_str().ok_or_else(|| self.wrong("string"))?;
        let variant: de::value::StrDeserializer<'_, Error> = text.into_deserializer();
        self.place(visitor.visit_enum(variant))
    }

    serde::forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'v, 'p> {
    list: Reader<'v, 'p>,
    items: std::slice::Iter<'v, Value>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(value) = self.items.next() else { return Ok(None) };
        let item = Reader { value, strict: self.list.strict, at: At::Item(&self.list.at, self.index) };
        self.index += 1;
        item.place(seed.deserialize(item)).map(Some)
    }
}

struct Fields<'v, 'p> {
    map: Reader<'v, 'p>,
    fields: std::vec::IntoIter<(&'v str, &'v Value)>,
    value: Option<(&'v str, &'v Value)>,
}

impl<'de> de::MapAccess<'de> for Fields<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.fields.next();
        let Some((name, _)) = self.value else { return Ok(None) };
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((name, value)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its name"));
        };
        let field = Reader { value, strict: self.map.strict, at: At::Field(&self.map.at, name) };
        field.place(seed.deserialize(field))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Thing {
        new_tag: String,
        count: i64,
        pairs: BTreeMap<String, String>,
        below: Option<Box<Thing>>,
        list: Vec<String>,
    }

    #[test]
    fn names_in_any_case_and_nulls() {
        let value = json!({"NEWTAG": "a", "Below": {"count": 1}, "list": [null, "b"], "pairs": null});
        let below = Some(Box::new(Thing { count: 1, ..Thing::default() }));
        let list = vec![String::new(), "b".to_owned()];
        let expected = Thing { new_tag: "a".to_owned(), below, list, ..Thing::default() };
        assert_eq!(strict::<Thing>(&value), Ok(expected));
    }

    #[test]
    fn strict_and_lenient() {
        let value = json!({"newTag": 1.5, "pairs": {"a": true}, "more": 1});
        let pairs = BTreeMap::from([("a".to_owned(), "true".to_owned())]);
        let expected = Thing { new_tag: "1.5".to_owned(), pairs, ..Thing::default() };
        assert_eq!(lenient::<Thing>(&value), Ok(expected));
        for (value, error) in [
            (
                json!({"below": {"list": ["a", 2]}}),
                "json: cannot unmarshal number into a value of type string (in field below.list[1])",
            ),
            (json!({"below": {"x": 1}}), "json: unknown field \"x\" (in field below)"),
            (
                json!({"count": "1"}),
                "json: cannot unmarshal string into a value of type i64 (in field count)",
            ),
            (json!([]), "json: cannot unmarshal array into a value of type object"),
        ] {
            assert_eq!(strict::<Thing>(&value), Err(error.to_owned()));
        }
    }
}
