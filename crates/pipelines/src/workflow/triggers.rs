//! `on:`: which events start a workflow.

use regex::Regex;
use serde_json::Value;

use super::{At, Error};

/// Something that happened, as far as triggers look at it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// `reference` is the full ref; `paths` are the files that changed.
    Push {
        reference: &'a str,
        paths: &'a [String],
    },
    WorkflowDispatch,
    RepositoryDispatch {
        event_type: &'a str,
    },
}

/// The events that a workflow names.
#[derive(Clone, Debug, Default)]
pub struct Triggers {
    pub push: Option<PushFilter>,
    /// Read, so that files which name it are valid; the git host has no pull requests yet.
    pub pull_request: bool,
    /// Defaults of the inputs, where they have one.
    pub workflow_dispatch: Option<Vec<(String, Value)>>,
    /// Event types; empty is all.
    pub repository_dispatch: Option<Vec<String>>,
}

/// Which pushes count.
#[derive(Clone, Debug, Default)]
pub struct PushFilter {
    pub branches: Option<Patterns>,
    pub tags: Option<Patterns>,
    pub paths: Option<Patterns>,
}

/// An ordered list of patterns, of which the last match decides; `!` in front takes a match back.
#[derive(Clone, Debug)]
pub struct Patterns {
    patterns: Vec<(bool, Regex)>,
    /// `branches-ignore` and the like: what matches does not count, everything else does.
    ignore: bool,
}

impl Triggers {
    /// Whether the event starts the workflow.
    pub fn matches(&self, event: Event<'_>) -> bool {
        match event {
            Event::Push { reference, paths } => {
                self.push.as_ref().is_some_and(|push| push.matches(reference, paths))
            }
            Event::WorkflowDispatch => self.workflow_dispatch.is_some(),
            Event::RepositoryDispatch { event_type } => self
                .repository_dispatch
                .as_ref()
                .is_some_and(|types| types.is_empty() || types.iter().any(|wanted| wanted == event_type)),
        }
    }
}

impl PushFilter {
    fn matches(&self, reference: &str, paths: &[String]) -> bool {
        if let Some(tag) = reference.strip_prefix("refs/tags/") {
            // A filter of branches alone means that tags do not count, and the other way round.
            return self.tags.as_ref().map_or(self.branches.is_none(), |tags| tags.accepts(tag));
        }
        let Some(branch) = reference.strip_prefix("refs/heads/") else { return false };
        let branch = self.branches.as_ref().map_or(self.tags.is_none(), |branches| branches.accepts(branch));
        branch && self.paths.as_ref().is_none_or(|filter| paths.iter().any(|path| filter.accepts(path)))
    }
}

impl Patterns {
    fn accepts(&self, name: &str) -> bool {
        let mut matched = false;
        for (negated, regex) in &self.patterns {
            if regex.is_match(name) {
                matched = !negated;
            }
        }
        matched != self.ignore
    }
}

pub(super) fn parse(at: &At<'_>) -> Result<Triggers, Error> {
    let mut triggers = Triggers::default();
    match at.value {
        Value::String(name) => add(&mut triggers, name, at)?,
        Value::Array(_) => {
            for item in at.items()? {
                add(&mut triggers, &item.scalar()?, &At { value: &Value::Null, path: item.path.clone() })?;
            }
        }
        _ => {
            for (name, event) in at.fields()? {
                add(&mut triggers, name, &event)?;
            }
        }
    }
    Ok(triggers)
}

fn add(triggers: &mut Triggers, name: &str, at: &At<'_>) -> Result<(), Error> {
    match name {
        "push" => triggers.push = Some(push(at)?),
        "pull_request" | "pull_request_target" => triggers.pull_request = true,
        "workflow_dispatch" => triggers.workflow_dispatch = Some(inputs(at)?),
        "repository_dispatch" => triggers.repository_dispatch = Some(at.texts("types")?),
        // Valid on GitHub, and never happening here.
        "schedule"
        | "release"
        | "workflow_call"
        | "workflow_run"
        | "merge_group"
        | "issues"
        | "issue_comment"
        | "create"
        | "delete"
        | "deployment"
        | "check_run"
        | "check_suite"
        | "pull_request_review" => {}
        other => return at.error(format!("unknown event `{other}`")),
    }
    Ok(())
}

fn push(at: &At<'_>) -> Result<PushFilter, Error> {
    if !at.value.is_object() {
        return Ok(PushFilter::default());
    }
    at.only(&["branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore"])?;
    Ok(PushFilter {
        branches: patterns(at, "branches", "branches-ignore")?,
        tags: patterns(at, "tags", "tags-ignore")?,
        paths: patterns(at, "paths", "paths-ignore")?,
    })
}

fn patterns(at: &At<'_>, accept: &str, ignore: &str) -> Result<Option<Patterns>, Error> {
    let name = match (at.get(accept), at.get(ignore)) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return at.error(format!("`{accept}` and `{ignore}` exclude each other")),
        (Some(_), None) => accept,
        (None, Some(_)) => ignore,
    };
    let mut patterns = Vec::new();
    for text in at.texts(name)? {
        let (negated, pattern) = text.strip_prefix('!').map_or((false, text.as_str()), |rest| (true, rest));
        match Regex::new(&to_regex(pattern)) {
            Ok(regex) => patterns.push((negated, regex)),
            Err(_) => return at.error(format!("`{text}` is not a pattern")),
        }
    }
    Ok(Some(Patterns { patterns, ignore: name == ignore }))
}

/// GitHub's filter patterns: `*` stops at slashes, `**` does not, `?` and `+` repeat the character before, `[…]` is a set.
fn to_regex(pattern: &str) -> String {
    let (mut regex, mut rest) = ("^".to_owned(), pattern);
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            // Also matches nothing, so that `**/x` finds `x` at the top.
            regex.push_str("(?:.*/)?");
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix("**") {
            regex.push_str(".*");
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => regex.push_str("[^/]*"),
            '?' | '+' | '[' | ']' => regex.push(c),
            // Inside a set, a dash and letters stand for themselves.
            '-' => regex.push('-'),
            '\\' => {
                if let Some(next) = rest.chars().next() {
                    regex.push_str(&regex::escape(&next.to_string()));
                    rest = &rest[next.len_utf8()..];
                }
            }
            other => regex.push_str(&regex::escape(&other.to_string())),
        }
    }
    regex.push('$');
    regex
}

fn inputs(at: &At<'_>) -> Result<Vec<(String, Value)>, Error> {
    let Some(inputs) = at.get("inputs") else { return Ok(Vec::new()) };
    let default = |(name, at): (&str, At<'_>)| {
        (name.to_owned(), at.get("default").map_or(Value::String(String::new()), |at| at.value.clone()))
    };
    Ok(inputs.fields()?.into_iter().map(default).collect())
}
