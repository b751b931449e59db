//! Limits of users and groups: the flags that set them, and their short form in tables.

use clap::Args;
use dopq_common::api::Limits;

use crate::output::text::gpus;

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct LimitFlags {
    /// Share of the cluster relative to others; 1 at first
    #[arg(long, value_name = "NUMBER")]
    weight: Option<f64>,
    /// Most GPUs in use at once, such as 2, 0.5 or none
    #[arg(long, value_name = "NUMBER", value_parser = gpus_or_none)]
    max_gpus: Option<Value>,
    /// Most jobs running at once, or none
    #[arg(long, value_name = "NUMBER", value_parser = jobs_or_none)]
    max_running: Option<Value>,
    /// Most jobs queued at once, or none
    #[arg(long, value_name = "NUMBER", value_parser = jobs_or_none)]
    max_queued: Option<Value>,
    /// Guaranteed GPUs, or none: jobs within this number start first
    #[arg(long, value_name = "NUMBER", value_parser = gpus_or_none)]
    floor: Option<Value>,
    /// Reset the weight and every limit that is not named here
    #[arg(long)]
    reset: bool,
}

/// What a flag sets: a number, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value(Option<u32>);

fn gpus_or_none(text: &str) -> Result<Value, String> {
    match text {
        "none" => Ok(Value(None)),
        text => milli(text).map(|milli| Value(Some(milli))),
    }
}

fn jobs_or_none(text: &str) -> Result<Value, String> {
    match text {
        "none" => Ok(Value(None)),
        text => match text.parse() {
            Ok(number) => Ok(Value(Some(number))),
            Err(_) => Err(format!("{text:?} is neither a number nor none")),
        },
    }
}

/// GPUs as thousandths.
fn milli(text: &str) -> Result<u32, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let fault = || format!("{text:?} is not a number of GPUs such as 2 or 0.5");
    let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || whole.is_empty() {
        return Err(fault());
    }
    let whole: u32 = whole.parse().map_err(|_| fault())?;
    let part: u32 = format!("{part:0<3}").parse().map_err(|_| fault())?;
    let milli = whole
        .checked_mul(1000)
        .and_then(|milli| milli.checked_add(part));
    milli.ok_or_else(fault)
}

impl LimitFlags {
    /// The limits until now with what is named changed; without the others after `--reset`.
    pub(super) fn changed(&self, now: Limits) -> Limits {
        let now = if self.reset { Limits::default() } else { now };
        let limit = |named: Option<Value>, now| named.map_or(now, |Value(limit)| limit);
        Limits {
            weight: self.weight.or(now.weight),
            max_gpus_milli: limit(self.max_gpus, now.max_gpus_milli),
            max_running: limit(self.max_running, now.max_running),
            max_queued: limit(self.max_queued, now.max_queued),
            floor_gpus_milli: limit(self.floor, now.floor_gpus_milli),
            group: None,
        }
    }
}

/// The limits that are set, in a few words.
pub(super) fn short(limits: &Limits) -> String {
    let gpus = |milli: u32| gpus(f64::from(milli) / 1000.0);
    let set = [
        limits
            .max_gpus_milli
            .map(|milli| format!("{} GPUs", gpus(milli))),
        limits.max_running.map(|jobs| format!("{jobs} running")),
        limits.max_queued.map(|jobs| format!("{jobs} queued")),
        limits
            .floor_gpus_milli
            .map(|milli| format!("floor {}", gpus(milli))),
    ];
    set.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_read_as_thousandths() {
        assert_eq!(milli("2"), Ok(2000));
        assert_eq!(milli("0.5"), Ok(500));
        assert_eq!(milli("1.025"), Ok(1025));
        for text in ["", "-1", ".5", "1.0001", "1.x", "5000000"] {
            assert!(milli(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_is_named_changes_unless_all_is_reset() {
        let now = Limits {
            weight: Some(2.0),
            max_gpus_milli: Some(4000),
            max_running: Some(7),
            ..Limits::default()
        };
        let mut flags = LimitFlags {
            weight: None,
            max_gpus: Some(gpus_or_none("none").unwrap()),
            max_running: None,
            max_queued: Some(jobs_or_none("9").unwrap()),
            floor: None,
            reset: false,
        };
        let changed = Limits {
            max_gpus_milli: None,
            max_queued: Some(9),
            ..now.clone()
        };
        assert_eq!(flags.changed(now.clone()), changed);
        flags.reset = true;
        let reset = Limits {
            max_queued: Some(9),
            ..Limits::default()
        };
        assert_eq!(flags.changed(now), reset);
        assert!(jobs_or_none("many").is_err() && gpus_or_none("all").is_err());
    }

    #[test]
    fn limits_are_told_as_far_as_they_are_set() {
        let set = Limits {
            max_gpus_milli: Some(2500),
            max_queued: Some(3),
            ..Limits::default()
        };
        assert_eq!(short(&set), "2.5 GPUs, 3 queued");
        let floor = Limits {
            floor_gpus_milli: Some(500),
            ..Limits::default()
        };
        assert_eq!(short(&floor), "floor 0.5");
        assert_eq!(short(&Limits::default()), "");
    }
}
