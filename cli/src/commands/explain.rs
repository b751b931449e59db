//! `dopq explain`: why a job waits, when it probably starts, and which change would start it now.

use chrono::{DateTime, Local, Utc};
use clap::Args;
use dopq_common::api::Explanation;

use super::context::Context;
use super::jobs;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{clean, local_times};
use crate::output::{Column, Format, Table};
use crate::select::{Selection, Whose, resolve};

/// Arguments of `dopq explain`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Jobs: 1423, 3-7, 3,5-7 or last
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Selection>,
}

/// Explains each job.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = resolve(&client, &arguments.jobs, Whose::Mine).await?;
    let several = ids.len() > 1;
    for (index, id) in ids.into_iter().enumerate() {
        let explanation = client
            .explain(id)
            .await
            .map_err(Failure::call(format!("explain job {id}")))?;
        match context.output.format {
            // One document a line.
            Format::Json if several => context.output.json_line(&explanation)?,
            Format::Json => context.output.json(&explanation)?,
            Format::Quiet => {
                for reason in &explanation.reasons {
                    context.output.line(&clean(reason))?;
                }
            }
            Format::Table => {
                if index > 0 {
                    context.output.line("")?;
                }
                context.output.table(&table(&explanation, context.now()))?;
            }
        }
    }
    Ok(exit::DONE)
}

fn table(explanation: &Explanation, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[Column::new("FIELD"), Column::text("VALUE")])
        .untitled()
        .wrapping();
    let name = jobs::name_of(explanation.id, explanation.task);
    table.row(["Job".into(), name.to_string().into()]);
    table.row(["State".into(), (&explanation.state).into()]);
    if let Some(position) = explanation.position {
        table.row(["Position".into(), position.to_string().into()]);
    }
    for reason in &explanation.reasons {
        table.row(["Waiting for".into(), local_times(reason, &Local).into()]);
    }
    if let Some(start) = &explanation.expected_start {
        table.row(["Expected start".into(), jobs::start(start, now).into()]);
    }
    if let Some(why) = &explanation.expected_start_unknown {
        let text = format!("unknown: {why}");
        table.row(["Expected start".into(), text.into()]);
    }
    if let Some(note) = &explanation.note {
        table.row(["Now".into(), note.into()]);
    }
    for remedy in &explanation.remedies {
        table.row(["To start now".into(), local_times(remedy, &Local).into()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use dopq_common::api::ExpectedStart;

    use super::*;
    use crate::output::Screen;

    fn explanation() -> Explanation {
        Explanation {
            version: 1,
            id: 7,
            task: None,
            state: "queued".to_owned(),
            position: Some(2),
            reasons: vec!["no node has room now".to_owned()],
            remedies: vec!["ask for 1 GPU".to_owned()],
            expected_start: None,
            expected_start_unknown: None,
            note: None,
        }
    }

    fn lines(explanation: &Explanation) -> Vec<String> {
        let screen = Screen {
            terminal: false,
            width: None,
            colour: false,
        };
        let now = "2026-11-24T07:00:00Z".parse().unwrap();
        let text = table(explanation, now).render(&screen);
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_task_answers_with_the_name_that_was_asked() {
        let mut explanation = explanation();
        explanation.task = Some(dopq_common::api::Task {
            array: 35,
            index: 7,
        });
        assert!(lines(&explanation)[0].ends_with(" 35_7"));
    }

    #[test]
    fn reasons_and_remedies_stand_below_each_other() {
        let lines = lines(&explanation());
        assert_eq!(lines.len(), 5);
        assert!(lines[3].starts_with("Waiting for") && lines[3].ends_with("no node has room now"));
        assert!(lines[4].starts_with("To start now"));
    }

    #[test]
    fn what_its_machine_says_of_a_job_is_told() {
        let mut explanation = explanation();
        explanation.note = Some("cannot fetch the bundle yet: reach a master".to_owned());
        let told = &lines(&explanation)[4];
        assert!(
            told.starts_with("Now") && told.ends_with("yet: reach a master"),
            "{told}"
        );
    }

    #[test]
    fn when_it_starts_is_told_or_why_that_is_not_known() {
        let mut explanation = explanation();
        explanation.expected_start = Some(ExpectedStart {
            p50: "2026-11-24T07:12:00Z".parse().unwrap(),
            p90: "2026-11-24T07:40:30Z".parse().unwrap(),
        });
        let told = &lines(&explanation)[4];
        assert!(
            told.starts_with("Expected start")
                && told.ends_with("in 12m00s (median), in 40m30s (90th percentile)"),
            "{told}"
        );
        explanation.expected_start = None;
        explanation.expected_start_unknown = Some("it is held".to_owned());
        let told = &lines(&explanation)[4];
        assert!(told.ends_with("unknown: it is held"), "{told}");
    }
}
