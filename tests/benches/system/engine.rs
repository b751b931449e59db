//! The bare container engine, for comparisons, and the times at which it started and ended containers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, EventMessage};
use bollard::query_parameters::{
    EventsOptions, InspectContainerOptions, RemoveContainerOptions, StartContainerOptions,
    WaitContainerOptions,
};
use futures::{StreamExt, stream};

const LABEL_CLUSTER: &str = "dopq.cluster";
const SOCKET: &str = "unix:///var/run/docker.sock";

#[derive(Clone)]
pub(crate) struct Engine {
    docker: Docker,
    events: Arc<Mutex<Vec<EventMessage>>>,
}

impl Engine {
    /// The engine that DOCKER_HOST names.
    pub(crate) async fn open() -> Self {
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| SOCKET.to_owned());
        let docker = Docker::connect_with_host(&host).expect("an address");
        let docker = docker.negotiate_version().await.expect("it answers");
        let this = Self {
            docker,
            events: Arc::default(),
        };
        let wanted = ["start", "die"].map(str::to_owned).to_vec();
        let options = EventsOptions {
            filters: Some(HashMap::from([
                ("type".to_owned(), vec!["container".to_owned()]),
                ("event".to_owned(), wanted),
            ])),
            ..EventsOptions::default()
        };
        let (mut source, events) = (this.docker.events(Some(options)), Arc::clone(&this.events));
        tokio::spawn(async move {
            while let Some(Ok(event)) = source.next().await {
                events.lock().expect("no panic").push(event);
            }
        });
        this
    }

    /// When the engine did `action` to a container of the cluster, after `since`; both in seconds since 1970.
    pub(crate) async fn time_of(&self, action: &str, cluster: &str, since: f64) -> f64 {
        let is_wanted = |event: &EventMessage| {
            let actor = event.actor.as_ref();
            let labels = actor.and_then(|actor| actor.attributes.as_ref());
            let of = labels.and_then(|labels| labels.get(LABEL_CLUSTER));
            let at = event.time_nano.unwrap_or_default() as f64 / 1e9;
            let fits =
                event.action.as_deref() == Some(action) && of.is_some_and(|of| of == cluster);
            (fits && at > since).then_some(at)
        };
        loop {
            let found = self
                .events
                .lock()
                .expect("no panic")
                .iter()
                .find_map(is_wanted);
            if let Some(at) = found {
                return at;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What the cluster's running container was created with, for containers of a cluster `label`.
    pub(crate) async fn copied(&self, cluster: &str, label: &str) -> ContainerCreateBody {
        let listed = dopq_tests::engine::containers(cluster, false);
        let name = &listed.first().expect("a running container").name;
        let options = None::<InspectContainerOptions>;
        let found = self.docker.inspect_container(name, options).await;
        let found = found.expect("it is there");
        let config = serde_json::to_value(found.config).expect("JSON");
        let mut body: ContainerCreateBody = serde_json::from_value(config).expect("a body");
        body.labels = Some(HashMap::from([(
            LABEL_CLUSTER.to_owned(),
            label.to_owned(),
        )]));
        body.hostname = None;
        body.host_config = found.host_config.map(|mut host| {
            // Its folder goes with the attempt.
            host.binds = None;
            host.mounts = None;
            // It may have joined a network that the worker made before.
            host.network_mode = Some("none".to_owned());
            host
        });
        body
    }

    /// Creates and starts; gives the id.
    pub(crate) async fn start(&self, body: &ContainerCreateBody) -> String {
        let created = self.docker.create_container(None, body.clone()).await;
        let id = created.expect("created").id;
        let options = None::<StartContainerOptions>;
        let started = self.docker.start_container(&id, options).await;
        started.expect("started");
        id
    }

    pub(crate) async fn wait(&self, id: &str) {
        let options = None::<WaitContainerOptions>;
        let mut answers = self.docker.wait_container(id, options);
        answers
            .next()
            .await
            .expect("an answer")
            .expect("it ends with 0");
    }

    pub(crate) async fn remove(&self, id: &str) {
        let options = None::<RemoveContainerOptions>;
        let removed = self.docker.remove_container(id, options).await;
        removed.expect("removed");
    }

    /// Containers from creation to removal, so many at once.
    pub(crate) async fn run(&self, body: &ContainerCreateBody, count: usize, at_once: usize) {
        stream::iter(0..count)
            .for_each_concurrent(at_once, |_| async {
                let id = self.start(body).await;
                self.wait(&id).await;
                self.remove(&id).await;
            })
            .await;
    }
}
