//! Which jobs a command works on: `1423`, `3-7`, `3,5-7`, `last`, and tasks of arrays: `1423_7`, `1423_0-9`, `last_7`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;

use dopq_common::api::{Role, WhoAmI};
use dopq_common::id::{JobId, JobName};
use dopq_common::job::Indexes;

use crate::client::{Client, JobFilter};
use crate::failure::Failure;

/// The largest range.
const RANGE_MAX: u64 = 10_000;

/// One argument that selects jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// One's newest job.
    Last,
    /// Tasks of one's newest array, from one index to another.
    LastTasks(u32, u32),
    One(JobName),
    Range(u64, u64),
    /// Tasks of an array, from one index to another.
    Tasks(JobId, u32, u32),
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(part)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn part(text: &str) -> Result<Part, String> {
    let id = |text: &str| text.parse::<JobId>().map(|id| id.0);
    if text == "last" {
        return Ok(Part::Last);
    }
    if let Some(indexes) = text.strip_prefix("last_") {
        let (first, last) = indexes.split_once('-').unwrap_or((indexes, indexes));
        return match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Part::LastTasks(first, last)),
            (Some(first), Some(last)) => Err(format!(
                "the range {text} is empty; did you mean last_{last}-{first}?"
            )),
            _ => Err(no_job(text)),
        };
    }
    if let Some((first, last)) = text.split_once('-')
        && let (Ok(JobName::Task { array, index }), Some(last)) = (first.parse(), number(last))
    {
        return if index > last {
            Err(format!(
                "the range {text} is empty; did you mean {array}_{last}-{index}?"
            ))
        } else {
            Ok(Part::Tasks(array, index, last))
        };
    }
    if let Some((first, last)) = text.split_once('-')
        && let (Ok(first), Ok(last)) = (id(first), id(last))
    {
        return if first > last {
            Err(format!(
                "the range {text} is empty; did you mean {last}-{first}?"
            ))
        } else if last - first >= RANGE_MAX {
            Err(format!("the range {text} has more than {RANGE_MAX} jobs"))
        } else {
            Ok(Part::Range(first, last))
        };
    }
    text.parse().map(Part::One).map_err(|_| no_job(text))
}

fn no_job(text: &str) -> String {
    format!(
        "{text:?} is not a job; use an id (1423), a range (3-7), a list (3,5-7), last, or a task of an array (1423_7, last_7)"
    )
}

fn number(text: &str) -> Option<u32> {
    let digits_only = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits_only)
}

/// Whose jobs a range selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Everybody's.
    Anybodys,
    /// Those that the caller may change: their own, and an operator's and admin's all.
    Mine,
}

/// The names of all jobs that the arguments select, each once, in ascending order.
///
/// A range selects the jobs or tasks in it that exist. A single name is not looked up.
///
/// # Errors
///
/// [`Failure::Nothing`] when a range or `last` selects no job.
pub(crate) async fn resolve(
    client: &Client,
    selections: &[Selection],
    whose: Whose,
) -> Result<Vec<JobName>, Failure> {
    let mut ids = BTreeSet::new();
    for part in selections.iter().flat_map(|selection| &selection.0) {
        match *part {
            Part::One(id) => {
                ids.insert(id);
            }
            Part::Last => {
                let last = last_job(client, false).await?;
                let last = last.ok_or_else(|| Failure::Nothing("you have no jobs yet".to_owned()));
                ids.insert(JobName::Job(last?));
            }
            Part::LastTasks(first, last) => {
                let array = last_array(client).await?;
                within(client, array, first..=last, &mut ids).await?;
            }
            Part::Range(first, last) => {
                let filter = JobFilter {
                    ids: Some(format!("{first}-{last}")),
                    user: owner(client, whose).await?,
                    ..JobFilter::default()
                };
                let page = client
                    .jobs(&filter, usize::MAX)
                    .await
                    .map_err(Failure::call(format!("find the jobs {first}-{last}")))?;
                if page.jobs.is_empty() {
                    let whose = match whose {
                        Whose::Anybodys => "",
                        Whose::Mine => ", or they are other users'",
                    };
                    return Err(Failure::Nothing(format!(
                        "no jobs {first}-{last} exist{whose}"
                    )));
                }
                ids.extend(page.jobs.iter().map(|job| JobName::Job(JobId(job.id))));
            }
            Part::Tasks(array, first, last) => {
                within(client, array, first..=last, &mut ids).await?;
            }
        }
    }
    Ok(ids.into_iter().collect())
}

/// The id of the one job or task that `text` names.
///
/// # Errors
///
/// Those of [`resolve`], and a name of none or several.
pub(crate) async fn one_id(client: &Client, text: &str) -> Result<JobId, Failure> {
    let selection: Selection = text.parse().map_err(Failure::Usage)?;
    let names = resolve(client, &[selection], Whose::Anybodys).await?;
    let [name] = names.as_slice() else {
        return Err(Failure::Usage(format!("{text} is more than one job")));
    };
    if let JobName::Job(id) = name {
        return Ok(*id);
    }
    let job = client.job(*name).await;
    job.map(|job| JobId(job.id))
        .map_err(Failure::call(format!("find job {name}")))
}

/// An array: its id, or `last` for one's newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArrayName {
    Id(JobId),
    Last,
}

impl FromStr for ArrayName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "last" => Ok(Self::Last),
            _ => text
                .parse()
                .map(Self::Id)
                .map_err(|_| format!("{text:?} is not an array; use its id (1423) or last")),
        }
    }
}

impl ArrayName {
    /// Its id.
    ///
    /// # Errors
    ///
    /// Those of the master, and that there is none.
    pub(crate) async fn id(self, client: &Client) -> Result<JobId, Failure> {
        match self {
            Self::Id(id) => Ok(id),
            Self::Last => last_array(client).await,
        }
    }
}

async fn last_array(client: &Client) -> Result<JobId, Failure> {
    let array = last_job(client, true).await?;
    array.ok_or_else(|| Failure::Nothing("you have no arrays".to_owned()))
}

/// One's newest job, or one's newest array.
async fn last_job(client: &Client, array: bool) -> Result<Option<JobId>, Failure> {
    let filter = JobFilter {
        user: Some(me(client).await?.name),
        arrays: array,
        ..JobFilter::default()
    };
    let page = client
        .jobs(&filter, 1)
        .await
        .map_err(Failure::call("find your last job"))?;
    Ok(page.jobs.first().map(|job| JobId(job.id)))
}

/// The user to whom a range is limited.
async fn owner(client: &Client, whose: Whose) -> Result<Option<String>, Failure> {
    if whose == Whose::Anybodys {
        return Ok(None);
    }
    let me = me(client).await?;
    Ok((me.role < Role::Operator).then_some(me.name))
}

async fn me(client: &Client) -> Result<WhoAmI, Failure> {
    let me = client.whoami().await;
    me.map_err(Failure::call("read your user name"))
}

/// Adds the tasks of the array whose indexes are among `wanted`.
async fn within(
    client: &Client,
    array: JobId,
    wanted: RangeInclusive<u32>,
    ids: &mut BTreeSet<JobName>,
) -> Result<(), Failure> {
    let tasks = tasks(client, array).await?;
    let mut found = tasks
        .iter()
        .filter(|index| wanted.contains(index))
        .peekable();
    if found.peek().is_none() {
        let (first, last) = (wanted.start(), wanted.end());
        return Err(Failure::Nothing(if first == last {
            format!("array {array} has no task {first}; its tasks are {tasks}")
        } else {
            format!("array {array} has no tasks {first}-{last}; its tasks are {tasks}")
        }));
    }
    ids.extend(found.map(|index| JobName::Task { array, index }));
    Ok(())
}

/// The indexes of an array's tasks.
async fn tasks(client: &Client, array: JobId) -> Result<Indexes, Failure> {
    let job = client
        .job(JobName::Job(array))
        .await
        .map_err(Failure::call(format!("find the tasks of job {array}")))?;
    let indexes = job.array.and_then(|array| array.indexes.parse().ok());
    indexes.ok_or_else(|| Failure::Nothing(format!("job {array} is not an array")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u64) -> JobName {
        JobName::Job(JobId(id))
    }

    #[test]
    fn ids_ranges_lists_and_last_are_read() {
        let cases = [
            ("1423", vec![Part::One(job(1423))]),
            (
                "1423_7",
                vec![Part::One(JobName::Task {
                    array: JobId(1423),
                    index: 7,
                })],
            ),
            ("1423_0-9", vec![Part::Tasks(JobId(1423), 0, 9)]),
            ("last", vec![Part::Last]),
            ("last_7", vec![Part::LastTasks(7, 7)]),
            ("last_0-9", vec![Part::LastTasks(0, 9)]),
            ("3-7", vec![Part::Range(3, 7)]),
            (
                "3,5-7,last",
                vec![Part::One(job(3)), Part::Range(5, 7), Part::Last],
            ),
        ];
        for (text, parts) in cases {
            assert_eq!(text.parse(), Ok(Selection(parts)), "{text}");
        }
    }

    #[test]
    fn what_names_no_job_is_refused_with_what_would() {
        for text in [
            "", "0", "-3", "7-3", "1-", "1.2", "1-10001", "LAST", "3,,4", "+5", "7_", "_1",
            "7_9-3", "7_1-", "7_1-+2", "7-9_1", "last_", "last_9-3", "last_-1", "last-3",
        ] {
            let error = text.parse::<Selection>().unwrap_err();
            assert!(error.len() > 20, "{text}: {error}");
        }
        let error = "7-3".parse::<Selection>().unwrap_err();
        assert!(error.contains("3-7"), "{error}");
    }
}
