//! Limits of users and groups: the flags that set them, and their short form in tables.

use clap::Args;
use dopq_common::api::Limits;

use crate::output::text::gpus;

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct LimitFlags {
    /// Share of the cluster relative to others [default: 1]
    #[arg(long, value_name = "NUMBER")]
    weight: Option<f64>,
    /// Most GPUs in use at once, such as 2 or 0.5
    #[arg(long, value_name = "NUMBER", value_parser = milli)]
    max_gpus: Option<u32>,
    /// Most jobs running at once
    #[arg(long, value_name = "NUMBER")]
    max_running: Option<u32>,
    /// Most jobs queued at once
    #[arg(long, value_name = "NUMBER")]
    max_queued: Option<u32>,
    /// Guaranteed GPUs: jobs within this number start first
    #[arg(long, value_name = "NUMBER", value_parser = milli)]
    floor: Option<u32>,
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
    /// What is asked for; without limit where a flag is absent.
    pub(super) const fn limits(&self) -> Limits {
        Limits {
            weight: self.weight,
            max_gpus_milli: self.max_gpus,
            max_running: self.max_running,
            max_queued: self.max_queued,
            floor_gpus_milli: self.floor,
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
