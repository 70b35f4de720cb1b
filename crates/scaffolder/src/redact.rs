//! Keeps secrets out of everything that a task leaves behind: logs, errors, outputs.

use std::collections::BTreeSet;

use serde_json::Value;

/// What stands in a secret's place.
const MASK: &str = "***";

/// A set of texts that must not be shown. Longer ones are replaced first, so that no tail remains.
#[derive(Debug, Default, Clone)]
pub(crate) struct Redactor {
    secrets: BTreeSet<(std::cmp::Reverse<usize>, String)>,
}

impl Redactor {
    /// Hides `secret` from now on; a single character would hide the text around it too, so it is let through.
    pub(crate) fn hide(&mut self, secret: &str) {
        if secret.trim().len() > 1 {
            self.secrets.insert((std::cmp::Reverse(secret.len()), secret.to_owned()));
        }
    }

    /// Hides every text in `with` that differs from its counterpart in `without`: what became of a secret in an
    /// expression, such as `Basic ${{ secrets.user + ':' + secrets.password }}`.
    pub(crate) fn hide_difference(&mut self, with: &Value, without: Option<&Value>) {
        match (with, without) {
            (Value::Object(fields), other) => {
                for (key, value) in fields {
                    self.hide_difference(value, other.and_then(|other| other.get(key)));
                }
            }
            (Value::Array(items), other) => {
                for (at, item) in items.iter().enumerate() {
                    self.hide_difference(item, other.and_then(|other| other.get(at)));
                }
            }
            (Value::String(text), other) if other.and_then(Value::as_str) != Some(text) => self.hide(text),
            _ => {}
        }
    }

    pub(crate) fn text(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, (_, secret)| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), MASK) } else { text }
        })
    }

    pub(crate) fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.clone(), self.value(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Redactor;
    use serde_json::json;

    #[test]
    fn secrets_and_what_became_of_them_are_hidden() {
        let mut redactor = Redactor::default();
        redactor.hide("hunter2");
        redactor.hide("");
        redactor.hide("x");
        redactor
            .hide_difference(&json!({"a": ["Basic aHVu", "same"]}), Some(&json!({"a": ["Basic ", "same"]})));
        assert_eq!(redactor.text("x hunter2 Basic aHVu same"), "x *** *** same");
        assert_eq!(redactor.value(&json!({"k": ["hunter2", 2]})), json!({"k": ["***", 2]}));
    }
}
