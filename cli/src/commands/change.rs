//! `dopq cancel`, `hold`, `release`: the same change for each selected job, and a line on each;
//! and `dopq priority`.

use clap::Args;
use dopq_common::api::{API_VERSION, Job, JobPage, PriorityRequest};
use dopq_common::id::JobName;

use super::context::Context;
use super::{jobs, ps};
use crate::client::{Client, JobFilter};
use crate::exit;
use crate::failure::Failure;
use crate::output::text::clean;
use crate::select::{Selection, Whose, resolve};

/// Arguments of the three commands.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Jobs: 1423, 3-7, 3,5-7 or last
    #[arg(required_unless_present_any = ["state", "user"], value_name = "JOB")]
    jobs: Vec<Selection>,
    /// Your jobs in these states, such as queued,running
    #[arg(long, short, value_delimiter = ',', value_parser = ps::state, conflicts_with = "jobs")]
    state: Vec<String>,
    /// The unfinished jobs of this user
    #[arg(long, short, conflicts_with = "jobs")]
    user: Option<String>,
}

/// Arguments of `dopq priority`.
#[derive(Debug, Args)]
pub(crate) struct PriorityArguments {
    /// Job: 1423 or last
    #[arg(value_name = "JOB")]
    job: Selection,
    /// Your jobs with a higher number start first; the default is 0
    #[arg(allow_negative_numbers = true, value_name = "NUMBER")]
    priority: i32,
}

/// Changes the priority of queued jobs.
pub(crate) async fn prioritise(
    context: &Context,
    arguments: &PriorityArguments,
) -> Result<u8, Failure> {
    let client = context.client()?;
    let request = PriorityRequest {
        priority: arguments.priority,
    };
    let mut moved = Vec::new();
    for id in resolve(&client, std::slice::from_ref(&arguments.job), Whose::Mine).await? {
        let job = client.set_priority(id, &request).await;
        moved.push(job.map_err(Failure::call(format!("change the priority of job {id}")))?);
    }
    let page = JobPage {
        version: API_VERSION,
        jobs: moved,
        next: None,
    };
    let now = context.now();
    context
        .output
        .show(&page, |page| jobs::table(page, now), jobs::names)?;
    Ok(exit::DONE)
}

/// What to do to each job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Cancel,
    Hold,
    Release,
    Evict,
}

impl Verb {
    const fn infinitive(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Evict => "evict",
        }
    }

    async fn perform(self, client: &Client, id: JobName) -> Result<Job, crate::client::Error> {
        match self {
            Self::Cancel => client.cancel(id).await,
            Self::Hold => client.hold(id).await,
            Self::Release => client.release(id).await,
            Self::Evict => client.evict(id).await,
        }
    }
}

/// Changes every selected job and goes on after a failure; the exit code is that of the first failure.
pub(crate) async fn run(
    context: &Context,
    arguments: Arguments,
    verb: Verb,
) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = if arguments.jobs.is_empty() {
        filtered(&client, arguments.state, arguments.user).await?
    } else {
        resolve(&client, &arguments.jobs, Whose::Mine).await?
    };
    each(context, &client, ids, verb).await
}

/// The same for jobs that are known by name.
pub(super) async fn each(
    context: &Context,
    client: &Client,
    ids: Vec<JobName>,
    verb: Verb,
) -> Result<u8, Failure> {
    if ids.is_empty() {
        return Err(Failure::Nothing("no job matches".to_owned()));
    }
    let mut changed = Vec::new();
    let mut code = exit::DONE;
    for id in ids {
        match verb.perform(client, id).await {
            Ok(job) => {
                context.output.note(&sentence(verb, &job));
                changed.push(job);
            }
            Err(source) => {
                let failure = Failure::Call {
                    doing: format!("{} job {id}", verb.infinitive()),
                    source,
                };
                // The master does not answer: the next job fails the same way.
                if failure.exit_code() == exit::UNREACHABLE {
                    return Err(failure);
                }
                failure.report(&context.output);
                if code == exit::DONE {
                    code = failure.exit_code();
                }
            }
        }
    }
    if changed.is_empty() {
        return Ok(code);
    }
    let page = JobPage {
        version: API_VERSION,
        jobs: changed,
        next: None,
    };
    let now = context.now();
    context
        .output
        .show(&page, |page| jobs::table(page, now), jobs::names)?;
    Ok(code)
}

/// The ids that a filter selects; without a user, one's own.
async fn filtered(
    client: &Client,
    states: Vec<String>,
    user: Option<String>,
) -> Result<Vec<JobName>, Failure> {
    let user = match user {
        Some(user) => user,
        None => {
            client
                .whoami()
                .await
                .map_err(Failure::call("read your user name"))?
                .name
        }
    };
    let filter = JobFilter {
        states: if states.is_empty() {
            ps::ACTIVE.map(str::to_owned).to_vec()
        } else {
            states
        },
        user: Some(user),
        ..JobFilter::default()
    };
    let page = client
        .jobs(&filter, usize::MAX)
        .await
        .map_err(Failure::call("list jobs"))?;
    Ok(page.jobs.iter().rev().map(jobs::name).collect())
}

fn sentence(verb: Verb, job: &Job) -> String {
    let (id, state) = (jobs::name(job), clean(&job.state));
    match (verb, job.state.as_str()) {
        (Verb::Cancel, "finished") => format!("job {id} cancelled"),
        (Verb::Cancel, _) => format!("job {id} is {state}; wait for its end with: dopq wait {id}"),
        (Verb::Hold, _) => format!("job {id} held; release it with: dopq release {id}"),
        (Verb::Release, _) => format!("job {id} released"),
        (Verb::Evict, _) => format!("job {id} is {state}; it is queued again and not charged"),
    }
}
