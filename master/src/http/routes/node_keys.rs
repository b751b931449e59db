//! Keys of nodes: each worker off this machine has one of its own.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, ErrorCode};
use dopq_common::broker::amqp::Rights;
use dopq_common::chain::chain;
use dopq_common::id::WorkerId;
use dopq_common::sched::{Event, Rejected};

use crate::clock;
use crate::driver::ActError;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::error::{Error, Result};
use crate::http::extract::{self, Id};
use crate::http::routes::audit;
use crate::random;
use crate::store::{AccountChange, NodeKey};

/// Every node with a key of its own.
pub(in crate::http) async fn list(State(context): State<Ctx>) -> Json<api::NodeKeyList> {
    let keys = context
        .view()
        .read(|model| model.nodes.values().map(info).collect());
    Json(api::NodeKeyList {
        version: API_VERSION,
        keys,
    })
}

/// Makes a node's key. Only this answer contains it.
pub(in crate::http) async fn add(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    extract::Json(request): extract::Json<api::NewNodeKey>,
) -> Result<(StatusCode, Json<api::NodeKeyCreated>)> {
    let worker: WorkerId = request.name.parse()?;
    let changing = context.accounts.lock().await;
    let known = context
        .view()
        .read(|model| model.nodes.contains_key(&worker));
    if known && !request.replace {
        let message = format!("node {worker} has a key already");
        return Err(Error::new(ErrorCode::Conflict, message)
            .hint(format!("replace it with: dopq node add {worker} --replace")));
    }
    let now = clock::now();
    let random = || {
        let text = random::hex();
        text.map_err(|error| Error::internal("cannot generate a key", &error))
    };
    let (salt, password) = (random()?, random()?);
    let record = NodeKey {
        worker: worker.clone(),
        salt,
        added_at: now,
        added_by: caller.name.clone(),
    };
    let entry = audit(&caller, now, "node_add", &worker, String::new());
    let change = AccountChange::NodeSet(record.clone());
    context.app.handle.change_account(change, entry).await?;
    drop(changing);
    let broker = match context.app.broker.rights(&worker) {
        Some(rights) => Some(account(&context, rights, password).await),
        None => None,
    };
    let created = api::NodeKeyCreated {
        info: info(&record),
        key: context.app.keys.made(&record).reveal().into(),
        cluster: context.app.settings.cluster.clone(),
        broker,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Makes the worker's account at RabbitMQ if this master can. The key is made already, so a fault is told beside it.
async fn account(context: &Ctx, of: Rights, password: String) -> api::BrokerRights {
    let made = match &context.app.management {
        Some(management) => Some(management.make_account(&of, &password).await),
        None => None,
    };
    let mut rights = rights(of, password);
    match made {
        Some(Ok(())) => rights.made = true,
        Some(Err(error)) => {
            let fault = chain(&error);
            tracing::warn!(error = fault, "cannot make a worker's account at RabbitMQ");
            rights.fault = Some(fault);
        }
        None => {}
    }
    rights
}

/// Takes a node's key away and gives its jobs to others. Takes effect immediately.
pub(in crate::http) async fn remove(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(worker): Id<WorkerId>,
) -> Result<StatusCode> {
    let changing = context.accounts.lock().await;
    let known = context
        .view()
        .read(|model| model.nodes.contains_key(&worker));
    if !known {
        let message = format!("node {worker} has no key of its own");
        return Err(Error::new(ErrorCode::NotFound, message)
            .hint("list those that have one with: dopq node list"));
    }
    let entry = audit(&caller, clock::now(), "node_remove", &worker, String::new());
    // First the key: what the worker says from now on is not believed.
    let change = AccountChange::NodeRemoved(worker.clone());
    let handle = &context.app.handle;
    handle.change_account(change, entry.clone()).await?;
    drop(changing);
    match handle.act(Event::WorkerRemoved { worker }, entry).await {
        // It never joined.
        Ok(()) | Err(ActError::Rejected(Rejected::NoSuchWorker(_))) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(error.into()),
    }
}

fn info(record: &NodeKey) -> api::NodeKey {
    api::NodeKey {
        name: record.worker.to_string(),
        added_at: record.added_at.to_datetime(),
        added_by: record.added_by.to_string(),
    }
}

fn rights(rights: Rights, password: String) -> api::BrokerRights {
    let Rights {
        user,
        scheme,
        host,
        port,
        vhost,
        configure,
        write,
        read,
        exchange,
        topic_write,
        topic_read,
    } = rights;
    api::BrokerRights {
        user,
        password: password.into(),
        scheme: scheme.to_owned(),
        host,
        port,
        vhost,
        configure,
        write,
        read,
        exchange,
        topic_write,
        topic_read,
        made: false,
        fault: None,
    }
}
