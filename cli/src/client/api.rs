//! A function for each route of the control API.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use dopq_common::api::{
    API_VERSION, AuditPage, Bundle, CordonRequest, DrainRequest, ErrorCode, Explanation, GpuList,
    Group, GroupList, HistoryPage, Job, JobPage, Limits, LockRequest, Login, NewNodeKey,
    NewPassword, NewRole, NewToken, NewUser, NodeKeyCreated, NodeKeyList, NodeList, NodeRemoved,
    PriorityRequest, PruneRequest, Pruned, Queue, Reloaded, RetryRequest, ShutdownMode,
    ShutdownRequest, ShuttingDown, Status, SubmitRequest, TokenCreated, TokenList, Usage, User,
    UserList, WhoAmI,
};
use dopq_common::id::{Digest, JobName};
use indicatif::ProgressBar;
use reqwest::{Method, Response};

use super::call::{Call, Client, Payload};
use super::error::Error;
use super::events::Events;
use super::filters::{AuditFilter, HistoryFilter, JobFilter, LogQuery, QueueFilter};
use super::retry::Patience;
use crate::bundle::Content;

/// The largest page.
const PAGE: usize = 500;

impl Client {
    /// `GET /v1/whoami`.
    pub(crate) async fn whoami(&self) -> Result<WhoAmI, Error> {
        self.fetch(&Call::new(Method::GET, &["whoami"])).await
    }

    /// `GET /v1/status`.
    pub(crate) async fn status(&self) -> Result<Status, Error> {
        self.fetch(&Call::new(Method::GET, &["status"])).await
    }

    /// `GET /v1/queue`, page after page, up to `limit` entries.
    pub(crate) async fn queue(&self, filter: &QueueFilter, limit: usize) -> Result<Queue, Error> {
        let mut all: Option<Queue> = None;
        loop {
            let have = all.as_ref().map_or(0, |queue| queue.entries.len());
            let size = limit.saturating_sub(have).min(PAGE);
            let mut call = Call::new(Method::GET, &["queue"]).query("limit", size.to_string());
            if let Some(user) = &filter.user {
                call = call.query("user", user);
            }
            if !filter.labels.is_empty() {
                call = call.query("label", filter.labels.join(","));
            }
            if let Some(after) = all.as_ref().and_then(|queue| queue.next) {
                call = call.query("after", after.to_string());
            }
            let page: Queue = self.fetch(&call).await?;
            let empty = page.entries.is_empty();
            let mut merged = match all.take() {
                None => page,
                Some(mut before) => {
                    before.entries.extend(page.entries);
                    before.next = page.next;
                    before
                }
            };
            if empty || merged.next.is_none() || merged.entries.len() >= limit {
                merged.entries.truncate(limit);
                return Ok(merged);
            }
            all = Some(merged);
        }
    }

    /// `GET /v1/nodes`.
    pub(crate) async fn nodes(&self) -> Result<NodeList, Error> {
        self.fetch(&Call::new(Method::GET, &["nodes"])).await
    }

    /// `GET /v1/gpus`.
    pub(crate) async fn gpus(&self) -> Result<GpuList, Error> {
        self.fetch(&Call::new(Method::GET, &["gpus"])).await
    }

    /// `GET /v1/users`.
    pub(crate) async fn users(&self) -> Result<UserList, Error> {
        self.fetch(&Call::new(Method::GET, &["users"])).await
    }

    /// `GET /v1/jobs`, page after page, up to `limit` jobs; the newest first.
    pub(crate) async fn jobs(&self, filter: &JobFilter, limit: usize) -> Result<JobPage, Error> {
        let mut all: Option<JobPage> = None;
        loop {
            let have = all.as_ref().map_or(0, |page| page.jobs.len());
            let size = limit.saturating_sub(have).min(PAGE);
            let mut call = Call::new(Method::GET, &["jobs"]).query("limit", size.to_string());
            if !filter.states.is_empty() {
                call = call.query("state", filter.states.join(","));
            }
            if let Some(user) = &filter.user {
                call = call.query("user", user);
            }
            if let Some(ids) = &filter.ids {
                call = call.query("ids", ids);
            }
            if let Some(array) = filter.array {
                call = call.query("array", array.to_string());
            }
            if !filter.labels.is_empty() {
                call = call.query("label", filter.labels.join(","));
            }
            for (name, at) in [("since", filter.since), ("until", filter.until)] {
                if let Some(at) = at {
                    call = call.query(name, at.to_rfc3339());
                }
            }
            if filter.arrays {
                call = call.query("arrays", "true");
            }
            if let Some(before) = all.as_ref().and_then(|page| page.next) {
                call = call.query("before", before.to_string());
            }
            let page: JobPage = self.fetch(&call).await?;
            let empty = page.jobs.is_empty();
            let mut merged = match all.take() {
                None => page,
                Some(mut before) => {
                    before.jobs.extend(page.jobs);
                    before.next = page.next;
                    before
                }
            };
            if empty || merged.next.is_none() || merged.jobs.len() >= limit {
                merged.jobs.truncate(limit);
                return Ok(merged);
            }
            all = Some(merged);
        }
    }

    /// `GET /v1/audit`, page after page, up to `limit` lines; the newest first.
    pub(crate) async fn audit(
        &self,
        filter: &AuditFilter,
        limit: usize,
    ) -> Result<AuditPage, Error> {
        let mut all = AuditPage {
            version: API_VERSION,
            lines: Vec::new(),
            next: None,
        };
        loop {
            let size = limit.saturating_sub(all.lines.len()).min(PAGE);
            let since = filter.since.map(|since| since.to_rfc3339());
            let query = [
                ("user", filter.user.as_ref()),
                ("action", filter.action.as_ref()),
                ("since", since.as_ref()),
                ("before", all.next.as_ref()),
            ];
            let call = Call::new(Method::GET, &["audit"]).query("limit", size.to_string());
            let call = query
                .into_iter()
                .fold(call, |call, (name, value)| match value {
                    Some(value) => call.query(name, value),
                    None => call,
                });
            let page: AuditPage = self.fetch(&call).await?;
            all.lines.extend(page.lines);
            all.next = page.next;
            if all.next.is_none() || all.lines.len() >= limit {
                return Ok(all);
            }
        }
    }

    /// `GET /v1/history`: one page of at most `limit` jobs.
    pub(crate) async fn history(
        &self,
        filter: &HistoryFilter,
        limit: usize,
    ) -> Result<HistoryPage, Error> {
        let labels = Some(filter.label.join(",")).filter(|labels| !labels.is_empty());
        let query = [
            ("user", filter.user.clone()),
            ("group", filter.group.clone()),
            ("cause", filter.cause.clone()),
            ("label", labels),
            ("since", filter.since.map(|since| since.to_rfc3339())),
            ("until", filter.until.map(|until| until.to_rfc3339())),
            ("tasks", filter.tasks.then(|| "true".to_owned())),
            ("before", filter.before.clone()),
        ];
        let call = Call::new(Method::GET, &["history"]).query("limit", limit.min(PAGE).to_string());
        let call = query
            .into_iter()
            .fold(call, |call, (name, value)| match value {
                Some(value) => call.query(name, value),
                None => call,
            });
        self.fetch(&call).await
    }

    /// `DELETE /v1/history`.
    pub(crate) async fn clear_history(
        &self,
        user: Option<&str>,
        before: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        let mut call = Call::new(Method::DELETE, &["history"]);
        if let Some(user) = user {
            call = call.query("user", user);
        }
        if let Some(before) = before {
            call = call.query("before", before.to_rfc3339());
        }
        self.send(&call).await.map(drop)
    }

    /// `GET /v1/jobs/{id}`.
    pub(crate) async fn job(&self, id: JobName) -> Result<Job, Error> {
        self.fetch(&Call::new(Method::GET, &["jobs", &id.to_string()]))
            .await
    }

    /// The same, waiting while the master restarts.
    pub(super) async fn job_patiently(&self, id: JobName) -> Result<Job, Error> {
        let call = Call::new(Method::GET, &["jobs", &id.to_string()]).patience(Patience::Long);
        self.fetch(&call).await
    }

    /// `DELETE /v1/jobs/{id}`.
    pub(crate) async fn cancel(&self, id: JobName) -> Result<Job, Error> {
        self.fetch(&Call::new(Method::DELETE, &["jobs", &id.to_string()]))
            .await
    }

    /// `POST /v1/jobs/{id}/hold`.
    pub(crate) async fn hold(&self, id: JobName) -> Result<Job, Error> {
        let call = Call::new(Method::POST, &["jobs", &id.to_string(), "hold"]);
        self.fetch(&call.repeatable()).await
    }

    /// `POST /v1/jobs/{id}/evict`.
    pub(crate) async fn evict(&self, id: JobName) -> Result<Job, Error> {
        let call = Call::new(Method::POST, &["jobs", &id.to_string(), "evict"]);
        self.fetch(&call).await
    }

    /// `POST /v1/jobs/{id}/release`.
    pub(crate) async fn release(&self, id: JobName) -> Result<Job, Error> {
        let call = Call::new(Method::POST, &["jobs", &id.to_string(), "release"]);
        self.fetch(&call.repeatable()).await
    }

    /// `GET /v1/jobs/{id}/explain`.
    pub(crate) async fn explain(&self, id: JobName) -> Result<Explanation, Error> {
        self.fetch(&Call::new(
            Method::GET,
            &["jobs", &id.to_string(), "explain"],
        ))
        .await
    }

    /// `POST /v1/jobs/{id}/priority`.
    pub(crate) async fn set_priority(
        &self,
        id: JobName,
        request: &PriorityRequest,
    ) -> Result<Job, Error> {
        let call = Call::new(Method::POST, &["jobs", &id.to_string(), "priority"]);
        self.fetch(&call.json(request).repeatable()).await
    }

    /// `POST /v1/jobs`; the key makes a repeat give the same job.
    pub(crate) async fn submit(&self, request: &SubmitRequest, key: &str) -> Result<Job, Error> {
        let call = Call::new(Method::POST, &["jobs"])
            .json(request)
            .header("idempotency-key", key)
            .repeatable()
            .patience(Patience::Restart);
        self.fetch(&call).await
    }

    /// `POST /v1/jobs/{id}/retry`; the key makes a repeat give the same job.
    pub(crate) async fn retry(
        &self,
        id: JobName,
        request: &RetryRequest,
        key: &str,
    ) -> Result<Job, Error> {
        let call = Call::new(Method::POST, &["jobs", &id.to_string(), "retry"])
            .json(request)
            .header("idempotency-key", key)
            .repeatable()
            .patience(Patience::Restart);
        self.fetch(&call).await
    }

    /// `GET /v1/bundles/{digest}`: whether the master has it.
    pub(crate) async fn has_bundle(&self, digest: &Digest) -> Result<bool, Error> {
        let call =
            Call::new(Method::GET, &["bundles", &digest.to_string()]).patience(Patience::Restart);
        match self.fetch::<Bundle>(&call).await {
            Ok(_) => Ok(true),
            Err(Error::Refused(body)) if body.code == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `PUT /v1/bundles/{digest}`.
    pub(crate) async fn put_bundle(
        &self,
        digest: &Digest,
        content: &Content,
        size_bytes: u64,
        progress: ProgressBar,
    ) -> Result<Bundle, Error> {
        let mut call =
            Call::new(Method::PUT, &["bundles", &digest.to_string()]).patience(Patience::Restart);
        call.payload = Payload::Content {
            content: content.clone(),
            size_bytes,
            progress,
        };
        self.fetch(&call).await
    }

    /// `GET /v1/jobs/{id}/results`: a tar.
    pub(crate) async fn results(
        &self,
        id: JobName,
        attempt: Option<u32>,
    ) -> Result<Response, Error> {
        let mut call = Call::new(Method::GET, &["jobs", &id.to_string(), "results"])
            .accept("application/x-tar");
        if let Some(attempt) = attempt {
            call = call.query("attempt", attempt.to_string());
        }
        self.send(&call).await
    }

    /// `GET /v1/jobs/{id}/logs/stream`, continued after the last piece received.
    pub(super) async fn open_log(
        &self,
        id: JobName,
        query: &LogQuery,
        reached: Option<(u32, u64)>,
    ) -> Result<Events, Error> {
        let mut call = Call::new(Method::GET, &["jobs", &id.to_string(), "logs", "stream"])
            .query("follow", query.follow.to_string())
            .accept("text/event-stream")
            .patience(match (query.follow, reached) {
                (false, None) => Patience::Brief,
                (true, _) | (false, Some(_)) => Patience::Long,
            });
        if let Some(attempt) = query.attempt {
            call = call.query("attempt", attempt.to_string());
        }
        match (reached, query.tail) {
            (Some((attempt, next)), _) => {
                call = call.header("last-event-id", &format!("{attempt}:{next}"));
            }
            (None, Some(lines)) => call = call.query("tail", lines.to_string()),
            (None, None) => {}
        }
        self.send(&call).await.map(Events::new)
    }

    /// `GET /v1/events` of these jobs, and of the tasks of these arrays.
    pub(super) async fn open_events(
        &self,
        jobs: &BTreeSet<u64>,
        arrays: &BTreeSet<u64>,
    ) -> Result<Events, Error> {
        let mut call = Call::new(Method::GET, &["events"])
            .accept("text/event-stream")
            .patience(Patience::Long);
        for (name, ids) in [("array", arrays), ("ids", jobs)] {
            if !ids.is_empty() {
                let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
                call = call.query(name, ids.join(","));
            }
        }
        self.send(&call).await.map(Events::new)
    }

    /// `POST /v1/nodes/{id}/cordon`.
    pub(crate) async fn cordon(&self, node: &str, reason: &str) -> Result<(), Error> {
        let call = Call::new(Method::POST, &["nodes", node, "cordon"]).json(&CordonRequest {
            reason: reason.to_owned(),
        });
        self.send(&call.repeatable()).await.map(drop)
    }

    /// `POST /v1/nodes/{id}/uncordon`.
    pub(crate) async fn uncordon(&self, node: &str) -> Result<(), Error> {
        let call = Call::new(Method::POST, &["nodes", node, "uncordon"]);
        self.send(&call.repeatable()).await.map(drop)
    }

    /// `POST /v1/nodes/{id}/drain`.
    pub(crate) async fn drain(&self, node: &str, request: &DrainRequest) -> Result<(), Error> {
        let call = Call::new(Method::POST, &["nodes", node, "drain"]).json(request);
        self.send(&call.repeatable()).await.map(drop)
    }

    /// `POST /v1/nodes/{id}/evict`.
    pub(crate) async fn evict_node(&self, node: &str) -> Result<(), Error> {
        let call = Call::new(Method::POST, &["nodes", node, "evict"]);
        self.send(&call).await.map(drop)
    }

    /// `GET /v1/node-keys`.
    pub(crate) async fn node_keys(&self) -> Result<NodeKeyList, Error> {
        self.fetch(&Call::new(Method::GET, &["node-keys"])).await
    }

    /// `POST /v1/node-keys`.
    pub(crate) async fn add_node_key(&self, key: &NewNodeKey) -> Result<NodeKeyCreated, Error> {
        self.fetch(&Call::new(Method::POST, &["node-keys"]).json(key))
            .await
    }

    /// `DELETE /v1/nodes/{id}`.
    pub(crate) async fn remove_node(&self, node: &str, force: bool) -> Result<NodeRemoved, Error> {
        let call = Call::new(Method::DELETE, &["nodes", node]);
        self.fetch(&call.query("force", force.to_string())).await
    }

    /// `POST /v1/reload`.
    pub(crate) async fn reload(&self) -> Result<Reloaded, Error> {
        self.fetch(&Call::new(Method::POST, &["reload"])).await
    }

    /// `POST /v1/shutdown`.
    pub(crate) async fn shutdown(&self, mode: ShutdownMode) -> Result<ShuttingDown, Error> {
        let call = Call::new(Method::POST, &["shutdown"]).json(&ShutdownRequest { mode });
        self.fetch(&call).await
    }

    /// `POST /v1/prune`.
    pub(crate) async fn prune(&self, dry_run: bool) -> Result<Pruned, Error> {
        let call = Call::new(Method::POST, &["prune"]).json(&PruneRequest { dry_run });
        self.fetch(&call.slow()).await
    }

    /// `DELETE /v1/jobs/{id}/output`.
    pub(crate) async fn prune_job(&self, job: JobName) -> Result<Pruned, Error> {
        let call = Call::new(Method::DELETE, &["jobs", &job.to_string(), "output"]);
        self.fetch(&call.slow()).await
    }

    /// `POST /v1/queue/lock`.
    pub(crate) async fn lock(&self, request: &LockRequest) -> Result<(), Error> {
        let call = Call::new(Method::POST, &["queue", "lock"]).json(request);
        self.send(&call.repeatable()).await.map(drop)
    }

    /// `POST /v1/queue/unlock`.
    pub(crate) async fn unlock(&self) -> Result<(), Error> {
        let call = Call::new(Method::POST, &["queue", "unlock"]);
        self.send(&call.repeatable()).await.map(drop)
    }

    /// `POST /v1/users`.
    pub(crate) async fn add_user(&self, user: &NewUser) -> Result<User, Error> {
        self.fetch(&Call::new(Method::POST, &["users"]).json(user))
            .await
    }

    /// `POST /v1/login`.
    pub(crate) async fn login(&self, login: &Login) -> Result<TokenCreated, Error> {
        self.fetch(&Call::new(Method::POST, &["login"]).json(login))
            .await
    }

    /// `POST /v1/logout`.
    pub(crate) async fn logout(&self) -> Result<(), Error> {
        let call = Call::new(Method::POST, &["logout"]);
        self.send(&call).await.map(drop)
    }

    /// `DELETE /v1/users/{name}`; with `now` also what runs is stopped.
    pub(crate) async fn remove_user(&self, user: &str, now: bool) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &["users", user]).query("now", now.to_string());
        self.send(&call).await.map(drop)
    }

    /// `POST /v1/users/{name}/disable`, or `enable`.
    pub(crate) async fn enable_user(&self, user: &str, enable: bool) -> Result<User, Error> {
        let verb = if enable { "enable" } else { "disable" };
        let call = Call::new(Method::POST, &["users", user, verb]);
        self.fetch(&call.repeatable()).await
    }

    /// `PUT /v1/users/{name}/role`.
    pub(crate) async fn set_role(&self, user: &str, role: &NewRole) -> Result<User, Error> {
        let call = Call::new(Method::PUT, &["users", user, "role"]);
        self.fetch(&call.json(role)).await
    }

    /// `PUT /v1/users/{name}/password`.
    pub(crate) async fn set_password(
        &self,
        user: &str,
        password: &NewPassword,
    ) -> Result<(), Error> {
        let call = Call::new(Method::PUT, &["users", user, "password"]);
        self.send(&call.json(password)).await.map(drop)
    }

    /// `GET /v1/users/{name}/tokens`.
    pub(crate) async fn tokens(&self, user: &str) -> Result<TokenList, Error> {
        self.fetch(&Call::new(Method::GET, &["users", user, "tokens"]))
            .await
    }

    /// `PUT /v1/users/{name}/limits`.
    pub(crate) async fn set_limits(&self, user: &str, limits: &Limits) -> Result<User, Error> {
        let call = Call::new(Method::PUT, &["users", user, "limits"]);
        self.fetch(&call.json(limits).repeatable()).await
    }

    /// `GET /v1/users/{name}/usage`, listing at most `limit` attempts.
    pub(crate) async fn usage(&self, user: &str, limit: usize) -> Result<Usage, Error> {
        let call = Call::new(Method::GET, &["users", user, "usage"]);
        self.fetch(&call.query("limit", limit.to_string())).await
    }

    /// `GET /v1/groups`.
    pub(crate) async fn groups(&self) -> Result<GroupList, Error> {
        self.fetch(&Call::new(Method::GET, &["groups"])).await
    }

    /// `PUT /v1/groups/{name}`.
    pub(crate) async fn set_group(&self, name: &str, limits: &Limits) -> Result<Group, Error> {
        let call = Call::new(Method::PUT, &["groups", name]);
        self.fetch(&call.json(limits).repeatable()).await
    }

    /// `DELETE /v1/groups/{name}`.
    pub(crate) async fn remove_group(&self, name: &str) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &["groups", name]);
        self.send(&call).await.map(drop)
    }

    /// `POST /v1/users/{name}/tokens`.
    pub(crate) async fn add_token(
        &self,
        user: &str,
        token: &NewToken,
    ) -> Result<TokenCreated, Error> {
        self.fetch(&Call::new(Method::POST, &["users", user, "tokens"]).json(token))
            .await
    }

    /// `DELETE /v1/users/{name}/tokens/{id}`.
    pub(crate) async fn revoke_token(&self, user: &str, token: &str) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &["users", user, "tokens", token]);
        self.send(&call).await.map(drop)
    }
}
