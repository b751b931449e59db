//! Every route and who may use it. Routes can only be added here, so none is open by mistake.

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use dopq_common::api::Role;

use super::access::{Access, Pace, Rule, Who};
use super::app::Ctx;
use super::routes::{
    accounts, audit_log, bundles, checkpoints, control, data, doctor, events, exec, forward,
    groups, health, history, jobs, login, logs, node_keys, nodes, people, prune, queue, results,
    retry, submit, system,
};

/// A route.
pub(super) struct Route {
    #[cfg(test)]
    pub(super) verb: Verb,
    pub(super) path: &'static str,
    pub(super) rule: Rule,
    pub(super) handler: MethodRouter<Ctx>,
}

/// The methods that routes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Also answers HEAD.
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub(super) const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Gathers the table.
#[derive(Default)]
struct Table(Vec<Route>);

impl Table {
    /// A route that answers quickly. Only the leader handles changes.
    fn add<H, T>(&mut self, verb: Verb, path: &'static str, access: Access, handler: H) -> &mut Self
    where
        H: Handler<T, Ctx>,
        T: 'static,
    {
        let who = match verb {
            Verb::Get => Who::Any,
            Verb::Post | Verb::Put | Verb::Delete => Who::Leader,
        };
        let by_users = matches!(
            access,
            Access::Role(_) | Access::Job(_) | Access::Account(_)
        );
        let rule = Rule {
            access,
            pace: Pace::Quick,
            who,
            audited: by_users && verb != Verb::Get,
        };
        self.0.push(Route {
            #[cfg(test)]
            verb,
            path,
            rule,
            handler: on(verb.filter(), handler),
        });
        self
    }

    /// The last added route has no time-out while data flows.
    fn streams(&mut self) -> &mut Self {
        if let Some(route) = self.0.last_mut() {
            route.rule.pace = Pace::Stream;
        }
        self
    }

    /// The audit log tells who reads through the last added route what is not their own.
    fn audited(&mut self) -> &mut Self {
        if let Some(route) = self.0.last_mut() {
            route.rule.audited = true;
        }
        self
    }

    /// The last added route turns its connection into a session.
    fn session(&mut self) -> &mut Self {
        if let Some(route) = self.0.last_mut() {
            route.rule.pace = Pace::Session;
        }
        self
    }

    /// Every master handles the last added route, although it changes something.
    fn anywhere(&mut self) -> &mut Self {
        if let Some(route) = self.0.last_mut() {
            route.rule.who = Who::Any;
        }
        self
    }
}

/// Every route.
pub(super) fn table() -> Vec<Route> {
    use Access::{Account, Attempt, Bundle, Job, Open, Scrape, Worker};
    use Role::{Admin, Operator, User};
    use Verb::{Delete, Get, Post, Put};
    let by = Access::Role;
    let mut t = Table::default();
    t.add(Get, "/healthz", Open, health::healthz);
    t.add(Get, "/readyz", Open, health::readyz);
    t.add(Get, "/metrics", Scrape, health::metrics);

    t.add(Post, "/v1/login", Open, login::login);
    t.add(Post, "/v1/logout", by(User), login::logout);
    t.add(Get, "/v1/whoami", by(User), system::whoami);
    t.add(Get, "/v1/status", by(User), system::status);
    t.add(Get, "/v1/doctor", by(User), doctor::show);
    t.add(Get, "/v1/queue", by(User), queue::show);
    t.add(Post, "/v1/queue/lock", by(Operator), queue::lock);
    t.add(Post, "/v1/queue/unlock", by(Operator), queue::unlock);
    t.add(Post, "/v1/prune", by(Admin), prune::prune).streams();
    // Each master has its own settings and its own end.
    t.add(Post, "/v1/reload", by(Admin), control::reload)
        .anywhere();
    t.add(Post, "/v1/shutdown", by(Admin), control::shutdown)
        .anywhere();
    t.add(Get, "/v1/nodes", by(User), nodes::list);
    t.add(Get, "/v1/gpus", by(User), nodes::gpus);
    t.add(Post, "/v1/nodes/{id}/cordon", by(Operator), nodes::cordon);
    t.add(
        Post,
        "/v1/nodes/{id}/uncordon",
        by(Operator),
        nodes::uncordon,
    );
    t.add(Get, "/v1/audit", by(Admin), audit_log::list);
    t.add(Delete, "/v1/nodes/{id}", by(Admin), nodes::remove);
    t.add(Post, "/v1/nodes/{id}/drain", by(Operator), nodes::drain);
    t.add(Post, "/v1/nodes/{id}/evict", by(Operator), nodes::evict);
    t.add(Get, "/v1/node-keys", by(Operator), node_keys::list);
    t.add(Post, "/v1/node-keys", by(Admin), node_keys::add);
    t.add(Delete, "/v1/node-keys/{id}", by(Admin), node_keys::remove);
    t.add(Get, "/v1/users", by(Operator), accounts::list);
    t.add(Post, "/v1/users", by(Admin), accounts::create);
    t.add(Delete, "/v1/users/{name}", by(Admin), people::remove);
    t.add(Post, "/v1/users/{name}/disable", by(Admin), people::disable);
    t.add(Post, "/v1/users/{name}/enable", by(Admin), people::enable);
    t.add(Put, "/v1/users/{name}/role", by(Admin), people::set_role);
    t.add(
        Put,
        "/v1/users/{name}/password",
        Account(Admin),
        people::set_password,
    );
    t.add(
        Get,
        "/v1/users/{name}/tokens",
        Account(Operator),
        people::tokens,
    );
    t.add(
        Post,
        "/v1/users/{name}/tokens",
        Account(Admin),
        accounts::create_token,
    );
    t.add(
        Delete,
        "/v1/users/{name}/tokens/{token}",
        Account(Admin),
        accounts::revoke_token,
    );
    t.add(
        Put,
        "/v1/users/{name}/limits",
        by(Admin),
        accounts::set_limits,
    );
    t.add(
        Get,
        "/v1/users/{name}/usage",
        Account(Operator),
        accounts::show_usage,
    );
    t.add(Get, "/v1/groups", by(Operator), groups::list);
    t.add(Put, "/v1/groups/{group}", by(Admin), groups::set);
    t.add(Delete, "/v1/groups/{group}", by(Admin), groups::remove);
    t.add(Get, "/v1/events", by(User), events::stream).streams();

    t.add(Get, "/v1/history", by(User), history::list);
    t.add(Delete, "/v1/history", by(Admin), history::clear);
    t.add(Get, "/v1/jobs", by(User), jobs::list);
    t.add(Post, "/v1/jobs", by(User), submit::submit);
    t.add(Get, "/v1/jobs/{id}", Job(User), jobs::show);
    t.add(Delete, "/v1/jobs/{id}", Job(Operator), jobs::cancel);
    t.add(Post, "/v1/jobs/{id}/hold", Job(Operator), jobs::hold);
    t.add(Post, "/v1/jobs/{id}/release", Job(Operator), jobs::release);
    t.add(Post, "/v1/jobs/{id}/evict", by(Operator), jobs::evict);
    t.add(Get, "/v1/jobs/{id}/explain", Job(Operator), jobs::explain);
    t.add(
        Post,
        "/v1/jobs/{id}/priority",
        Job(Operator),
        jobs::priority,
    );
    t.add(Post, "/v1/jobs/{id}/retry", Job(Operator), retry::retry);
    t.add(Get, "/v1/jobs/{id}/logs", Job(Operator), logs::download)
        .streams()
        .audited();
    t.add(
        Get,
        "/v1/jobs/{id}/logs/stream",
        Job(Operator),
        logs::stream,
    )
    .streams()
    .audited();
    t.add(
        Get,
        "/v1/jobs/{id}/results",
        Job(Operator),
        results::download,
    )
    .streams()
    .audited();
    t.add(Delete, "/v1/jobs/{id}/output", Job(Operator), prune::output)
        .streams();
    t.add(Get, "/v1/jobs/{id}/exec", Job(Operator), exec::exec)
        .session();
    t.add(
        Get,
        "/v1/jobs/{id}/forward",
        Job(Operator),
        forward::forward,
    )
    .session();
    t.add(Get, "/v1/bundles/{digest}", by(User), bundles::show);
    t.add(Put, "/v1/bundles/{digest}", by(User), bundles::upload)
        .streams();

    t.add(
        Get,
        "/data/v1/attempts/{attempt}/bundle",
        Bundle,
        data::bundle,
    )
    .streams();
    t.add(
        Put,
        "/data/v1/attempts/{attempt}/logs/{offset}",
        Attempt,
        data::put_log,
    )
    .streams()
    .anywhere();
    t.add(
        Put,
        "/data/v1/attempts/{attempt}/results",
        Attempt,
        data::put_results,
    )
    .streams()
    .anywhere();
    t.add(
        Get,
        "/data/v1/attempts/{attempt}/checkpoint",
        Attempt,
        checkpoints::manifest,
    )
    .streams();
    // Only the leader stores checkpoints, so that no two masters remove chunks of one job, and it knows how many came.
    t.add(
        Put,
        "/data/v1/attempts/{attempt}/checkpoint",
        Attempt,
        checkpoints::put_manifest,
    )
    .streams();
    t.add(
        Get,
        "/data/v1/attempts/{attempt}/checkpoint/chunks/{digest}",
        Attempt,
        checkpoints::chunk,
    )
    .streams();
    t.add(
        Put,
        "/data/v1/attempts/{attempt}/checkpoint/chunks/{digest}",
        Attempt,
        checkpoints::put_chunk,
    )
    .streams();
    t.add(Get, "/data/v1/standing/{nonce}", Worker, data::standing);
    t.0
}
