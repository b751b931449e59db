//! `dopq sim replay`: a workload in the Standard Workload Format under a policy of one's choice.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dopq_common::bundle::config::duration;
use dopq_common::sched::{self, Settings};
use dopq_common::sim::replay::{self, Replay};
use dopq_common::sim::{Report, swf};
use serde::Serialize;

use super::{bad_trace, failed, read};
use crate::commands::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::{Cell, Column, Table};

/// Arguments of `dopq sim replay`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The workload; a processor is read as a GPU
    #[arg(long, value_name = "FILE.swf")]
    trace: PathBuf,
    /// All GPUs
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    gpus: u32,
    /// GPUs of each machine; one machine has them all when this is not given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=128))]
    gpus_per_node: Option<u32>,
    /// Where the trace names no user, the jobs go to so many in turn
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    users: u32,
    /// Whose turn it is
    #[arg(long, value_enum, default_value = "usage")]
    policy: Policy,
    /// Whether later jobs may run before one that cannot start
    #[arg(long, value_enum, default_value = "easy")]
    backfill: Backfill,
    /// After so long half of a user's usage is forgotten
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
    half_life: Duration,
    /// How many jobs are looked at behind one that cannot start; all when this is not given
    #[arg(long, value_name = "JOBS")]
    window: Option<usize>,
}

/// The penalties as they are named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    /// GPU time with a half-life
    Usage,
    /// DoPQ 1.0's, by finished jobs
    Recency,
    /// None: whoever submitted first
    Fifo,
}

/// The ways of waiting as they are named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Backfill {
    /// Only where they do not delay it
    Easy,
    /// Not at all
    None,
    /// Wherever they fit
    BestEffort,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Replayed {
    policy: Policy,
    backfill: Backfill,
    #[serde(flatten)]
    report: Report,
}

/// Replays the workload.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.half_life.is_zero() {
        let text = "--half-life must be above 0".to_owned();
        return Err(Failure::Usage(text));
    }
    let jobs = swf::read(&read(&arguments.trace)?).map_err(bad_trace(&arguments.trace))?;
    let mut settings = Settings {
        policy: match arguments.policy {
            Policy::Usage => sched::Policy::Usage,
            Policy::Recency => sched::Policy::Recency,
            Policy::Fifo => sched::Policy::Fifo,
        },
        backfill: match arguments.backfill {
            Backfill::Easy => sched::Backfill::Easy,
            Backfill::None => sched::Backfill::Strict,
            Backfill::BestEffort => sched::Backfill::BestEffort,
        },
        backfill_window: arguments.window.unwrap_or(usize::MAX),
        ..Settings::default()
    };
    settings.usage.half_life = arguments.half_life;
    let replay = Replay {
        jobs: &jobs,
        gpus: arguments.gpus,
        gpus_per_node: arguments.gpus_per_node,
        users: arguments.users,
        settings,
    };
    let replayed = Replayed {
        policy: arguments.policy,
        backfill: arguments.backfill,
        report: replay::run(&replay).map_err(failed)?,
    };
    context.output.show(&replayed, table, |replayed| {
        vec![format!("{:.0}", replayed.report.makespan_seconds)]
    })?;
    Ok(exit::DONE)
}

fn table(replayed: &Replayed) -> Table {
    let report = &replayed.report;
    let mut table = Table::new(&[Column::new(""), Column::number("")]).untitled();
    let waits = &report.wait_seconds;
    let rows = [
        ("jobs", report.jobs.to_string()),
        ("refused, fitting no machine", report.refused.to_string()),
        ("makespan, s", format!("{:.0}", report.makespan_seconds)),
        (
            "utilisation, %",
            format!("{:.2}", report.utilisation * 100.0),
        ),
        ("mean wait, s", format!("{:.0}", waits.mean)),
        ("median wait, s", format!("{:.0}", waits.p50)),
        ("90 % wait, s", format!("{:.0}", waits.p90)),
        ("99 % wait, s", format!("{:.0}", waits.p99)),
        (
            "mean bounded slowdown",
            format!("{:.1}", report.mean_bounded_slowdown),
        ),
        (
            "largest gap to a fair share, % of all GPUs",
            format!("{:.2}", report.largest_share_gap * 100.0),
        ),
        ("starts later than promised", report.late_starts.to_string()),
    ];
    for (name, value) in rows {
        table.row([Cell::from(name), Cell::from(value)]);
    }
    table
}
