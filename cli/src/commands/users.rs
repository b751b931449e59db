//! `dopq users`, `dopq user …`: users and their tokens.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use dopq_common::api::{NewToken, NewUser, Role, Turn, User, UserLimits, UserList};

use super::context::Context;
use super::limits::{LimitFlags, Limits};
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{age, gpu_hours, gpus};
use crate::output::{Cell, Column, Format, Table};

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user
    Add(AddArguments),
    /// List users with their penalties
    List,
    /// Set a user's weight, limits and group; what is not given is the usual: weight 1, no limit, no floor
    Limit(LimitArguments),
    /// Manage a user's tokens
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Arguments of `dopq user limit`.
#[derive(Debug, Args)]
pub(crate) struct LimitArguments {
    /// Whose
    user: String,
    /// What they may have.
    #[command(flatten)]
    limits: LimitFlags,
    /// The group to be in; without --group and --no-group they stay where they are
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Be in no group, with a share of their own
    #[arg(long, conflicts_with = "group")]
    no_group: bool,
}

/// What to do with a user's tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; stdout gets the secret, this once
    Add(AddTokenArguments),
    /// List a user's tokens, without their secrets
    List(UserArgument),
    /// End a token at once
    Revoke(RevokeArguments),
}

/// Arguments of `dopq user add`.
#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// The name, as it will stand in executor_name
    name: String,
    /// What the user may do
    #[arg(long, value_enum, default_value = "user")]
    role: RoleWord,
}

/// The roles, as the command line writes them.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleWord {
    /// Submit, and see and change one's own jobs
    User,
    /// Also the machines and the lock
    Operator,
    /// Everything
    Admin,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::User => Self::User,
            RoleWord::Operator => Self::Operator,
            RoleWord::Admin => Self::Admin,
        }
    }
}

/// Whose tokens.
#[derive(Debug, Args)]
pub(crate) struct UserArgument {
    /// Whose
    user: String,
}

/// Arguments of `dopq user token add`.
#[derive(Debug, Args)]
pub(crate) struct AddTokenArguments {
    /// Whose
    user: String,
    /// What it is for, shown in lists
    #[arg(long, default_value = "")]
    label: String,
    /// It ends after this time, such as 30d; never when absent
    #[arg(long, value_name = "TIME", value_parser = dopq_common::bundle::config::duration)]
    expires_in: Option<Duration>,
}

/// Arguments of `dopq user token revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArguments {
    /// Whose
    user: String,
    /// The token's id, from `dopq user token list`
    token: String,
}

/// Does it.
pub(crate) async fn run(context: &Context, command: UserCommand) -> Result<u8, Failure> {
    match command {
        UserCommand::Add(arguments) => add(context, arguments).await,
        UserCommand::List => list(context).await,
        UserCommand::Limit(arguments) => limit(context, &arguments).await,
        UserCommand::Token(TokenCommand::Add(arguments)) => add_token(context, arguments).await,
        UserCommand::Token(TokenCommand::List(arguments)) => tokens(context, &arguments.user).await,
        UserCommand::Token(TokenCommand::Revoke(arguments)) => revoke(context, &arguments).await,
    }
}

/// Lists users.
pub(crate) async fn list(context: &Context) -> Result<u8, Failure> {
    let users = context
        .client()?
        .users()
        .await
        .map_err(Failure::call("list the users"))?;
    context.output.show(&users, table, |users| {
        users.users.iter().map(|user| user.name.clone()).collect()
    })?;
    Ok(exit::DONE)
}

async fn add(context: &Context, arguments: AddArguments) -> Result<u8, Failure> {
    let user = NewUser {
        name: arguments.name,
        role: arguments.role.into(),
    };
    let added = context
        .client()?
        .add_user(&user)
        .await
        .map_err(Failure::call(format!("add user {}", user.name)))?;
    context.output.show(
        &UserList {
            version: dopq_common::api::API_VERSION,
            users: vec![added],
        },
        table,
        |list| list.users.iter().map(|user| user.name.clone()).collect(),
    )?;
    context.output.note(&format!(
        "give them a token: dopq user token add {}",
        user.name
    ));
    Ok(exit::DONE)
}

async fn limit(context: &Context, arguments: &LimitArguments) -> Result<u8, Failure> {
    let given = &arguments.limits;
    let limits = UserLimits {
        weight: given.weight,
        max_gpus_milli: given.max_gpus,
        max_running: given.max_running,
        max_queued: given.max_queued,
        floor_gpus_milli: given.floor,
        group: match &arguments.group {
            Some(group) => Some(Some(group.clone())),
            None => arguments.no_group.then_some(None),
        },
    };
    let changed = context
        .client()?
        .set_limits(&arguments.user, &limits)
        .await
        .map_err(Failure::call(format!("limit user {}", arguments.user)))?;
    context.output.show(
        &UserList {
            version: dopq_common::api::API_VERSION,
            users: vec![changed],
        },
        table,
        |list| list.users.iter().map(|user| user.name.clone()).collect(),
    )?;
    Ok(exit::DONE)
}

async fn add_token(context: &Context, arguments: AddTokenArguments) -> Result<u8, Failure> {
    let wish = NewToken {
        label: arguments.label,
        expires_in_seconds: arguments.expires_in.map(|time| time.as_secs().max(1)),
    };
    let made = context
        .client()?
        .add_token(&arguments.user, &wish)
        .await
        .map_err(Failure::call(format!(
            "make a token for {}",
            arguments.user
        )))?;
    context.output.note(&format!(
        "token {} of {}; this is the only time that it is shown",
        made.info.id, arguments.user
    ));
    match context.output.format {
        Format::Json => context.output.json(&made)?,
        Format::Table | Format::Quiet => context.output.line(&made.token)?,
    }
    Ok(exit::DONE)
}

async fn tokens(context: &Context, name: &str) -> Result<u8, Failure> {
    let users = context
        .client()?
        .users()
        .await
        .map_err(Failure::call("list the users"))?;
    let user = users
        .users
        .into_iter()
        .find(|user| user.name == name)
        .ok_or_else(|| Failure::Nothing(format!("there is no user {name:?}")))?;
    let now = context.now();
    context.output.show(
        &user.tokens,
        |_| token_table(&user, now),
        |tokens| tokens.iter().map(|token| token.id.clone()).collect(),
    )?;
    Ok(exit::DONE)
}

async fn revoke(context: &Context, arguments: &RevokeArguments) -> Result<u8, Failure> {
    context
        .client()?
        .revoke_token(&arguments.user, &arguments.token)
        .await
        .map_err(Failure::call(format!("revoke token {}", arguments.token)))?;
    context.output.note(&format!(
        "token {} of {} is no longer valid",
        arguments.token, arguments.user
    ));
    Ok(exit::DONE)
}

fn table(list: &UserList) -> Table {
    let mut table = Table::new(&[
        Column::new("USER"),
        Column::new("ROLE"),
        Column::new("GROUP").spare(),
        Column::number("PENALTY"),
        Column::number("RANK VALUE").spare(),
        Column::number("ASK").spare(),
        Column::number("AGING").spare(),
        Column::number("WEIGHT").spare(),
        Column::number("USAGE GPU-H").spare(),
        Column::number("CHARGED NOW").spare(),
        Column::text("LIMITS").spare(),
        Column::number("QUEUED"),
        Column::number("RUNNING"),
        Column::number("FINISHED").spare(),
        Column::number("TOKENS").spare(),
    ]);
    for user in &list.users {
        let of_turn = |part: fn(&Turn) -> f64| {
            let part = user.turn.as_ref().map(part);
            Cell::from(part.map_or_else(String::new, |part| format!("{part:.6}")))
        };
        table.row([
            (&user.name).into(),
            match user.role {
                Role::User => "user",
                Role::Operator => "operator",
                Role::Admin => "admin",
            }
            .into(),
            user.group.as_deref().unwrap_or("").into(),
            format!("{:.4}", user.penalty).into(),
            of_turn(|turn| turn.rank_value),
            of_turn(|turn| turn.ask),
            of_turn(|turn| turn.aging),
            user.weight.to_string().into(),
            gpu_hours(user.usage_gpu_seconds).into(),
            gpus(user.charged_gpus).into(),
            Limits::from(&user.limits).to_string().into(),
            user.queued.to_string().into(),
            user.running.to_string().into(),
            user.finished.to_string().into(),
            user.tokens.len().to_string().into(),
        ]);
    }
    table
}

fn token_table(user: &User, now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::new("ID"),
        Column::text("LABEL"),
        Column::number("AGE"),
        Column::number("ENDS IN"),
    ]);
    for token in &user.tokens {
        table.row([
            (&token.id).into(),
            (&token.label).into(),
            age(token.created_at, now).into(),
            token
                .expires_at
                .map_or_else(
                    || "never".to_owned(),
                    |at| {
                        if at <= now {
                            "ended".to_owned()
                        } else {
                            age(now, at)
                        }
                    },
                )
                .into(),
        ]);
    }
    table
}
