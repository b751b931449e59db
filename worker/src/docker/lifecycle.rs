//! Containers: create, start, inspect, wait, signal, pause, remove.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use bollard::errors::Error as ApiError;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, PortMap,
};
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, ListContainersOptions, RemoveContainerOptions,
    WaitContainerOptions,
};
use chrono::{DateTime, Utc};
use dopq_common::time::Timestamp;
use futures::StreamExt;

use super::client::{Client, translate, unquoted};
use super::error::Error;
use super::plan::{LABEL_ATTEMPT, LABEL_CLUSTER, LABEL_WORKER, Plan};
use super::shared_files::SharedFile;
use super::types::{Container, Created, Exit, Signal, Status};

/// Concurrent inspections of a listing.
const INSPECTIONS: usize = 8;

impl Client {
    /// Creates a container without starting it. A container with the same name, cluster, worker and attempt comes from an
    /// earlier call.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another container has the name; [`Error::ImageMissing`]; and any other.
    pub async fn create(&self, plan: &Plan) -> Result<Created, Error> {
        const CALL: &str = "create";
        let docker = self.docker(CALL).await?;
        let options = CreateContainerOptions {
            name: Some(plan.name.clone()),
            ..CreateContainerOptions::default()
        };
        // What only holds a network has no use for what jobs get.
        let body = match plan.labels.contains_key(LABEL_ATTEMPT) {
            true => self.completed(plan.to_body()).await,
            false => plan.to_body(),
        };
        let answer = docker.create_container(Some(options), body);
        let conflict = match self.call(CALL, answer).await {
            Ok(created) => {
                self.shared.unstarted.lock().insert(created.id.clone());
                return Ok(Created {
                    id: created.id,
                    existed: false,
                });
            }
            Err(Error::Conflict { message }) => message,
            Err(error) => return Err(error),
        };
        match self.inspect(&plan.name).await? {
            Some(container) if is_same_attempt(&container.labels, &plan.labels) => Ok(Created {
                id: container.id,
                existed: true,
            }),
            Some(_) | None => Err(Error::Conflict { message: conflict }),
        }
    }

    /// The request with what the administrator gives to every job's container: files, and the proxies that the job does not
    /// set itself.
    async fn completed(&self, mut body: ContainerCreateBody) -> ContainerCreateBody {
        let host = body.host_config.get_or_insert_default();
        let mounts = host.mounts.get_or_insert_default();
        mounts.extend(self.shared_files().iter().map(SharedFile::mount));
        let env = body.env.get_or_insert_default();
        for (name, value) in self.registries().await.proxy_args() {
            let is_it = |line: &String| line.split_once('=').is_some_and(|(set, _)| set == name);
            if !env.iter().any(is_it) {
                env.push(format!("{name}={value}"));
            }
        }
        body
    }

    /// Starts a container that was never started. Does nothing if it runs. The engine would start an ended one again, so
    /// this inspects it first, unless this client created it and never started it.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it has ended; and any other. After an error that
    /// [`is_uncertain`](Error::is_uncertain), inspect; never start again.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        const CALL: &str = "start";
        let is_new = self.shared.unstarted.lock().remove(id);
        if !is_new && !self.may_start(id).await? {
            return Ok(());
        }
        let docker = self.docker(CALL).await?;
        let started = self.call(CALL, docker.start_container(id, None)).await;
        let error = match started {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let is_about_a_network = match &error {
            Error::Other { message, .. } | Error::Conflict { message } => is_network_gone(message),
            // What is missing is the container that it joins.
            Error::NotFound { message } => !message.contains(id),
            _other => false,
        };
        if !is_about_a_network {
            return Err(error);
        }
        let found = self.inspect(id).await?;
        match (found.and_then(|container| container.joins), error) {
            (
                Some(holder),
                Error::Other { message, .. }
                | Error::Conflict { message }
                | Error::NotFound { message },
            ) => {
                tracing::debug!(holder, "the network's container does not run");
                Err(Error::NetworkGone { message })
            }
            (_, error) => Err(error),
        }
    }

    /// Whether a container was never started; false if it runs.
    async fn may_start(&self, id: &str) -> Result<bool, Error> {
        let Some(container) = self.inspect(id).await? else {
            return Err(Error::NotFound {
                message: format!("no such container: {id}"),
            });
        };
        match container.status {
            Status::Created => Ok(true),
            Status::Running | Status::Paused | Status::Restarting => Ok(false),
            Status::Exited | Status::Dead | Status::Removing => Err(Error::Conflict {
                message: format!("container {id} has ended and cannot start again"),
            }),
        }
    }

    /// The container's state; `None` if it does not exist.
    ///
    /// # Errors
    /// Any but [`Error::NotFound`].
    pub async fn inspect(&self, id: &str) -> Result<Option<Container>, Error> {
        const CALL: &str = "inspect";
        let docker = self.docker(CALL).await?;
        match self.call(CALL, docker.inspect_container(id, None)).await {
            Ok(found) => Ok(Some(container(found))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the container does not run. One that was never started counts as ended, so start it first. Has no
    /// deadline, but ends when the engine goes away.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the engine went away: inspect once it is back.
    pub async fn wait(&self, id: &str) -> Result<Exit, Error> {
        const CALL: &str = "wait";
        let docker = self.docker(CALL).await?;
        let options = WaitContainerOptions {
            condition: "not-running".to_owned(),
        };
        let mut answers = std::pin::pin!(docker.wait_container(id, Some(options)));
        let code = match answers.next().await {
            Some(Ok(answer)) => answer.status_code,
            Some(Err(ApiError::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(translate(CALL, error)),
            None => {
                return Err(Error::Unreachable {
                    call: CALL,
                    source: "the engine closed the connection".into(),
                });
            }
        };
        Ok(Exit {
            code: i32::try_from(code).unwrap_or(i32::MAX),
        })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run; and any other.
    pub async fn kill(&self, id: &str, signal: &Signal) -> Result<(), Error> {
        const CALL: &str = "kill";
        let docker = self.docker(CALL).await?;
        let options = KillContainerOptions {
            signal: signal.as_str().to_owned(),
        };
        self.call(CALL, docker.kill_container(id, Some(options)))
            .await
    }

    /// Pauses all processes of the container.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it does not run or is paused; and any other.
    pub async fn pause(&self, id: &str) -> Result<(), Error> {
        const CALL: &str = "pause";
        let docker = self.docker(CALL).await?;
        self.call(CALL, docker.pause_container(id)).await
    }

    /// Resumes them.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is not paused; and any other.
    pub async fn unpause(&self, id: &str) -> Result<(), Error> {
        const CALL: &str = "unpause";
        let docker = self.docker(CALL).await?;
        self.call(CALL, docker.unpause_container(id)).await
    }

    /// Removes the container with its anonymous volumes; one that is gone, or going, is fine.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it runs and `force` is off; and any other.
    pub async fn remove(&self, id: &str, force: bool) -> Result<(), Error> {
        const CALL: &str = "remove";
        self.shared.unstarted.lock().remove(id);
        let docker = self.docker(CALL).await?;
        let options = RemoveContainerOptions {
            v: true,
            force,
            link: false,
        };
        match self
            .call(CALL, docker.remove_container(id, Some(options)))
            .await
        {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(Error::Conflict { message }) if message.contains("already in progress") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Containers in any state with all these labels, ordered by name.
    ///
    /// # Errors
    /// Any.
    pub async fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<Container>, Error> {
        const CALL: &str = "list";
        let docker = self.docker(CALL).await?;
        let options = ListContainersOptions {
            all: true,
            filters: Some(label_filter(labels)),
            ..ListContainersOptions::default()
        };
        let found = self
            .call(CALL, docker.list_containers(Some(options)))
            .await?;
        // The listing lacks exit codes and times. Leaves out containers that are removed meanwhile.
        let ids = found.into_iter().filter_map(|summary| summary.id);
        let looks = ids.map(|id| async move { self.inspect(&id).await });
        let mut looks = futures::stream::iter(looks).buffer_unordered(INSPECTIONS);
        let mut containers = Vec::new();
        while let Some(look) = looks.next().await {
            containers.extend(look?);
        }
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }
}

/// The engine's filter for containers with all labels.
pub(super) fn label_filter(labels: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let wanted = labels.iter().map(|(name, value)| format!("{name}={value}"));
    HashMap::from([("label".to_owned(), wanted.collect())])
}

/// Whether a container with the plan's name belongs to the plan.
pub(super) fn is_same_attempt(
    found: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> bool {
    [LABEL_CLUSTER, LABEL_WORKER, LABEL_ATTEMPT]
        .iter()
        .all(|name| found.get(*name).is_some() && found.get(*name) == wanted.get(*name))
}

/// Whether the engine or its runtime cannot join another container's network. What a job names stands in quotation marks.
fn is_network_gone(message: &str) -> bool {
    let own = unquoted(message);
    ["join network", "joining network", "/ns/net"]
        .iter()
        .any(|words| own.contains(words))
}

fn container(found: ContainerInspectResponse) -> Container {
    let state = found.state.unwrap_or_default();
    let status = match state.status {
        Some(ContainerStateStatusEnum::RUNNING) => Status::Running,
        Some(ContainerStateStatusEnum::PAUSED) => Status::Paused,
        // Podman's state after the stop signal was sent: it still runs.
        Some(ContainerStateStatusEnum::STOPPING) => Status::Running,
        Some(ContainerStateStatusEnum::RESTARTING) => Status::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => Status::Removing,
        Some(ContainerStateStatusEnum::EXITED) => Status::Exited,
        Some(ContainerStateStatusEnum::DEAD) => Status::Dead,
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => {
            Status::Created
        }
    };
    let started_at = time(state.started_at.as_deref());
    // The engine records the start afterwards; the process may have ended before.
    let finished_at = time(state.finished_at.as_deref())
        .filter(|_| !status.is_alive())
        .map(|finished| started_at.map_or(finished, |started| finished.max(started)));
    let ended = finished_at.is_some();
    Container {
        id: found.id.unwrap_or_default(),
        name: found
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        status,
        exit_code: state
            .exit_code
            .filter(|_| ended && started_at.is_some())
            .and_then(|code| i32::try_from(code).ok()),
        oom_killed: state.oom_killed.unwrap_or_default(),
        started_at,
        finished_at,
        labels: found
            .config
            .and_then(|config| config.labels)
            .unwrap_or_default()
            .into_iter()
            .collect(),
        pid: state
            .pid
            .filter(|pid| *pid > 0)
            .and_then(|pid| u32::try_from(pid).ok()),
        error: state.error.unwrap_or_default(),
        image: found.image.unwrap_or_default(),
        joins: found
            .host_config
            .and_then(|host| host.network_mode)
            .and_then(|mode| mode.strip_prefix("container:").map(str::to_owned)),
        published: published(found.network_settings.and_then(|network| network.ports)),
    }
}

/// The published ones of these ports, in order.
fn published(ports: Option<PortMap>) -> Vec<(String, String)> {
    let mut published: Vec<_> = ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(port, bindings)| {
            let binding = bindings?.into_iter().next()?;
            let (address, number) = (binding.host_ip?, binding.host_port?);
            let number: u16 = number.parse().ok()?;
            let address: IpAddr = address.parse().ok()?;
            Some((port, SocketAddr::new(address, number).to_string()))
        })
        .collect();
    published.sort_unstable();
    published
}

/// The engine writes year 1 for "never".
fn time(text: Option<&str>) -> Option<Timestamp> {
    let at = DateTime::parse_from_rfc3339(text?)
        .ok()?
        .with_timezone(&Utc);
    (at.timestamp() > 0).then(|| Timestamp::from_datetime(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_job_is_taken_for_a_network_that_is_gone() {
        for (message, is_gone) in [
            ("cannot join network of a non running container: 0123", true),
            (
                "OCI runtime create failed: lstat /proc/4711/ns/net: no such file or directory",
                true,
            ),
            (
                "OCI runtime create failed: error mounting \"tmpfs\" to rootfs at \"/ns/net\": denied",
                false,
            ),
        ] {
            assert_eq!(is_network_gone(message), is_gone, "{message}");
        }
    }
}
