//! `dopq logs`: what a job's build and run printed.

use clap::Args;

use super::context::Context;
use super::follow::{Ended, Wish, print, verdict};
use super::jobs;
use crate::client::LogQuery;
use crate::exit;
use crate::failure::Failure;
use crate::select::{Selection, resolve};

/// Arguments of `dopq logs`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which job: 1423, last, or a task such as 1423_7
    #[arg(value_name = "JOB")]
    job: Selection,
    /// Go on until the job has finished
    #[arg(long, short)]
    follow: bool,
    /// Only what came from these: dopq, build, stdout, stderr
    #[arg(long, value_delimiter = ',', value_parser = ["dopq", "build", "stdout", "stderr"])]
    source: Vec<String>,
    /// Only the last so many lines of what there is
    #[arg(long, value_name = "NUMBER")]
    tail: Option<u64>,
    /// Only this attempt, from 1
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
    /// Hand terminal escapes through unchanged; only for logs that you trust
    #[arg(long)]
    raw: bool,
}

/// Prints the log.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = resolve(&client, std::slice::from_ref(&arguments.job)).await?;
    let [id] = ids.as_slice() else {
        return Err(Failure::Usage(
            "logs are printed of one job at a time; name just one".to_owned(),
        ));
    };
    let wish = Wish {
        query: LogQuery {
            attempt: arguments.attempt,
            follow: arguments.follow,
            tail: arguments.tail,
        },
        sources: arguments.source.clone(),
        raw: arguments.raw,
    };
    match print(context, &client, *id, wish).await? {
        Ended::Interrupted => Ok(exit::INTERRUPTED),
        Ended::Log(job) => {
            if arguments.follow {
                context.output.note(&verdict(&job));
            } else if job.attempt == 0 && job.outcome.is_none() {
                context.output.note(&format!(
                    "job {} has not started yet; dopq explain {0} tells why",
                    jobs::name(&job)
                ));
            }
            Ok(exit::DONE)
        }
    }
}
