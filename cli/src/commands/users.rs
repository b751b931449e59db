//! `dopq users`, `dopq user …`: users and their tokens.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use dopq_common::api::{Limits, NewPassword, NewRole, NewToken, NewUser, Token, Turn, UserList};

use super::context::Context;
use super::limits::{LimitFlags, short};
use super::login::secret;
use super::roles::{RoleWord, word};
use super::user_import;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{age, gpu_hours, gpus};
use crate::output::{Cell, Column, Format, Table, Tone};

/// Commands on users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user
    Add(AddArguments),
    /// List users with their penalties
    List,
    /// Add and change users as a file lists them
    Import(user_import::Arguments),
    /// Remove a user; jobs that wait are cancelled, running ones finish
    Rm(RemoveArguments),
    /// Disable a user: tokens and password stop working, jobs stay
    Disable(UserArgument),
    /// Enable a disabled user
    Enable(UserArgument),
    /// Give a user another role
    Role(RoleArguments),
    /// Set a password, for dopq login --user
    Passwd(PasswdArguments),
    /// List a user's tokens with their last use (not the secrets)
    Tokens(OptionalUser),
    /// Change a user's weight, limits and group; what you leave out stays
    Limit(LimitArguments),
    /// Manage a user's tokens
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Arguments of `dopq user limit`.
#[derive(Debug, Args)]
pub(crate) struct LimitArguments {
    /// User
    user: String,
    /// What the user may use.
    #[command(flatten)]
    limits: LimitFlags,
    /// Move the user to this group [default: unchanged]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Take the user out of the group
    #[arg(long, conflicts_with = "group")]
    no_group: bool,
}

/// Commands on tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token and print it; it is shown only once
    Add(AddTokenArguments),
    /// List a user's tokens (not the secrets)
    List(UserArgument),
    /// Revoke a token
    Revoke(RevokeArguments),
}

/// Arguments of `dopq user add`.
#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// Name, as used in executor_name
    name: String,
    /// Role
    #[arg(long, value_enum, default_value = "user")]
    role: RoleWord,
}

/// A user.
#[derive(Debug, Args)]
pub(crate) struct UserArgument {
    /// User
    user: String,
}

/// A user, or oneself.
#[derive(Debug, Args)]
pub(crate) struct OptionalUser {
    /// User [default: you]
    user: Option<String>,
}

/// Arguments of `dopq user rm`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// User
    user: String,
    /// Also stop the user's running jobs
    #[arg(long)]
    now: bool,
}

/// Arguments of `dopq user role`.
#[derive(Debug, Args)]
pub(crate) struct RoleArguments {
    /// User
    user: String,
    /// Role
    #[arg(value_enum)]
    role: RoleWord,
}

/// Arguments of `dopq user passwd`.
#[derive(Debug, Args)]
pub(crate) struct PasswdArguments {
    /// User [default: you]
    user: Option<String>,
    /// Remove the password instead, so that only tokens work
    #[arg(long)]
    remove: bool,
}

/// Arguments of `dopq user token add`.
#[derive(Debug, Args)]
pub(crate) struct AddTokenArguments {
    /// User
    user: String,
    /// What the token is for
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
    /// Lifetime, such as 30d [default: no expiry]
    #[arg(long, value_name = "TIME", value_parser = dopq_common::bundle::config::duration)]
    expires_in: Option<Duration>,
}

/// Arguments of `dopq user token revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArguments {
    /// User
    user: String,
    /// The token's id, from `dopq user token list`
    token: String,
}

/// Runs the command.
pub(crate) async fn run(context: &Context, command: UserCommand) -> Result<u8, Failure> {
    match command {
        UserCommand::Add(arguments) => add(context, arguments).await,
        UserCommand::List => list(context).await,
        UserCommand::Import(arguments) => user_import::run(context, &arguments).await,
        UserCommand::Rm(arguments) => remove(context, &arguments).await,
        UserCommand::Disable(arguments) => enable(context, &arguments.user, false).await,
        UserCommand::Enable(arguments) => enable(context, &arguments.user, true).await,
        UserCommand::Role(arguments) => role(context, &arguments).await,
        UserCommand::Passwd(arguments) => passwd(context, &arguments).await,
        UserCommand::Tokens(arguments) => tokens(context, arguments.user.as_deref()).await,
        UserCommand::Limit(arguments) => limit(context, &arguments).await,
        UserCommand::Token(TokenCommand::Add(arguments)) => add_token(context, arguments).await,
        UserCommand::Token(TokenCommand::List(arguments)) => {
            tokens(context, Some(&arguments.user)).await
        }
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
        "create a token with: dopq user token add {}",
        user.name
    ));
    Ok(exit::DONE)
}

async fn limit(context: &Context, arguments: &LimitArguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let name = &arguments.user;
    let users = client
        .users()
        .await
        .map_err(Failure::call(format!("read the limits of {name}")))?;
    let user = users.users.into_iter().find(|user| user.name == *name);
    let user = user.ok_or_else(|| Failure::Nothing(format!("no user {name:?}")))?;
    let limits = Limits {
        group: match &arguments.group {
            Some(group) => Some(Some(group.clone())),
            None => arguments.no_group.then_some(None),
        },
        ..arguments.limits.changed(user.limits)
    };
    let changed = client
        .set_limits(&arguments.user, &limits)
        .await
        .map_err(Failure::call(format!(
            "set the limits of {}",
            arguments.user
        )))?;
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
    let token = NewToken {
        label: arguments.label,
        expires_in_seconds: arguments.expires_in.map(|time| time.as_secs().max(1)),
    };
    let made = context
        .client()?
        .add_token(&arguments.user, &token)
        .await
        .map_err(Failure::call(format!(
            "create a token for {}",
            arguments.user
        )))?;
    context.output.note(&format!(
        "token {} of {}; it is shown only now",
        made.info.id, arguments.user
    ));
    match context.output.format {
        Format::Json => context.output.json(&made)?,
        Format::Table | Format::Quiet => context.output.line(made.token.reveal())?,
    }
    Ok(exit::DONE)
}

async fn remove(context: &Context, arguments: &RemoveArguments) -> Result<u8, Failure> {
    let name = &arguments.user;
    context
        .client()?
        .remove_user(name, arguments.now)
        .await
        .map_err(Failure::call(format!("remove user {name}")))?;
    let running = if arguments.now {
        "running ones are being stopped"
    } else {
        "running ones finish"
    };
    context.output.note(&format!(
        "user {name} removed; waiting jobs are cancelled, {running}; history and charges stay"
    ));
    Ok(exit::DONE)
}

async fn enable(context: &Context, name: &str, enable: bool) -> Result<u8, Failure> {
    let verb = if enable { "enable" } else { "disable" };
    context
        .client()?
        .enable_user(name, enable)
        .await
        .map_err(Failure::call(format!("{verb} user {name}")))?;
    context.output.note(&if enable {
        format!("user {name} enabled")
    } else {
        format!("user {name} disabled; their jobs stay: list them with dopq ps --user {name}")
    });
    Ok(exit::DONE)
}

async fn role(context: &Context, arguments: &RoleArguments) -> Result<u8, Failure> {
    let role = NewRole {
        role: arguments.role.into(),
    };
    let changed = context
        .client()?
        .set_role(&arguments.user, &role)
        .await
        .map_err(Failure::call(format!(
            "change the role of {}",
            arguments.user
        )))?;
    context
        .output
        .note(&format!("{} is {} now", changed.name, word(changed.role)));
    Ok(exit::DONE)
}

async fn passwd(context: &Context, arguments: &PasswdArguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let me = client
        .whoami()
        .await
        .map_err(Failure::call("read your user name"))?;
    let name = arguments.user.clone().unwrap_or_else(|| me.name.clone());
    let current = if name == me.name {
        let current = secret("Current password (empty if there is none; input is hidden): ")?;
        Some(current).filter(|current| !current.is_empty())
    } else {
        None
    };
    let new = if arguments.remove {
        None
    } else {
        let prompt = format!("New password of {name} (input is hidden): ");
        let (new, again) = (secret(&prompt)?, secret("Once more: ")?);
        if new != again {
            return Err(Failure::Usage("the two passwords differ".to_owned()));
        }
        Some(new.into())
    };
    let set = NewPassword {
        password: new,
        current: current.map(Into::into),
    };
    client
        .set_password(&name, &set)
        .await
        .map_err(Failure::call(format!("change the password of {name}")))?;
    context.output.note(&if arguments.remove {
        format!("{name} has no password any more")
    } else {
        format!("password of {name} set; log in with: dopq login --user {name}")
    });
    Ok(exit::DONE)
}

async fn tokens(context: &Context, name: Option<&str>) -> Result<u8, Failure> {
    let client = context.client()?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => {
            let me = client.whoami().await;
            me.map_err(Failure::call("read your user name"))?.name
        }
    };
    let listed = client
        .tokens(&name)
        .await
        .map_err(Failure::call(format!("list the tokens of {name}")))?;
    let now = context.now();
    context.output.show(
        &listed.tokens,
        |tokens| token_table(tokens, now),
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
        "token {} of {} revoked",
        arguments.token, arguments.user
    ));
    Ok(exit::DONE)
}

fn table(list: &UserList) -> Table {
    let mut table = Table::new(&[
        Column::text("USER").at_least(10),
        Column::new("ROLE"),
        Column::text("GROUP").spare(),
        Column::number("PENALTY"),
        Column::number("QUEUED"),
        Column::number("RUNNING"),
        Column::number("USAGE GPU-H").spare(),
        Column::text("LIMITS").at_least(16).spare(),
        Column::number("WEIGHT").spare(),
        Column::number("CHARGED NOW").spare(),
        Column::number("RANK").spare(),
        Column::number("ASK").spare(),
        Column::number("AGING").spare(),
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
            match user.disabled_at {
                Some(_) => Cell::toned("disabled", Tone::Bad),
                None => word(user.role).into(),
            },
            user.group.as_deref().unwrap_or("").into(),
            format!("{:.4}", user.penalty).into(),
            user.queued.to_string().into(),
            user.running.to_string().into(),
            gpu_hours(user.usage_gpu_seconds).into(),
            short(&user.limits).into(),
            user.weight.to_string().into(),
            gpus(user.charged_gpus).into(),
            of_turn(|turn| turn.rank_value),
            of_turn(|turn| turn.ask),
            of_turn(|turn| turn.aging),
            user.finished.to_string().into(),
            user.tokens.len().to_string().into(),
        ]);
    }
    table
}

fn token_table(tokens: &[Token], now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        Column::new("ID"),
        Column::text("LABEL"),
        Column::number("AGE"),
        Column::number("LAST USE"),
        Column::number("EXPIRES IN"),
    ]);
    for token in tokens {
        table.row([
            (&token.id).into(),
            (&token.label).into(),
            age(token.created_at, now).into(),
            token
                .used_at
                .map_or_else(|| "never".to_owned(), |at| age(at, now))
                .into(),
            token
                .expires_at
                .map_or_else(
                    || "never".to_owned(),
                    |at| {
                        if at <= now {
                            "expired".to_owned()
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

#[cfg(test)]
mod tests {
    use dopq_common::api::User;

    use super::*;

    fn user() -> User {
        serde_json::from_value(serde_json::json!({
            "name": "alexandra.von-der-mayer", "role": "operator", "group": "computer-vision-and-robotics",
            "penalty": 12.345_678, "weight": 2.5, "queued": 12_345, "running": 1_234, "finished": 1_234_567,
            "turn": {"job": 7, "class": "normal", "within_floor": false, "rank_value": 12.3, "ask": 0.1, "aging": 0.1},
            "tokens": [{
                "id": "0123456789abcdef", "label": "the notebook on my desk, and the one at home, and another",
                "created_at": "2026-11-24T07:00:00Z", "expires_at": "2026-12-24T07:00:00Z"
            }],
            "limits": {"max_gpus_milli": 12_500, "max_running": 100, "max_queued": 1000, "floor_gpus_milli": 4000},
            "usage_gpu_seconds": 12_345_678.9, "charged_gpus": 12.125
        }))
        .unwrap()
    }

    #[test]
    fn users_and_tokens_fit_80_columns() {
        let list = UserList {
            version: 1,
            users: vec![user()],
        };
        let text = table(&list).render_at_80();
        for part in ["operator", "12.3457", "12345", "3429.355"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let now = "2026-11-25T07:00:00Z".parse().unwrap();
        let text = token_table(&user().tokens, now).render_at_80();
        assert!(
            text.contains("0123456789abcdef") && text.contains("29d"),
            "{text}"
        );
    }
}
