//! The fields of a template's form: from JSON schema to inputs, and from what was typed to JSON values.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::Refusal;
use crate::layout::decode;

/// What a browser sent, by field.
#[derive(Default)]
pub(super) struct Entered {
    sent: bool,
    values: BTreeMap<String, Vec<String>>,
}

impl Entered {
    pub(super) fn parse(form: &[u8]) -> Self {
        let text = String::from_utf8_lossy(form);
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            values.entry(decode(name)).or_default().push(decode(value));
        }
        Self { sent: true, values }
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.first().map(String::as_str)
    }
}

/// What an entity picker offers.
pub(super) struct Choices {
    /// Reference and title.
    pub(super) all: Vec<(String, String)>,
    /// Chosen before anybody chose.
    pub(super) first: Option<String>,
}

/// One property of a page's schema.
pub(super) struct Field {
    pub(super) name: String,
    schema: Value,
    required: bool,
}

/// Every field of every page.
pub(super) fn all(template: &Value) -> Vec<Field> {
    template["steps"].as_array().into_iter().flatten().flat_map(|step| of_page(&step["schema"])).collect()
}

/// The fields of one page, in the schema's order.
pub(super) fn of_page(schema: &Value) -> Vec<Field> {
    let required = |name: &str| schema["required"].as_array().is_some_and(|r| r.iter().any(|n| n == name));
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| Field { name: name.clone(), schema: schema.clone(), required: required(name) })
        .collect()
}

/// What was typed as the JSON that the schema speaks of; a number that is none is refused here, everything else by
/// the scaffolder.
pub(super) fn values(fields: &[Field], entered: &Entered) -> (Value, Vec<Refusal>) {
    let (mut values, mut refusals) = (Map::new(), vec![]);
    for field in fields {
        match field.value(entered) {
            Ok(Some(value)) => {
                values.insert(field.name.clone(), value);
            }
            Ok(None) => {}
            Err(message) => refusals.push((field.name.clone(), message)),
        }
    }
    (Value::Object(values), refusals)
}

impl Field {
    pub(super) fn title(&self) -> &str {
        self.schema["title"].as_str().unwrap_or(&self.name)
    }

    fn of_type(&self) -> &str {
        self.schema["type"].as_str().unwrap_or("string")
    }

    /// The catalog filters whose entities this field chooses from, for entity pickers; any may match.
    pub(super) fn entities(&self) -> Option<Vec<String>> {
        let picker = self.schema["ui:field"].as_str()?;
        let options = &self.schema["ui:options"];
        let filters = match &options["catalogFilter"] {
            Value::Array(filters) => filters.iter().map(terms).collect(),
            filter @ Value::Object(_) => vec![terms(filter)],
            _ => vec![],
        };
        let allowed = options["allowedKinds"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let allowed: Vec<String> = allowed.map(|kind| format!("kind={}", kind.to_lowercase())).collect();
        match (picker, filters.is_empty(), allowed.is_empty()) {
            ("OwnerPicker" | "MyGroupsPicker" | "EntityPicker" | "OwnedEntityPicker", false, _) => {
                Some(filters)
            }
            ("OwnerPicker" | "MyGroupsPicker" | "EntityPicker" | "OwnedEntityPicker", true, false) => {
                Some(allowed)
            }
            ("OwnerPicker" | "MyGroupsPicker", true, true) => Some(vec!["kind=group".into()]),
            _ => None,
        }
    }

    /// Whether the person's own group is a good first choice.
    pub(super) fn is_owner(&self) -> bool {
        matches!(self.schema["ui:field"].as_str(), Some("OwnerPicker" | "MyGroupsPicker"))
    }

    /// What is typed, or the default: for the preview.
    pub(super) fn current(&self, entered: &Entered) -> String {
        if entered.sent {
            entered.one(&self.name).unwrap_or_default().to_owned()
        } else {
            shown(&self.schema["default"])
        }
    }

    fn value(&self, entered: &Entered) -> Result<Option<Value>, String> {
        let typed = entered.one(&self.name).map(str::trim);
        match (self.of_type(), typed) {
            ("boolean", typed) => Ok(Some(Value::Bool(typed.is_some_and(|t| t == "true")))),
            (_, None | Some("")) => Ok(None),
            ("integer", Some(text)) => text
                .parse::<i64>()
                .map(|n| Some(n.into()))
                .map_err(|_| format!("{text:?} is not a whole number")),
            ("number", Some(text)) => {
                text.parse::<f64>().map(|n| Some(n.into())).map_err(|_| format!("{text:?} is not a number"))
            }
            ("array", Some(text)) => {
                let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
                Ok(Some(items.map(Value::from).collect()))
            }
            (_, Some(text)) => Ok(Some(self.enumerated(text).unwrap_or_else(|| text.into()))),
        }
    }

    /// An enumeration's own value where its text was chosen.
    fn enumerated(&self, text: &str) -> Option<Value> {
        let choices = self.schema["enum"].as_array()?;
        choices.iter().find(|choice| shown(choice) == text).cloned()
    }

    /// Label, input, help and refusal.
    pub(super) fn input(
        &self,
        entered: &Entered,
        refusals: &[Refusal],
        entities: Option<&Choices>,
    ) -> Markup {
        let refusal =
            refusals.iter().find(|(field, _)| *field == self.name).map(|(_, message)| message.as_str());
        let help = self.schema["description"].as_str().or(self.schema["ui:help"].as_str());
        let described = format!("{}-help", self.name);
        let mut value = self.current(entered);
        if let Some(first) =
            entities.and_then(|e| e.first.clone()).filter(|_| !entered.sent && value.is_empty())
        {
            value = first;
        }
        let boolean = self.of_type() == "boolean";
        html! {
            div.field.check[boolean].invalid[refusal.is_some()] {
                @if boolean {
                    input type="checkbox" id=(self.name) name=(self.name) value="true" checked[value == "true"] aria-describedby=(described);
                    label for=(self.name) { (self.title()) }
                } @else {
                    label.required[self.required] for=(self.name) { (self.title()) }
                    (self.control(&value, &described, entities.map(|e| e.all.as_slice())))
                }
                div id=(described) {
                    @if let Some(message) = refusal { div.error { (message) } }
                    @if let Some(help) = help { div.help { (help) } }
                }
            }
        }
    }

    fn control(&self, value: &str, described: &str, entities: Option<&[(String, String)]>) -> Markup {
        let text = |key: &str| self.schema[key].as_str();
        let names = &self.schema["enumNames"];
        html! {
            @if let Some(entities) = entities {
                select id=(self.name) name=(self.name) required[self.required] aria-describedby=(described) {
                    option value="" { "Choose…" }
                    @for (reference, title) in entities {
                        option value=(reference) selected[reference == value || reference.ends_with(&format!("/{value}"))] { (title) }
                    }
                }
            } @else if let Some(choices) = self.schema["enum"].as_array().filter(|_| text("ui:widget") == Some("radio")) {
                div.choices id=(self.name) role="radiogroup" aria-label=(self.title()) {
                    @for (i, choice) in choices.iter().enumerate() {
                        label { input type="radio" name=(self.name) value=(shown(choice)) checked[shown(choice) == value] required[self.required];
                            span { (names[i].as_str().map_or_else(|| shown(choice), str::to_owned)) } }
                    }
                }
            } @else if let Some(choices) = self.schema["enum"].as_array() {
                select id=(self.name) name=(self.name) required[self.required] aria-describedby=(described) {
                    @for (i, choice) in choices.iter().enumerate() {
                        option value=(shown(choice)) selected[shown(choice) == value] { (names[i].as_str().map_or_else(|| shown(choice), str::to_owned)) }
                    }
                }
            } @else if text("ui:widget") == Some("textarea") || self.of_type() == "array" {
                textarea id=(self.name) name=(self.name) rows="3" required[self.required] aria-describedby=(described) { (value) }
            } @else {
                @let number = matches!(self.of_type(), "integer" | "number");
                input id=(self.name) name=(self.name) value=(value) required[self.required] aria-describedby=(described)
                    type=(if number { "number" } else if text("ui:widget") == Some("password") { "password" } else { "text" })
                    min=[number.then(|| self.schema["minimum"].as_f64()).flatten()] max=[number.then(|| self.schema["maximum"].as_f64()).flatten()]
                    step=[(self.of_type() == "number").then_some("any")]
                    pattern=[text("pattern").map(for_browsers)]
                    minlength=[self.schema["minLength"].as_u64()] maxlength=[self.schema["maxLength"].as_u64()]
                    title=[self.schema["ui:options"]["errorMessages"]["pattern"].as_str().or(text("description"))] placeholder=[text("ui:placeholder")]
                    autofocus[self.schema["ui:autofocus"].as_bool() == Some(true)] autocomplete="off";
            }
        }
    }
}

/// One catalog filter as the catalog's API writes it: `kind=Group,spec.type=team`; a list means any of its values.
fn terms(filter: &Value) -> String {
    let mut all = vec![];
    for (key, wanted) in filter.as_object().into_iter().flatten() {
        match wanted {
            Value::Array(values) => all.extend(values.iter().map(|value| format!("{key}={}", shown(value)))),
            // `{exists: true}`: the key alone.
            Value::Object(_) => all.push(key.clone()),
            value => all.push(format!("{key}={}", shown(value))),
        }
    }
    all.join(",")
}

/// A schema's pattern as the `pattern` attribute wants it: anchored by itself, and in the browsers' strict syntax, in
/// which a dash at the end of a character class has to be escaped (an invalid pattern would check nothing at all).
fn for_browsers(pattern: &str) -> String {
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let mut out = String::with_capacity(inner.len() + 4);
    let mut letters = inner.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '-' && letters.peek() == Some(&']') && !out.ends_with('\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// A JSON value as an input shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template() -> Value {
        json!({"steps": [{"title": "One", "schema": {"required": ["name"], "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$"}, "port": {"type": "integer", "maximum": 65535},
            "watched": {"type": "boolean"}, "tags": {"type": "array"}}}}]})
    }

    #[test]
    fn what_was_typed_becomes_typed_json() {
        let entered = Entered::parse(b"name=dash+board&port=3001&watched=true&tags=a%2C+b");
        let (values, refusals) = values(&all(&template()), &entered);
        assert_eq!(values, json!({"name": "dash board", "port": 3001, "watched": true, "tags": ["a", "b"]}));
        assert!(refusals.is_empty());
    }

    #[test]
    fn patterns_are_what_browsers_accept() {
        for (pattern, expected) in [
            ("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", r"[a-z]([a-z0-9\-]{0,38}[a-z0-9])?"),
            (r"^[a-z\-]+$", r"[a-z\-]+"),
            ("a-b", "a-b"),
        ] {
            assert_eq!(for_browsers(pattern), expected);
        }
    }

    #[test]
    fn a_number_that_is_none_is_refused_at_its_field() {
        let (_, refusals) = values(&all(&template()), &Entered::parse(b"port=many"));
        assert_eq!(refusals, [("port".to_owned(), "\"many\" is not a whole number".to_owned())]);
    }

    #[test]
    fn the_whole_filter_of_a_picker_is_asked() {
        let check = |options: Value, expected: &[&str]| {
            let field = Field {
                name: "owner".into(),
                schema: json!({"ui:field": "OwnerPicker", "ui:options": options}),
                required: false,
            };
            assert_eq!(field.entities().unwrap(), expected);
        };
        check(
            json!({"catalogFilter": {"kind": "Group", "spec.type": "team"}}),
            &["kind=Group,spec.type=team"],
        );
        check(
            json!({"catalogFilter": [{"kind": ["Group", "User"]}, {"kind": "System"}]}),
            &["kind=Group,kind=User", "kind=System"],
        );
        check(json!({"allowedKinds": ["Group"]}), &["kind=group"]);
        check(json!({}), &["kind=group"]);
    }

    #[test]
    fn the_form_says_what_the_schema_says_and_keeps_what_was_typed() {
        let fields = all(&template());
        let entered = Entered::parse(b"name=Dash%21");
        let html =
            fields[0].input(&entered, &[("name".into(), "must be lower case".into())], None).into_string();
        for expected in ["value=\"Dash!\"", "pattern=\"[a-z]+\"", "must be lower case", "required", "invalid"]
        {
            assert!(html.contains(expected), "{expected} is missing in {html}");
        }
    }
}
