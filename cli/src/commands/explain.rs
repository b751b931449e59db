//! `dopq explain`: why a job waits, and which single change would start it now.

use clap::Args;
use dopq_common::api::Explanation;

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::clean;
use crate::output::{Column, Format, Table};
use crate::select::{Selection, resolve};

/// Arguments of `dopq explain`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which jobs: 1423, 3-7, 3,5-7 or last
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Selection>,
}

/// Explains each job.
pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = resolve(&client, &arguments.jobs).await?;
    let several = ids.len() > 1;
    for (index, id) in ids.into_iter().enumerate() {
        let explanation = client
            .explain(id)
            .await
            .map_err(Failure::call(format!("explain job {id}")))?;
        match context.output.format {
            // One document a line, so that several can be told apart.
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
                context.output.table(&table(&explanation))?;
            }
        }
    }
    Ok(exit::DONE)
}

fn table(explanation: &Explanation) -> Table {
    let mut table = Table::new(&[Column::new("FIELD"), Column::text("VALUE")])
        .untitled()
        .wrapping();
    table.row(["Job".into(), explanation.id.to_string().into()]);
    table.row(["State".into(), (&explanation.state).into()]);
    if let Some(position) = explanation.position {
        table.row(["Position".into(), position.to_string().into()]);
    }
    for reason in &explanation.reasons {
        table.row(["Waits because".into(), reason.into()]);
    }
    for remedy in &explanation.remedies {
        table.row(["To start it now".into(), remedy.into()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Screen;

    #[test]
    fn reasons_and_remedies_stand_below_each_other() {
        let explanation = Explanation {
            version: 1,
            id: 7,
            state: "queued".to_owned(),
            position: Some(2),
            reasons: vec!["waits for a machine".to_owned()],
            remedies: vec!["ask for 1 GPU".to_owned()],
        };
        let screen = Screen {
            terminal: false,
            width: None,
            colour: false,
        };
        let text = table(&explanation).render(&screen);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[3].starts_with("Waits because") && lines[3].ends_with("a machine"));
        assert!(lines[4].starts_with("To start it now"));
    }
}
