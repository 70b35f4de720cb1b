//! The expression language of scaffolder templates: Nunjucks with `${{ }}` as Backstage sets it up
//! (autoescape off, block tags `{% %}`, comments `{# #}`), evaluated by minijinja within limits.
//!
//! Semantics follow Backstage's scaffolder (`NunjucksWorkflowRunner`, `SecureTemplater`):
//! - a string that is exactly one expression keeps the type of its value; any other string renders to text;
//! - an undefined (or empty) result makes the key or the list item disappear;
//! - a value that cannot be rendered stays as it was written, and the reason is handed back to be logged.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as Jinja, ValueKind};
use minijinja::{AutoEscape, Environment, Error as JinjaError, ErrorKind, UndefinedBehavior};
use serde_json::Value;

/// Instructions one string or file may execute. A large skeleton file needs some thousands; an endless nest of
/// loops is stopped within a second.
const FUEL: u64 = 2_000_000;
/// Bytes one string or file may render to. Ten times the largest file that a form could sensibly write.
const OUTPUT_MAX_BYTES: usize = 10 << 20;
/// How deep a value may be nested before rendering gives up (guards the stack).
const DEPTH_MAX: usize = 64;

/// Why a string could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template is not valid, or an operation in it failed.
    #[error("{message}")]
    Template {
        /// What went wrong, with the line, in minijinja's words.
        message: String,
    },
    /// The template used more than its share of instructions.
    #[error("the template did not finish within {FUEL} instructions")]
    Fuel,
    /// The result is longer than a rendered text may be.
    #[error("the rendered text is longer than {OUTPUT_MAX_BYTES} bytes")]
    TooLong,
}

/// White space rules of a rendering, as `fetch:template` offers them (`trimBlocks`, `lstripBlocks`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Whitespace {
    /// Remove the first newline after a block tag.
    pub trim_blocks: bool,
    /// Remove the blanks before a block tag that stands alone on its line.
    pub lstrip_blocks: bool,
}

/// What rendering a whole value came to.
#[derive(Debug, Default)]
pub struct Rendered {
    /// The value, or `None` where it is undefined.
    pub value: Option<Value>,
    /// Strings that could not be rendered and were left as written, each with its reason.
    pub problems: Vec<(String, RenderError)>,
}

/// Renders every string inside `value` (keys too) with `context`, which must be an object.
#[must_use]
pub fn render_value(value: &Value, context: &Value) -> Rendered {
    let mut problems = Vec::new();
    let environment = environment(Whitespace::default());
    let context = Jinja::from(Serde(context));
    let value = walk(&environment, value, &context, &mut problems, 0);
    Rendered { value, problems }
}

/// Renders one text (the content or the name of a file) with `context`, which must be an object.
///
/// # Errors
/// When the template is invalid, fails, or goes over its limits.
pub fn render_text(text: &str, context: &Value, whitespace: Whitespace) -> Result<String, RenderError> {
    if !text.contains("${{") && !text.contains("{%") && !text.contains("{#") {
        return Ok(text.to_owned());
    }
    text_with(&environment(whitespace), text, &Jinja::from(Serde(context)))
}

/// Whether a rendered value counts as true in an `if:`; missing, `""`, `false`, `0`, `null` and an empty list do not.
#[must_use]
pub fn is_truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(_)) => true,
    }
}

/// The parts of a repository address in the form `host?owner=o&repo=r`.
///
/// Keys other than `host` appear when the address has them: `owner`, `repo`, `organization`, `workspace`, `project`.
#[must_use]
pub fn parse_repo_url(address: &str) -> Option<serde_json::Map<String, Value>> {
    let address = address.strip_prefix("https://").or(address.strip_prefix("http://")).unwrap_or(address);
    let (host, query) = address.split_once('?')?;
    let host = host.trim_end_matches('/');
    if host.is_empty() {
        return None;
    }
    let mut parts = serde_json::Map::new();
    parts.insert("host".to_owned(), Value::from(host));
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=')?;
        if ["owner", "repo", "organization", "workspace", "project"].contains(&key) {
            parts.insert(key.to_owned(), Value::from(percent_decoded(value)));
        }
    }
    parts.get("repo").and_then(Value::as_str).is_some_and(|repo| !repo.is_empty()).then_some(parts)
}

/// The parts of an entity reference `[kind:][namespace/]name`; `None` where a part is missing or empty.
#[must_use]
pub fn parse_entity_ref(
    reference: &str,
    default_kind: Option<&str>,
    default_namespace: &str,
) -> Option<serde_json::Map<String, Value>> {
    let (kind, rest) = match reference.split_once(':') {
        Some((kind, rest)) => (Some(kind), rest),
        None => (default_kind, reference),
    };
    let (namespace, name) = rest.split_once('/').unwrap_or((default_namespace, rest));
    let kind = kind?;
    if kind.is_empty() || namespace.is_empty() || name.is_empty() {
        return None;
    }
    let mut parts = serde_json::Map::new();
    parts.insert("kind".to_owned(), Value::from(kind));
    parts.insert("namespace".to_owned(), Value::from(namespace));
    parts.insert("name".to_owned(), Value::from(name));
    Some(parts)
}

fn walk(
    environment: &Environment<'_>,
    value: &Value,
    context: &Jinja,
    problems: &mut Vec<(String, RenderError)>,
    depth: usize,
) -> Option<Value> {
    if depth > DEPTH_MAX {
        let message = format!("the value is nested deeper than {DEPTH_MAX} levels");
        problems.push(("(nested value)".to_owned(), RenderError::Template { message }));
        return Some(value.clone());
    }
    match value {
        Value::String(text) => string(environment, text, context, problems),
        Value::Array(items) => {
            let items = items.iter().filter_map(|item| walk(environment, item, context, problems, depth + 1));
            Some(Value::Array(items.collect()))
        }
        Value::Object(fields) => {
            let mut rendered = serde_json::Map::new();
            for (key, field) in fields {
                let key = match text_with(environment, key, context) {
                    Ok(key) => key,
                    Err(_) => key.clone(),
                };
                if let Some(field) = walk(environment, field, context, problems, depth + 1) {
                    rendered.insert(key, field);
                }
            }
            Some(Value::Object(rendered))
        }
        other => Some(other.clone()),
    }
}

/// One string: typed when it is a single expression, text otherwise, as written when neither works.
fn string(
    environment: &Environment<'_>,
    text: &str,
    context: &Jinja,
    problems: &mut Vec<(String, RenderError)>,
) -> Option<Value> {
    if !text.contains("${{") && !text.contains("{%") && !text.contains("{#") {
        return Some(Value::from(text));
    }
    let rendered = match single_expression(text) {
        Some(expression) => typed(environment, expression, context),
        None => text_with(environment, text, context)
            .map(|text| if text.is_empty() { None } else { Some(Value::from(text)) }),
    };
    rendered.unwrap_or_else(|problem| {
        problems.push((text.to_owned(), problem));
        Some(Value::from(text))
    })
}

fn typed(
    environment: &Environment<'_>,
    expression: &str,
    context: &Jinja,
) -> Result<Option<Value>, RenderError> {
    let expression = with_javascript_comparisons(expression, true);
    let compiled = environment.compile_expression_owned(expression).map_err(|error| refused(&error))?;
    let value = compiled.eval(context.clone()).map_err(|error| refused(&error))?;
    if value.is_undefined() {
        return Ok(None);
    }
    let value = serde_json::to_value(&value).map_err(|error| RenderError::Template {
        message: format!("the result is not plain data: {error}"),
    })?;
    if value.as_str().is_some_and(|text| text.len() > OUTPUT_MAX_BYTES) {
        return Err(RenderError::TooLong);
    }
    Ok(Some(value))
}

fn text_with(environment: &Environment<'_>, text: &str, context: &Jinja) -> Result<String, RenderError> {
    let source = with_javascript_comparisons(text, false);
    let template = environment.template_from_str(&source).map_err(|error| refused(&error))?;
    let mut sink = Sink { bytes: Vec::new(), overflow: false };
    if let Err(error) = template.render_captured_to(context.clone(), &mut sink) {
        return Err(if sink.overflow { RenderError::TooLong } else { refused(&error) });
    }
    String::from_utf8(sink.bytes).map_err(|error| RenderError::Template { message: error.to_string() })
}

fn refused(error: &JinjaError) -> RenderError {
    if error.kind() == ErrorKind::OutOfFuel {
        return RenderError::Fuel;
    }
    RenderError::Template { message: error.to_string() }
}

/// The inside of `${{ … }}` when the whole text is exactly one such expression.
fn single_expression(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("${{")?;
    let mut quote = None;
    let mut braces = 0usize;
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => {
                characters.next();
            }
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '{') => braces += 1,
            (None, '}') if braces > 0 => braces -= 1,
            (None, '}') if inner[at..].starts_with("}}") => {
                let expression = inner[..at].trim_start_matches('-').trim_end_matches('-').trim();
                return (at + 2 == inner.len() && !expression.is_empty()).then_some(expression);
            }
            (None, _) => {}
        }
    }
    None
}

/// Nunjucks knows JavaScript's `===` and `!==`, minijinja does not. They are rewritten inside tags only, never
/// inside a string literal; `inside` says that the whole text is the inside of a tag.
fn with_javascript_comparisons(text: &str, inside: bool) -> String {
    if !text.contains("===") && !text.contains("!==") {
        return text.to_owned();
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_tag = inside;
    let mut quote = None;
    while let Some(character) = rest.chars().next() {
        let mut taken = character.len_utf8();
        if !in_tag {
            if rest.starts_with("${{") || rest.starts_with("{%") {
                in_tag = true;
                taken = if rest.starts_with("${{") { 3 } else { 2 };
            }
        } else if let Some(open) = quote {
            if character == '\\' {
                taken += rest[taken..].chars().next().map_or(0, char::len_utf8);
            } else if character == open {
                quote = None;
            }
        } else if character == '"' || character == '\'' {
            quote = Some(character);
        } else if rest.starts_with("===") || rest.starts_with("!==") {
            result.push_str(&rest[..2]);
            rest = &rest[3..];
            continue;
        } else if !inside && (rest.starts_with("}}") || rest.starts_with("%}")) {
            in_tag = false;
            taken = 2;
        }
        result.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    result
}

/// A writer that refuses to grow beyond the limit.
struct Sink {
    bytes: Vec<u8>,
    overflow: bool,
}

impl io::Write for Sink {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > OUTPUT_MAX_BYTES {
            self.overflow = true;
            return Err(io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn environment(whitespace: Whitespace) -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .variable_delimiters("${{", "}}")
        .keep_trailing_newline(true)
        .trim_blocks(whitespace.trim_blocks)
        .lstrip_blocks(whitespace.lstrip_blocks)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // Nunjucks looks members up on undefined without complaint.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(|output, _state, value| {
        output.write_str(&as_javascript_text(value)).map_err(JinjaError::from)
    });
    environment.add_global("null", Jinja::from(()));
    environment.add_filter("dump", dump);
    environment.add_filter("parseRepoUrl", |address: String| {
        parse_repo_url(&address).map(|parts| Jinja::from(Serde(&parts))).ok_or_else(|| {
            invalid(format!("\"{address}\" is not a repository address of the form host?owner=o&repo=r"))
        })
    });
    environment.add_filter("parseEntityRef", entity_ref_filter);
    environment.add_filter("pick", |value: Jinja, key: Jinja| value.get_item(&key).unwrap_or_default());
    environment.add_filter("projectSlug", |address: String| {
        let parts = parse_repo_url(&address)
            .ok_or_else(|| invalid(format!("\"{address}\" is not a repository address")))?;
        let part = |key: &str| parts.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok::<_, JinjaError>(format!("{}/{}", part("owner"), part("repo")))
    });
    environment
        .add_filter("float", |value: Jinja| as_javascript_text(&value).trim().parse().unwrap_or(0.0_f64));
    environment.add_filter("wordcount", |text: String| text.split_whitespace().count());
    environment
}

fn invalid(message: String) -> JinjaError {
    JinjaError::new(ErrorKind::InvalidOperation, message)
}

/// Nunjucks' `dump(spaces)`: JSON, compact unless a number of spaces is given; undefined dumps to nothing.
fn dump(value: Jinja, spaces: Option<usize>) -> Result<String, JinjaError> {
    if value.is_undefined() {
        return Ok(String::new());
    }
    let text = match spaces {
        Some(spaces) if spaces > 0 => serde_json::to_value(&value).and_then(|value| pretty(&value, spaces)),
        _ => serde_json::to_string(&value),
    };
    text.map_err(|error| invalid(format!("cannot be dumped: {error}")))
}

fn pretty(value: &Value, spaces: usize) -> serde_json::Result<String> {
    use serde::Serialize as _;
    let indent = " ".repeat(spaces.min(10));
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `ref | parseEntityRef`, `ref | parseEntityRef({defaultKind, defaultNamespace})`, or `{kind, namespace, name}` as is.
fn entity_ref_filter(reference: Jinja, options: Option<Jinja>, named: Kwargs) -> Result<Jinja, JinjaError> {
    let option = |key: &str| -> Option<String> {
        let positional = options
            .as_ref()
            .and_then(|map| map.get_attr(key).ok())
            .and_then(|value| value.as_str().map(str::to_owned));
        positional.or_else(|| named.get::<Option<String>>(key).ok().flatten())
    };
    let kind = option("defaultKind");
    let namespace = option("defaultNamespace").unwrap_or_else(|| "default".to_owned());
    named.assert_all_used().ok();
    let text = match reference.as_str() {
        Some(text) => text.to_owned(),
        None if reference.kind() == ValueKind::Map => return Ok(reference),
        None => return Err(invalid("parseEntityRef expects an entity reference".to_owned())),
    };
    parse_entity_ref(&text, kind.as_deref(), &namespace)
        .map(|parts| Jinja::from(Serde(&parts)))
        .ok_or_else(|| invalid(format!("\"{text}\" is not an entity reference [kind:][namespace/]name")))
}

/// How JavaScript prints a value into a text: nothing for undefined and null, lists joined by commas.
fn as_javascript_text(value: &Jinja) -> String {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => String::new(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Seq | ValueKind::Iterable => match value.try_iter() {
            Ok(items) => items.map(|item| as_javascript_text(&item)).collect::<Vec<_>>().join(","),
            Err(_) => value.to_string(),
        },
        ValueKind::Map if value.as_str().is_none() => "[object Object]".to_owned(),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
            _ => value.to_string(),
        },
        _ => value.to_string(),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(if byte == b'+' { b' ' } else { byte });
            continue;
        }
        let digits: Vec<u8> = rest.by_ref().take(2).collect();
        let code = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) => bytes.push(code),
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(&digits);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context() -> Value {
        json!({
            "parameters": {
                "name": "dashboard", "port": 3001, "monitoring": true, "off": false, "empty": "",
                "tags": ["a", "b"], "owner": "group:default/platform-team", "nothing": null,
                "repo": "localhost:7007?owner=platform&repo=dashboard-frontend",
                "database": {"name": "metrics"}
            },
            "steps": {"publish-it": {"output": {"remoteUrl": "http://h/x.git"}}},
            "user": {"ref": "user:default/sasha"}
        })
    }

    #[track_caller]
    fn check(input: Value, expected: Value) {
        let rendered = render_value(&json!({ "k": input }), &context());
        assert!(rendered.problems.is_empty(), "{:?}", rendered.problems);
        let expected = if expected == json!("(gone)") { json!({}) } else { json!({ "k": expected }) };
        assert_eq!(rendered.value, Some(expected));
    }

    #[test]
    fn whole_expressions_keep_their_type() {
        check(json!("${{ parameters.port }}"), json!(3001));
        check(json!("${{ parameters.port + 1 }}"), json!(3002));
        check(json!("${{ parameters.monitoring }}"), json!(true));
        check(json!("${{ parameters.tags }}"), json!(["a", "b"]));
        check(json!("${{ parameters.database }}"), json!({"name": "metrics"}));
        check(json!("${{ parameters.nothing }}"), json!(null));
        check(json!("${{ {'a': {'b': parameters.port}} }}"), json!({"a": {"b": 3001}}));
        check(json!("port ${{ parameters.port }}"), json!("port 3001"));
        check(json!("on: ${{ parameters.monitoring }}, ${{ parameters.off }}"), json!("on: true, false"));
        check(json!("${{ parameters.port }}${{ parameters.port }}"), json!("30013001"));
        check(json!("${{ '}}' }}"), json!("}}"));
    }

    #[test]
    fn undefined_makes_the_key_disappear() {
        check(json!("${{ parameters.missing }}"), json!("(gone)"));
        check(json!("${{ parameters.missing.deeper.still }}"), json!("(gone)"));
        check(json!("x${{ parameters.missing }}"), json!("x"));
        check(json!(["${{ parameters.missing }}", 1]), json!([1]));
        check(json!("{% if parameters.off %}x{% endif %}"), json!("(gone)"));
    }

    #[test]
    fn filters_and_javascript_comparisons() {
        check(json!("${{ (parameters.repo | parseRepoUrl).owner }}"), json!("platform"));
        check(json!("${{ parameters.repo | parseRepoUrl | pick('repo') }}"), json!("dashboard-frontend"));
        check(json!("${{ parameters.repo | projectSlug }}"), json!("platform/dashboard-frontend"));
        check(json!("${{ parameters.owner | parseEntityRef | pick('name') }}"), json!("platform-team"));
        check(
            json!("${{ 'web' | parseEntityRef({'defaultKind': 'Component'}) }}"),
            json!({"kind": "Component", "namespace": "default", "name": "web"}),
        );
        check(json!("${{ 'web' | parseEntityRef(defaultKind='API') | pick('kind') }}"), json!("API"));
        check(json!("${{ parameters.name === 'dashboard' }}"), json!(true));
        check(json!("${{ parameters.name !== 'a===b' and not parameters.off }}"), json!(true));
        check(json!("{% if parameters.port === 3001 %}yes === no{% endif %}"), json!("yes === no"));
        check(json!("${{ parameters.tags | dump }}"), json!("[\"a\",\"b\"]"));
        check(json!("${{ parameters.name | upper | replace('D', 'd') }}"), json!("dASHBOARd"));
        check(json!("${{ parameters.tags | join('-') }}"), json!("a-b"));
        check(json!("${{ parameters.missing | default('x') }}"), json!("x"));
        check(json!("${{ parameters.empty or 'y' }}"), json!("y"));
        check(json!("${{ steps['publish-it'].output.remoteUrl }}"), json!("http://h/x.git"));
        check(json!("[${{ parameters.tags }}|${{ parameters.nothing }}]"), json!("[a,b|]"));
    }

    #[test]
    fn what_cannot_be_rendered_stays_as_written() {
        let broken =
            json!({"a": "${{ 'x' | noSuchFilter }}", "b": "${{ parameters.port }}", "c": "${{ oops"});
        let rendered = render_value(&broken, &context());
        assert_eq!(
            rendered.value,
            Some(json!({"a": "${{ 'x' | noSuchFilter }}", "b": 3001, "c": "${{ oops"}))
        );
        assert_eq!(rendered.problems.len(), 2);
    }

    #[test]
    fn texts_keep_newlines_raw_parts_and_foreign_braces() {
        let text = "a: {{ x }}\nb: ${{ parameters.name }}\n{% raw %}c: ${{ github.sha }}{% endraw %}\n";
        let rendered = render_text(text, &context(), Whitespace::default());
        assert_eq!(rendered.unwrap(), "a: {{ x }}\nb: dashboard\nc: ${{ github.sha }}\n");
        let blocks = Whitespace { trim_blocks: true, lstrip_blocks: true };
        let rendered = render_text("a\n  {% if true %}\nb\n  {% endif %}\nc\n", &context(), blocks);
        assert_eq!(rendered.unwrap(), "a\nb\nc\n");
    }

    #[test]
    fn limits_hold() {
        let endless = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";
        assert!(matches!(render_text(endless, &json!({}), Whitespace::default()), Err(RenderError::Fuel)));
        let long = "{% for a in range(90000) %}${{ x }}{% endfor %}";
        let context = json!({ "x": "y".repeat(1000) });
        assert!(matches!(render_text(long, &context, Whitespace::default()), Err(RenderError::TooLong)));
    }

    #[test]
    fn repository_addresses_and_truth() {
        assert!(parse_repo_url("host").is_none());
        assert!(parse_repo_url("?owner=a&repo=b").is_none());
        assert_eq!(parse_repo_url("h?owner=a%20b&repo=c").unwrap()["owner"], "a b");
        for falsy in [json!(""), json!(0), json!(false), json!([]), json!(null)] {
            assert!(!is_truthy(Some(&falsy)), "{falsy}");
        }
        assert!(is_truthy(Some(&json!("false"))) && is_truthy(Some(&json!({}))) && !is_truthy(None));
    }
}
