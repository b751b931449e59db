//! `dopq prune`: removes from the bundle store what nobody needs any more, or what some jobs left.

use clap::Args;
use dopq_common::api::Pruned;

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::bytes;
use crate::output::{Column, Table};
use crate::select::{Selection, Whose, resolve};

/// Arguments of `dopq prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArguments {
    /// Jobs whose logs, results and checkpoints go: 1423, 3-7, 3,5-7 or last; without any, admins prune the whole bundle store
    #[arg(value_name = "JOB", conflicts_with = "dry_run")]
    jobs: Vec<Selection>,
    /// Remove nothing, only show what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// Prunes now.
pub(crate) async fn run(context: &Context, arguments: &PruneArguments) -> Result<u8, Failure> {
    let client = context.client()?;
    if !arguments.jobs.is_empty() {
        for id in resolve(&client, &arguments.jobs, Whose::Mine).await? {
            let pruned = client.prune_job(id).await;
            let pruned = pruned.map_err(Failure::call(format!("prune job {id}")))?;
            let freed = bytes(freed(&pruned));
            context.output.note(&format!("job {id}: freed {freed}"));
            note_failed(context, &pruned);
        }
        return Ok(exit::DONE);
    }
    let pruned = client.prune(arguments.dry_run).await;
    let pruned = pruned.map_err(Failure::call("prune the bundle store"))?;
    context.output.show(&pruned, table, |pruned| {
        let kinds = pruned.kinds.iter();
        kinds
            .map(|kind| format!("{} {}", kind.kind, kind.removed_bytes))
            .collect()
    })?;
    let freed = bytes(freed(&pruned));
    context.output.note(&if pruned.dry_run {
        format!("dopq prune would free {freed}")
    } else {
        format!("freed {freed}")
    });
    note_failed(context, &pruned);
    Ok(exit::DONE)
}

fn note_failed(context: &Context, pruned: &Pruned) {
    if let Some(error) = &pruned.error {
        let failed = pruned.failed_objects;
        context
            .output
            .note(&format!("{failed} objects cannot be removed: {error}"));
    }
}

fn freed(pruned: &Pruned) -> u64 {
    pruned.kinds.iter().map(|kind| kind.removed_bytes).sum()
}

fn table(pruned: &Pruned) -> Table {
    let mut table = Table::new(&[
        Column::new("KIND"),
        Column::number(if pruned.dry_run {
            "WOULD GO"
        } else {
            "REMOVED"
        }),
        Column::number("SIZE"),
        Column::number("KEPT"),
        Column::number("SIZE"),
    ]);
    for kind in &pruned.kinds {
        table.row([
            (&kind.kind).into(),
            kind.removed_objects.to_string().into(),
            bytes(kind.removed_bytes).into(),
            kind.kept_objects.to_string().into(),
            bytes(kind.kept_bytes).into(),
        ]);
    }
    table
}
