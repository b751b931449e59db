//! What admins do to accounts: remove, disable, change role and password.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, ErrorCode};
use dopq_common::id::UserName;
use dopq_common::job::Job;
use dopq_common::sched::Event;
use serde::Deserialize;

use super::accounts::{account, edit, guard_last_admin, no_user, shown, with_uses};
use super::login::PASSWORD_MAX_BYTES;
use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::error::{Error, Result};
use crate::http::extract::{self, Id, Params};
use crate::http::routes::audit;
use crate::store::AccountChange;

/// The shortest password.
const PASSWORD_MIN_CHARS: usize = 10;

/// `DELETE /v1/users/{name}`: its query string.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Removal {
    /// Also stop what runs.
    #[serde(default)]
    now: bool,
}

/// Removes the account and cancels what waits of its jobs. History and charges stay.
pub(in crate::http) async fn remove(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<UserName>,
    Params(removal): Params<Removal>,
) -> Result<StatusCode> {
    let now = clock::now();
    let changing = context.accounts.lock().await;
    let before = account(&context, &name);
    // A removal that broke off has left jobs of a user without an account.
    let has_jobs = || {
        let is_theirs = |job: &std::sync::Arc<Job>| job.user == name && !job.state.is_finished();
        context
            .view()
            .read(|model| model.state.jobs().any(is_theirs))
    };
    match &before {
        Some(before) => guard_last_admin(&context, before, None)?,
        None if has_jobs() => {}
        None => return Err(no_user(&name)),
    }
    let detail = if removal.now { "running jobs too" } else { "" };
    let entry = audit(&caller, now, "user_remove", &name, detail.to_owned());
    // First the account: nothing new comes in from now on.
    let change = AccountChange::Removed(name.clone());
    let handle = &context.app.handle;
    handle.change_account(change, entry.clone()).await?;
    let event = Event::UserRemoved {
        user: name,
        by: caller.name.clone(),
        running: removal.now,
    };
    let line = crate::store::AuditEntry {
        action: "user_jobs_cancel".to_owned(),
        ..entry
    };
    handle.act(event, line).await?;
    drop(changing);
    let tokens = before.into_iter().flat_map(|account| account.tokens);
    let gone: Vec<String> = tokens.map(|token| token.id).collect();
    context.app.uses.forget(&gone).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Disables the account: its tokens and password open nothing. Its jobs stay.
pub(in crate::http) async fn disable(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<UserName>,
) -> Result<Json<api::User>> {
    let now = clock::now();
    let line = audit(&caller, now, "user_disable", &name, String::new());
    let account = edit(&context, &name, line, |account| {
        account.disabled_at.get_or_insert(now);
        Ok(())
    });
    Ok(Json(shown(&context, &account.await?)))
}

/// Ends that.
pub(in crate::http) async fn enable(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<UserName>,
) -> Result<Json<api::User>> {
    let line = audit(&caller, clock::now(), "user_enable", &name, String::new());
    let account = edit(&context, &name, line, |account| {
        account.disabled_at = None;
        Ok(())
    });
    Ok(Json(shown(&context, &account.await?)))
}

/// Gives the user another role, which their tokens have from then on.
pub(in crate::http) async fn set_role(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<UserName>,
    extract::Json(request): extract::Json<api::NewRole>,
) -> Result<Json<api::User>> {
    let detail = format!("{:?}", request.role).to_lowercase();
    let line = audit(&caller, clock::now(), "user_role", &name, detail);
    let account = edit(&context, &name, line, |account| {
        account.role = request.role;
        Ok(())
    });
    Ok(Json(shown(&context, &account.await?)))
}

/// Sets or removes a password, and ends the other logins that the old one opened.
pub(in crate::http) async fn set_password(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<UserName>,
    extract::Json(request): extract::Json<api::NewPassword>,
) -> Result<StatusCode> {
    let new = match request.password {
        Some(password) => {
            let text = password.reveal();
            let length = PASSWORD_MIN_CHARS..=PASSWORD_MAX_BYTES;
            if !length.contains(&text.chars().count()) || text.len() > PASSWORD_MAX_BYTES {
                let message = format!(
                    "a password has {PASSWORD_MIN_CHARS} to {PASSWORD_MAX_BYTES} characters"
                );
                return Err(Error::new(ErrorCode::BadRequest, message)
                    .hint("a few words that do not belong together make a good one"));
            }
            Some(context.logins.hash(password).await?)
        }
        None => None,
    };
    let before = account(&context, &name).ok_or_else(|| no_user(&name))?;
    let is_own = name == caller.name;
    if is_own && before.password.is_some() {
        context.logins.count(caller.from, Some(&name))?;
        let current = request.current.unwrap_or_else(|| "".into());
        let hash = before.password.clone();
        if !context.logins.matches(hash, current).await? {
            return Err(
                Error::new(ErrorCode::Forbidden, "the current password is wrong")
                    .hint("an admin can set a new one"),
            );
        }
    }
    let detail = if new.is_some() { "set" } else { "removed" };
    let line = audit(
        &caller,
        clock::now(),
        "user_password",
        &name,
        detail.to_owned(),
    );
    let keeps = caller.token.id.clone();
    edit(&context, &name, line, |account| {
        if account.password != before.password {
            let message = "the password was changed meanwhile";
            return Err(Error::new(ErrorCode::Conflict, message).hint("try again"));
        }
        account.password = new;
        let stays = |token: &crate::store::TokenRecord| !token.by_login || token.id == keeps;
        account.tokens.retain(stays);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A user's tokens, without the secrets.
pub(in crate::http) async fn tokens(
    State(context): State<Ctx>,
    Id(name): Id<UserName>,
) -> Result<Json<api::TokenList>> {
    let account = account(&context, &name).ok_or_else(|| no_user(&name))?;
    let tokens = with_uses(&context, &account).await;
    Ok(Json(api::TokenList {
        version: API_VERSION,
        tokens,
    }))
}
