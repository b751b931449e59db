//! `dopq sim placement`: the experiment of "Beware of Fragmentation" (USENIX ATC '23).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;

use clap::{Args, ValueEnum};
use dopq_common::resources::{Capacity, Request};
use dopq_common::sched::Placement;
use dopq_common::sim::placement::Experiment;
use dopq_common::sim::{SimError, openb, placement};
use serde::Serialize;

use super::trace_file::{bad_trace, read};
use crate::commands::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::{Cell, Column, Table};

/// Arguments of `dopq sim placement`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Nodes: CSV with the columns cpu_milli, memory_mib, gpu, model
    #[arg(long, value_name = "FILE")]
    nodes: PathBuf,
    /// Tasks: CSV with the columns cpu_milli, memory_mib, num_gpu, gpu_milli, perhaps gpu_spec
    #[arg(long, value_name = "FILE")]
    pods: PathBuf,
    /// Placement policy
    #[arg(long, value_enum, default_value = "default")]
    policy: Policy,
    /// Stop when the tasks ask for this many times all GPUs
    #[arg(long, default_value_t = 1.3, value_name = "TIMES", value_parser = load)]
    load: f64,
    /// Seeds, one run each
    #[arg(long, default_value = "42..51", value_name = "FIRST..LAST", value_parser = seeds)]
    seeds: Seeds,
}

/// The policies as they are named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    /// DoPQ's
    Default,
    /// Least fragmentation (FGD, USENIX ATC '23)
    Fgd,
    /// Best fit
    BestFit,
    /// Any node that fits
    Random,
}

/// The seeds of the runs, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seeds {
    first: u64,
    last: u64,
}

/// The most runs at once: a mistyped end must not keep the machine busy for days.
const RUNS_MAX: u64 = 1000;

fn seeds(text: &str) -> Result<Seeds, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| {
        let number = text.trim().parse::<u64>();
        number.map_err(|_| format!("{text:?} is not a number"))
    };
    let (first, last) = (number(first)?, number(last)?);
    match last.checked_sub(first) {
        Some(more) if more < RUNS_MAX => Ok(Seeds { first, last }),
        Some(_) => Err(format!("more than {RUNS_MAX} runs")),
        None => Err(format!("{last} is before {first}")),
    }
}

fn load(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(load) if (0.01..=10.0).contains(&load) => Ok(load),
        Ok(_) | Err(_) => Err("it must be a number from 0.01 to 10, such as 1.3".to_owned()),
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    policy: Policy,
    runs: usize,
    /// By the percentage of all GPUs that has arrived.
    allocated_percent: BTreeMap<String, Summary>,
}

#[derive(Debug, Serialize)]
struct Summary {
    mean: f64,
    stdev: f64,
}

/// Runs the experiment once for each seed.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let nodes = openb::nodes(&read(&arguments.nodes)?).map_err(bad_trace(&arguments.nodes))?;
    let pods = openb::pods(&read(&arguments.pods)?).map_err(bad_trace(&arguments.pods))?;
    let mut points = vec![arguments.load];
    if arguments.load > 1.0 {
        points.insert(0, 1.0);
    }
    let runs = all_runs(arguments, &nodes, &pods, &points).map_err(Failure::Simulation)?;
    let percents = points.iter().enumerate().map(|(at, point)| {
        let values: Vec<f64> = runs.iter().filter_map(|run| run.get(at).copied()).collect();
        (format!("{:.0}", point * 100.0), summary(&values))
    });
    let report = Report {
        policy: arguments.policy,
        runs: runs.len(),
        allocated_percent: percents.collect(),
    };
    context.output.show(&report, table, |report| {
        let means = report.allocated_percent.values();
        means
            .map(|summary| format!("{:.3}", summary.mean))
            .collect()
    })?;
    Ok(exit::DONE)
}

/// Runs are independent, and so they share the processors.
fn all_runs(
    arguments: &Arguments,
    nodes: &[Capacity],
    pods: &[Request],
    points: &[f64],
) -> Result<Vec<Vec<f64>>, SimError> {
    let seeds: Vec<u64> = (arguments.seeds.first..=arguments.seeds.last).collect();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let share = seeds.len().div_ceil(processors);
    let run_one = |seed: &u64| {
        let placement = match arguments.policy {
            Policy::Default => Placement::Default,
            Policy::Fgd => Placement::Fgd,
            Policy::BestFit => Placement::BestFit,
            Policy::Random => Placement::Random { seed: *seed },
        };
        let experiment = Experiment {
            nodes,
            pods,
            placement,
            load: arguments.load,
            seed: *seed,
        };
        placement::run(experiment, points)
    };
    let shares = thread::scope(|scope| {
        let started: Vec<_> = seeds
            .chunks(share)
            .map(|seeds| scope.spawn(|| seeds.iter().map(run_one).collect::<Result<Vec<_>, _>>()))
            .collect();
        // A thread that panicked has said so; its runs are missing from the count.
        let joined = started.into_iter().filter_map(|thread| thread.join().ok());
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(shares.into_iter().flatten().collect())
}

fn summary(values: &[f64]) -> Summary {
    let count = values.iter().fold(0.0, |count, _| count + 1.0);
    let mean = values.iter().sum::<f64>() / f64::max(count, 1.0);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    // The sample's: the runs stand for all there could be.
    let stdev = (squares / f64::max(count - 1.0, 1.0)).sqrt();
    Summary { mean, stdev }
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(&[
        Column::number("ARRIVED %"),
        Column::number("ALLOCATED %"),
        Column::number("STDEV"),
    ]);
    for (arrived, summary) in &report.allocated_percent {
        table.row([
            Cell::from(arrived),
            Cell::from(format!("{:.3}", summary.mean)),
            Cell::from(format!("{:.3}", summary.stdev)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_with_both_ends() {
        let (first, last) = (42, 51);
        assert_eq!(seeds("42..51"), Ok(Seeds { first, last }));
        assert_eq!(seeds("7"), Ok(Seeds { first: 7, last: 7 }));
        for text in ["", "a..b", "9..1", "0..5000"] {
            assert!(seeds(text).is_err(), "{text}");
        }
        assert!(load("0").is_err() && load("NaN").is_err());
    }

    #[test]
    fn the_deviation_is_the_samples() {
        let summary = summary(&[1.0, 2.0, 3.0]);
        assert!((summary.mean - 2.0).abs() < 1e-12);
        assert!((summary.stdev - 1.0).abs() < 1e-12);
    }
}
