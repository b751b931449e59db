//! `dopq sim replay`: a workload in the Standard Workload Format, or the cluster's own past, under a policy of
//! one's choice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dopq_common::bundle::config::duration;
use dopq_common::id::UserName;
use dopq_common::sched::{self, Settings};
use dopq_common::sim::history::observed;
use dopq_common::sim::replay::{self, Replay};
use dopq_common::sim::{Report, TraceJob, swf};
use serde::Serialize;

use super::history::{self, History, too_large};
use super::trace_file::{bad_trace, read};
use crate::commands::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::{Cell, Column, Table};

/// Arguments of `dopq sim replay`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    workload: Workload,
    /// GPUs in total [default with --from-history: those of the cluster]
    #[arg(
        long,
        value_name = "NUMBER",
        required_unless_present = "from_history",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    gpus: Option<u32>,
    /// GPUs per node [default: one node has all]
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "gpus",
        value_parser = clap::value_parser!(u32).range(1..=128)
    )]
    gpus_per_node: Option<u32>,
    /// Deal the jobs to this many users if the trace names none
    #[arg(
        long,
        default_value_t = 1,
        value_name = "NUMBER",
        conflicts_with = "from_history",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    users: u32,
    /// Ranking policy
    #[arg(long, value_enum, default_value = "usage")]
    policy: Policy,
    /// Order of one user's jobs and of candidates for backfill
    #[arg(long, value_enum, default_value = "slowdown")]
    order: Order,
    /// Backfill: whether later jobs may start before one that cannot
    #[arg(long, value_enum, default_value = "easy")]
    backfill: Backfill,
    /// Half-life of usage
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
    half_life: Duration,
    /// How many jobs to consider behind one that cannot start [default: all]
    #[arg(long, value_name = "JOBS")]
    window: Option<usize>,
}

/// What is replayed.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Workload {
    /// Replay a trace in the Standard Workload Format; a processor counts as a GPU
    #[arg(long, value_name = "FILE.swf")]
    trace: Option<PathBuf>,
    /// Replay the master's finished jobs, with the current weights of users
    #[arg(long)]
    from_history: bool,
}

/// The penalties as they are named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    /// GPU time with a half-life
    Usage,
    /// DoPQ 1.0's, by finished jobs
    Recency,
    /// First submitted, first started
    Fifo,
}

/// The orders as they are named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// The largest slowdown first, in backfill the shortest
    Slowdown,
    /// By submission
    Submission,
}

/// The ways of waiting as they are named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Backfill {
    /// Only if they do not delay it
    Easy,
    /// Never
    None,
    /// Whenever they fit
    BestEffort,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Replayed {
    policy: Policy,
    order: Order,
    backfill: Backfill,
    #[serde(flatten)]
    report: Report,
    /// The same figures as they really were, where a past is replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<Report>,
}

/// Replays the workload.
pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.half_life.is_zero() {
        let text = "--half-life must be above 0".to_owned();
        return Err(Failure::Usage(text));
    }
    let asked = arguments
        .gpus
        .map(|gpus| divided(gpus, arguments.gpus_per_node));
    let replayed = match &arguments.workload.trace {
        Some(trace) => {
            let jobs = swf::read(&read(trace)?).map_err(bad_trace(trace))?;
            let machines = asked.unwrap_or_default();
            replay(arguments, &jobs, &machines, &BTreeMap::new())?
        }
        None => replay_history(arguments, asked, history::fetch(context).await?)?,
    };
    context.output.show(&replayed, table, |replayed| {
        vec![format!("{:.0}", replayed.report.makespan_seconds)]
    })?;
    Ok(exit::DONE)
}

/// Machines with so many GPUs each, the last with what remains.
fn divided(gpus: u32, each: Option<u32>) -> Vec<u32> {
    let each = each.unwrap_or(gpus).max(1);
    let machines = 0..gpus.div_ceil(each);
    machines
        .map(|number| each.min(gpus - number * each))
        .collect()
}

fn replay_history(
    arguments: &Arguments,
    asked: Option<Vec<u32>>,
    history: History,
) -> Result<Replayed, Failure> {
    let machines = asked.unwrap_or(history.machines);
    if let Some(text) = too_large(&history.past, &machines) {
        return Err(Failure::Usage(text));
    }
    let jobs = history.past.iter().map(|past| past.job.clone());
    let jobs: Vec<TraceJob> = jobs.collect();
    Ok(Replayed {
        observed: Some(observed(&history.past, machines.iter().sum())),
        ..replay(arguments, &jobs, &machines, &history.weights)?
    })
}

fn replay(
    arguments: &Arguments,
    jobs: &[TraceJob],
    machines: &[u32],
    weights: &BTreeMap<UserName, f64>,
) -> Result<Replayed, Failure> {
    let mut settings = Settings {
        policy: match arguments.policy {
            Policy::Usage => sched::Policy::Usage,
            Policy::Recency => sched::Policy::Recency,
            Policy::Fifo => sched::Policy::Fifo,
        },
        order: match arguments.order {
            Order::Slowdown => sched::JobOrder::Slowdown,
            Order::Submission => sched::JobOrder::Submission,
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
        jobs,
        machines,
        users: arguments.users,
        weights,
        settings,
    };
    Ok(Replayed {
        policy: arguments.policy,
        order: arguments.order,
        backfill: arguments.backfill,
        report: replay::run(&replay).map_err(Failure::Simulation)?,
        observed: None,
    })
}

fn table(replayed: &Replayed) -> Table {
    let after = figures(&replayed.report);
    match &replayed.observed {
        None => {
            let mut table = Table::new(&[Column::new(""), Column::number("")]).untitled();
            for (name, value) in after {
                table.row([Cell::from(name), Cell::from(value)]);
            }
            table
        }
        Some(observed) => {
            let mut table = Table::new(&[
                Column::new(""),
                Column::number("OBSERVED"),
                Column::number("REPLAYED"),
            ]);
            for ((name, before), (_, after)) in figures(observed).into_iter().zip(after) {
                table.row([Cell::from(name), Cell::from(before), Cell::from(after)]);
            }
            table
        }
    }
}

fn figures(report: &Report) -> [(&'static str, String); 12] {
    let waits = &report.wait_seconds;
    [
        ("jobs", report.jobs.to_string()),
        (
            "refused, too large for any node",
            report.refused.to_string(),
        ),
        ("makespan, s", format!("{:.0}", report.makespan_seconds)),
        (
            "utilisation, %",
            format!("{:.2}", report.utilisation * 100.0),
        ),
        ("mean wait, s", format!("{:.0}", waits.mean)),
        ("median wait, s", format!("{:.0}", waits.p50)),
        ("90th percentile wait, s", format!("{:.0}", waits.p90)),
        ("99th percentile wait, s", format!("{:.0}", waits.p99)),
        ("longest wait, s", format!("{:.0}", waits.max)),
        (
            "mean bounded slowdown",
            format!("{:.1}", report.mean_bounded_slowdown),
        ),
        (
            "largest gap to fair share, % of GPUs",
            format!("{:.2}", report.largest_share_gap * 100.0),
        ),
        (
            "starts later than promised",
            report
                .late_starts
                .map_or_else(String::new, |late| late.to_string()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_divided_among_machines() {
        assert_eq!(divided(10, Some(4)), [4, 4, 2]);
        assert_eq!(divided(10, None), [10]);
        assert_eq!(divided(3, Some(4)), [3]);
    }
}
