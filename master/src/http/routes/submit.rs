//! Submits a job: the bundle's configuration, its overrides, its user, and the scheduler's answer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use dopq_common::api::{self, ErrorCode, Role};
use dopq_common::id::{Digest, UserName};
use dopq_common::job::{BundleRef, Class, JobSpec};
use dopq_common::sched::Submission;
use serde_json::{Map, Value};

use crate::bundles::IntakeError;
use crate::clock;
use crate::driver::ActError;
use crate::http::app::{Context, Ctx};
use crate::http::caller::Caller;
use crate::http::error::{Error, Result};
use crate::http::extract;
use crate::http::routes::bundles;
use crate::http::routes::jobs::shown;
use crate::random;
use crate::view::Model;

/// The longest `Idempotency-Key`.
const KEY_MAX_BYTES: usize = 200;

/// Accepts a job: 201, or 200 for a repeated key.
pub(in crate::http) async fn submit(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    extract::Json(request): extract::Json<api::SubmitRequest>,
) -> Result<(StatusCode, Json<api::Job>)> {
    let key = key(&headers, &caller)?;
    let digest: Digest = request.bundle.parse()?;
    // It stays until the job is accepted.
    let _using = context.app.bundles.using(digest).await;
    let stored = bundles::find(&context, &caller, &digest).await?;
    let (config, spec) = read(&context, stored.config, request.overrides).await?;
    let user = executor(&context, &caller, &spec)?;
    hand_over(
        &context,
        &caller,
        user,
        (config, spec),
        Some(stored.bundle),
        key,
    )
    .await
}

/// Accepts a job of `user` with the configuration of an earlier one and these changes, like [`submit`].
pub(super) async fn submit_again(
    context: &Context,
    caller: &Caller,
    user: UserName,
    (config, changes): (String, Map<String, Value>),
    bundle: Option<BundleRef>,
    key: Option<Arc<str>>,
) -> Result<(StatusCode, Json<api::Job>)> {
    let (config, spec) = read(context, config, changes).await?;
    let _using;
    if let Some(bundle) = &bundle {
        // It stays until the job is accepted.
        _using = context.app.bundles.using(bundle.digest).await;
        let stored = context.app.bundles.find(&bundle.digest).await;
        let stored = stored
            .map_err(|error| Error::unavailable("the bundle store does not answer", &error))?;
        if stored.is_none() {
            let message = format!("its bundle {} was deleted", bundle.digest.short());
            return Err(Error::new(ErrorCode::NotFound, message)
                .hint("submit the folder again: dopq submit DIR"));
        }
    }
    hand_over(context, caller, user, (config, spec), bundle, key).await
}

/// Submits a job with a stored bundle to the scheduler.
async fn hand_over(
    context: &Context,
    caller: &Caller,
    user: UserName,
    (config, spec): (String, JobSpec),
    bundle: Option<BundleRef>,
    key: Option<Arc<str>>,
) -> Result<(StatusCode, Json<api::Job>)> {
    if spec.class == Class::Urgent && caller.role < Role::Operator {
        let message = "only operators and admins may submit urgent jobs; use normal or nice";
        return Err(Error::fault("class_not_allowed", "class", message));
    }
    // A repeated request is answered as the first one was.
    let is_known = |key: &str| {
        let model_knows = |model: &Model| model.state.job_of_key(key).is_some();
        context.view().read(model_knows)
    };
    if !key.as_deref().is_some_and(is_known) {
        let keeps = context.app.intake.quota().check(&user);
        keeps.map_err(|exceeded| bundles::keeps_too_much(&exceeded))?;
    }
    let job_key = random::job_key()
        .map_err(|error| Error::internal("failed to draw a random number", &error))?;
    let whose = format!("for {user}");
    let submission = Submission {
        user,
        spec: Arc::new(spec),
        config: config.into(),
        bundle,
        key,
        job_key,
    };
    let accepted = context.app.handle.submit(submission).await;
    let accepted = accepted.map_err(|error| match error {
        ActError::Unavailable(_) => Error::from(error)
            .hint("repeat the request with the same Idempotency-Key; that is safe"),
        ActError::Rejected(_) | ActError::NotLeader { .. } => error.into(),
    })?;
    let status = if accepted.new {
        let line = caller.line(clock::now(), "submit", accepted.job, whose);
        caller.trail.due(line);
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(shown(context, accepted.job)?)))
}

/// The accepted configuration and its specification.
async fn read(
    context: &Context,
    config: String,
    overrides: Map<String, Value>,
) -> Result<(String, JobSpec)> {
    let read = context.app.intake.read_config(config, overrides).await;
    read.map_err(|error| match error {
        IntakeError::Invalid(faults) => Error::faults("the configuration is not valid", faults),
        error => Error::unavailable("cannot read the configuration now", &error),
    })
}

/// The job's user: the caller, or for admins the user in the configuration.
fn executor(context: &Context, caller: &Caller, spec: &JobSpec) -> Result<UserName> {
    let executor = &spec.executor;
    if *executor == caller.name {
        return Ok(caller.name.clone());
    }
    if caller.role < Role::Admin {
        let message = format!(
            "it is {executor}, but your token belongs to {}",
            caller.name
        );
        return Err(Error::fault("executor_mismatch", "executor_name", message)
            .hint(format!("set executor_name to {}", caller.name)));
    }
    if context.view().read(|model| {
        model
            .accounts
            .get(executor)
            .is_some_and(|it| it.disabled_at.is_none())
    }) {
        return Ok(executor.clone());
    }
    let message = format!("there is no user {executor}, or the account is disabled");
    Err(Error::fault("executor_unknown", "executor_name", message)
        .hint("create the user with: dopq user add"))
}

/// The caller's key, in a namespace of their own: a user's name holds no colon.
pub(super) fn key(headers: &HeaderMap, caller: &Caller) -> Result<Option<Arc<str>>> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let bytes = value.as_bytes();
    let printable = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    match value.to_str() {
        Ok(text) if printable && (1..=KEY_MAX_BYTES).contains(&bytes.len()) => {
            Ok(Some(format!("http:{}:{text}", caller.name).into()))
        }
        Ok(_) | Err(_) => Err(Error::new(
            ErrorCode::BadRequest,
            format!("an Idempotency-Key must have 1 to {KEY_MAX_BYTES} printable ASCII characters"),
        )),
    }
}
