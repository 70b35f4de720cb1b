//! Resource quantities: `500m`, `1Gi`, `2e3`. Parsing, canonical printing, comparing and adding.
//! Semantics after apimachinery's `pkg/api/resource`: finer than nano is rounded up, and a quantity keeps the
//! family of its suffix (decimal, binary, exponent) where it can be printed exactly.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

/// An amount, exact to 10^-9.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// The text that Kubernetes gives for what is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

const NANO: i128 = 1_000_000_000;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nano: 0, format: Format::Decimal };

    /// Parses a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let negative = text.starts_with('-');
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (mantissa, decimals) = digits(number)?;
        let (nano, format) = scaled(mantissa, decimals, suffix)?;
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }

    /// From a field that may be a string or a number, as in manifests.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, QuantityError> {
        match value {
            serde_json::Value::String(text) => Self::parse(text),
            serde_json::Value::Number(number) => Self::parse(&number.to_string()),
            _ => Err(QuantityError),
        }
    }

    /// Whole units, rounded up: bytes of memory.
    pub fn value(self) -> i64 {
        to_i64(round_up(self.nano, NANO))
    }

    /// Thousandths, rounded up: milli CPUs.
    pub fn milli_value(self) -> i64 {
        to_i64(round_up(self.nano, NANO / 1000))
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.nano == 0
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix that leaves no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.nano % NANO == 0;
        let units = self.nano / NANO;
        // Binary suffixes cannot say fractions, and small numbers are the same in both families.
        if self.format == Format::Binary && whole && units.abs() >= 1024 {
            let exact = BINARY.iter().rev().find(|(_, bits)| units % (1_i128 << bits) == 0);
            return match exact {
                Some((suffix, bits)) => write!(f, "{}{suffix}", units >> bits),
                None => write!(f, "{units}"),
            };
        }
        if self.nano == 0 {
            return f.write_str("0");
        }
        for (suffix, exponent) in DECIMAL.iter().rev() {
            let unit = 10_i128.pow((exponent + 9).unsigned_abs());
            if self.nano % unit == 0 {
                let amount = self.nano / unit;
                return match (self.format, *exponent) {
                    (_, 0) => write!(f, "{amount}"),
                    (Format::Exponent, _) => write!(f, "{amount}e{exponent}"),
                    _ => write!(f, "{amount}{suffix}"),
                };
            }
        }
        Ok(())
    }
}

impl Add for Quantity {
    type Output = Quantity;
    /// Keeps the family of the left side unless that is zero.
    fn add(self, other: Quantity) -> Quantity {
        let format = if self.nano == 0 { other.format } else { self.format };
        Quantity { nano: self.nano.saturating_add(other.nano), format }
    }
}

impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        let format = if self.nano == 0 { other.format } else { self.format };
        Quantity { nano: self.nano.saturating_sub(other.nano), format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

/// All digits as one number, and how many of them stood behind the point.
fn digits(number: &str) -> Result<(i128, i32), QuantityError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    if number.is_empty()
        || number == "."
        || number.matches('.').count() > 1
        || whole.len() + fraction.len() > 30
    {
        return Err(QuantityError);
    }
    let all = format!("0{whole}{fraction}");
    let mantissa = all.parse().map_err(|_| QuantityError)?;
    Ok((mantissa, i32::try_from(fraction.len()).map_err(|_| QuantityError)?))
}

fn scaled(mantissa: i128, decimals: i32, suffix: &str) -> Result<(i128, Format), QuantityError> {
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        let product = mantissa.checked_mul(1_i128 << bits).ok_or(QuantityError)?;
        return Ok((power(product, 9 - decimals), Format::Binary));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((power(mantissa, exponent + 9 - decimals), Format::Decimal));
    }
    let exponent =
        suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse::<i32>().ok()).ok_or(QuantityError)?;
    if !(-30..=18).contains(&exponent) {
        return Err(QuantityError);
    }
    Ok((power(mantissa, exponent + 9 - decimals), Format::Exponent))
}

/// `value * 10^exponent`, rounded up, and at most what an i64 of whole units can hold.
fn power(value: i128, exponent: i32) -> i128 {
    let limit = i128::from(i64::MAX) * NANO;
    let factor = 10_i128.checked_pow(exponent.unsigned_abs());
    let result = match (factor, exponent < 0) {
        (Some(factor), true) => round_up(value, factor),
        (None, true) => i128::from(value != 0),
        (Some(factor), false) => value.checked_mul(factor).unwrap_or(limit),
        (None, false) => limit,
    };
    result.min(limit)
}

/// Division that rounds away from zero.
fn round_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

fn to_i64(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (input, expected) in [
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("100Ki", "100Ki"),
            ("1500", "1500"),
            ("2000", "2k"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1", "-1"),
            (".5", "500m"),
            ("1E", "1E"),
            ("0.1n", "1n"),
            ("+5G", "5G"),
            ("1.0", "1"),
            ("0.5Ki", "512"),
        ] {
            assert_eq!(Quantity::parse(input).unwrap().to_string(), expected, "{input}");
        }
    }

    #[test]
    fn not_quantities() {
        for input in ["", "x", "1x", "1.2.3", ".", "1 Gi", "Gi", "1e", "--1"] {
            assert_eq!(Quantity::parse(input), Err(QuantityError), "{input}");
        }
    }

    #[test]
    fn arithmetic() {
        let q = |t: &str| Quantity::parse(t).unwrap();
        assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
        assert_eq!((q("1") - q("100m")).to_string(), "900m");
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("1000m"), q("1"));
        assert_eq!((q("100m").milli_value(), q("1.1").value(), q("1Ki").value()), (100, 2, 1024));
    }
}
