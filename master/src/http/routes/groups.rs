//! Groups of users.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use dopq_common::api::{self, API_VERSION, ErrorCode};
use dopq_common::id::GroupName;
use dopq_common::sched::{Event, Rejected};

use crate::clock;
use crate::http::app::Ctx;
use crate::http::caller::Caller;
use crate::http::convert::{group, guards};
use crate::http::error::{Error, Result};
use crate::http::extract::{self, Id};
use crate::http::routes::audit;

/// Every group.
pub(in crate::http) async fn list(State(context): State<Ctx>) -> Json<api::GroupList> {
    let now = clock::now();
    let groups = context.view().read(|model| {
        let groups = model.state.groups();
        groups.map(|of| group(model, now, of)).collect()
    });
    Json(api::GroupList {
        version: API_VERSION,
        groups,
    })
}

/// Creates a group or sets its weight and limits. Takes effect immediately.
pub(in crate::http) async fn set(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<GroupName>,
    extract::Json(request): extract::Json<api::Limits>,
) -> Result<Json<api::Group>> {
    if request.group.is_some() {
        let message = "a group cannot be in a group";
        return Err(Error::new(ErrorCode::BadRequest, message));
    }
    let now = clock::now();
    let detail = format!("{request:?}");
    let entry = audit(&caller, now, "group_set", &name, detail);
    let event = Event::GroupSet {
        group: name.clone(),
        weight: request.weight.unwrap_or(1.0),
        guards: guards(&request),
    };
    context.app.handle.act(event, entry).await?;
    let set = context.view().read(|model| {
        let set = model.state.group(&name);
        set.map(|set| group(model, now, set))
    });
    // Somebody may have removed it meanwhile.
    Ok(Json(set.ok_or(Rejected::NoSuchGroup(name))?))
}

/// Removes a group without members.
pub(in crate::http) async fn remove(
    State(context): State<Ctx>,
    Extension(caller): Extension<Caller>,
    Id(name): Id<GroupName>,
) -> Result<StatusCode> {
    let entry = audit(&caller, clock::now(), "group_removed", &name, String::new());
    let event = Event::GroupRemoved { group: name };
    context.app.handle.act(event, entry).await?;
    Ok(StatusCode::NO_CONTENT)
}
