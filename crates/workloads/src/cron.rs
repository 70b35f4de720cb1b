//! Cron schedules as robfig/cron v3 reads them: five fields (CronJob) or six with seconds first (ScheduledBackup),
//! `@daily` and the like, `@every 5m`. Pure.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// Schedules that do not come up within this many years never will (`0 0 30 2 *`).
const YEARS: i16 = 5;

/// What a schedule's text means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Times that fit all fields.
    Fields(Box<Fields>),
    /// A fixed pause.
    Every(SignedDuration),
}

/// Allowed values as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// `*` in both day fields means any day; restricted in both means either.
    any_day: bool,
    any_weekday: bool,
}

/// What is wrong with a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CronError(String);

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Five fields: minute, hour, day of month, month, day of week.
pub fn parse_five(text: &str) -> Result<Schedule, CronError> {
    parse(text, false)
}

/// Six fields: second first.
pub fn parse_six(text: &str) -> Result<Schedule, CronError> {
    parse(text, true)
}

fn parse(text: &str, with_seconds: bool) -> Result<Schedule, CronError> {
    let text = text.trim();
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        return Err(CronError("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".into()));
    }
    if let Some(descriptor) = text.strip_prefix('@') {
        return descriptor_schedule(descriptor)
            .ok_or_else(|| CronError(format!("unrecognized descriptor: @{descriptor}")));
    }
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let expected = if with_seconds { 6 } else { 5 };
    if words.len() != expected {
        return Err(CronError(format!(
            "expected exactly {expected} fields, found {}: {words:?}",
            words.len()
        )));
    }
    if !with_seconds {
        words.insert(0, "0");
    }
    let star = |word: &str| word == "*" || word == "?" || word.starts_with("*/");
    Ok(Schedule::Fields(Box::new(Fields {
        seconds: field(words[0], 0, 59, &[])?,
        minutes: field(words[1], 0, 59, &[])?,
        hours: field(words[2], 0, 23, &[])?,
        days: field(words[3], 1, 31, &[])?,
        months: field(words[4], 1, 12, &MONTHS)?,
        weekdays: field(words[5], 0, 6, &WEEKDAYS)?,
        any_day: star(words[3]),
        any_weekday: star(words[5]),
    })))
}

fn descriptor_schedule(descriptor: &str) -> Option<Schedule> {
    if let Some(text) = descriptor.strip_prefix("every ") {
        let pause: SignedDuration = text.trim().parse().ok()?;
        return (pause.as_secs() >= 1).then(|| Schedule::Every(SignedDuration::from_secs(pause.as_secs())));
    }
    let five = match descriptor {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        _ => return None,
    };
    parse(five, false).ok()
}

fn field(word: &str, low: u32, high: u32, names: &[&str]) -> Result<u64, CronError> {
    let mut bits = 0;
    for part in word.split(',') {
        bits |= range(part, low, high, names)?;
    }
    Ok(bits)
}

fn range(part: &str, low: u32, high: u32, names: &[&str]) -> Result<u64, CronError> {
    let wrong = |what: &str| CronError(format!("{what}: {part}"));
    let (bounds, step) = match part.split_once('/') {
        Some((bounds, step)) => {
            (bounds, Some(step.parse::<u32>().map_err(|_| wrong("failed to parse int"))?))
        }
        None => (part, None),
    };
    let number = |text: &str| {
        let by_name = names.iter().position(|n| text.eq_ignore_ascii_case(n)).map(|at| at as u32 + low);
        by_name.or_else(|| text.parse().ok()).ok_or_else(|| wrong("failed to parse int from"))
    };
    let (start, end) = match bounds {
        "*" | "?" => (low, high),
        _ => match bounds.split_once('-') {
            Some((start, end)) => (number(start)?, number(end)?),
            None => {
                let start = number(bounds)?;
                // `3/15` means from 3 to the end.
                (start, if step.is_some() { high } else { start })
            }
        },
    };
    if start < low || end > high || start > end {
        return Err(wrong(&format!("values must be within {low} to {high}, in order")));
    }
    match step.unwrap_or(1) {
        0 => Err(wrong("step of range should be a positive number")),
        step => Ok((start..=end).step_by(step as usize).fold(0, |bits, value| bits | 1 << value)),
    }
}

impl Schedule {
    /// The first time after `after`, in a time zone; none if there is none within five years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Schedule::Every(pause) => {
                let next = after.checked_add(*pause).ok()?;
                Timestamp::from_second(next.as_second()).ok()
            }
            Schedule::Fields(fields) => {
                let mut civil = after.to_zoned(zone.clone()).datetime();
                for _ in 0..4 {
                    civil = fields.next(civil)?;
                    let time = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
                    // Where clocks go back, a time of day can come twice; only the first counts.
                    if time > after {
                        return Some(time);
                    }
                }
                None
            }
        }
    }
}

impl Fields {
    fn next(&self, after: DateTime) -> Option<DateTime> {
        let mut at = after.with().subsec_nanosecond(0).build().ok()?.checked_add(1.second()).ok()?;
        let last = after.year() + YEARS;
        while at.year() <= last {
            if !has(self.months, i64::from(at.month())) {
                at = midnight(at.first_of_month()).checked_add(1.month()).ok()?;
            } else if !self.fits_day(at) {
                at = midnight(at).checked_add(1.day()).ok()?;
            } else if !has(self.hours, i64::from(at.hour())) {
                at = at.with().minute(0).second(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if !has(self.minutes, i64::from(at.minute())) {
                at = at.with().second(0).build().ok()?.checked_add(1.minute()).ok()?;
            } else if !has(self.seconds, i64::from(at.second())) {
                at = at.checked_add(1.second()).ok()?;
            } else {
                return Some(at);
            }
        }
        None
    }

    fn fits_day(&self, at: DateTime) -> bool {
        let day = has(self.days, i64::from(at.day()));
        let weekday = has(self.weekdays, i64::from(at.weekday().to_sunday_zero_offset()));
        if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }
}

fn has(bits: u64, value: i64) -> bool {
    bits >> value & 1 == 1
}

fn midnight(at: DateTime) -> DateTime {
    at.date().to_datetime(jiff::civil::Time::midnight())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: Result<Schedule, CronError>, zone: &str, after: &str, expected: &[&str]) {
        let (schedule, zone) = (schedule.unwrap(), TimeZone::get(zone).unwrap());
        let mut at: Timestamp = after.parse().unwrap();
        for expected in expected {
            at = schedule.next(at, &zone).unwrap();
            assert_eq!(at.to_string(), *expected);
        }
    }

    #[test]
    fn next_times() {
        let from = "2026-01-30T23:59:30Z";
        check(parse_five("*/20 * * * *"), "UTC", from, &["2026-01-31T00:00:00Z", "2026-01-31T00:20:00Z"]);
        check(parse_five("30 2 29 2 *"), "UTC", from, &["2028-02-29T02:30:00Z"]);
        check(parse_five("0 0 1 * MON"), "UTC", from, &["2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z"]);
        check(parse_five("0 9 * * mon-fri"), "UTC", from, &["2026-02-02T09:00:00Z", "2026-02-03T09:00:00Z"]);
        check(
            parse_five("5/25 3 * * *"),
            "UTC",
            from,
            &["2026-01-31T03:05:00Z", "2026-01-31T03:30:00Z", "2026-01-31T03:55:00Z"],
        );
        check(parse_five("@daily"), "UTC", from, &["2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"]);
        check(parse_five("@every 90s"), "UTC", from, &["2026-01-31T00:01:00Z"]);
        check(parse_six("0 0 2 * * *"), "UTC", from, &["2026-01-31T02:00:00Z"]);
        check(parse_six("*/15 * * * * *"), "UTC", from, &["2026-01-30T23:59:45Z", "2026-01-31T00:00:00Z"]);
        check(parse_five("0 0 * * *"), "Europe/Berlin", from, &["2026-01-31T23:00:00Z"]);
    }

    #[test]
    fn clocks_that_change() {
        // 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
        let schedule = || parse_five("30 2 * * *");
        check(
            schedule(),
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"],
        );
        check(
            schedule(),
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        );
    }

    #[test]
    fn mistakes() {
        let check = |text: &str| assert!(parse_five(text).is_err(), "{text}");
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "@often",
            "TZ=UTC 0 0 * * *",
            "a * * * *",
        ] {
            check(text);
        }
        assert!(parse_six("0 0 * * *").is_err(), "five fields where six are due");
        assert_eq!(
            parse_five("0 0 30 2 *").unwrap().next("2026-01-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC),
            None
        );
    }
}
