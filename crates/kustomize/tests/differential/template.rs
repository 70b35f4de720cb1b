//! Templates: a text whose lines may be optional and whose places are filled by dice.
//!
//! `#?` at the end of a line makes the line and all that is below it optional, `#?5` leaves it out four times in
//! five. `@word` is a place: what fills it depends on the word; an upper-case word is a kind, filled by the name of
//! an object of that kind.

use crate::dice::{
    BLOCKS, DATA_KEYS, Dice, ENV_NAMES, IMAGE_NAMES, IMAGES, LABEL_KEYS, LABELS, NAMES, NAMESPACES, SCALARS,
    STRINGS,
};
use crate::plan::Known;

/// What places are filled from.
pub(crate) struct Places<'a> {
    /// The object that the template is about, if it is about one.
    pub(crate) subject: Option<&'a Known>,
    /// Objects that names may refer to.
    pub(crate) known: &'a [Known],
}

pub(crate) fn expand(template: &str, dice: &mut Dice, places: &Places<'_>) -> String {
    let mut out = String::new();
    let mut skip: Option<(usize, bool)> = None;
    for line in template.lines() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let item = code.starts_with("- ");
        if let Some((under, of_item)) = skip {
            if indent > under || (indent == under && item && !of_item) {
                continue;
            }
            skip = None;
        }
        let line = match line.split_once("#?") {
            None => line,
            Some((kept, odds)) => {
                if !dice.once_in(odds.trim().parse().unwrap_or(2)) {
                    skip = Some((indent, item));
                    continue;
                }
                kept.trim_end()
            }
        };
        fill(line, dice, places, &mut out);
        out.push('\n');
    }
    out
}

fn fill(line: &str, dice: &mut Dice, places: &Places<'_>, out: &mut String) {
    let indent = line.len() - line.trim_start_matches([' ', '-']).len();
    let mut rest = line;
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let end = after.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(after.len());
        out.push_str(&place(&after[..end], indent, dice, places));
        rest = &after[end..];
    }
    out.push_str(rest);
}

fn place(word: &str, indent: usize, dice: &mut Dice, places: &Places<'_>) -> String {
    match word {
        "apiVersion" => places.subject.map_or_else(String::new, |subject| subject.api_version.clone()),
        "kind" => places.subject.map_or_else(String::new, |subject| subject.kind.clone()),
        "name" => places.subject.map_or_else(String::new, |subject| subject.name.clone()),
        "ns" => match places.subject {
            Some(subject) if !subject.namespace.is_empty() => subject.namespace.clone(),
            _ => dice.pick(NAMESPACES).to_owned(),
        },
        "anyns" => dice.pick(NAMESPACES).to_owned(),
        "label" => dice.pick(LABELS).to_owned(),
        "labelkey" => dice.pick(LABEL_KEYS).to_owned(),
        "key" => dice.pick(DATA_KEYS).to_owned(),
        "env" => dice.pick(ENV_NAMES).to_owned(),
        "image" => dice.pick(IMAGES).to_owned(),
        "imagename" => dice.pick(IMAGE_NAMES).to_owned(),
        "int" => dice.below(5).to_string(),
        "port" => dice.pick(&["80", "8080", "443", "\"80\""]).to_owned(),
        "protocol" => dice.pick(&["TCP", "UDP"]).to_owned(),
        "bool" if dice.once_in(25) => dice.pick(&["yes", "\"true\"", "Off"]).to_owned(),
        "bool" => dice.pick(&["true", "false"]).to_owned(),
        "string" => dice.pick(STRINGS).to_owned(),
        "scalar" => scalar(dice).to_owned(),
        "block" => block(indent, dice),
        "value" => value(dice, 0),
        "any" => dice.pick(NAMES).to_owned(),
        kind => name_of(kind, dice, places.known),
    }
}

fn name_of(kind: &str, dice: &mut Dice, known: &[Known]) -> String {
    let fitting: Vec<&Known> = known.iter().filter(|known| known.kind == kind).collect();
    match dice.item(&fitting) {
        Some(known) if !dice.once_in(20) => known.name.clone(),
        _ => dice.pick(NAMES).to_owned(),
    }
}

/// A block scalar that stands after a field at `indent`.
fn block(indent: usize, dice: &mut Dice) -> String {
    let head = dice.pick(&["|", "|-", "|+", ">", ">-", "|", "|"]);
    let mut out = head.to_owned();
    for line in dice.pick(BLOCKS).lines() {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(&" ".repeat(indent + 2));
            out.push_str(line);
        }
    }
    out
}

/// What has no form in JSON ends a build, so that it is rare.
fn scalar(dice: &mut Dice) -> &'static str {
    let chosen = dice.pick(SCALARS);
    let bare = chosen.trim_start_matches('-').to_lowercase();
    let formless = [".inf", ".nan", "1e400"].contains(&bare.as_str());
    if formless && !dice.once_in(12) { "1.25" } else { chosen }
}

/// A value in flow style.
fn value(dice: &mut Dice, depth: usize) -> String {
    let items = |dice: &mut Dice| (0..dice.below(3)).map(|_| value(dice, depth + 1)).collect::<Vec<_>>();
    match dice.below(if depth > 2 { 4 } else { 7 }) {
        0..=3 => {
            let plain = scalar(dice);
            if plain.contains(',') { format!("'{}'", plain.trim_matches('"')) } else { plain.to_owned() }
        }
        4 => format!("[{}]", items(dice).join(", ")),
        _ => {
            let fields = items(dice);
            let names = ["a", "name", "key", "value"];
            let pairs: Vec<String> =
                fields.iter().zip(names).map(|(value, name)| format!("{name}: {value}")).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// A text moved to the right; empty lines stay empty.
pub(crate) fn indented(text: &str, by: usize) -> String {
    let margin = " ".repeat(by);
    text.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{margin}{line}\n") })
        .collect()
}
