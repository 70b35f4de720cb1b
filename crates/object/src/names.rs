//! The rules for names, label keys and label values, with the texts that Kubernetes prints
//! (apimachinery `pkg/util/validation/validation.go` and `pkg/api/validation/path`).
//! Each function returns the problems of one string; none means that it is valid.

const ALPHANUMERIC_ENDS: &str = "must start and end with an alphanumeric character";

/// RFC 1123 subdomain: at most 253 bytes of lower case labels separated by dots.
pub fn dns1123_subdomain(name: &str) -> Vec<String> {
    let mut out = limit(name, 253);
    if name.is_empty() || !name.split('.').all(is_dns_label) {
        out.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             {ALPHANUMERIC_ENDS} (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ));
    }
    out
}

/// RFC 1123 label: at most 63 bytes of lower case alphanumerics and `-`.
pub fn dns1123_label(name: &str) -> Vec<String> {
    let mut out = limit(name, 63);
    if !is_dns_label(name) {
        if dns1123_subdomain(name).is_empty() {
            out.push("must not contain dots".to_owned());
        } else {
            out.push(format!(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
                 {ALPHANUMERIC_ENDS} (e.g. 'my-name',  or '123-abc', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ));
        }
    }
    out
}

/// RFC 1035 label, as a Service's name: starts with a letter.
pub fn dns1035_label(name: &str) -> Vec<String> {
    let mut out = limit(name, 63);
    if !is_dns_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
             alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
             regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    out
}

/// A name that is a path segment, as RBAC objects have: anything but `/`, `%`, `.` and `..`.
pub fn path_segment(name: &str) -> Vec<String> {
    let mut out = Vec::new();
    if name == "." || name == ".." {
        out.push(format!("may not be '{name}'"));
    }
    for bad in ["/", "%"] {
        if name.contains(bad) {
            out.push(format!("may not contain '{bad}'"));
        }
    }
    out
}

/// A label or annotation key: `[prefix/]name`.
pub fn qualified_name(key: &str) -> Vec<String> {
    let mut out = Vec::new();
    let name = match key.split_once('/') {
        None => key,
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and \
                 {ALPHANUMERIC_ENDS} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                 '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(dns1123_subdomain(prefix).into_iter().map(|p| format!("prefix part {p}")));
            }
            name
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    }
    out.extend(limit(name, 63).into_iter().map(|p| format!("name part {p}")));
    if !is_label_text(name) {
        out.push(format!(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and {ALPHANUMERIC_ENDS} \
             (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        ));
    }
    out
}

/// A label's value: empty, or at most 63 bytes like the name part of a key.
pub fn label_value(value: &str) -> Vec<String> {
    let mut out = limit(value, 63);
    if !value.is_empty() && !is_label_text(value) {
        out.push(format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
             {ALPHANUMERIC_ENDS} (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        ));
    }
    out
}

/// The key of a ConfigMap's or Secret's data: a file name.
pub fn config_key(key: &str) -> Vec<String> {
    let mut out = limit(key, 253);
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        out.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    if key == "." || key == ".." {
        out.push(format!("must not be '{key}'"));
    }
    if key.starts_with("..") && key != ".." {
        out.push("must not start with '..'".to_owned());
    }
    out
}

/// The name of an environment variable, as Kubernetes 1.33 has it: any printable ASCII but `=`.
pub fn env_var_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .to_owned(),
    ]
}

/// A port's name: at most 15 lower case alphanumerics and single `-`, with a letter.
pub fn port_name(name: &str) -> Vec<String> {
    let mut out = Vec::new();
    if name.len() > 15 {
        out.push("must be no more than 15 characters".to_owned());
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

fn limit(text: &str, max: usize) -> Vec<String> {
    if text.len() > max { vec![format!("must be no more than {max} bytes")] } else { Vec::new() }
}

fn is_dns_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = label.bytes().next().is_some_and(inner) && label.bytes().last().is_some_and(inner);
    ends && label.bytes().all(|b| inner(b) || b == b'-')
}

fn is_label_text(text: &str) -> bool {
    let ends = |b: u8| b.is_ascii_alphanumeric();
    text.bytes().next().is_some_and(ends)
        && text.bytes().last().is_some_and(ends)
        && text.bytes().all(|b| ends(b) || b"-_.".contains(&b))
}
