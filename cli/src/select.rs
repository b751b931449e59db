//! Which jobs a command works on: `1423`, `3-7`, `3,5-7`, `last`, and tasks of arrays: `1423_7`, `1423_0-9`.

use std::collections::BTreeSet;
use std::str::FromStr;

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
    Last,
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
    text.parse().map(Part::One).map_err(|_| {
        format!("{text:?} is not a job; use an id (1423), a range (3-7), a list (3,5-7), last, or a task of an array (1423_7)")
    })
}

fn number(text: &str) -> Option<u32> {
    let digits_only = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits_only)
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
) -> Result<Vec<JobName>, Failure> {
    let mut ids = BTreeSet::new();
    for part in selections.iter().flat_map(|selection| &selection.0) {
        match *part {
            Part::One(id) => {
                ids.insert(id);
            }
            Part::Last => {
                let me = client
                    .whoami()
                    .await
                    .map_err(Failure::call("read your user name"))?;
                let filter = JobFilter {
                    user: Some(me.name),
                    ..JobFilter::default()
                };
                let page = client
                    .jobs(&filter, 1)
                    .await
                    .map_err(Failure::call("find your last job"))?;
                let last = page
                    .jobs
                    .first()
                    .ok_or_else(|| Failure::Nothing("you have no jobs yet".to_owned()))?;
                ids.insert(JobName::Job(JobId(last.id)));
            }
            Part::Range(first, last) => {
                let filter = JobFilter {
                    ids: Some(format!("{first}-{last}")),
                    ..JobFilter::default()
                };
                let page = client
                    .jobs(&filter, usize::MAX)
                    .await
                    .map_err(Failure::call(format!("find the jobs {first}-{last}")))?;
                if page.jobs.is_empty() {
                    return Err(Failure::Nothing(format!(
                        "no jobs {first}-{last} exist, or you may not see them"
                    )));
                }
                ids.extend(page.jobs.iter().map(|job| JobName::Job(JobId(job.id))));
            }
            Part::Tasks(array, first, last) => {
                let tasks = tasks(client, array).await?;
                let within = tasks.iter().filter(|index| (first..=last).contains(index));
                let before = ids.len();
                ids.extend(within.map(|index| JobName::Task { array, index }));
                if ids.len() == before {
                    return Err(Failure::Nothing(format!(
                        "array {array} has no tasks {first}-{last}; its tasks are {tasks}"
                    )));
                }
            }
        }
    }
    Ok(ids.into_iter().collect())
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
            "7_9-3", "7_1-", "7_1-+2", "7-9_1",
        ] {
            let error = text.parse::<Selection>().unwrap_err();
            assert!(error.len() > 20, "{text}: {error}");
        }
        let error = "7-3".parse::<Selection>().unwrap_err();
        assert!(error.contains("3-7"), "{error}");
    }
}
