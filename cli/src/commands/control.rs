//! `dopq shutdown` and `reload`: the master itself.

use clap::Args;
use dopq_common::api::{Reloaded, ShutdownMode};

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::count;
use crate::output::{Cell, Column, Table, Tone};

/// Arguments of `dopq shutdown`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ShutdownArguments {
    /// Start nothing more, and end once no job has a node
    #[arg(long)]
    drain: bool,
    /// End now; containers keep running and are adopted at the next start
    #[arg(long)]
    now: bool,
}

/// Ends the master that the URL names.
pub(crate) async fn shutdown(
    context: &Context,
    arguments: &ShutdownArguments,
) -> Result<u8, Failure> {
    let mode = if arguments.now {
        ShutdownMode::Now
    } else {
        ShutdownMode::Drain
    };
    let told = context
        .client()?
        .shutdown(mode)
        .await
        .map_err(Failure::call("shut the master down"))?;
    let jobs = count(told.jobs_left, "job", "jobs");
    context.output.note(&match (mode, told.jobs_left) {
        (ShutdownMode::Now, 0) => "the master ends now".to_owned(),
        (ShutdownMode::Now, _) => {
            format!(
                "the master ends now; {jobs} keep their containers, and the next start adopts them"
            )
        }
        (ShutdownMode::Drain, 0) => "the master ends; no job has a node".to_owned(),
        (ShutdownMode::Drain, _) => {
            format!("the master starts nothing more and ends after {jobs}; see dopq status")
        }
    });
    Ok(exit::DONE)
}

/// Reloads the settings of the master that the URL names.
pub(crate) async fn reload(context: &Context) -> Result<u8, Failure> {
    let told = context
        .client()?
        .reload()
        .await
        .map_err(Failure::call("reload the settings"))?;
    context.output.show(&told, table, |told| {
        told.changes
            .iter()
            .map(|change| change.name.clone())
            .collect()
    })?;
    if told.changes.is_empty() {
        context.output.note("no setting changed");
    }
    Ok(exit::DONE)
}

fn table(told: &Reloaded) -> Table {
    let mut table = Table::new(&[
        Column::text("SETTING").at_least(16),
        Column::text("BEFORE").at_least(8),
        Column::text("NOW").at_least(8),
        Column::text("EFFECT"),
    ]);
    for change in &told.changes {
        let effect = if change.applied {
            "applied".into()
        } else {
            Cell::toned("needs a restart", Tone::Waiting)
        };
        table.row([
            (&change.name).into(),
            (&change.before).into(),
            (&change.now).into(),
            effect,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_fits_80_columns() {
        let told: Reloaded = serde_json::from_value(serde_json::json!({"version": 1, "changes": [
            {"name": "scheduler.half_life", "before": "\"1d\"", "now": "\"2h\"", "applied": true},
            {"name": "broker.url", "before": "", "now": "\"amqp://dopq:(hidden)@rabbit/%2f\"", "applied": false}
        ]}))
        .unwrap();
        let text = table(&told).render_at_80();
        for part in ["scheduler.half_life", "applied", "needs a restart"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
