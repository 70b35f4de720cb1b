//! The kinds of this slice: their addresses, their CRDs as data, and their specs as types.

pub mod git_repository;
pub mod kustomization;
pub mod repository_discovery;
mod schema;

use std::time::Duration;

use serde_json::Value;

/// Every CRD of the slice, to be applied before the controllers run.
pub fn crds() -> Vec<Value> {
    vec![git_repository::crd(), kustomization::crd(), repository_discovery::crd()]
}

/// A name of an object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
pub struct LocalReference {
    /// `metadata.name`.
    pub name: String,
}

/// Reads a duration as Go writes them: `1m30s`, `500ms`, `1.5h`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(amount * seconds).ok()?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

/// A duration as Go prints it: `1m30s`, `500ms`.
pub fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds < 1000 {
        return format!("{milliseconds}ms");
    }
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// The value of the annotation that asks for a reconcile now.
pub(crate) fn requested_at(object: &Value) -> Option<&str> {
    object::meta::annotation(object, "reconcile.fluxcd.io/requestedAt")
}

fn duration<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = serde::Deserialize::deserialize(source)?;
    let bad = |text: String| serde::de::Error::custom(format!("{text:?} is not a duration such as 1m30s"));
    text.map(|text| parse_duration(&text).ok_or_else(|| bad(text))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        };
        check("1m30s", Some(90_000));
        check("500ms", Some(500));
        check("1.5h", Some(5_400_000));
        check("10", None);
        check("", None);
        assert_eq!(show_duration(Duration::from_secs(3690)), "1h1m30s");
        assert_eq!(show_duration(Duration::from_secs(60)), "1m0s");
        assert_eq!(show_duration(Duration::from_secs(30)), "30s");
    }
}
