//! Logging in with a password, and out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, ErrorCode, Role};
use dopq_common::id::UserName;

use super::accounts::{account, edit};
use crate::accounts::mint;
use crate::clock;
use crate::http::app::{Context, Ctx};
use crate::http::caller::Caller;
use crate::http::convert::token;
use crate::http::error::{Error, Result};
use crate::http::extract;
use crate::http::routes::{audit, line};
use crate::store::{Account, AccountChange, AuditEntry};

/// How long the token of a login lasts.
const LASTS: Duration = Duration::from_secs(30 * 24 * 3600);
/// The tokens that logins of one user leave; the oldest makes room.
const LOGINS_PER_USER: usize = 20;
/// The longest password that is looked at.
pub(super) const PASSWORD_MAX_BYTES: usize = 256;

/// Gives a token to whoever knows the password.
pub(in crate::http) async fn login(
    State(context): State<Ctx>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    extract::Json(request): extract::Json<api::Login>,
) -> Result<(StatusCode, Json<api::TokenCreated>)> {
    let from = peer.map_or(
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        |Extension(ConnectInfo(peer))| peer.ip(),
    );
    let label = line("label", &request.label)?;
    let label = if label.is_empty() { "login" } else { &label };
    let name: Option<UserName> = request.name.parse().ok();
    let known = name.and_then(|name| account(&context, &name));
    context
        .logins
        .count(from, known.as_ref().map(|known| &known.name))?;
    if request.password.reveal().len() > PASSWORD_MAX_BYTES {
        return Err(wrong(&context));
    }
    let hash = known.as_ref().and_then(|known| known.password.clone());
    let fits = context.logins.matches(hash, request.password).await?;
    let Some(known) = known else {
        return Err(wrong(&context));
    };
    let told = |token: String, refused: &str| AuditEntry {
        at: clock::now(),
        by: known.name.to_string(),
        action: "login".to_owned(),
        target: known.name.to_string(),
        token_name: label.to_owned(),
        token,
        from: from.to_canonical().to_string(),
        refused: refused.to_owned(),
        by_user: known.role == Role::User,
        ..AuditEntry::default()
    };
    if !fits || known.disabled_at.is_some() {
        // The limits of logins bound these lines, which are no admin's by themselves.
        let by_user = true;
        context.app.audit.note(AuditEntry {
            by_user,
            ..told(String::new(), "unauthorized")
        });
        return Err(wrong(&context));
    }
    let now = clock::now();
    let (secret, mut record) = mint(now, label, Some(LASTS))
        .map_err(|error| Error::internal("cannot generate a token", &error))?;
    record.by_login = true;
    let info = token(&record);
    let changing = context.accounts.lock().await;
    let current = account(&context, &known.name);
    let same = |now: &Account| now.password == known.password && now.disabled_at.is_none();
    let Some(mut current) = current.filter(same) else {
        return Err(wrong(&context));
    };
    current
        .tokens
        .retain(|token| token.expires_at.is_none_or(|end| end > now));
    while current.tokens.iter().filter(|it| it.by_login).count() >= LOGINS_PER_USER {
        let oldest = current.tokens.iter().position(|token| token.by_login);
        if let Some(oldest) = oldest {
            current.tokens.remove(oldest);
        }
    }
    current.tokens.push(record);
    let entry = told(info.id.clone(), "");
    let change = AccountChange::Set(current);
    context.app.handle.change_account(change, entry).await?;
    drop(changing);
    let created = api::TokenCreated {
        info,
        token: secret,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// The same for a wrong name, a wrong password and a disabled account.
fn wrong(context: &Context) -> Error {
    context.app.metrics.auth_failed();
    Error::new(ErrorCode::Unauthorized, "the name or the password is wrong")
        .hint("an admin can set a new password: dopq user passwd NAME")
}

/// Revokes the token that asks.
pub(in crate::http) async fn logout(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode> {
    let id = caller.token.id.clone();
    let line = audit(
        &caller,
        clock::now(),
        "logout",
        &caller.name,
        format!("token {id}"),
    );
    edit(&context, &caller.name, line, |account| {
        account.tokens.retain(|token| token.id != id);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
