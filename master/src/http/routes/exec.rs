//! A command in a job's container, over a WebSocket.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use dopq_common::api::{self, ErrorCode, Role, SessionEvent};
use dopq_common::id::{AttemptId, JobId, WorkerId};
use dopq_common::wire::{
    EndCause, ExecRequest, OpenSession, SessionEnd, SessionRequest, WIRE_VERSION, WorkerKeys as _,
};

use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::error::{Error, Result};
use crate::http::extract::Named;
use crate::http::relay::{Client, Ended, MESSAGE_MAX_BYTES, relay};
use crate::http::routes::own_output;
use crate::http::watched::Watch;
use crate::random;
use crate::sessions::{self, Session};
use crate::store::AuditEntry;

/// How long a client may take to say what it wants.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// How long it is waited for the report of a container's end, to tell its cause.
const CAUSE_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);
/// Of a command in the audit log.
const COMMAND_MAX_CHARS: usize = 500;

/// Becomes a session: the first message is an [`api::ExecRequest`].
pub(in crate::http) async fn exec(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Extension(watch): Extension<Watch>,
    Named(job): Named,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response> {
    let upgrade = upgraded(upgrade)?;
    place(&context, job)?;
    Ok(upgrade.on_upgrade(async move |socket| {
        let mut client = Client::new(socket);
        let begun = begin(&context, &caller, job, &mut client).await;
        serve(context, caller, watch, client, begun).await;
    }))
}

/// The upgrade to a WebSocket, with its bounds.
pub(super) fn upgraded(
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<WebSocketUpgrade> {
    let upgrade = upgrade.map_err(|error| {
        Error::new(ErrorCode::BadRequest, error.body_text()).hint("this route is a WebSocket")
    })?;
    Ok(upgrade
        .max_message_size(MESSAGE_MAX_BYTES)
        .max_frame_size(MESSAGE_MAX_BYTES))
}

/// Where the job's container runs.
pub(super) fn place(context: &Ctx, job: JobId) -> Result<(AttemptId, WorkerId)> {
    own_output(context, job, "a container")?;
    context.view().read(|model| {
        let Some(job) = model.state.job(job) else {
            return Err(not_running(job, "has not started"));
        };
        let is_running = job
            .state
            .stage()
            .is_some_and(|stage| stage.is_running() || stage.stopping().is_some());
        match job.state.active() {
            Some(active) if is_running => {
                Ok((job.attempt_id(active.attempt), active.worker.clone()))
            }
            Some(_) | None => Err(not_running(
                job.id,
                &format!("is {}", job.state.phase().as_str()),
            )),
        }
    })
}

fn not_running(job: JobId, state: &str) -> Error {
    let message = format!("job {job} {state}; it has no running container");
    Error::new(ErrorCode::Conflict, message).hint(format!("see dopq show {job}"))
}

/// Serves a session that has begun, and tells its client how it ended.
pub(super) async fn serve(
    context: Ctx,
    caller: Caller,
    watch: Watch,
    mut client: Client,
    begun: Result<(Session, AttemptId)>,
) {
    let event = match begun {
        Ok((mut session, attempt)) => {
            let ended = relay(&mut client, &mut session, &watch, &context.app.shutdown).await;
            tracing::debug!(by = %caller.name, %attempt, ?ended, "session ended");
            match ended {
                Ended::Worker(end) => told(&context, attempt, end).await,
                Ended::Here(reason) => SessionEvent::End {
                    exit_code: None,
                    reason,
                },
                Ended::Client => return,
            }
        }
        Err(error) => SessionEvent::Error {
            error: error.into_body().error,
        },
    };
    client.finish(&event, &watch).await;
}

/// Reads what the client wants, and opens the session.
async fn begin(
    context: &Ctx,
    caller: &Caller,
    job: JobId,
    client: &mut Client,
) -> Result<(Session, AttemptId)> {
    let wrong = |message: String| Error::new(ErrorCode::BadRequest, message);
    let text = client.first(FIRST_WITHIN).await;
    let text = text.ok_or_else(|| wrong("the first message is not a request".to_owned()))?;
    let request: api::ExecRequest = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("the request is not valid JSON: {error}")))?;
    let line = caller.line(clock::now(), "exec", job, detail(&request));
    let checked = checked(caller, request).and_then(|request| Ok((request, place(context, job)?)));
    let (request, (attempt, worker)) = checked.inspect_err(|error| {
        let refused = error.code_name();
        let refused = AuditEntry {
            refused,
            ..line.clone()
        };
        context.app.audit.note(refused);
    })?;
    // Nobody gets in without a line that stays.
    let recorded = context.app.audit.record(line).await;
    recorded.map_err(|error| Error::unavailable("cannot write the audit log", &error))?;
    let session = open(
        context,
        caller,
        attempt,
        worker,
        SessionRequest::Exec(request),
    )
    .await?;
    Ok((session, attempt))
}

/// Opens a session for the caller.
pub(super) async fn open(
    context: &Ctx,
    caller: &Caller,
    attempt: AttemptId,
    worker: WorkerId,
    request: SessionRequest,
) -> Result<Session> {
    let app = &context.app;
    let key = app.keys.of(&worker).ok_or_else(|| {
        let message = format!("worker {worker} has no key any more");
        Error::new(ErrorCode::Conflict, message).hint("see dopq nodes")
    })?;
    let id = random::session_id();
    let id = id.map_err(|error| Error::internal("cannot name a session", &error))?;
    let open = OpenSession {
        version: WIRE_VERSION,
        id,
        attempt,
        by: caller.name.clone(),
        request,
    };
    let session = Session::open(app.broker.clone(), worker, &key, &open).await;
    session.map_err(|error| match error {
        sessions::Error::TooLong => Error::new(ErrorCode::TooLarge, error.to_string()),
        sessions::Error::Silent(worker) => {
            let message = format!("worker {worker} does not answer");
            Error::new(ErrorCode::Unavailable, message).hint(
                "see dopq nodes; its account at the broker may lack the rights of this version",
            )
        }
        error => Error::unavailable("cannot reach the job's worker", &error),
    })
}

/// What the audit log tells of a request. The environment may hold secrets.
fn detail(request: &api::ExecRequest) -> String {
    let command: String = request.command.join(" ");
    let mut detail: String = command.chars().take(COMMAND_MAX_CHARS).collect();
    if request.privileged {
        detail.insert_str(0, "privileged: ");
    }
    if let Some(user) = &request.user {
        let user: String = user.chars().take(COMMAND_MAX_CHARS).collect();
        detail.insert_str(0, &format!("as {user}: "));
    }
    detail
}

/// What the caller may ask for.
fn checked(caller: &Caller, request: api::ExecRequest) -> Result<ExecRequest> {
    let wrong = |message: String| Err(Error::new(ErrorCode::BadRequest, message));
    if request.command.first().is_none_or(String::is_empty) {
        return wrong("command is empty".to_owned());
    }
    for line in &request.env {
        if line.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
            return wrong("env is not a list of NAME=value".to_owned());
        }
    }
    let texts = request.command.iter().chain(&request.env);
    if texts
        .chain(&request.user)
        .chain(&request.workdir)
        .any(|text| text.contains('\0'))
    {
        return wrong("the request contains a zero byte".to_owned());
    }
    if request.privileged && caller.role < Role::Admin {
        let message = "only admins may run privileged commands";
        return Err(Error::new(ErrorCode::Forbidden, message));
    }
    if request.detach && (request.tty || request.stdin) {
        return wrong("detach leaves no terminal and no input".to_owned());
    }
    let api::ExecRequest {
        command,
        env,
        user,
        workdir,
        privileged,
        tty,
        stdin,
        detach,
    } = request;
    Ok(ExecRequest {
        command,
        env,
        user,
        workdir,
        privileged,
        tty,
        stdin,
        detach,
    })
}

/// How the worker's end of a session is told to its client.
async fn told(context: &Ctx, attempt: AttemptId, end: SessionEnd) -> SessionEvent {
    let failed = |code, message: String| SessionEvent::Error {
        error: Error::new(code, message).into_body().error,
    };
    match end.cause {
        EndCause::Done => SessionEvent::End {
            exit_code: end.exit_code,
            reason: end.detail,
        },
        // As a shell tells that it cannot run a command.
        EndCause::NotFound if end.exit_code.is_some() => SessionEvent::End {
            exit_code: end.exit_code,
            reason: end.detail,
        },
        EndCause::NotFound => failed(ErrorCode::NotFound, end.detail),
        EndCause::Refused => failed(ErrorCode::Forbidden, end.detail),
        EndCause::Busy => failed(ErrorCode::TooManyRequests, end.detail),
        EndCause::ContainerEnded => SessionEvent::End {
            exit_code: None,
            reason: cause(context, attempt).await,
        },
        EndCause::Failed => SessionEvent::End {
            exit_code: None,
            reason: end.detail,
        },
    }
}

/// What became of the job whose container ended.
async fn cause(context: &Ctx, attempt: AttemptId) -> String {
    let id = attempt.job;
    let looked = async {
        loop {
            let seen = context.view().read(|model| {
                let job = model.state.job(id)?;
                if let Some(finished) = job.state.finished() {
                    let cause = finished.outcome.cause.as_str();
                    return Some(format!("job {id} ended: {cause}"));
                }
                let is_same = job
                    .state
                    .active()
                    .is_some_and(|active| active.attempt == attempt.number);
                (!is_same).then(|| {
                    let phase = job.state.phase();
                    format!(
                        "attempt {} of job {id} ended; the job is {}",
                        attempt.number,
                        phase.as_str()
                    )
                })
            });
            match seen {
                Some(seen) => return seen,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    };
    let looked = tokio::time::timeout(CAUSE_WITHIN, looked).await;
    looked.unwrap_or_else(|_| format!("the container of job {id} ended"))
}
