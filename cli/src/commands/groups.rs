//! `dopq group …`: groups of users, which have one share together.

use clap::{Args, Subcommand};
use dopq_common::api::{API_VERSION, GroupLimits, GroupList};

use super::context::Context;
use super::limits::{LimitFlags, Limits};
use crate::exit;
use crate::failure::Failure;
use crate::output::text::gpus;
use crate::output::{Column, Table};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups with their penalties and members
    List,
    /// Make a group, or set its weight and limits; what is not given is the usual: weight 1, no limit, no floor
    Set(SetArguments),
    /// Remove a group that nobody is in
    Rm(NameArgument),
}

/// Arguments of `dopq group set`.
#[derive(Debug, Args)]
pub(crate) struct SetArguments {
    /// The group
    name: String,
    /// What its members may have together.
    #[command(flatten)]
    limits: LimitFlags,
}

/// Which group.
#[derive(Debug, Args)]
pub(crate) struct NameArgument {
    /// The group
    name: String,
}

/// Does it.
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
            .note("there is no group; make one with: dopq group set NAME");
    }
    Ok(exit::DONE)
}

async fn set(context: &Context, arguments: &SetArguments) -> Result<u8, Failure> {
    let name = &arguments.name;
    let given = &arguments.limits;
    let limits = GroupLimits {
        weight: given.weight,
        max_gpus_milli: given.max_gpus,
        max_running: given.max_running,
        max_queued: given.max_queued,
        floor_gpus_milli: given.floor,
    };
    let set = context
        .client()?
        .set_group(name, &limits)
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
            "put users into it with: dopq user limit USER --group {name}"
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
    context.output.note(&format!("group {name} is no more"));
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
        Column::new("GROUP"),
        Column::number("PENALTY"),
        Column::number("WEIGHT").spare(),
        Column::text("LIMITS").spare(),
        Column::number("QUEUED"),
        Column::number("RUNNING"),
        Column::number("GPUS").spare(),
        Column::text("MEMBERS"),
    ]);
    for group in &list.groups {
        table.row([
            (&group.name).into(),
            format!("{:.4}", group.penalty).into(),
            group.weight.to_string().into(),
            Limits::from(&group.limits).to_string().into(),
            group.queued.to_string().into(),
            group.running.to_string().into(),
            held(group.held_gpus_milli).into(),
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
