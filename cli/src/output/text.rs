//! Texts for people: escaped names, ages, durations, sizes, times.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};

/// Whether a terminal acts on the character instead of showing it: controls, bidirectional overrides, invisible format
/// characters and line separators.
pub(crate) const fn is_unsafe(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, with every [`is_unsafe`] character escaped.
pub(crate) fn clean(text: &str) -> String {
    if !text.contains(is_unsafe) {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A duration in the two largest units that matter: `0.4s`, `45s`, `3m20s`, `2h05m`, `4d03h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        86_400.. => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// The time from one point to another; zero if the clocks disagree.
pub(crate) fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    duration(elapsed(from, to))
}

/// How long ago in one unit: `4s`, `3m`, `2h`, `5d`.
pub(crate) fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = elapsed(at, now).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        86_400.. => format!("{}d", seconds / 86_400),
    }
}

fn elapsed(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    TimeDelta::to_std(&(to - from)).unwrap_or(Duration::ZERO)
}

/// A size in binary units: `512 B`, `1.5 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, rounded to the nearest, in integers.
    let mut unit = 1024_u64;
    let mut name = UNITS[0];
    for next in UNITS.into_iter().skip(1) {
        if bytes / unit < 1024 {
            break;
        }
        unit *= 1024;
        name = next;
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// GPU-seconds as GPU-hours, to the thousandth.
pub(crate) fn gpu_hours(gpu_seconds: f64) -> String {
    rounded(gpu_seconds / 3600.0)
}

/// A number of GPUs without needless digits: `2`, `0.5`, `0.025`.
pub(crate) fn gpus(gpus: f64) -> String {
    let text = rounded(gpus);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn rounded(value: f64) -> String {
    let text = format!("{value:.3}");
    // Zero has no sign.
    if text.trim_matches(['-', '0', '.']).is_empty() {
        text.trim_start_matches('-').to_owned()
    } else {
        text
    }
}

/// A point in time in the given zone, to the second.
pub(crate) fn instant<Z: TimeZone>(at: DateTime<Utc>, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    at.with_timezone(zone)
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// The text with every RFC 3339 time in it told in the given zone, as in tables.
pub(crate) fn local_times<Z: TimeZone>(text: &str, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    let words = text.split_inclusive(' ').map(|word| {
        let bare = word.trim_matches([' ', ':', ';', ',', '.', '(', ')']);
        // A date alone is no time, and most words are shorter than either.
        let at = DateTime::parse_from_rfc3339(bare).ok();
        at.map_or_else(
            || word.to_owned(),
            |at| word.replace(bare, &instant(at.to_utc(), zone)),
        )
    });
    words.collect()
}

/// `1 job`, `2 jobs`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_line() {
        assert_eq!(clean("träin ✓"), "träin ✓");
        assert_eq!(clean("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(clean("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(clean("x\u{9b}2J"), "x\\u{9b}2J");
    }

    #[test]
    fn times_in_sentences_are_local() {
        let zone = chrono::FixedOffset::east_opt(3600).unwrap();
        let cases = [
            (
                "locked by olga until 2026-11-24T07:00:00.250Z: moving",
                "locked by olga until 2026-11-24 08:00:00: moving",
            ),
            ("(2026-11-24T07:00:00Z).", "(2026-11-24 08:00:00)."),
            ("no time, 2026-11-24 and 1.5", "no time, 2026-11-24 and 1.5"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(local_times(text, &zone), expected);
        }
    }

    #[test]
    fn durations_read_well() {
        let cases = [
            (400, "0.4s"),
            (9_949, "9.9s"),
            (45_000, "45s"),
            (200_000, "3m20s"),
            (7_500_000, "2h05m"),
            (356_400_000, "4d03h"),
        ];
        for (millis, expected) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn ages_never_run_backwards() {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let ago = |seconds| now - TimeDelta::seconds(seconds);
        assert_eq!(age(ago(59), now), "59s");
        assert_eq!(age(ago(60), now), "1m");
        assert_eq!(age(ago(7_300), now), "2h");
        assert_eq!(age(ago(200_000), now), "2d");
        assert_eq!(age(ago(-5), now), "0s");
    }

    #[test]
    fn gpu_time_is_told_in_hours() {
        let cases = [
            (0.0, "0.000"),
            (-0.1, "0.000"),
            (60.0, "0.017"),
            (-36.0, "-0.010"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(gpu_hours(seconds), expected);
        }
        let cases = [(0.0, "0"), (10.0, "10"), (0.5, "0.5"), (0.025, "0.025")];
        for (number, expected) in cases {
            assert_eq!(gpus(number), expected);
        }
    }

    #[test]
    fn sizes_use_binary_units() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_610_612_736, "1.5 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ];
        for (size, expected) in cases {
            assert_eq!(bytes(size), expected);
        }
    }
}
