//! The frame of every page: rail, top bar, breadcrumb, search, who is signed in.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::assets;
use crate::caller::Caller;
use crate::session::FORM_KEY;

/// One entry of the rail: path, label, icon path data (16 by 16, stroked).
const RAIL: &[(&str, &str, &str)] = &[
    ("/", "Home", "M2 8l6-5 6 5M4 7v6h8V7"),
    ("/catalog", "Catalog", "M3 3h10v10H3zM3 6.5h10M6.5 6.5V13"),
    ("/create", "Create", "M8 3v10M3 8h10"),
    ("/environments", "Environments", "M2 4h3v8H2zM6.5 4h3v8h-3zM11 4h3v8h-3z"),
    (
        "/pipelines",
        "Pipelines",
        "M3 8a1.5 1.5 0 103 0 1.5 1.5 0 10-3 0M10 8a1.5 1.5 0 103 0 1.5 1.5 0 10-3 0M6 8h4",
    ),
    ("/repositories", "Repositories", "M4 2.5h8v11H4zM4 11h8M6.5 5h3"),
];

/// What a page says of itself.
pub(crate) struct Page<'a> {
    /// Of the document; the site's name follows.
    pub(crate) title: &'a str,
    /// Path of the rail entry that is current.
    pub(crate) section: &'a str,
    /// Label and path of each step above this page; the page itself comes last, without a path.
    pub(crate) crumbs: &'a [(&'a str, &'a str)],
}

/// The whole document.
pub(crate) fn page(caller: &Caller, page: &Page<'_>, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (page.title) " · Portolan" }
                link rel="icon" type="image/svg+xml" href=(assets::url("icon.svg"));
                link rel="stylesheet" href=(assets::url("portal.css"));
                script src=(assets::url("theme.js")) {}
                script src=(assets::url("portal.js")) defer {}
            }
            body {
                a.skip href="#content" { "Skip to content" }
                div.frame {
                    nav.rail aria-label="Main" { (rail(page.section)) }
                    div {
                        header.top { (top(caller, page.crumbs)) }
                        main #content tabindex="-1" { (content) }
                    }
                }
                p.connection role="status" hidden { "Connection lost. Trying again…" }
                dialog.palette aria-label="Search" {
                    input type="search" placeholder="Entity, repository, page…" aria-label="Search everything";
                    ul {}
                }
            }
        }
    }
}

/// The hidden field that every form carries.
pub(crate) fn form_key(caller: &Caller) -> Markup {
    html! { input type="hidden" name=(FORM_KEY) value=(caller.form_key); }
}

/// First letter, for an avatar.
pub(crate) fn initial(name: &str) -> String {
    name.chars().next().map(|c| c.to_uppercase().to_string()).unwrap_or_default()
}

/// Percent-encodes one part of a URL.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Reads what a browser encoded in a form.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn rail(section: &str) -> Markup {
    html! {
        a.brand href="/" {
            svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.6" aria-hidden="true" {
                circle cx="12" cy="12" r="10" {}
                path d="M12 4l2.4 5.6L20 12l-5.6 2.4L12 20l-2.4-5.6L4 12l5.6-2.4z" fill="currentColor" {}
            }
            span { "Portolan" }
        }
        ul {
            @for (path, label, icon) in RAIL {
                li { a href=(path) aria-current=[(*path == section).then_some("page")] {
                    svg.icon viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.3" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" {
                        (PreEscaped(format!("<path d=\"{icon}\"/>")))
                    }
                    (label)
                } }
            }
        }
        div.foot { button.quiet type="button" data-theme-switch { "Theme" } }
    }
}

fn top(caller: &Caller, crumbs: &[(&str, &str)]) -> Markup {
    html! {
        nav.crumbs aria-label="Breadcrumb" {
            @for (i, (label, path)) in crumbs.iter().enumerate() {
                @if i > 0 { span aria-hidden="true" { "/" } }
                @if path.is_empty() { span aria-current="page" { (label) } } @else { a href=(path) { (label) } }
            }
        }
        form.search action="/search" role="search" {
            input type="search" name="q" placeholder="Search" aria-label="Search";
            kbd aria-hidden="true" { "/" }
        }
        div.who {
            span.avatar aria-hidden="true" { (initial(&caller.claims.name)) }
            span.name { (caller.claims.name) }
            form method="post" action="/sign-out" { button.quiet { "Sign out" } }
        }
    }
}
