//! Durations and sizes as people write them.

use std::time::Duration;

use crate::bundle::fault::quote;
use crate::resources::ByteSize;

/// The longest duration in a configuration: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Reads `90s`, `2h30m`, `1d`, `250ms`, or a bare number of seconds.
///
/// # Errors
/// A message with the format of durations.
pub fn duration(text: &str) -> Result<Duration, String> {
    let fault = || {
        format!(
            "{:?} is not a duration; write 90s, 2h30m, 1d, or a number of seconds up to ten years",
            quote(text)
        )
    };
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds_f64(seconds).map_err(|_| fault());
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    // Units must come from large to small and once each, so that a typo such as `5m2h` is an error.
    let mut last = f64::INFINITY;
    while !rest.is_empty() {
        let (number, tail) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, tail) = split_where(tail, |c| !c.is_ascii_alphabetic());
        let seconds = match unit.to_ascii_lowercase().as_str() {
            "ms" => 0.001,
            "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            "w" | "week" | "weeks" => 604_800.0,
            _ => return Err(fault()),
        };
        let number: f64 = number.parse().map_err(|_| fault())?;
        if seconds >= last {
            return Err(fault());
        }
        last = seconds;
        let piece = seconds_f64(number * seconds).map_err(|_| fault())?;
        total = total.saturating_add(piece);
        rest = tail.trim_start();
    }
    if text.is_empty() || total > LONGEST {
        return Err(fault());
    }
    Ok(total)
}

/// A duration of that many seconds.
pub(super) fn seconds_f64(seconds: f64) -> Result<Duration, String> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("a duration is 0 to ten years, in seconds or as 2h30m".to_owned()),
    }
}

/// Reads `20g`, `1.5GiB`, `512m`, or a bare number of `bare` bytes each. Units are binary, as Docker's are.
///
/// # Errors
/// A message with the format of sizes.
pub fn size(text: &str, bare: u64) -> Result<ByteSize, String> {
    let fault = || format!("{:?} is not a size; write 20g, 512m or 1.5g", quote(text));
    let (number, unit) = split_where(text.trim(), |c| !c.is_ascii_digit() && c != '.');
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b').filter(|left| !left.is_empty()))
        .unwrap_or(&unit);
    let factor = match unit {
        "" => bare,
        "b" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(fault()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return bounded(whole.checked_mul(factor)).ok_or_else(fault);
    }
    let number: f64 = number.parse().map_err(|_| fault())?;
    bytes_f64(number, factor).ok_or_else(fault)
}

/// `number` times `factor` bytes, if that is a plausible size.
pub(super) fn bytes_f64(number: f64, factor: u64) -> Option<ByteSize> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a factor is a power of two, exact in an f64"
    )]
    let bytes = number * factor as f64;
    if !(0.0..=1e18).contains(&bytes) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked, and a fraction of a byte is dropped"
    )]
    let bytes = bytes as u64;
    bounded(Some(bytes))
}

/// Sizes up to 2^62 bytes, so that sums do not overflow and Docker's signed fields can hold them.
fn bounded(bytes: Option<u64>) -> Option<ByteSize> {
    bytes.filter(|bytes| *bytes <= 1 << 62).map(ByteSize)
}

/// `text` cut before the first character for which `is_end` holds.
fn split_where(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("90", 90.0),
            ("90s", 90.0),
            ("2h30m", 9000.0),
            ("2h 30m", 9000.0),
            ("1.5h", 5400.0),
            ("1d", 86_400.0),
            ("250ms", 0.25),
            ("1m250ms", 60.25),
            ("0", 0.0),
        ] {
            assert_eq!(duration(text).expect(text).as_secs_f64(), seconds, "{text}");
        }
        for text in [
            "",
            "h",
            "5x",
            "-5s",
            "5m2h",
            "1s1s",
            "1e400",
            "inf",
            "NaN",
            "20y",
            "9999999999d",
            "1h30",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary_and_bare_numbers_mean_what_the_field_says() {
        for (text, bare, bytes) in [
            ("20g", 1, 20 << 30),
            ("20G", 1, 20 << 30),
            ("20gb", 1, 20 << 30),
            ("20 GiB", 1, 20 << 30),
            ("20", 1 << 30, 20 << 30),
            ("20", 1, 20),
            ("20b", 1 << 30, 20),
            ("1.5g", 1, 3 << 29),
            ("512m", 1, 512 << 20),
            ("1t", 1, 1 << 40),
        ] {
            assert_eq!(size(text, bare).expect(text).0, bytes, "{text}");
        }
        for text in [
            "",
            "g",
            "20x",
            "-1g",
            "1e3g",
            "99999999999999t",
            "1.2.3g",
            "20mg",
        ] {
            assert!(size(text, 1).is_err(), "{text}");
        }
    }
}
