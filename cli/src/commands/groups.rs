//! `dopq group …`: groups of users that share one weight.

use clap::{Args, Subcommand};
use dopq_common::api::{API_VERSION, GroupList};

use super::context::Context;
use super::limits::{LimitFlags, short};
use crate::exit;
use crate::failure::Failure;
use crate::output::text::gpus;
use crate::output::{Column, Table};

/// Commands on groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups with their penalties and members
    List,
    /// Create a group or change its weight and limits; what you leave out stays
    Set(SetArguments),
    /// Remove an empty group
    Rm(NameArgument),
}

/// Arguments of `dopq group set`.
#[derive(Debug, Args)]
pub(crate) struct SetArguments {
    /// Group
    name: String,
    /// What its members may use together.
    #[command(flatten)]
    limits: LimitFlags,
}

/// A group.
#[derive(Debug, Args)]
pub(crate) struct NameArgument {
    /// Group
    name: String,
}

/// Runs the command.
pub(crate) async fn run(context: &Context, command: GroupCommand) -> Result<u8, Failure> {
    match command {
        GroupCommand::List => list(context).await,
        GroupCommand::Set(arguments) => set(context, &arguments).await,
        GroupCommand::Rm(arguments) => remove(context, &arguments.name).await,
    }
}

async fn list(context: &Context) -> Result<u8, Failure> {
    let groups = context
        .client()?
        .groups()
        .await
        .map_err(Failure::call("list the groups"))?;
    show(context, &groups)?;
    if groups.groups.is_empty() {
        context
            .output
            .note("no groups; create one with: dopq group set NAME");
    }
    Ok(exit::DONE)
}

async fn set(context: &Context, arguments: &SetArguments) -> Result<u8, Failure> {
    let name = &arguments.name;
    let client = context.client()?;
    let groups = client
        .groups()
        .await
        .map_err(Failure::call(format!("read the limits of {name}")))?;
    let mut groups = groups.groups.into_iter();
    let now = groups.find(|group| group.name == *name);
    let now = now.map(|group| group.limits).unwrap_or_default();
    let set = client
        .set_group(name, &arguments.limits.changed(now))
        .await
        .map_err(Failure::call(format!("set group {name}")))?;
    let is_empty = set.members.is_empty();
    let groups = GroupList {
        version: API_VERSION,
        groups: vec![set],
    };
    show(context, &groups)?;
    if is_empty {
        context.output.note(&format!(
            "add users with: dopq user limit USER --group {name}"
        ));
    }
    Ok(exit::DONE)
}

async fn remove(context: &Context, name: &str) -> Result<u8, Failure> {
    context
        .client()?
        .remove_group(name)
        .await
        .map_err(Failure::call(format!("remove group {name}")))?;
    context.output.note(&format!("group {name} removed"));
    Ok(exit::DONE)
}

fn show(context: &Context, groups: &GroupList) -> Result<(), Failure> {
    context.output.show(groups, table, |groups| {
        let groups = groups.groups.iter();
        groups.map(|group| group.name.clone()).collect()
    })?;
    Ok(())
}

fn table(list: &GroupList) -> Table {
    let mut table = Table::new(&[
        Column::text("GROUP").at_least(10),
        Column::number("PENALTY"),
        Column::number("QUEUED"),
        Column::number("RUNNING"),
        Column::number("GPUS"),
        Column::text("LIMITS").at_least(16).spare(),
        Column::number("WEIGHT").spare(),
        Column::text("MEMBERS").at_least(10),
    ]);
    for group in &list.groups {
        table.row([
            (&group.name).into(),
            format!("{:.4}", group.penalty).into(),
            group.queued.to_string().into(),
            group.running.to_string().into(),
            held(group.held_gpus_milli).into(),
            short(&group.limits).into(),
            group.weight.to_string().into(),
            group.members.join(", ").into(),
        ]);
    }
    table
}

/// Thousandths as GPUs.
fn held(milli: u64) -> String {
    let milli = u32::try_from(milli).unwrap_or(u32::MAX);
    gpus(f64::from(milli) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_fit_80_columns() {
        let members: Vec<String> = (0..40).map(|n| format!("student-{n}")).collect();
        let list: GroupList = serde_json::from_value(serde_json::json!({"version": 1, "groups": [{
            "name": "computer-vision-and-robotics", "members": members, "penalty": 12.345_678, "weight": 2.5,
            "queued": 12_345, "running": 1_234, "held_gpus_milli": 12_500, "usage_gpu_seconds": 1.0,
            "limits": {"max_gpus_milli": 12_500, "max_running": 100, "max_queued": 1000, "floor_gpus_milli": 4000},
            "charged_gpus": 1.0
        }]}))
        .unwrap();
        let text = table(&list).render_at_80();
        for part in ["computer-v", "12.3457", "12345", "12.5", "student-0"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
