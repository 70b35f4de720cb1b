//! Tables as `kubectl get` shows them: columns and rows of built-in kinds and of custom resources.
//! Columns after Kubernetes' `pkg/printers/internalversion`, custom ones after apiextensions' `tableconvertor`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::Resource;
use crate::jsonpath::JsonPath;

mod age;
mod cluster;
mod columns;
mod workloads;

pub use age::{age, human_duration};

/// What goes into each row's `object` (`?includeObject=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// PartialObjectMetadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// Cells of one object, and the row's conditions.
struct Row {
    cells: Vec<Value>,
    completed: bool,
}

/// A `meta.k8s.io/v1` Table of `objects`, with an empty `metadata` for the caller to fill in.
/// `printer_columns` are a CRD version's `additionalPrinterColumns`; `None` for built-in kinds.
pub fn table<'a>(
    resource: &Resource,
    printer_columns: Option<&Value>,
    objects: impl IntoIterator<Item = &'a Value>,
    now: Timestamp,
    include: Include,
) -> Value {
    let printer = Printer::new(resource, printer_columns);
    let rows: Vec<Value> = objects.into_iter().map(|object| printer.row(object, now, include)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": printer.definitions,
        "rows": rows,
    })
}

enum Cells {
    Builtin(fn(&Value, Timestamp) -> Row),
    Custom(Vec<(Option<JsonPath>, String)>),
}

struct Printer {
    definitions: Value,
    cells: Cells,
}

impl Printer {
    fn new(resource: &Resource, printer_columns: Option<&Value>) -> Self {
        match printer_columns {
            Some(columns) => Self::custom(columns),
            None => {
                let (names, cells) = columns::of(&resource.group, &resource.kind);
                Self { definitions: columns::definitions(names), cells: Cells::Builtin(cells) }
            }
        }
    }

    fn custom(columns: &Value) -> Self {
        let given = columns.as_array().filter(|list| !list.is_empty());
        let age = [json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})];
        let given: &[Value] = given.map_or(&age, Vec::as_slice);
        let mut definitions = vec![columns::definition("Name", 0)];
        let mut paths = Vec::new();
        for column in given {
            let text = |name: &str| column.get(name).and_then(Value::as_str).unwrap_or_default();
            let description = if text("description").is_empty() {
                let path = text("jsonPath").trim_start_matches('.');
                format!("Custom resource definition column (in JSONPath format): .{path}")
            } else {
                text("description").to_owned()
            };
            definitions.push(json!({
                "name": text("name"),
                "type": text("type"),
                "format": text("format"),
                "description": description,
                "priority": column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            }));
            paths.push((JsonPath::parse(text("jsonPath")).ok(), text("type").to_owned()));
        }
        Self { definitions: definitions.into(), cells: Cells::Custom(paths) }
    }

    fn row(&self, object: &Value, now: Timestamp, include: Include) -> Value {
        let row = match &self.cells {
            Cells::Builtin(cells) => cells(object, now),
            Cells::Custom(columns) => {
                let name = crate::meta::name(object).into();
                let cells = columns.iter().map(|(path, kind)| custom_cell(path.as_ref(), kind, object, now));
                Row { cells: std::iter::once(name).chain(cells).collect(), completed: false }
            }
        };
        let mut out = Map::new();
        out.insert("cells".to_owned(), row.cells.into());
        if row.completed {
            let phase = object["status"]["phase"].as_str().unwrap_or_default();
            let message =
                if phase == "Succeeded" { "The pod has completed successfully." } else { "The pod failed." };
            let condition =
                json!({"type": "Completed", "status": "True", "reason": phase, "message": message});
            out.insert("conditions".to_owned(), json!([condition]));
        }
        let shown = match include {
            Include::None => Value::Null,
            Include::Object => object.clone(),
            Include::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object.get("metadata").cloned().unwrap_or_default(),
            }),
        };
        out.insert("object".to_owned(), shown);
        Value::Object(out)
    }
}

fn custom_cell(path: Option<&JsonPath>, kind: &str, object: &Value, now: Timestamp) -> Value {
    let Some(path) = path else { return Value::Null };
    let found = path.find(object);
    let Some(first) = found.first() else { return Value::Null };
    match kind {
        "string" if found.len() > 1 => path.text(object).into(),
        "string" => match first {
            Value::String(_) | Value::Null => (*first).clone(),
            other => other.to_string().into(),
        },
        "date" => first.as_str().map_or(Value::Null, |time| age(time, now).into()),
        "integer" => match first.as_f64() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an integer column truncates, as Kubernetes does"
            )]
            Some(number) => first.as_i64().unwrap_or(number as i64).into(),
            None => Value::Null,
        },
        "number" => {
            if first.is_number() {
                (*first).clone()
            } else {
                Value::Null
            }
        }
        "boolean" => {
            if first.is_boolean() {
                (*first).clone()
            } else {
                Value::Null
            }
        }
        _ => Value::Null,
    }
}

/// Cells of a row that is not about a finished pod.
fn row(cells: Vec<Value>) -> Row {
    Row { cells, completed: false }
}

fn created(object: &Value, now: Timestamp) -> Value {
    age(crate::meta::creation_timestamp(object), now).into()
}

fn name(object: &Value) -> Value {
    crate::meta::name(object).into()
}

/// A number at a JSON pointer, 0 if it is not there.
fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A string at a JSON pointer, `""` if it is not there.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `otherwise` instead of an empty string.
fn or(value: &str, otherwise: &str) -> Value {
    if value.is_empty() { otherwise.into() } else { value.into() }
}

/// The items of a list at a JSON pointer.
fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// `a=1,b=2` for a map of labels, `<none>` for an empty one.
fn labels(map: Option<&Value>) -> Value {
    let mut pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    or(&pairs.join(","), "<none>")
}

/// A LabelSelector object as text.
fn selector(object: &Value, pointer: &str) -> Value {
    let selector = object.pointer(pointer).cloned().unwrap_or_default();
    let text = crate::selector::LabelSelector::from_object(&selector).map(|s| s.to_string());
    or(&text.unwrap_or_default(), "<none>")
}
