//! Protobuf request bodies of built-in kinds as JSON objects: kubectl sends them from 1.32 on and does not try JSON when they are refused.
//!
//! Only reading: answers are always JSON, which every client accepts. Go writes every field that is not a pointer, empty or not; what JSON
//! would leave out (`omitempty`) is dropped again here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};

use super::fields::is_list_type;
use super::{Base, Field, Many, Type, Types, types};

const MAGIC: &[u8] = b"k8s\0";
/// Nesting of messages beyond any real object: keeps a hostile body from exhausting the stack.
const DEPTH_LIMIT: usize = 64;

/// Why a body cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtobufError {
    /// The four bytes at the start are missing.
    #[error("provided data does not appear to be a protobuf message, expected prefix 6b 38 73 00")]
    Magic,
    /// The wire format is broken.
    #[error("the protobuf message is cut off or malformed")]
    Malformed,
    /// A kind that is not in the table.
    #[error("no kind \"{kind}\" is registered for version \"{version}\"")]
    Unknown {
        /// The kind of the envelope.
        kind: String,
        /// Its apiVersion.
        version: String,
    },
}

/// Reads an enveloped object.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader(envelope);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => {
                let mut inner = Reader(meta);
                while let Some((number, wire)) = inner.next()? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(body)) => raw = body,
            _ => {}
        }
    }
    let (group, plain) = object::meta::split_api_version(&version);
    let types = types();
    let of = types.of_kind(group, plain, &kind).or_else(|| types.find(&format!("meta.{kind}")));
    let Some(of) = of else { return Err(ProtobufError::Unknown { kind, version }) };
    let mut object = json!({"apiVersion": version, "kind": kind});
    let fields = message(types, of, raw, 0)?;
    if let Some(target) = object.as_object_mut() {
        target.extend(fields);
    }
    Ok(object)
}

fn message(
    types: &Types,
    of: &Type,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, ProtobufError> {
    if depth > DEPTH_LIMIT {
        return Err(ProtobufError::Malformed);
    }
    let mut out = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Some(field) = of.fields.iter().find(|f| f.number == number) else { continue };
        match field.many {
            Many::One => {
                let value = single(types, field, &wire, depth)?;
                if let (true, Value::Object(fields)) = (field.inline, &value) {
                    out.extend(fields.clone());
                } else if !(value.is_null() || (!field.pointer && is_empty(&value))) {
                    out.insert(field.name.to_owned(), value);
                }
            }
            Many::List => {
                let list = out.entry(field.name).or_insert_with(|| json!([]));
                let value = single(types, field, &wire, depth)?;
                list.as_array_mut().ok_or(ProtobufError::Malformed)?.push(value);
            }
            Many::Map => {
                let (key, value) = entry(types, field, &wire, depth)?;
                let map = out.entry(field.name).or_insert_with(|| json!({}));
                map.as_object_mut().ok_or(ProtobufError::Malformed)?.insert(key, value);
            }
        }
    }
    Ok(out)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

fn single(types: &Types, field: &Field, wire: &Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (field.base, wire) {
        (Base::Text, Wire::Bytes(text)) => utf8(text)?.into(),
        (Base::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Base::Bool, Wire::Varint(v)) => (*v != 0).into(),
        (Base::Int32, Wire::Varint(v)) => (*v as i32).into(),
        (Base::Int64, Wire::Varint(v)) => v.cast_signed().into(),
        (Base::Double, Wire::Fixed64(v)) => {
            Number::from_f64(f64::from_bits(*v)).map_or(Value::Null, Value::Number)
        }
        (Base::Time, Wire::Bytes(bytes)) => time(bytes, false)?,
        (Base::MicroTime, Wire::Bytes(bytes)) => time(bytes, true)?,
        (Base::Duration, Wire::Bytes(bytes)) => duration(bytes)?,
        (Base::Quantity, Wire::Bytes(bytes)) => first_text(bytes)?.into(),
        (Base::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Base::Raw, Wire::Bytes(bytes)) => raw(bytes)?,
        (Base::Struct(index), Wire::Bytes(bytes)) => {
            let of = types.get(index).ok_or(ProtobufError::Malformed)?;
            let mut fields = message(types, of, bytes, depth + 1)?;
            if is_list_type(of) {
                fields.shift_remove("items").unwrap_or_else(|| json!([]))
            } else {
                fields.into()
            }
        }
        _ => return Err(ProtobufError::Malformed),
    })
}

/// A map's entry is a message with the key as field 1 and the value as field 2.
fn entry(
    types: &Types,
    field: &Field,
    wire: &Wire<'_>,
    depth: usize,
) -> Result<(String, Value), ProtobufError> {
    let Wire::Bytes(bytes) = wire else { return Err(ProtobufError::Malformed) };
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (number, &wire) {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, _) => value = Some(single(types, field, &wire, depth)?),
            _ => {}
        }
    }
    let value =
        value.unwrap_or_else(|| if matches!(field.base, Base::Struct(_)) { json!({}) } else { "".into() });
    Ok((key, value))
}

/// `Timestamp{1: seconds, 2: nanos}`; the zero time, which is an empty message, is null.
fn time(bytes: &[u8], micro: bool) -> Result<Value, ProtobufError> {
    let (seconds, nanos) = two_numbers(bytes)?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let at = jiff::Timestamp::new(seconds, nanos as i32).map_err(|_| ProtobufError::Malformed)?;
    Ok(if micro { at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ") } else { at.strftime("%Y-%m-%dT%H:%M:%SZ") }
        .to_string()
        .into())
}

/// `Duration{1: nanoseconds}` as Go prints it, in seconds.
fn duration(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (nanoseconds, _) = two_numbers(bytes)?;
    Ok(format!("{}s", nanoseconds as f64 / 1e9).into())
}

fn two_numbers(bytes: &[u8]) -> Result<(i64, i64), ProtobufError> {
    let mut found = (0, 0);
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Varint(v)) => found.0 = v.cast_signed(),
            (2, Wire::Varint(v)) => found.1 = v.cast_signed(),
            _ => {}
        }
    }
    Ok(found)
}

fn first_text(bytes: &[u8]) -> Result<String, ProtobufError> {
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        if let (1, Wire::Bytes(text)) = (number, wire) {
            return utf8(text);
        }
    }
    Ok("0".to_owned())
}

/// `{1: 0 for a number or 1 for a text, 2: number, 3: text}`
fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    let mut reader = Reader(bytes);
    while let Some((field, wire)) = reader.next()? {
        match (field, wire) {
            (1, Wire::Varint(v)) => is_text = v == 1,
            (2, Wire::Varint(v)) => number = v as i32,
            (3, Wire::Bytes(bytes)) => text = utf8(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// RawExtension, FieldsV1 and the like: JSON text in field 1.
fn raw(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        if let (1, Wire::Bytes(text)) = (number, wire) {
            return serde_json::from_slice(text).map_err(|_| ProtobufError::Malformed);
        }
    }
    Ok(Value::Null)
}

fn utf8(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Malformed)
}

/// A value on the wire.
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// Reads fields one after another.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| ProtobufError::Malformed)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let bytes: [u8; 8] = self.take(8)?.try_into().map_err(|_| ProtobufError::Malformed)?;
                Wire::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Malformed)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return Err(ProtobufError::Malformed),
        };
        Ok(Some((number, wire)))
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Malformed)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ProtobufError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}
