//! An entity's relations as a drawing, left to right: what it belongs to, itself, what it needs and has.

use maud::{Markup, html};
use serde_json::Value;

use crate::pages::catalog::{path_of_reference, short, title_of};

/// Relations whose target stands to the left.
const LEFT: &[&str] =
    &["ownedBy", "partOf", "dependencyOf", "apiConsumedBy", "memberOf", "childOf", "apiProvidedBy"];
const WIDTH: usize = 216;
const HEIGHT: usize = 44;
/// Between two columns; the relation's words stand here.
const GAP: usize = 120;
/// From one row to the next.
const ROW: usize = 60;
/// Characters of a name that fit.
const FITS: usize = 26;

/// One box: reference and the words on its line.
type Side<'a> = Vec<(&'a str, String)>;

/// The drawing; every box is a link.
pub(super) fn draw(entity: &Value) -> Markup {
    let (left, right) = sides(entity);
    let rows = left.len().max(right.len()).max(1);
    let (columns, height) = (3 * WIDTH + 2 * GAP + 2, rows * ROW);
    let middle = height / 2;
    html! {
        svg.graph viewBox={ "0 0 " (columns) " " (height) } width=(columns) height=(height) role="img" aria-label={ "Relations of " (title_of(entity)) } {
            @for (i, (target, words)) in left.iter().enumerate() {
                @let y = place(i, left.len(), height);
                (line((WIDTH + 1, y), (WIDTH + GAP, middle), (WIDTH + GAP / 2, words)))
                (node(1, y, target))
            }
            @for (i, (target, words)) in right.iter().enumerate() {
                @let y = place(i, right.len(), height);
                (line((2 * WIDTH + GAP, middle), (2 * WIDTH + 2 * GAP, y), (2 * WIDTH + GAP + GAP / 2, words)))
                (node(2 * WIDTH + 2 * GAP, y, target))
            }
            g.self {
                rect x=(WIDTH + GAP) y=(middle - HEIGHT / 2) width=(WIDTH) height=(HEIGHT) rx="6" {}
                (label(WIDTH + GAP, middle, title_of(entity), entity["kind"].as_str().unwrap_or_default()))
            }
        }
    }
}

fn sides(entity: &Value) -> (Side<'_>, Side<'_>) {
    let all = entity["relations"].as_array().into_iter().flatten();
    let all = all.filter_map(|r| Some((r["type"].as_str()?, r["targetRef"].as_str()?)));
    let (left, right): (Vec<_>, Vec<_>) = all.partition(|(kind, _)| LEFT.contains(kind));
    let name = |(kind, target)| (target, super::spoken(kind));
    (left.into_iter().map(name).collect(), right.into_iter().map(name).collect())
}

/// The middle of a box: a column's boxes stand around the drawing's middle.
fn place(index: usize, count: usize, height: usize) -> usize {
    height / 2 + index * ROW + ROW / 2 - count * ROW / 2
}

fn line((x1, y1): (usize, usize), (x2, y2): (usize, usize), (x, words): (usize, &str)) -> Markup {
    let bend = x1.midpoint(x2);
    html! {
        path.line d={ "M" (x1) " " (y1) "C" (bend) " " (y1) " " (bend) " " (y2) " " (x2) " " (y2) } {}
        text.words x=(x) y=(y1.midpoint(y2) - 5) text-anchor="middle" { (words) }
    }
}

fn node(x: usize, y: usize, reference: &str) -> Markup {
    html! { a href=(path_of_reference(reference)) {
        rect x=(x) y=(y - HEIGHT / 2) width=(WIDTH) height=(HEIGHT) rx="6" {}
        (label(x, y, short(reference), reference.split(':').next().unwrap_or_default()))
    } }
}

fn label(x: usize, y: usize, name: &str, kind: &str) -> Markup {
    html! {
        text.name x=(x + 12) y=(y - 3) { title { (name) } (cut(name)) }
        text.kind x=(x + 12) y=(y + 13) { (kind.to_lowercase()) }
    }
}

/// Long names are cut in the middle.
fn cut(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= FITS {
        return name.to_owned();
    }
    let half = (FITS - 1) / 2;
    letters[..half].iter().chain(['…'].iter()).chain(&letters[letters.len() - half..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_it_belongs_to_is_left_and_what_it_needs_is_right() {
        let entity = json!({"kind": "Component", "metadata": {"name": "web"}, "relations": [
            {"type": "ownedBy", "targetRef": "group:default/team"}, {"type": "dependsOn", "targetRef": "component:default/api"}]});
        let (left, right) = sides(&entity);
        assert_eq!(left, [("group:default/team", "Owned by".to_owned())]);
        assert_eq!(right, [("component:default/api", "Depends on".to_owned())]);
        let svg = draw(&entity).into_string();
        assert!(svg.contains("href=\"/catalog/default/group/team\"") && !svg.contains("style="), "{svg}");
    }

    #[test]
    fn boxes_stand_around_the_middle() {
        assert_eq!((place(0, 1, 120), place(0, 2, 120), place(1, 2, 120)), (60, 30, 90));
    }

    #[test]
    fn long_names_are_cut_in_the_middle() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut("a-very-long-name-of-a-component-v2").chars().count(), 25);
    }
}
