//! `portolan diff DIR_A DIR_B`: what changes in the objects between two kustomizations, field by field. Ends as `diff`
//! does: 0 for no difference, 1 for some, 2 for trouble.

mod changes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;

use super::build::print;
use super::paint::{Color, Paint};
use super::render::Rendering;
use changes::{Change, Difference, Pair};

#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// A directory with a kustomization: how it was
    #[arg(value_name = "DIR_A")]
    before: PathBuf,
    /// Another one: how it will be
    #[arg(value_name = "DIR_B")]
    after: PathBuf,
    /// Show changed lines of text instead of fields
    #[arg(short, long)]
    unified: bool,
    #[command(flatten)]
    rendering: Rendering,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

impl Diff {
    pub(crate) fn run(self) -> ExitCode {
        match self.compare() {
            Ok(false) => ExitCode::SUCCESS,
            Ok(true) => ExitCode::from(1),
            Err(error) => {
                eprintln!("portolan: {}", crate::one_line(&error));
                ExitCode::from(2)
            }
        }
    }

    /// Shows the differences; whether there are some.
    fn compare(&self) -> Result<bool> {
        let build = |dir: &Path| {
            let built = self.rendering.build(dir).with_context(|| format!("cannot build {}", dir.display()));
            built.map(|built| built.objects())
        };
        let (before, after) = (build(&self.before)?, build(&self.after)?);
        let pairs = changes::pairs(&before, &after);
        let mut out = String::new();
        for pair in &pairs {
            out.push_str(&shown(pair, self.unified, self.color.paint())?);
        }
        if !pairs.is_empty() {
            out.push_str(&summary(&pairs));
        }
        print(&out)?;
        Ok(!pairs.is_empty())
    }
}

fn summary(pairs: &[Pair<'_>]) -> String {
    let count = |fits: fn(&Pair<'_>) -> bool| pairs.iter().filter(|pair| fits(pair)).count();
    let added = count(|pair| pair.before.is_none());
    let removed = count(|pair| pair.after.is_none());
    format!("{added} added, {removed} removed, {} changed\n", pairs.len() - added - removed)
}

fn shown(pair: &Pair<'_>, unified: bool, paint: Paint) -> Result<String> {
    let (sign, name) = match (pair.before, pair.after) {
        (None, _) => ("+", paint.green(&pair.name)),
        (_, None) => ("-", paint.red(&pair.name)),
        _ => ("~", paint.yellow(&pair.name)),
    };
    let mut out = format!("{}\n", paint.bold(&format!("{sign} {name}")));
    match (pair.before, pair.after) {
        (Some(before), Some(after)) if unified => out.push_str(&unified_text(before, after, paint)?),
        (Some(before), Some(after)) => {
            for change in changes::changes(before, after) {
                out.push_str(&field(&change, paint));
            }
        }
        (None, Some(object)) => out.push_str(&whole(object, '+', paint)?),
        (Some(object), None) => out.push_str(&whole(object, '-', paint)?),
        (None, None) => {}
    }
    out.push('\n');
    Ok(out)
}

fn yaml_of(value: &Value) -> Result<String> {
    yaml::marshal(value).map_err(anyhow::Error::msg)
}

fn whole(object: &Value, sign: char, paint: Paint) -> Result<String> {
    let text = yaml_of(object)?;
    Ok(text.lines().map(|line| marked(sign, line, paint)).collect())
}

fn marked(sign: char, line: &str, paint: Paint) -> String {
    let line = format!("  {sign} {line}");
    let line = match sign {
        '+' => paint.green(&line),
        '-' => paint.red(&line),
        _ => line,
    };
    format!("{}\n", line.trim_end())
}

fn unified_text(before: &Value, after: &Value, paint: Paint) -> Result<String> {
    let (before, after) = (yaml_of(before)?, yaml_of(after)?);
    let text = similar::TextDiff::from_lines(&before, &after).unified_diff().to_string();
    let line = |line: &str| {
        let line = match line.as_bytes().first() {
            Some(b'+') => paint.green(line),
            Some(b'-') => paint.red(line),
            Some(b'@') => paint.cyan(line),
            _ => line.to_owned(),
        };
        format!("{line}\n")
    };
    Ok(text.lines().map(line).collect())
}

/// One field: on one line where both values are short, else the lines that differ.
fn field(change: &Change<'_>, paint: Paint) -> String {
    let path = paint.bold(&change.path);
    match change.difference {
        Difference::Added(value) => match one_line(value) {
            Some(text) => format!("    {path}: {}\n", paint.green(&format!("+ {text}"))),
            None => format!("    {path}:\n{}", inner(value, '+', paint)),
        },
        Difference::Removed(value) => match one_line(value) {
            Some(text) => format!("    {path}: {}\n", paint.red(&format!("- {text}"))),
            None => format!("    {path}:\n{}", inner(value, '-', paint)),
        },
        Difference::Changed(before, after) => match (one_line(before), one_line(after)) {
            (Some(before), Some(after)) => {
                format!("    {path}: {} → {}\n", paint.red(&before), paint.green(&after))
            }
            _ => format!("    {path}:\n{}", lines(before, after, paint)),
        },
    }
}

/// Longest value that is shown on the line of its field.
const INLINE: usize = 100;

fn one_line(value: &Value) -> Option<String> {
    let text = match value {
        Value::Array(items) if !items.is_empty() => return None,
        Value::Object(fields) if !fields.is_empty() => return None,
        value => yaml::marshal(value).ok()?,
    };
    let text = text.trim_end_matches('\n');
    (!text.contains('\n') && text.chars().count() <= INLINE).then(|| text.to_owned())
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => yaml::marshal(value).unwrap_or_default(),
    }
}

fn inner(value: &Value, sign: char, paint: Paint) -> String {
    text_of(value).lines().map(|line| format!("    {}", marked(sign, line, paint))).collect()
}

fn lines(before: &Value, after: &Value, paint: Paint) -> String {
    let (before, after) = (text_of(before), text_of(after));
    let diff = similar::TextDiff::from_lines(&before, &after);
    let mut out = String::new();
    for (position, group) in diff.grouped_ops(2).iter().enumerate() {
        if position > 0 {
            out.push_str("      …\n");
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let sign = match change.tag() {
                similar::ChangeTag::Insert => '+',
                similar::ChangeTag::Delete => '-',
                similar::ChangeTag::Equal => ' ',
            };
            out.push_str(&format!("    {}", marked(sign, change.value().trim_end_matches('\n'), paint)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(before: Value, after: Value, expected: &str) {
        let (before, after) = (before.as_array().unwrap(), after.as_array().unwrap());
        let pairs = changes::pairs(before, after);
        let paint = Color::Never.paint();
        let text: String = pairs.iter().map(|pair| shown(pair, false, paint).unwrap()).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn fields_are_named_and_lists_compared_by_name() {
        let deployment = |replicas: u32, image: &str, extra: Value| {
            let mut containers = vec![json!({"name": "web", "image": image})];
            containers.extend(extra.as_array().unwrap().clone());
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "prod"},
                "spec": {"replicas": replicas, "containers": containers}})
        };
        check(
            json!([deployment(1, "a:1", json!([{"name": "old"}]))]),
            json!([deployment(2, "a:2", json!([]))]),
            "~ Deployment prod/web
    spec.containers[name=web].image: a:1 → a:2
    spec.containers[name=old]:
      - name: old
    spec.replicas: 1 → 2

",
        );
    }

    #[test]
    fn texts_of_several_lines_show_the_lines_that_differ() {
        let map = |text: &str| json!([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"f": text}}]);
        check(
            map("a\nb\nc\n"),
            map("a\nx\nc\n"),
            "~ ConfigMap m\n    data.f:\n        a\n      - b\n      + x\n        c\n\n",
        );
    }

    #[test]
    fn a_new_hash_is_the_same_object() {
        let map = |name: &str, level: &str| json!([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"level": level}}]);
        check(
            map("m-27kt8f88bk", "low"),
            map("m-6g9d4m7844", "high"),
            "~ ConfigMap m-27kt8f88bk\n    data.level: low → high\n    metadata.name: m-27kt8f88bk → m-6g9d4m7844\n\n",
        );
    }

    #[test]
    fn objects_come_and_go() {
        let object = |name: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}});
        check(
            json!([object("a")]),
            json!([object("b")]),
            "- Service a
  - apiVersion: v1
  - kind: Service
  - metadata:
  -   name: a

+ Service b
  + apiVersion: v1
  + kind: Service
  + metadata:
  +   name: b

",
        );
    }
}
