//! Cells of what runs where: one component in one environment, beside its left neighbour.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::fleet::{Route, Seen, Workload};
use crate::{Config, fleet, marks, when};

/// Workloads of one component by environment.
pub(crate) type Row<'a> = BTreeMap<&'a str, &'a Workload>;

/// Rows by component, for the workloads that `wanted` lets through.
pub(crate) fn rows<'a>(seen: &'a [Seen], wanted: impl Fn(&Workload) -> bool) -> BTreeMap<&'a str, Row<'a>> {
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    for one in seen {
        for workload in one.workloads.iter().filter(|w| wanted(w)) {
            rows.entry(&workload.component).or_default().insert(&one.environment, workload);
        }
    }
    rows
}

/// The cells of one row, left to right.
pub(crate) fn cells(seen: &[Seen], row: &Row<'_>) -> Markup {
    html! {
        @for (i, one) in seen.iter().enumerate() {
            @let left = i.checked_sub(1).map(|l| row.get(seen[l].environment.as_str()).copied());
            td { (cell(row.get(one.environment.as_str()).copied(), left)) }
        }
    }
}

fn cell(workload: Option<&Workload>, left: Option<Option<&Workload>>) -> Markup {
    html! {
        div.cell {
            @if let Some(w) = workload {
                span.version.cut title=(w.version) { (w.version) }
                (marks::state(w.state, &w.words))
                span.small.muted { (w.ready) " ready" @if !w.since.is_empty() { ", started " (when::ago(&w.since)) } }
                @match left {
                    Some(Some(left)) if left.version != w.version => span.differs { "Left has " code { (left.version) } },
                    Some(None) => span.differs { "Not in the environment before" },
                    _ => {}
                }
            } @else { span.faint { "Not here" } }
        }
    }
}

/// Links to the running application, for hosts that lead to one of these workloads' namespaces.
pub(crate) fn open(config: &Config, seen: &Seen, workloads: &[&Workload]) -> Markup {
    let leads = |route: &&Route| workloads.iter().any(|w| w.namespace == route.namespace);
    html! {
        @for route in seen.routes.iter().filter(leads) {
            a.outside href=(fleet::url_of(config, &route.host)) { (route.host) }
        }
    }
}
