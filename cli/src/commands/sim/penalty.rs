//! `dopq sim penalty`: the penalties that a history leaves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dopq_common::bundle::config::duration;
use dopq_common::sim::penalty::{by_recency, by_usage, read as read_history, read_instant};
use serde::Serialize;

use super::trace_file::{bad_trace, read};
use crate::commands::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::{Cell, Column, Table};

/// Arguments of `dopq sim penalty`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Penalty policy
    #[arg(long, value_enum, default_value = "usage")]
    policy: Policy,
    /// Finished jobs, one JSON object per line, oldest first: user, started_at, finished_at, gpus; times as in --now
    #[arg(long, value_name = "FILE")]
    history: PathBuf,
    /// Time, such as 2026-09-01T12:00:00Z or seconds since 1970 [default: the last finished_at]
    #[arg(long, value_name = "INSTANT", value_parser = read_instant)]
    now: Option<f64>,
    /// Half-life of usage
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
    half_life: Duration,
}

/// The penalties as they are named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    /// GPU-seconds with a half-life
    Usage,
    /// DoPQ 1.0's, by finished jobs
    Recency,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    policy: Policy,
    penalties: BTreeMap<String, f64>,
}

/// Computes the penalties.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.half_life.is_zero() {
        let text = "--half-life must be above 0".to_owned();
        return Err(Failure::Usage(text));
    }
    let text = read(&arguments.history)?;
    let history = read_history(&text).map_err(bad_trace(&arguments.history))?;
    let last = history
        .iter()
        .map(|job| job.finished_at)
        .fold(0.0, f64::max);
    let penalties = match arguments.policy {
        Policy::Recency => by_recency(&history),
        Policy::Usage => by_usage(&history, arguments.half_life, arguments.now.unwrap_or(last)),
    };
    let report = Report {
        policy: arguments.policy,
        penalties,
    };
    context.output.show(&report, table, |report| {
        report.penalties.keys().cloned().collect()
    })?;
    Ok(exit::DONE)
}

fn table(report: &Report) -> Table {
    let mut ranked: Vec<(&String, &f64)> = report.penalties.iter().collect();
    ranked.sort_by(|(a, x), (b, y)| x.total_cmp(y).then_with(|| a.cmp(b)));
    let mut table = Table::new(&[Column::new("USER"), Column::number("PENALTY")]);
    for (user, penalty) in ranked {
        table.row([Cell::from(user), Cell::from(format!("{penalty:.6}"))]);
    }
    table
}
