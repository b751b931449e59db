//! `dopq sim`: tries a policy on a workload before the cluster does. The same scheduler runs here; a master is
//! needed only to read its past.

mod history;
mod penalty;
mod placement;
mod replay;

use std::path::Path;

use clap::Subcommand;
use dopq_common::sim::{SimError, TraceError};

use super::context::Context;
use crate::failure::Failure;

/// The simulations.
#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Fill a cluster with a trace's tasks, and show how much of the GPUs is allocated
    Placement(placement::Arguments),
    /// Replay a workload, or the cluster's own past, in time, and show waits, slowdowns and fairness
    Replay(replay::Arguments),
    /// Show the penalties that a history of finished jobs leaves
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

/// The text of a trace.
fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|source| Failure::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })
}

fn bad_trace(path: &Path) -> impl FnOnce(TraceError) -> Failure {
    move |error| Failure::Usage(format!("{}: {error}", path.display()))
}

/// Simulations are refused nothing that their own arguments did not ask for.
fn failed(error: SimError) -> Failure {
    match std::error::Error::source(&error) {
        Some(source) => Failure::Usage(format!("{error}: {source}")),
        None => Failure::Usage(error.to_string()),
    }
}
