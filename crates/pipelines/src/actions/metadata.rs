//! `docker/metadata-action`: tags and labels of an image from the event that started the run.

use serde_json::json;

use super::Call;
use crate::api::RunSpec;

pub(super) async fn run(call: &mut Call<'_>) -> Result<(), String> {
    let images = call.items("images");
    let rules = call.lines("tags");
    let latest = call.items("flavor").iter().find_map(|item| item.strip_prefix("latest=").map(str::to_owned));
    let spec = call.job.run.spec.clone();
    let default =
        call.job.run.spec.payload["repository"]["default_branch"].as_str().unwrap_or("main").to_owned();
    let made = versions(&spec, &default, &rules, latest.as_deref().unwrap_or("auto"))?;
    let tags: Vec<String> = images
        .iter()
        .map(|image| image.to_lowercase())
        .flat_map(|image| made.iter().map(move |tag| format!("{image}:{tag}")))
        .collect();
    let version = made.first().cloned().unwrap_or_default();
    let server = &call.job.run.shared.config.git_url;
    let title = spec.repository.rsplit('/').next().unwrap_or_default();
    let created = spec.payload["head_commit"]["timestamp"].as_str().unwrap_or_default();
    let mut labels = vec![
        format!("org.opencontainers.image.title={title}"),
        format!("org.opencontainers.image.url={server}/{}", spec.repository),
        format!("org.opencontainers.image.source={server}/{}", spec.repository),
        format!("org.opencontainers.image.version={version}"),
        format!("org.opencontainers.image.revision={}", spec.sha),
        format!("org.opencontainers.image.created={created}"),
    ];
    labels.extend(call.lines("labels"));
    let separator = |name: &str| call.input(name).unwrap_or("\n").replace("\\n", "\n");
    let (tag_separator, label_separator) = (separator("sep-tags"), separator("sep-labels"));
    for tag in &tags {
        call.log.line(tag);
    }
    let label_map: serde_json::Map<String, serde_json::Value> = labels
        .iter()
        .filter_map(|label| label.split_once('='))
        .map(|(k, v)| (k.to_owned(), json!(v)))
        .collect();
    call.output("json", json!({ "tags": tags, "labels": label_map }).to_string());
    call.output("tags", tags.join(&tag_separator));
    call.output("labels", labels.join(&label_separator));
    call.output("version", version);
    Ok(())
}

/// One line of `tags`: `type=sha,prefix=sha-,format=short`.
struct Rule<'a> {
    kind: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Rule<'a> {
    fn parse(line: &'a str) -> Rule<'a> {
        let attributes: Vec<(&str, &str)> =
            line.split(',').filter_map(|part| part.trim().split_once('=')).collect();
        // A line without a type is a tag as it stands.
        let kind = attributes.iter().find(|(name, _)| *name == "type").map_or("raw", |(_, value)| value);
        let attributes = if attributes.is_empty() { vec![("value", line)] } else { attributes };
        Rule { kind, attributes }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// The higher, the nearer to the front; the first is the version. The action's own numbers.
    fn priority(&self) -> i32 {
        let own = self.get("priority").and_then(|number| number.parse().ok());
        own.unwrap_or(match self.kind {
            "schedule" => 1000,
            "semver" => 900,
            "match" => 800,
            "edge" => 700,
            "ref" => 600,
            "sha" => 100,
            _ => 200,
        })
    }
}

/// The tags of an image for an event, the most important first.
fn versions(
    spec: &RunSpec,
    default_branch: &str,
    lines: &[String],
    latest: &str,
) -> Result<Vec<String>, String> {
    let defaults = ["type=ref,event=branch".to_owned(), "type=ref,event=tag".to_owned()];
    let lines = if lines.is_empty() { &defaults[..] } else { lines };
    let mut rules: Vec<Rule<'_>> = lines.iter().map(|line| Rule::parse(line)).collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority()));
    let (mut tags, mut auto_latest): (Vec<String>, bool) = (Vec::new(), false);
    for rule in rules.iter().filter(|rule| rule.get("enable") != Some("false")) {
        let Some((value, is_release)) = value(rule, spec, default_branch)? else { continue };
        let prefix = rule.get("prefix").unwrap_or(if rule.kind == "sha" { "sha-" } else { "" });
        let tag = sanitize(&format!("{prefix}{value}{}", rule.get("suffix").unwrap_or_default()));
        auto_latest |= is_release;
        if !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let wanted = latest == "true" || (latest == "auto" && auto_latest);
    if wanted && !tags.iter().any(|tag| tag == "latest") {
        tags.push("latest".to_owned());
    }
    Ok(tags)
}

/// What a rule gives for the event, and whether that counts as a release for `latest=auto`.
fn value(rule: &Rule<'_>, spec: &RunSpec, default_branch: &str) -> Result<Option<(String, bool)>, String> {
    let branch = spec.reference.strip_prefix("refs/heads/");
    let tag = spec.reference.strip_prefix("refs/tags/");
    Ok(match rule.kind {
        "ref" => match rule.get("event") {
            Some("branch") => branch.map(|name| (name.to_owned(), false)),
            Some("tag") => tag.map(|name| (name.to_owned(), true)),
            Some("pr") => None,
            other => return Err(format!("type=ref: `event={}` is not known", other.unwrap_or_default())),
        },
        "sha" => {
            let long = rule.get("format") == Some("long");
            Some((if long { spec.sha.clone() } else { spec.sha.chars().take(7).collect() }, false))
        }
        "raw" => rule.get("value").map(|value| (value.to_owned(), false)),
        "edge" => {
            let wanted = rule.get("branch").unwrap_or(default_branch);
            (branch == Some(wanted)).then(|| (rule.get("value").unwrap_or("edge").to_owned(), false))
        }
        "semver" => tag.and_then(|tag| {
            semver(rule.get("value").unwrap_or(tag), rule.get("pattern").unwrap_or("{{version}}"))
        }),
        "schedule" | "match" | "pep440" => return Err(format!("type={} is not supported here", rule.kind)),
        other => return Err(format!("type={other} is not known")),
    })
}

/// A version of a tag by a pattern. Pre-releases keep their whole version, whatever the pattern says.
fn semver(tag: &str, pattern: &str) -> Option<(String, bool)> {
    let version = tag.strip_prefix('v').unwrap_or(tag);
    let (core, pre) = version.split_once('-').map_or((version, None), |(core, pre)| (core, Some(pre)));
    let core = core.split('+').next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let [major, minor, patch] = numbers.as_slice() else { return None };
    if numbers.iter().any(|number| number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    if pre.is_some() {
        return Some((version.to_owned(), false));
    }
    let filled = pattern
        .replace("{{version}}", version)
        .replace("{{raw}}", tag)
        .replace("{{major}}", major)
        .replace("{{minor}}", minor)
        .replace("{{patch}}", patch);
    Some((filled, true))
}

/// A tag has letters, digits, `_`, `.` and `-`.
fn sanitize(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' };
    text.chars().map(plain).take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_follow_the_event() {
        let check = |reference: &str, lines: &[&str], expected: &[&str]| {
            let spec =
                RunSpec { reference: reference.into(), sha: "0123456789abcdef".into(), ..RunSpec::default() };
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(versions(&spec, "main", &lines, "auto").unwrap(), expected, "{reference} {lines:?}");
        };
        check("refs/heads/main", &[], &["main"]);
        check("refs/heads/feature/x", &[], &["feature-x"]);
        check("refs/tags/v1.2.3", &[], &["v1.2.3", "latest"]);
        check("refs/heads/main", &["type=sha", "type=raw,value=latest"], &["latest", "sha-0123456"]);
        check("refs/heads/main", &["type=sha,format=long,prefix="], &["0123456789abcdef"]);
        check("refs/heads/main", &["type=edge"], &["edge"]);
        check("refs/heads/other", &["type=edge", "stable"], &["stable"]);
        check("refs/heads/main", &["type=raw,value=x,enable=false"], &[]);
        let semver = ["type=semver,pattern={{version}}", "type=semver,pattern={{major}}.{{minor}}"];
        check("refs/tags/v1.2.3", &semver, &["1.2.3", "1.2", "latest"]);
        check("refs/tags/v1.2.3-rc.1", &semver, &["1.2.3-rc.1"]);
        check("refs/tags/nightly", &semver, &[]);
    }
}
