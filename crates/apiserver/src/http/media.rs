//! Content negotiation: what the client accepts, and the answer in that form. After apiserver's `negotiate.go`.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::error::ApiError;

/// What an endpoint can turn an object into, besides leaving it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    Table,
    Metadata,
}

/// The outcome of the negotiation for an API object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) shape: Shape,
    pub(crate) yaml: bool,
    pub(crate) pretty: bool,
}

impl Form {
    pub(crate) const JSON: Self = Self { shape: Shape::Plain, yaml: false, pretty: false };
}

pub(crate) const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// One clause of an Accept header.
pub(crate) struct Clause {
    pub(crate) media: String,
    parameters: Vec<(String, String)>,
    quality: f32,
}

impl Clause {
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }
}

/// The Accept header's clauses, best first.
pub(crate) fn clauses(headers: &HeaderMap) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|clause| !clause.trim().is_empty())
        .map(clause)
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

fn clause(text: &str) -> Clause {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let parameters: Vec<(String, String)> = parts
        .filter_map(|p| p.split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
        .collect();
    let quality = parameters.iter().find(|(n, _)| n == "q").and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
    Clause { media, parameters, quality }
}

/// The form for an endpoint that serves objects. Protobuf is answered as JSON, which every client that asks for it also reads.
pub(crate) fn negotiate(headers: &HeaderMap, tables: bool) -> Result<Form, ApiError> {
    let clauses = clauses(headers);
    let pretty = wants_pretty(headers);
    if clauses.is_empty() {
        return Ok(Form { pretty, ..Form::JSON });
    }
    for clause in &clauses {
        let yaml = match clause.media.as_str() {
            "application/json" | "*/*" | "application/*" | "application/vnd.kubernetes.protobuf" => false,
            "application/yaml" | "text/yaml" => true,
            _ => continue,
        };
        let shape = match (clause.parameter("as"), clause.parameter("g"), clause.parameter("v")) {
            ("", ..) => Shape::Plain,
            ("Table", "meta.k8s.io", "v1" | "v1beta1") if tables => Shape::Table,
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1")
                if tables =>
            {
                Shape::Metadata
            }
            _ => continue,
        };
        return Ok(Form { shape, yaml, pretty });
    }
    Err(ApiError::not_acceptable(ACCEPTED))
}

fn wants_pretty(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|a| agent.starts_with(a))
}

/// An object as an answer.
pub(crate) fn object(status: StatusCode, value: &Value, form: Form) -> Response<Body> {
    if form.yaml {
        return text(status, "application/yaml", yaml::emit(value).into_bytes());
    }
    let bytes = if form.pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    text(status, "application/json", bytes.unwrap_or_default())
}

/// Bytes with a content type.
pub(crate) fn text(status: StatusCode, content_type: &'static str, bytes: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        let check = |accept: &str, expected: Option<(Shape, bool)>| {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(negotiate(&headers, true).ok().map(|f| (f.shape, f.yaml)), expected, "{accept}");
        };
        check("", Some((Shape::Plain, false)));
        check("*/*", Some((Shape::Plain, false)));
        check("application/yaml", Some((Shape::Plain, true)));
        check("application/json;q=0.5, application/yaml", Some((Shape::Plain, true)));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some((Shape::Table, false)));
        check("application/json;as=Other;v=v1;g=meta.k8s.io,application/json", Some((Shape::Plain, false)));
        check("application/vnd.kubernetes.protobuf,application/json", Some((Shape::Plain, false)));
        check("text/html", None);
    }
}
