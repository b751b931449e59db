//! Limits of users and groups: the flags that set them, and their short form in tables.

use std::fmt;

use clap::Args;
use dopq_common::api::{GroupLimits, UserLimits};

use crate::output::text::gpus;

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct LimitFlags {
    /// Share of the cluster relative to others [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub(super) weight: Option<f64>,
    /// Most GPUs in use at once, such as 2 or 0.5
    #[arg(long, value_name = "NUMBER", value_parser = milli)]
    pub(super) max_gpus: Option<u32>,
    /// Most jobs running at once
    #[arg(long, value_name = "NUMBER")]
    pub(super) max_running: Option<u32>,
    /// Most jobs queued at once
    #[arg(long, value_name = "NUMBER")]
    pub(super) max_queued: Option<u32>,
    /// Guaranteed GPUs: jobs within this number start first
    #[arg(long, value_name = "NUMBER", value_parser = milli)]
    pub(super) floor: Option<u32>,
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

/// The limits of a user or a group; what is absent is not limited.
#[derive(Debug, Default)]
pub(super) struct Limits {
    max_gpus_milli: Option<u32>,
    max_running: Option<u32>,
    max_queued: Option<u32>,
    floor_gpus_milli: Option<u32>,
}

impl From<&UserLimits> for Limits {
    fn from(limits: &UserLimits) -> Self {
        Self {
            max_gpus_milli: limits.max_gpus_milli,
            max_running: limits.max_running,
            max_queued: limits.max_queued,
            floor_gpus_milli: limits.floor_gpus_milli,
        }
    }
}

impl From<&GroupLimits> for Limits {
    fn from(limits: &GroupLimits) -> Self {
        Self {
            max_gpus_milli: limits.max_gpus_milli,
            max_running: limits.max_running,
            max_queued: limits.max_queued,
            floor_gpus_milli: limits.floor_gpus_milli,
        }
    }
}

impl fmt::Display for Limits {
    /// Those that are set, in a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self
            .max_gpus_milli
            .map(|milli| format!("{} GPUs", told(milli)));
        let running = self.max_running.map(|jobs| format!("{jobs} running"));
        let queued = self.max_queued.map(|jobs| format!("{jobs} queued"));
        let floor = self
            .floor_gpus_milli
            .map(|milli| format!("floor {}", told(milli)));
        let set: Vec<String> = [most, running, queued, floor]
            .into_iter()
            .flatten()
            .collect();
        f.write_str(&set.join(", "))
    }
}

/// Thousandths as GPUs.
fn told(milli: u32) -> String {
    gpus(f64::from(milli) / 1000.0)
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
        assert_eq!(set.to_string(), "2.5 GPUs, 3 queued");
        let floor = GroupLimits {
            floor_gpus_milli: Some(500),
            ..GroupLimits::default()
        };
        assert_eq!(Limits::from(&floor).to_string(), "floor 0.5");
        assert_eq!(Limits::default().to_string(), "");
    }
}
