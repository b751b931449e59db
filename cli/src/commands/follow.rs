//! Prints a job's log to its end; what `logs -f` and `submit --follow` share.

use dopq_common::api::{Job, LogEnd, Outcome};

use super::context::Context;
use crate::client::{Client, Followed, LogFollower, LogQuery};
use crate::failure::Failure;
use crate::output::{Format, LogPrinter};

/// What to print.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// Which part of the log.
    pub(super) query: LogQuery,
    /// Only pieces of these sources; all when empty.
    pub(super) sources: Vec<String>,
    /// Bytes as they are, even to a terminal.
    pub(super) raw: bool,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The log did, with the job as it then was.
    Log(Box<Job>),
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// Prints until the log ends or somebody interrupts.
pub(super) async fn print(
    context: &Context,
    client: &Client,
    job: u64,
    wish: Wish,
) -> Result<Ended, Failure> {
    let mut follower = LogFollower::new(client.clone(), job, wish.query);
    let mut printer = LogPrinter::new(context.output, wish.raw);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let next = tokio::select! {
            next = follower.next() => next,
            _ = &mut interrupt => {
                printer.finish()?;
                return Ok(Ended::Interrupted);
            }
        };
        match next.map_err(Failure::call(format!("read the log of job {job}")))? {
            Followed::Piece(piece) => {
                if wish.sources.is_empty() || wish.sources.contains(&piece.source) {
                    printer.print(&piece)?;
                }
            }
            Followed::End(job) => {
                printer.finish()?;
                if context.output.format == Format::Json {
                    context.output.json_line(&LogEnd {
                        job: (*job).clone(),
                    })?;
                }
                return Ok(Ended::Log(job));
            }
        }
    }
}

/// One line for people on how a job ended.
pub(super) fn verdict(job: &Job) -> String {
    use crate::output::text::clean;
    let Some(outcome) = &job.outcome else {
        return format!("job {} is {}", job.id, clean(&job.state));
    };
    let mut text = format!("job {} ended: {}", job.id, clean(&outcome.cause));
    if let Some(code) = outcome.exit_code {
        text.push_str(&format!(", exit code {code}"));
    }
    if outcome.cause != "succeeded" {
        for part in [outcome.detail.as_str(), &hint(job.id, outcome)] {
            if !part.is_empty() {
                text.push_str(&format!("\n  {}", clean(part)));
            }
        }
    }
    text
}

/// What the user can do, with the job's own id in the commands, to be copied as they are.
pub(super) fn hint(id: u64, outcome: &Outcome) -> String {
    outcome.hint.replace("JOB", &id.to_string())
}
