//! Ranges of versions, as `spec.ref.semver` has them (the syntax of Masterminds/semver): `>=1.0.0 <2.0.0`, `^1.2`, `~1.2.3`,
//! `1.x`, `1.0 - 2.0`, alternatives by `||`.

use std::cmp::Ordering;

/// A version; build metadata is not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    pre: String,
}

impl Version {
    /// `1`, `v1.2`, `1.2.3-rc.1+build`; also says how many numbers were written.
    fn parse(text: &str) -> Option<(Self, usize)> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, pre) = text.split_once('-').unwrap_or((text, ""));
        let mut version = Version { numbers: [0; 3], pre: pre.to_owned() };
        let mut count = 0;
        for part in numbers.split('.') {
            if matches!(part, "x" | "X" | "*") {
                break;
            }
            *version.numbers.get_mut(count)? = part.parse().ok()?;
            count += 1;
        }
        Some((version, count))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.as_str(), other.pre.as_str()) {
            ("", "") => Ordering::Equal,
            ("", _) => Ordering::Greater,
            (_, "") => Ordering::Less,
            (a, b) => compare_pre(a, b),
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn compare_pre(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                _ => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The tag with the greatest version in a range; none when no tag is in it or the range is not one.
pub(crate) fn greatest<'a>(range: &str, tags: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alternatives: Option<Vec<Vec<Bound>>> = range.split("||").map(|part| bounds(part.trim())).collect();
    let alternatives = alternatives?;
    let fits = |version: &Version| {
        alternatives.iter().any(|bounds| {
            let pre_wanted = bounds.iter().any(|bound| !bound.version.pre.is_empty());
            (version.pre.is_empty() || pre_wanted) && bounds.iter().all(|bound| bound.holds(version))
        })
    };
    let versions = tags.into_iter().filter_map(|tag| Version::parse(tag).map(|(version, _)| (version, tag)));
    let best = versions.filter(|(version, _)| fits(version)).max_by(|(a, x), (b, y)| a.cmp(b).then(x.cmp(y)));
    best.map(|(_, tag)| tag)
}

struct Bound {
    order: &'static [Ordering],
    negated: bool,
    version: Version,
}

impl Bound {
    fn holds(&self, version: &Version) -> bool {
        self.order.contains(&version.cmp(&self.version)) != self.negated
    }
}

const AT_LEAST: &[Ordering] = &[Ordering::Greater, Ordering::Equal];
const BELOW: &[Ordering] = &[Ordering::Less];

/// The bounds of one alternative, all of which have to hold.
fn bounds(text: &str) -> Option<Vec<Bound>> {
    if let Some((from, to)) = text.split_once(" - ") {
        let (from, to) = (Version::parse(from.trim())?.0, Version::parse(to.trim())?.0);
        return Some(vec![bound(AT_LEAST, from), bound(&[Ordering::Less, Ordering::Equal], to)]);
    }
    let mut found = vec![];
    let spaced = text.replace(',', " ");
    let mut words = spaced.split_whitespace();
    while let Some(word) = words.next() {
        let digits = word.find(|c: char| c.is_ascii_alphanumeric() || c == '*').unwrap_or(word.len());
        let (operator, version) = word.split_at(digits);
        let version = if version.is_empty() { words.next()? } else { version };
        let (version, count) = Version::parse(version)?;
        match operator {
            ">" => found.push(bound(&[Ordering::Greater], version)),
            ">=" | "=>" => found.push(bound(AT_LEAST, version)),
            "<" => found.push(bound(BELOW, version)),
            "<=" | "=<" => found.push(bound(&[Ordering::Less, Ordering::Equal], version)),
            "!=" => found.push(Bound { order: &[Ordering::Equal], negated: true, version }),
            "=" | "" if count == 3 => found.push(bound(&[Ordering::Equal], version)),
            "=" | "" => found.extend(span(version, count)),
            "~" | "~>" => found.extend(span(version, count.clamp(1, 2))),
            "^" => {
                let fixed = version.numbers.iter().position(|n| *n != 0).unwrap_or(2) + 1;
                found.extend(span(version, fixed.min(count.max(1))));
            }
            _ => return None,
        }
    }
    (!found.is_empty()).then_some(found)
}

fn bound(order: &'static [Ordering], version: Version) -> Bound {
    Bound { order, negated: false, version }
}

/// From a version up to the next one of its first `fixed` numbers; 0: any version.
fn span(version: Version, fixed: usize) -> Vec<Bound> {
    let mut end = Version { numbers: [0; 3], pre: String::new() };
    let from = bound(AT_LEAST, version.clone());
    let Some(last) = fixed.checked_sub(1) else { return vec![from] };
    end.numbers[..=last].copy_from_slice(&version.numbers[..=last]);
    end.numbers[last] += 1;
    vec![from, bound(BELOW, end)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let tags = [
            "v0.2.1",
            "v0.2.9",
            "0.3.0",
            "1.0.0",
            "v1.2.3",
            "1.2.4",
            "1.9.0",
            "2.0.0-rc.1",
            "2.0.0",
            "junk",
            "v2.1.0-beta",
        ];
        let check =
            |range: &str, expected: Option<&str>| assert_eq!(greatest(range, tags), expected, "{range}");
        check("*", Some("2.0.0"));
        check(">=1.0.0 <2.0.0", Some("1.9.0"));
        check(">= 1.0.0, < 1.3", Some("1.2.4"));
        check("^0.2.0", Some("v0.2.9"));
        check("^1.0", Some("1.9.0"));
        check("~1.2.3", Some("1.2.4"));
        check("1.x", Some("1.9.0"));
        check("1.2.3", Some("v1.2.3"));
        check("1.0 - 1.2.3", Some("v1.2.3"));
        check("<0.3 || 1.0.0", Some("1.0.0"));
        check(">=2.1.0-0", Some("v2.1.0-beta"));
        check(">5", None);
        check("what", None);
    }
}
