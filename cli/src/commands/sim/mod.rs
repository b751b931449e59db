//! `dopq sim`: simulates a policy on a workload with the scheduler itself. A master is needed only to read its history.

mod history;
mod penalty;
mod placement;
mod replay;
mod trace_file;

use clap::Subcommand;

use super::context::Context;
use crate::failure::Failure;

/// The simulations.
#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Fill a cluster with tasks of a trace, and show how many GPUs are allocated
    Placement(placement::Arguments),
    /// Replay a trace or the cluster's history, and show waits, slowdown and fairness
    Replay(replay::Arguments),
    /// Show the penalties after a history of finished jobs
    Penalty(penalty::Arguments),
}

/// Runs a simulation.
pub(crate) async fn run(context: &Context, command: &SimCommand) -> Result<u8, Failure> {
    match command {
        SimCommand::Placement(arguments) => placement::run(context, arguments),
        SimCommand::Replay(arguments) => replay::run(context, arguments).await,
        SimCommand::Penalty(arguments) => penalty::run(context, arguments),
    }
}
