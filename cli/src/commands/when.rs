//! Points in time on the command line: how long ago, a day, or an exact time.

use chrono::{DateTime, Local, NaiveDate, TimeDelta, Utc};

/// Reads `2d` as that long before now, `2026-11-30` as that day's begin here, and RFC 3339 as it is.
pub(super) fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        let begin = day.and_hms_opt(0, 0, 0);
        let begin = begin.and_then(|begin| begin.and_local_timezone(Local).earliest());
        return begin.map(|at| at.to_utc()).ok_or_else(|| {
            format!("{text} does not begin at midnight here; give the time as well")
        });
    }
    let ago = dopq_common::bundle::config::duration(text).ok();
    let ago = ago.and_then(|ago| TimeDelta::from_std(ago).ok());
    ago.and_then(|ago| Utc::now().checked_sub_signed(ago))
        .ok_or_else(|| {
            format!("{text:?} is no time; give 2h or 7d for that long ago, 2026-11-30, or 2026-11-30T12:00:00Z")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        let exact = parse("2026-11-30T12:00:00+01:00").expect("a time");
        assert_eq!(exact.to_rfc3339(), "2026-11-30T11:00:00+00:00");
        let day = parse("2026-11-30").expect("a day").with_timezone(&Local);
        assert_eq!(day.format("%F %T").to_string(), "2026-11-30 00:00:00");
        let ago = Utc::now() - parse("2h").expect("a duration");
        assert!((7190..7260).contains(&ago.num_seconds()), "{ago}");
        for wrong in ["", "yesterday", "2026-13-01", "-2h", "99999999999d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
