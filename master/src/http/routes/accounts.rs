//! Users and their tokens.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, ErrorCode, Role};
use dopq_common::id::UserName;
use dopq_common::sched::{Event, Membership};
use dopq_common::time::Timestamp;
use serde::Deserialize;

use crate::accounts::mint;
use crate::clock;
use crate::http::app::{Context, Ctx};
use crate::http::caller::Caller;
use crate::http::convert::{Users, guards, token, usage};
use crate::http::error::{Error, Result};
use crate::http::extract::{self, Id, Params};
use crate::http::routes::{audit, line};
use crate::store::{Account, AccountChange, AuditEntry, TokenRecord};

/// Bounds the tokens, because each request is compared with all of them.
const TOKENS_PER_USER: usize = 100;
/// As many lines of a receipt as there are jobs on a page.
const LINES_DEFAULT: usize = 100;
const LINES_MAX: usize = 1000;
/// Ten years; tokens for longer need no expiry.
const EXPIRY_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Every account.
pub(in crate::http) async fn list(State(context): State<Ctx>) -> Json<api::UserList> {
    let now = clock::now();
    let users = context.view().read(|model| {
        let users = Users::of(model, now);
        let accounts = model.accounts.values();
        accounts.map(|account| users.user(account)).collect()
    });
    Json(api::UserList {
        version: API_VERSION,
        users,
    })
}

/// Creates an account without a token.
pub(in crate::http) async fn create(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    extract::Json(request): extract::Json<api::NewUser>,
) -> Result<(StatusCode, Json<api::User>)> {
    let name: UserName = request.name.parse()?;
    let changing = context.accounts.lock().await;
    if account(&context, &name).is_some() {
        let message = format!("user {name} exists already");
        return Err(Error::new(ErrorCode::Conflict, message));
    }
    let account = Account::new(name.clone(), request.role);
    let now = clock::now();
    let detail = format!("role {:?}", request.role).to_lowercase();
    let entry = audit(&caller, now, "user_add", &name, detail);
    let change = AccountChange::Set(account.clone());
    context.app.handle.change_account(change, entry).await?;
    drop(changing);
    let user = context
        .view()
        .read(|model| Users::of(model, now).user(&account));
    Ok((StatusCode::CREATED, Json(user)))
}

/// Sets a user's weight, limits and group. Takes effect immediately.
pub(in crate::http) async fn set_limits(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<UserName>,
    extract::Json(request): extract::Json<api::Limits>,
) -> Result<Json<api::User>> {
    let account = account(&context, &name).ok_or_else(|| no_user(&name))?;
    let now = clock::now();
    let detail = format!("{request:?}");
    let entry = audit(&caller, now, "user_limits", &name, detail);
    let event = Event::UserSet {
        user: name,
        weight: request.weight.unwrap_or(1.0),
        guards: guards(&request),
        group: match request.group {
            None => Membership::Unchanged,
            Some(None) => Membership::None,
            Some(Some(group)) => Membership::Of(group.parse()?),
        },
    };
    context.app.handle.act(event, entry).await?;
    let user = context
        .view()
        .read(|model| Users::of(model, now).user(&account));
    Ok(Json(user))
}

/// `GET /v1/users/{name}/usage`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Lines {
    limit: Option<usize>,
}

/// The user's receipt.
pub(in crate::http) async fn show_usage(
    State(context): State<Ctx>,
    Id(name): Id<UserName>,
    Params(lines): Params<Lines>,
) -> Result<Json<api::Usage>> {
    let limit = lines.limit.unwrap_or(LINES_DEFAULT);
    if !(1..=LINES_MAX).contains(&limit) {
        let message = format!("limit must be 1 to {LINES_MAX}");
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let now = clock::now();
    let receipt = context.view().read(|model| {
        // A user without an account may still have usage.
        let known = model.accounts.contains_key(&name) || model.state.user(&name).is_some();
        known.then(|| usage(model, now, &name, limit))
    });
    receipt.map(Json).ok_or_else(|| no_user(&name))
}

/// Creates a token. Only this answer contains its secret.
pub(in crate::http) async fn create_token(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<UserName>,
    extract::Json(request): extract::Json<api::NewToken>,
) -> Result<(StatusCode, Json<api::TokenCreated>)> {
    let label = line("label", &request.label)?;
    let lasts = request.expires_in_seconds.map(Duration::from_secs);
    if lasts.is_some_and(|lasts| lasts.is_zero() || lasts > EXPIRY_MAX) {
        let message = format!("expires_in_seconds must be 1 to {}", EXPIRY_MAX.as_secs());
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let changing = context.accounts.lock().await;
    let mut account = account(&context, &name).ok_or_else(|| no_user(&name))?;
    if account.tokens.len() >= TOKENS_PER_USER {
        let message = format!("{name} has {TOKENS_PER_USER} tokens, the maximum");
        return Err(Error::new(ErrorCode::Conflict, message).hint("revoke one first"));
    }
    let now = clock::now();
    let (secret, record) = mint(now, &label, lasts)
        .map_err(|error| Error::internal("cannot generate a token", &error))?;
    let info = token(&record);
    account.tokens.push(record);
    let detail = format!("token {} {label:?}", info.id);
    let entry = audit(&caller, now, "token_add", &name, detail);
    let change = AccountChange::Set(account);
    context.app.handle.change_account(change, entry).await?;
    drop(changing);
    let created = api::TokenCreated {
        info,
        token: secret,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revokes a token immediately.
pub(in crate::http) async fn revoke_token(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Path((name, id)): Path<(String, String)>,
) -> Result<StatusCode> {
    let name: UserName = name.parse()?;
    let detail = format!("token {id}");
    let entry = audit(&caller, clock::now(), "token_revoke", &name, detail);
    edit(&context, &name, entry, |account| {
        let before = account.tokens.len();
        account.tokens.retain(|token| token.id != id);
        if account.tokens.len() == before {
            let message = format!("{name} has no token with this id");
            return Err(Error::new(ErrorCode::NotFound, message)
                .hint(format!("list them with: dopq user token list {name}")));
        }
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes an account, with its line in the audit log. Refuses to leave no admin who can log in.
pub(super) async fn edit(
    context: &Context,
    name: &UserName,
    entry: AuditEntry,
    change: impl FnOnce(&mut Account) -> Result<()>,
) -> Result<Account> {
    let changing = context.accounts.lock().await;
    let before = account(context, name).ok_or_else(|| no_user(name))?;
    let mut after = before.clone();
    change(&mut after)?;
    guard_last_admin(context, &before, Some(&after))?;
    let set = AccountChange::Set(after.clone());
    context.app.handle.change_account(set, entry).await?;
    drop(changing);
    let stays = |token: &TokenRecord| after.tokens.iter().any(|other| other.id == token.id);
    let gone = before.tokens.into_iter().filter(|token| !stays(token));
    let gone: Vec<String> = gone.map(|token| token.id).collect();
    context.app.uses.forget(&gone).await;
    Ok(after)
}

/// Refuses the change of an account from `before` to `after` if no admin could log in any more.
pub(super) fn guard_last_admin(
    context: &Context,
    before: &Account,
    after: Option<&Account>,
) -> Result<()> {
    let now = clock::now();
    let admin = |account: &Account| account.role == Role::Admin && account.opens(now);
    let others = |account: &Account| account.name != before.name && admin(account);
    let stays = after.is_some_and(admin)
        || context
            .view()
            .read(|model| model.accounts.values().any(others));
    if admin(before) && !stays {
        let message = format!("{} is the last admin who can log in", before.name);
        return Err(Error::new(ErrorCode::Conflict, message)
            .hint("make another admin or another token first"));
    }
    Ok(())
}

/// An account as lists show it.
pub(super) fn shown(context: &Context, account: &Account) -> api::User {
    let now = clock::now();
    context
        .view()
        .read(|model| Users::of(model, now).user(account))
}

/// The account's tokens, with when each was last used.
pub(super) async fn with_uses(context: &Context, account: &Account) -> Vec<api::Token> {
    let ids: Vec<String> = account
        .tokens
        .iter()
        .map(|token| token.id.clone())
        .collect();
    let uses = context.app.uses.last(&ids).await;
    let both = account.tokens.iter().zip(uses);
    let tokens = both.map(|(record, used)| api::Token {
        used_at: used.map(Timestamp::to_datetime),
        ..token(record)
    });
    tokens.collect()
}

pub(super) fn account(context: &Context, name: &UserName) -> Option<Account> {
    context
        .view()
        .read(|model| model.accounts.get(name).cloned())
}

pub(super) fn no_user(name: &UserName) -> Error {
    Error::new(ErrorCode::NotFound, format!("there is no user {name}"))
        .hint("list users with: dopq user list")
}
