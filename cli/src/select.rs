//! Which jobs a command is about: `1423`, `3-7`, `3,5-7`, `last`.

use std::collections::BTreeSet;
use std::str::FromStr;

use dopq_common::id::JobId;

use crate::client::{Client, JobFilter};
use crate::failure::Failure;

/// The most jobs that one range may name.
const RANGE_MAX: u64 = 10_000;

/// One argument that selects jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Last,
    One(u64),
    Range(u64, u64),
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
        && let (Ok(first), Ok(last)) = (id(first), id(last))
    {
        return if first > last {
            Err(format!(
                "the range {text} is empty; did you mean {last}-{first}?"
            ))
        } else if last - first >= RANGE_MAX {
            Err(format!("the range {text} names more than {RANGE_MAX} jobs"))
        } else {
            Ok(Part::Range(first, last))
        };
    }
    id(text).map(Part::One).map_err(|_| {
        format!("{text:?} does not name a job; write an id (1423), a range (3-7), a list (3,5-7) or last")
    })
}

/// Finds the ids of all jobs that the arguments name, each once, in ascending order.
///
/// A range names those of its jobs that exist; an id is taken as it is.
///
/// # Errors
///
/// [`Failure::Nothing`] where a range or `last` names no job.
pub(crate) async fn resolve(
    client: &Client,
    selections: &[Selection],
) -> Result<Vec<u64>, Failure> {
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
                    .map_err(Failure::call("ask for your name"))?;
                let filter = JobFilter {
                    user: Some(me.name),
                    ..JobFilter::default()
                };
                let page = client
                    .jobs(&filter, 1)
                    .await
                    .map_err(Failure::call("look for your last job"))?;
                let last = page.jobs.first().ok_or_else(|| {
                    Failure::Nothing("you have no jobs yet, so there is no last one".to_owned())
                })?;
                ids.insert(last.id);
            }
            Part::Range(first, last) => {
                let filter = JobFilter {
                    ids: Some(format!("{first}-{last}")),
                    ..JobFilter::default()
                };
                let page = client
                    .jobs(&filter, usize::MAX)
                    .await
                    .map_err(Failure::call(format!("look for the jobs {first}-{last}")))?;
                if page.jobs.is_empty() {
                    return Err(Failure::Nothing(format!(
                        "there are no jobs {first}-{last}, or none that you may see"
                    )));
                }
                ids.extend(page.jobs.iter().map(|job| job.id));
            }
        }
    }
    Ok(ids.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ranges_lists_and_last_are_read() {
        let cases = [
            ("1423", vec![Part::One(1423)]),
            ("last", vec![Part::Last]),
            ("3-7", vec![Part::Range(3, 7)]),
            (
                "3,5-7,last",
                vec![Part::One(3), Part::Range(5, 7), Part::Last],
            ),
        ];
        for (text, parts) in cases {
            assert_eq!(text.parse(), Ok(Selection(parts)), "{text}");
        }
    }

    #[test]
    fn what_names_no_job_is_refused_with_what_would() {
        for text in [
            "", "0", "-3", "7-3", "1-", "1.2", "1-10001", "LAST", "3,,4", "+5",
        ] {
            let error = text.parse::<Selection>().unwrap_err();
            assert!(error.len() > 20, "{text}: {error}");
        }
        let error = "7-3".parse::<Selection>().unwrap_err();
        assert!(error.contains("3-7"), "{error}");
    }
}
