//! Checks each request before its handler: identity, role, owner, leadership, time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dopq_common::api::{ErrorCode, Role};
use dopq_common::id::{AttemptId, JobId, JobName, UserName, WorkerId};
use dopq_common::wire::{CLUSTER_HEADER, Standing as Told, WorkerKeys as _};

use super::access::{Access, Pace, QUICK, Rule, Who};
use super::app::{Context, Ctx};
use super::audited::{Asked, leave_line};
use super::caller::{AttemptCaller, Caller, NamedJob, WorkerCaller};
use super::convert;
use super::error::{Error, LeaderAt, Result};
use super::streams::Slot;
use super::trail::Trail;
use super::watched::{Watch, watched};
use crate::accounts::{Identified, identify};
use crate::clock;
use crate::view;

/// The address of a request without a connection, as in tests.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The state of [`guard`].
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) context: Ctx,
    pub(super) rule: Rule,
}

/// Calls the handler if the rule allows it.
pub(super) async fn guard(
    State(Guard { context, rule }): State<Guard>,
    params: std::result::Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let uri = request.uri().clone();
    let params = params.map_err(|error| Error::new(ErrorCode::BadRequest, error.body_text()));
    let asked = asked(&request, params.as_ref().ok());
    let admitted = params.and_then(|params| admit(&context, rule, &params, &mut request));
    let audited = audited(&context, rule, &request, asked);
    let response = match admitted.and_then(|()| stream(&context, rule, &request)) {
        Ok(None) => run(rule.pace, request, next).await,
        Ok(Some((caller, token, slot))) if rule.pace == Pace::Session => {
            let watch = Watch::new(context.clone(), caller, token, slot);
            request.extensions_mut().insert(watch);
            run(rule.pace, request, next).await
        }
        Ok(Some((caller, token, slot))) => {
            let response = run(rule.pace, request, next).await;
            watched(response, context.clone(), caller, token, slot)
        }
        Err(error) => {
            if request.method() == Method::PUT {
                super::uploads::drain(request.into_body()).await;
            }
            error.into_response()
        }
    };
    if let Some((caller, asked)) = audited {
        leave_line(&context, &asked, &caller, &response);
    }
    // The handler can also find that the leadership was lost.
    let leader = response.extensions().get::<LeaderAt>();
    match leader.and_then(|LeaderAt(leader)| redirect(leader, &uri)) {
        Some(redirect) => redirect,
        None => response,
    }
}

/// The request as its line in the audit log tells it.
fn asked(request: &Request, params: Option<&RawPathParams>) -> Asked {
    let route = request.extensions().get::<MatchedPath>();
    let target = params.and_then(|params| params.iter().next());
    Asked {
        method: request.method().clone(),
        route: route.map_or_else(String::new, |route| route.as_str().to_owned()),
        target: target.map_or_else(String::new, |(_, value)| value.to_owned()),
        own: false,
    }
}

/// Who and what may leave a line in the audit log; `None` if the rule asks for none.
fn audited(
    context: &Context,
    rule: Rule,
    request: &Request,
    mut asked: Asked,
) -> Option<(Caller, Asked)> {
    let caller = request.extensions().get::<Caller>();
    let caller = caller.filter(|_| rule.audited)?.clone();
    asked.own = match request.extensions().get::<NamedJob>() {
        Some(NamedJob(job)) => context
            .view()
            .read(|model| convert::owner(model, *job) == Some(&caller.name)),
        None => false,
    };
    Some((caller, asked))
}

/// What a long answer to a user needs; `None` for other requests.
fn stream(
    context: &Context,
    rule: Rule,
    request: &Request,
) -> Result<Option<(Caller, String, Slot)>> {
    let caller = request.extensions().get::<Caller>();
    let token = bearer(request.headers());
    match (rule.pace, request.method(), caller.zip(token)) {
        (Pace::Stream | Pace::Session, &Method::GET, Some((caller, token))) => {
            let slot = context.streams.open(&caller.name)?;
            Ok(Some((caller.clone(), token.to_owned(), slot)))
        }
        (Pace::Stream | Pace::Session | Pace::Quick, _, _) => Ok(None),
    }
}

async fn run(pace: Pace, request: Request, next: Next) -> Response {
    match pace {
        Pace::Stream => next.run(request).await,
        Pace::Quick | Pace::Session => match tokio::time::timeout(QUICK, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                tracing::warn!(limit_s = QUICK.as_secs(), "a request took too long");
                let message = format!("no answer within {} s", QUICK.as_secs());
                Error::new(ErrorCode::Unavailable, message)
                    .hint("see dopq status")
                    .into_response()
            }
        },
    }
}

fn admit(
    context: &Context,
    rule: Rule,
    params: &RawPathParams,
    request: &mut Request,
) -> Result<()> {
    match rule.access {
        Access::Open => {}
        Access::Scrape => {
            let local = peer(request).is_some_and(|peer| peer.ip().to_canonical().is_loopback());
            if !(local && context.app.settings.open_metrics_on_loopback) {
                at_least(&caller(context, request)?, Role::Operator)?;
            }
        }
        Access::Role(role) => {
            let caller = caller(context, request)?;
            at_least(&caller, role)?;
        }
        Access::Job(role) => {
            let caller = caller(context, request)?;
            let name: JobName = param(params, "id")?.parse()?;
            let job = find(context, &caller, role, name)?;
            request.extensions_mut().insert(NamedJob(job));
        }
        Access::Account(role) => {
            let caller = caller(context, request)?;
            let name: UserName = param(params, "name")?.parse()?;
            if name != caller.name {
                at_least(&caller, role)?;
            }
        }
        Access::Attempt | Access::Bundle => {
            let may_wait = rule.access == Access::Bundle;
            let attempt = attempt(context, params, request, may_wait)?;
            request.extensions_mut().insert(attempt);
        }
        Access::Worker => {
            is_of_this_cluster(context, request)?;
            let question = Told::question(param(params, "nonce")?);
            let worker = worker(context, request, &question)?;
            request.extensions_mut().insert(WorkerCaller(worker));
        }
    }
    let role = context.view().read(|model| model.role.clone());
    match (rule.who, role) {
        (Who::Any, _) | (Who::Leader, view::Role::Leader) => Ok(()),
        (Who::Leader, view::Role::Standby { leader_url }) => Err(Error::not_leader(leader_url)),
    }
}

/// The job of that name, if the caller is its owner or has at least that role.
fn find(context: &Context, caller: &Caller, role: Role, name: JobName) -> Result<JobId> {
    let visible = |owner: &UserName| *owner == caller.name || caller.role >= role;
    context.view().read(|model| {
        let id = convert::id_of(model, name);
        if let Some(id) = id
            && convert::owner(model, id).is_some_and(visible)
        {
            return Ok(id);
        }
        if id.is_some_and(|id| convert::owner(model, id).is_some()) {
            return Err(Error::not_yours(name));
        }
        let JobName::Task { array, index } = name else {
            return Err(Error::no_job(name));
        };
        let Some(job) = model.state.job(array) else {
            return Err(Error::no_job(array));
        };
        let message = match (convert::array_of(job), id) {
            (None, _) => format!("job {array} is not an array and has no tasks"),
            (Some(spec), None) => format!(
                "array {array} has no task {index}; its tasks are {}",
                convert::listed(&spec.indexes)
            ),
            (Some(_), Some(_)) => {
                format!("task {index} of array {array} never started, or left the history")
            }
        };
        Err(Error::new(ErrorCode::NotFound, message)
            .hint(format!("show the array with: dopq show {array}")))
    })
}

fn at_least(caller: &Caller, role: Role) -> Result<()> {
    if caller.role >= role {
        return Ok(());
    }
    let who = match role {
        Role::User => "users",
        Role::Operator => "operators and admins",
        Role::Admin => "admins",
    };
    Err(Error::new(ErrorCode::Forbidden, format!("only {who} may do this")).hint("ask an admin"))
}

/// The caller, whom the request's extensions have from now on, also when it is refused.
fn caller(context: &Context, request: &mut Request) -> Result<Caller> {
    let token = bearer(request.headers()).ok_or_else(no_token)?;
    let now = clock::now();
    let who = context
        .view()
        .read(|model| identify(&model.accounts, token, now));
    match who {
        Identified::As { name, role, token } => {
            context.app.uses.note(&token.id, now);
            let caller = Caller {
                name,
                role,
                token,
                from: peer(request).map_or(NOWHERE, |peer| peer.ip()),
                trail: Trail::default(),
            };
            request.extensions_mut().insert(caller.clone());
            Ok(caller)
        }
        Identified::Expired => Err(failed(context, request, "the token has expired")),
        Identified::Disabled => Err(failed(context, request, "the account is disabled")),
        Identified::Unknown => Err(failed(context, request, "the token is invalid")),
    }
}

fn no_token() -> Error {
    Error::new(ErrorCode::Unauthorized, "you are not logged in")
        .hint("run: dopq login; over HTTP send Authorization: Bearer dopq_…")
}

fn failed(context: &Context, request: &Request, what: &str) -> Error {
    context.app.metrics.auth_failed();
    let address = peer(request).map_or(NOWHERE, |peer| peer.ip());
    match context.limiter.failed(address) {
        Ok(()) => {
            tracing::info!(peer = %address, "{what}");
            Error::new(ErrorCode::Unauthorized, what).hint("ask an admin for a new token")
        }
        Err(wait) => Error::new(
            ErrorCode::TooManyRequests,
            "too many wrong tokens from this address",
        )
        .retry_after(wait),
    }
}

/// The attempt and its worker. With `may_wait`, also the next attempt of a job that waits: whoever presents its token was
/// told by a master to expect it.
fn attempt(
    context: &Context,
    params: &RawPathParams,
    request: &Request,
    may_wait: bool,
) -> Result<AttemptCaller> {
    let attempt: AttemptId = param(params, "attempt")?.parse()?;
    let worker = named_worker(request)?;
    let token = context.app.keys.token(attempt, &worker);
    let worker = proven(context, request, worker, token.reveal())?;
    let known = context
        .view()
        .read(|model| match model.state.job(attempt.job) {
            Some(job) if job.key != attempt.key => Standing::Past,
            Some(job) if may_wait && job.next_attempt() == Some(attempt) => Standing::Current,
            Some(job) if job.last_attempt < attempt.number => Standing::NotYet,
            Some(job) => match job.state.active() {
                Some(active) if active.attempt == attempt.number && active.worker == worker => {
                    Standing::Current
                }
                Some(_) | None => Standing::Past,
            },
            None if attempt.job.0 > model.state.meta().last_job => Standing::NotYet,
            None => Standing::Past,
        });
    match known {
        Standing::Current => Ok(AttemptCaller { attempt, worker }),
        // The worker has the order before this master's read model shows it, or this is a lagging standby.
        Standing::NotYet => Err(Error::new(
            ErrorCode::Unavailable,
            format!("this master does not know attempt {attempt} yet"),
        )),
        Standing::Past => {
            context.app.metrics.fenced("data");
            tracing::debug!(%attempt, worker.id = %worker, "a stale attempt asked for data");
            Err(Error::new(
                ErrorCode::Conflict,
                format!("attempt {attempt} is no longer current"),
            )
            .hint("stop it and drop its uploads"))
        }
    }
}

/// Refuses a worker that names another cluster. The name of this one is not told.
fn is_of_this_cluster(context: &Context, request: &Request) -> Result<()> {
    let named = request.headers().get(CLUSTER_HEADER);
    let is_other =
        named.is_some_and(|named| named.as_bytes() != context.app.settings.cluster.as_bytes());
    if !is_other {
        return Ok(());
    }
    let message = "this master serves another cluster than the worker's";
    Err(Error::new(ErrorCode::Conflict, message)
        .hint("correct cluster or master_urls in the worker's settings"))
}

/// The worker that asks `question`.
fn worker(context: &Context, request: &Request, question: &str) -> Result<WorkerId> {
    proven(context, request, named_worker(request)?, question)
}

/// The worker that the request names.
fn named_worker(request: &Request) -> Result<WorkerId> {
    bearer(request.headers()).ok_or_else(no_token)?;
    let worker = request.headers().get("dopq-worker");
    let worker = worker.and_then(|value| value.to_str().ok());
    Ok(worker.unwrap_or_default().parse()?)
}

/// The worker, if the request proves that it has the worker's key and knows `token`.
fn proven(context: &Context, request: &Request, worker: WorkerId, token: &str) -> Result<WorkerId> {
    let presented = bearer(request.headers()).ok_or_else(no_token)?;
    let proof = context.app.keys.of(&worker).map(|key| key.proof(token));
    if proof.is_some_and(|proof| proof.matches(presented)) {
        return Ok(worker);
    }
    let what = format!("the request does not prove that it comes from worker {worker}");
    Err(failed(context, request, &what))
}

/// An attempt's state in the read model.
enum Standing {
    NotYet,
    /// It may go on.
    Current,
    Past,
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.trim())
}

fn peer(request: &Request) -> Option<SocketAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map(|ConnectInfo(peer)| *peer)
}

/// The route's parameter. A test checks that the table has it.
fn param<'a>(params: &'a RawPathParams, name: &str) -> Result<&'a str> {
    let mut params = params.iter();
    let found = params.find_map(|(key, value)| (key == name).then_some(value));
    found.ok_or_else(|| Error::new(ErrorCode::Internal, format!("the route has no {name}")))
}

/// 307: repeat the request, with method and body, at the leader.
fn redirect(leader: &str, uri: &Uri) -> Option<Response> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let location = format!("{}{path}", leader.trim_end_matches('/'));
    let location = HeaderValue::from_str(&location).ok()?;
    Some(
        (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, location)],
        )
            .into_response(),
    )
}
