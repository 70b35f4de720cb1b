//! Times as people read them: relative in text, absolute on hover and in `datetime`.

use jiff::Timestamp;
use maud::{Markup, html};

/// A `time` element for an RFC 3339 time; an unreadable one is shown as it stands.
pub(crate) fn ago(at: &str) -> Markup {
    let Ok(time) = at.parse::<Timestamp>() else { return html! { (at) } };
    let seconds = (Timestamp::now().as_second() - time.as_second()).max(0);
    html! { time datetime=(at) title=(at) data-relative { (relative(seconds)) } }
}

/// A `time` element with the clock's time in UTC, for tables that compare moments.
pub(crate) fn clock(at: &str) -> Markup {
    html! { time datetime=(at) title=(at) { (at.get(11..19).unwrap_or(at)) " UTC" } }
}

/// How long something took, with units: `850 ms`, `12 s`, `3 min 5 s`.
pub(crate) fn duration(from: &str, to: &str) -> Option<String> {
    let (from, to) = (from.parse::<Timestamp>().ok()?, to.parse::<Timestamp>().ok()?);
    let ms = (to.as_millisecond() - from.as_millisecond()).max(0);
    Some(match ms {
        // Most times in the APIs have whole seconds.
        0 => "under 1 s".to_owned(),
        1..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{} s", ms / 1000),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    })
}

fn relative(seconds: i64) -> String {
    let (count, unit) = match seconds {
        0..5 => return "just now".to_owned(),
        5..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let check = |seconds, expected: &str| assert_eq!(relative(seconds), expected);
        check(2, "just now");
        check(59, "59 seconds ago");
        check(60, "1 minute ago");
        check(7200, "2 hours ago");
        assert_eq!(duration("2026-01-01T00:00:00Z", "2026-01-01T00:03:05Z").as_deref(), Some("3 min 5 s"));
        assert_eq!(duration("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.850Z").as_deref(), Some("850 ms"));
    }
}
