//! Dates and times that stand without quotes: go-yaml v3 reads them as such, and they are written in RFC 3339.

/// The time that a plain scalar says, as Go's JSON writes it (`2006-01-02T15:04:05.999999999Z07:00`); none: it is text.
///
/// Accepted are `2006-1-2`, `2006-1-2 15:4:5.9` (UTC), and with `T` or `t` between and a zone `Z` or `±07:00` behind.
pub(super) fn normalize(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || bytes[4] != b'-' || !bytes[..4].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let at = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let (year, rest) = text[..at].split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
    if !(1..=12).contains(&month) || day == 0 || day > days(year, month) {
        return None;
    }
    let (time, zone) = match text[at..].chars().next() {
        None => ("00:00:00".to_owned(), "Z".to_owned()),
        Some(' ') => (clock(&text[at + 1..])?, "Z".to_owned()),
        Some(_) => {
            let rest = &text[at + 1..];
            let zone_at = rest.find(['Z', '+', '-'])?;
            (clock(&rest[..zone_at])?, zone(&rest[zone_at..])?)
        }
    };
    Some(format!("{year:04}-{month:02}-{day:02}T{time}{zone}"))
}

/// At most so many digits, and nothing else.
fn number(text: &str, digits: usize) -> Option<u32> {
    let fits = (1..=digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `15:4:5.120` as `15:04:05.12`.
fn clock(text: &str) -> Option<String> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let mut parts = whole.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut clock = format!("{hour:02}:{minute:02}:{second:02}");
    if let Some(fraction) = fraction {
        if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Nanoseconds: what is finer is cut off.
        let kept = fraction.get(..9).unwrap_or(fraction).trim_end_matches('0');
        if !kept.is_empty() {
            clock = format!("{clock}.{kept}");
        }
    }
    Some(clock)
}

fn zone(text: &str) -> Option<String> {
    if text == "Z" {
        return Some("Z".to_owned());
    }
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 || number(hours, 2)? > 24 || number(minutes, 2)? > 59 {
        return None;
    }
    Some(if &text[1..] == "00:00" { "Z".to_owned() } else { text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn times_are_written_in_one_way() {
        for (text, expected) in [
            ("2001-01-01", Some("2001-01-01T00:00:00Z")),
            ("2001-1-2", Some("2001-01-02T00:00:00Z")),
            ("2001-01-01 10:20:30.500", Some("2001-01-01T10:20:30.5Z")),
            ("2001-01-01T1:2:3Z", Some("2001-01-01T01:02:03Z")),
            ("2001-01-01t01:02:03+01:00", Some("2001-01-01T01:02:03+01:00")),
            ("2001-01-01T01:02:03+00:00", Some("2001-01-01T01:02:03Z")),
            ("2001-02-29", None),
            ("2000-02-29", Some("2000-02-29T00:00:00Z")),
            ("2001-13-01", None),
            ("2001-01-01T01:02:03", None),
            ("2001-01-01x", None),
            ("20010-01-01", None),
            ("2001-01-äö", None),
        ] {
            assert_eq!(normalize(text).as_deref(), expected, "{text}");
        }
    }
}
