//! A stand-in for the container engine: answers what a worker asks over the engine's HTTP API, and runs
//! nothing. What is left is the time that DoPQ itself takes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::Mutex;

/// The image that every job may name; any name is answered.
pub(crate) const IMAGE: &str = "standin:1";

const STARTED: &str = "2026-01-01T00:00:00.000000001Z";
const ENDED: &str = "2026-01-01T00:00:00.000000002Z";

/// Answers at a socket of its own until the runtime ends.
pub(crate) struct StandIn {
    folder: TempDir,
}

struct Engine {
    /// Whether containers run for ever instead of ending at once.
    holds: bool,
    count: AtomicU64,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    networks: Vec<Value>,
    containers: BTreeMap<String, Container>,
}

struct Container {
    name: String,
    labels: Value,
    started: bool,
}

impl StandIn {
    /// Its containers end at once with 0, or with `holds` never.
    pub(crate) fn start(holds: bool) -> Self {
        // A socket's path must be short.
        let folder = tempfile::tempdir_in("/tmp").expect("a folder");
        let this = Self { folder };
        let listener = UnixListener::bind(this.socket()).expect("a socket");
        let engine = Arc::new(Engine {
            holds,
            count: AtomicU64::new(0),
            inside: Mutex::default(),
        });
        let routes = Router::new().fallback(answer).with_state(engine);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        this
    }

    /// As `DOCKER_HOST` has it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }
}

async fn answer(State(engine): State<Arc<Engine>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let path = head.uri.path();
    let mut parts: Vec<&str> = path.split('/').skip(1).collect();
    if parts.first().is_some_and(|part| part.starts_with("v1.")) {
        parts.remove(0);
    }
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (head.method.as_str(), &*parts) {
        ("GET", ["_ping"]) => "OK".into_response(),
        ("GET", ["version"]) => ok(&json!({"ApiVersion": "1.41", "Version": "20.10.24"})),
        ("GET", ["info"]) => ok(&json!({
            "ServerVersion": "20.10.24", "NCPU": 2, "MemTotal": 1_u64 << 34, "CgroupVersion": "2",
            "Driver": "overlay2", "DockerRootDir": "/",
        })),
        ("GET", ["images" | "containers", "json"]) => ok(&json!([])),
        ("GET", ["images", name, "json"]) => ok(&json!({
            "Id": format!("sha256:{:064}", 1), "RepoTags": [name], "Config": {"Labels": {}, "Env": []},
        })),
        ("GET", ["networks"]) => ok(&Value::from(engine.inside.lock().await.networks.clone())),
        ("POST", ["networks", "create"]) => engine.network(body).await,
        ("POST", ["containers", "create"]) => engine.create(query, &body).await,
        (method, ["containers", id, rest @ ..]) => engine.container(method, id, rest).await,
        _ => missing(),
    }
}

impl Engine {
    async fn network(&self, mut network: Value) -> Response {
        network["Id"] = "network".into();
        self.inside.lock().await.networks.push(network);
        created(&json!({"Id": "network", "Warning": ""}))
    }

    async fn create(&self, query: &str, body: &Value) -> Response {
        let name = query.split('&').find_map(|part| part.strip_prefix("name="));
        let id = format!("{:064x}", self.count.fetch_add(1, Ordering::Relaxed));
        let container = Container {
            name: name.unwrap_or_default().to_owned(),
            labels: body["Labels"].clone(),
            started: false,
        };
        let mut inside = self.inside.lock().await;
        inside.containers.insert(id.clone(), container);
        created(&json!({"Id": id, "Warnings": []}))
    }

    async fn container(&self, method: &str, id: &str, rest: &[&str]) -> Response {
        let mut inside = self.inside.lock().await;
        // Names lead to containers as well; only after a conflict, which is not provoked here.
        let Some(container) = inside.containers.get_mut(id) else {
            return missing();
        };
        match (method, rest) {
            ("GET", ["json"]) => ok(&container.inspected(id, self.holds)),
            ("POST", ["start"]) => {
                container.started = true;
                StatusCode::NO_CONTENT.into_response()
            }
            ("POST", ["wait"]) if !self.holds => ok(&json!({"StatusCode": 0})),
            ("GET", ["logs"]) if !self.holds => line().into_response(),
            // Nothing comes of a container that runs for ever.
            ("POST", ["wait"]) | ("GET", ["logs"]) => {
                Body::from_stream(futures::stream::pending::<Result<Vec<u8>, axum::Error>>())
                    .into_response()
            }
            ("DELETE", []) => {
                inside.containers.remove(id);
                StatusCode::NO_CONTENT.into_response()
            }
            ("POST", ["stop" | "kill"]) => StatusCode::NO_CONTENT.into_response(),
            _ => missing(),
        }
    }
}

impl Container {
    fn inspected(&self, id: &str, holds: bool) -> Value {
        let (status, from, to) = match (self.started, holds) {
            (false, _) => ("created", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            (true, true) => ("running", STARTED, "0001-01-01T00:00:00Z"),
            (true, false) => ("exited", STARTED, ENDED),
        };
        json!({
            "Id": id, "Name": format!("/{}", self.name), "Config": {"Labels": self.labels},
            "State": {
                "Status": status, "ExitCode": 0, "OOMKilled": false, "Error": "", "Pid": 0,
                "StartedAt": from, "FinishedAt": to,
            },
        })
    }
}

/// One line of output, framed as the engine does.
fn line() -> Vec<u8> {
    let text = format!("{STARTED} done\n");
    let length = u32::try_from(text.len()).expect("short");
    let mut frame = vec![1, 0, 0, 0];
    frame.extend(length.to_be_bytes());
    frame.extend(text.into_bytes());
    frame
}

fn ok(body: &Value) -> Response {
    axum::Json(body).into_response()
}

fn created(body: &Value) -> Response {
    (StatusCode::CREATED, axum::Json(body)).into_response()
}

fn missing() -> Response {
    let body = json!({"message": "no such thing in this stand-in"});
    (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
}
