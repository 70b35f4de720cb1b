//! Transforms of function-patch-and-transform: a value in, a value out (`transforms.go`). Pure.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object::quantity::Quantity;
use object::regexp;
use serde_json::{Value, json};

use crate::gofmt::{plain, sprintf};

/// Why a transform failed; the text is what the user sees.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TransformError(pub(crate) String);

type Outcome = Result<Value, TransformError>;

fn fail(text: impl Into<String>) -> Outcome {
    Err(TransformError(text.into()))
}

/// Runs transforms in order.
pub(crate) fn resolve_all(transforms: &[Value], input: Value) -> Outcome {
    let mut value = input;
    for (index, transform) in transforms.iter().enumerate() {
        let kind = transform["type"].as_str().unwrap_or_default();
        value = resolve(transform, value)
            .map_err(|e| TransformError(format!("transform at index {index} (type {kind}) failed: {e}")))?;
    }
    Ok(value)
}

fn resolve(transform: &Value, input: Value) -> Outcome {
    match transform["type"].as_str().unwrap_or_default() {
        "map" => map(&transform["map"], &input),
        "match" => matching(&transform["match"], input),
        "math" => math(&transform["math"], &input),
        "string" => string(&transform["string"], &input),
        "convert" => convert(&transform["convert"], &input),
        other => fail(format!("transform type {other} is not supported")),
    }
}

/// `map`: the key is a string; older manifests nest the pairs under `pairs`.
fn map(config: &Value, input: &Value) -> Outcome {
    let Value::String(key) = input else {
        return fail(format!("{} is not a supported type for map transform", type_of(input)));
    };
    let pairs = if config["pairs"].is_object() { &config["pairs"] } else { config };
    pairs.get(key).cloned().map_or_else(|| fail(format!("key {key} is not found in map")), Ok)
}

fn matching(config: &Value, input: Value) -> Outcome {
    for (index, pattern) in config["patterns"].as_array().into_iter().flatten().enumerate() {
        let Value::String(text) = &input else {
            return fail(format!("invalid type for match transform: {}", type_of(&input)));
        };
        let hit = match pattern["type"].as_str().unwrap_or("literal") {
            "literal" => pattern["literal"].as_str() == Some(text),
            "regexp" => regexp::compile(pattern["regexp"].as_str().unwrap_or_default())
                .map_err(|e| {
                    TransformError(format!(
                        "cannot match regexp for pattern at index {index}: error parsing regexp: {e}"
                    ))
                })?
                .is_match(text),
            other => return fail(format!("unsupported pattern type {other}")),
        };
        if hit {
            return Ok(pattern["result"].clone());
        }
    }
    if config["fallbackTo"] == "Input" { Ok(input) } else { Ok(config["fallbackValue"].clone()) }
}

fn math(config: &Value, input: &Value) -> Outcome {
    let Some(number) = input.as_f64() else {
        return fail(format!(
            "input is required to be a number for math transformations, got {}",
            type_of(input)
        ));
    };
    let kind = config["type"].as_str().unwrap_or("Multiply");
    match kind {
        "Multiply" => {
            let Some(factor) = config["multiply"].as_i64() else { return fail("no multiply value given") };
            Ok(match input.as_i64() {
                Some(integer) => json!(integer.wrapping_mul(factor)),
                None => json!(number * factor as f64),
            })
        }
        "ClampMin" | "ClampMax" => {
            let field = if kind == "ClampMin" { "clampMin" } else { "clampMax" };
            let Some(bound) = config[field].as_i64() else { return fail(format!("no {field} value given")) };
            let beyond = if kind == "ClampMin" { number < bound as f64 } else { number > bound as f64 };
            Ok(if beyond { json!(bound) } else { input.clone() })
        }
        other => fail(format!("unknown math transform type {other}")),
    }
}

fn string(config: &Value, input: &Value) -> Outcome {
    let text = || plain(input);
    let kind = config["type"].as_str().unwrap_or("Format");
    let field = |name: &str| config[name].as_str().map(str::to_owned);
    let needs = |name: &str| {
        field(name).ok_or_else(|| TransformError(format!("string transform of type {kind} needs {name}")))
    };
    match kind {
        "Format" => Ok(sprintf(&needs("fmt")?, std::slice::from_ref(input)).into()),
        "Convert" => string_convert(&needs("convert")?, input),
        "TrimPrefix" => {
            let (text, trim) = (text(), needs("trim")?);
            Ok(text.strip_prefix(&trim).unwrap_or(&text).into())
        }
        "TrimSuffix" => {
            let (text, trim) = (text(), needs("trim")?);
            Ok(text.strip_suffix(&trim).unwrap_or(&text).into())
        }
        "Regexp" => extract(&config["regexp"], &text()),
        "Join" => {
            let Some(items) = input.as_array() else {
                return fail(format!("input must be an array to be joined, got {}", type_of(input)));
            };
            let separator = config["join"]["separator"].as_str().unwrap_or_default();
            Ok(items.iter().map(plain).collect::<Vec<_>>().join(separator).into())
        }
        "Replace" => {
            let search = config["replace"]["search"].as_str().unwrap_or_default();
            let replace = config["replace"]["replace"].as_str().unwrap_or_default();
            Ok(text().replace(search, replace).into())
        }
        other => fail(format!("type {other} is not supported for string transform type")),
    }
}

fn extract(config: &Value, text: &str) -> Outcome {
    let text_of_pattern = config["match"].as_str().unwrap_or_default();
    let pattern = regexp::compile(text_of_pattern)
        .map_err(|e| TransformError(format!("could not compile regexp: error parsing regexp: {e}")))?;
    let group = usize::try_from(config["group"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
    let Some(groups) = pattern.captures(text) else {
        return fail(format!("regexp {text_of_pattern:?} had no matches"));
    };
    if group >= groups.len() {
        return fail(format!("regexp {text_of_pattern:?} had no matches for group {group}"));
    }
    Ok(groups.get(group).map_or("", |m| m.as_str()).into())
}

fn string_convert(how: &str, input: &Value) -> Outcome {
    let text = plain(input);
    // Hashes of anything but a string are those of its JSON.
    let raw = || if input.is_string() { text.clone() } else { input.to_string() };
    let hash = |algorithm: &'static digest::Algorithm| {
        let sum = digest::digest(algorithm, raw().as_bytes());
        sum.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    Ok(match how {
        "ToUpper" => text.to_uppercase(),
        "ToLower" => text.to_lowercase(),
        "ToJson" => input.to_string(),
        "ToBase64" => STANDARD.encode(text),
        "FromBase64" => {
            let bytes =
                STANDARD.decode(&text).map_err(|e| TransformError(format!("illegal base64 data: {e}")))?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        "ToSha1" => hash(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        "ToSha256" => hash(&digest::SHA256),
        "ToSha512" => hash(&digest::SHA512),
        "ToAdler32" => adler32(raw().as_bytes()).to_string(),
        other => return fail(format!("type {other} is not supported for string convert")),
    }
    .into())
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

fn convert(config: &Value, input: &Value) -> Outcome {
    let target = config["toType"].as_str().unwrap_or_default();
    let format = config["format"].as_str().unwrap_or("none");
    if format == "json" {
        let Value::String(text) = input else {
            return fail(format!("cannot parse {} as JSON", type_of(input)));
        };
        let parsed: Value =
            serde_json::from_str(text).map_err(|e| TransformError(format!("cannot parse JSON: {e}")))?;
        let fits = (target == "object" && parsed.is_object()) || (target == "array" && parsed.is_array());
        return if fits { Ok(parsed) } else { fail(format!("JSON is {}, not {target}", type_of(&parsed))) };
    }
    if format == "quantity" && target == "float64" && input.is_string() {
        let quantity = Quantity::from_value(input).map_err(|e| TransformError(e.to_string()))?;
        return Ok(json!(quantity.milli_value() as f64 / 1000.0));
    }
    let unsupported = || {
        fail(format!("conversion from {} to {target} is not supported with format {format}", type_of(input)))
    };
    match (target, input) {
        ("string", Value::String(_)) | ("bool" | "boolean", Value::Bool(_)) => Ok(input.clone()),
        ("string", Value::Bool(_) | Value::Number(_)) => Ok(plain(input).into()),
        ("int" | "int64" | "integer", _) => to_integer(input),
        ("float64" | "number", Value::Number(n)) => Ok(json!(n.as_f64())),
        ("float64" | "number", Value::Bool(flag)) => Ok(json!(f64::from(u8::from(*flag)))),
        ("float64" | "number", Value::String(text)) => {
            let number: f64 =
                text.parse().map_err(|_| TransformError(format!("parsing {text:?}: invalid syntax")))?;
            Ok(json!(number))
        }
        ("bool" | "boolean", Value::Number(n)) => Ok((n.as_f64() == Some(1.0)).into()),
        ("bool" | "boolean", Value::String(text)) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false.into()),
            _ => fail(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
        },
        ("object", Value::Object(_)) | ("array", Value::Array(_)) => Ok(input.clone()),
        _ => unsupported(),
    }
}

fn to_integer(input: &Value) -> Outcome {
    match input {
        Value::Bool(flag) => Ok(i64::from(*flag).into()),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Ok(integer.into()),
            // Towards zero, as Go converts.
            None => Ok((number.as_f64().unwrap_or_default().trunc() as i64).into()),
        },
        Value::String(text) => match text.parse::<i64>() {
            Ok(integer) => Ok(integer.into()),
            Err(_) => fail(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")),
        },
        other => {
            fail(format!("conversion from {} to int64 is not supported with format none", type_of(other)))
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(transform: Value, input: Value, expected: Result<Value, &str>) {
        let actual = resolve(&transform, input.clone()).map_err(|e| e.to_string());
        assert_eq!(actual, expected.map_err(str::to_owned), "{transform} {input}");
    }

    #[test]
    fn map_match_and_math() {
        check(json!({"type": "map", "map": {"small": 1}}), json!("small"), Ok(json!(1)));
        check(json!({"type": "map", "map": {"small": 1}}), json!("big"), Err("key big is not found in map"));
        check(
            json!({"type": "map", "map": {}}),
            json!(1),
            Err("int64 is not a supported type for map transform"),
        );
        let patterns = json!([
            {"type": "literal", "literal": "a", "result": "A"}, {"type": "regexp", "regexp": "^b+$", "result": {"x": 1}}]);
        let with = |extra: Value| {
            let mut config = extra;
            config["patterns"] = patterns.clone();
            json!({"type": "match", "match": config})
        };
        check(with(json!({})), json!("a"), Ok(json!("A")));
        check(with(json!({})), json!("bbb"), Ok(json!({"x": 1})));
        check(with(json!({"fallbackValue": 9})), json!("c"), Ok(json!(9)));
        check(with(json!({"fallbackTo": "Input"})), json!("c"), Ok(json!("c")));
        check(json!({"type": "math", "math": {"multiply": 3}}), json!(4), Ok(json!(12)));
        check(json!({"type": "math", "math": {"multiply": 3}}), json!(1.5), Ok(json!(4.5)));
        check(json!({"type": "math", "math": {"type": "ClampMin", "clampMin": 5}}), json!(4), Ok(json!(5)));
        check(json!({"type": "math", "math": {"type": "ClampMax", "clampMax": 5}}), json!(4), Ok(json!(4)));
    }

    #[test]
    fn strings() {
        let string = |config: Value| json!({"type": "string", "string": config});
        check(string(json!({"fmt": "%s-db"})), json!("x"), Ok(json!("x-db")));
        check(string(json!({"type": "Format", "fmt": "%04d"})), json!(7), Ok(json!("0007")));
        check(string(json!({"type": "Convert", "convert": "ToUpper"})), json!("ab"), Ok(json!("AB")));
        check(string(json!({"type": "Convert", "convert": "ToBase64"})), json!("ab"), Ok(json!("YWI=")));
        check(string(json!({"type": "Convert", "convert": "FromBase64"})), json!("YWI="), Ok(json!("ab")));
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        check(string(json!({"type": "Convert", "convert": "ToSha256"})), json!(""), Ok(json!(empty)));
        check(
            string(json!({"type": "Convert", "convert": "ToAdler32"})),
            json!("Wikipedia"),
            Ok(json!("300286872")),
        );
        check(string(json!({"type": "TrimPrefix", "trim": "a-"})), json!("a-b"), Ok(json!("b")));
        check(string(json!({"type": "TrimSuffix", "trim": "-b"})), json!("a-b"), Ok(json!("a")));
        let regexp = json!({"type": "Regexp", "regexp": {"match": "v(\\d+)\\.(\\d+)", "group": 2}});
        check(string(regexp.clone()), json!("v1.22"), Ok(json!("22")));
        check(string(regexp), json!("none"), Err("regexp \"v(\\\\d+)\\\\.(\\\\d+)\" had no matches"));
        check(string(json!({"type": "Join", "join": {"separator": ","}})), json!(["a", 1]), Ok(json!("a,1")));
        check(
            string(json!({"type": "Replace", "replace": {"search": ".", "replace": "-"}})),
            json!("a.b"),
            Ok(json!("a-b")),
        );
    }

    #[test]
    fn conversions() {
        let to = |kind: &str, format: &str| json!({"type": "convert", "convert": {"toType": kind, "format": format}});
        check(to("string", "none"), json!(3001), Ok(json!("3001")));
        check(to("string", "none"), json!(true), Ok(json!("true")));
        check(to("int64", "none"), json!("42"), Ok(json!(42)));
        check(to("int", "none"), json!("4x"), Err("strconv.ParseInt: parsing \"4x\": invalid syntax"));
        check(to("bool", "none"), json!(2), Ok(json!(false)));
        check(to("bool", "none"), json!("t"), Ok(json!(true)));
        check(to("float64", "quantity"), json!("1500m"), Ok(json!(1.5)));
        check(to("object", "json"), json!("{\"a\": 1}"), Ok(json!({"a": 1})));
        check(to("array", "json"), json!("{}"), Err("JSON is object, not array"));
        check(
            to("int64", "none"),
            json!([]),
            Err("conversion from array to int64 is not supported with format none"),
        );
    }
}
