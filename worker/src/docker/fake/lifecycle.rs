//! The pretended containers' life, with the real engine's answers.

use std::net::SocketAddr;

use dopq_common::time::Timestamp;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;

use super::Fake;
use super::program::OnStop;
use super::state::{KILLED, Record, State};
use crate::docker::client::classify;
use crate::docker::error::Error;
use crate::docker::lifecycle::is_same_attempt;
use crate::docker::plan::Plan;
use crate::docker::types::{Container, Created, Exit, LogPiece, Signal, Status, Usage};

/// Exit code of a process that SIGTERM ended.
const TERMINATED: i32 = 143;

/// The first port that the pretended engine publishes on.
const FIRST_PUBLISHED: u16 = 49_153;

/// Pretended process numbers go up to this.
const MAX_PID: u64 = 30_000;

impl Fake {
    /// See [`Engine::create`](crate::docker::Engine::create).
    ///
    /// # Errors
    /// As there.
    pub async fn create(&self, plan: &Plan) -> Result<Created, Error> {
        self.call("create", &plan.name, |state| {
            if let Ok(record) = state.find(&plan.name) {
                return if is_same_attempt(&record.seen.labels, &plan.labels) {
                    Ok(Created {
                        id: record.seen.id.clone(),
                        existed: true,
                    })
                } else {
                    Err(Error::Conflict {
                        message: format!("the container name {:?} is in use", plan.name),
                    })
                };
            }
            if let Some(holder) = plan.network.joins() {
                state.find(holder)?;
            }
            if state.find_image(&plan.image).is_none() {
                return Err(Error::ImageMissing {
                    message: format!("No such image: {}", plan.image),
                });
            }
            let id = state.fresh_id();
            let record = Record {
                seen: created(&id, plan),
                plan: plan.clone(),
                program: state.program(plan),
                starts: 0,
                oom_noted: false,
                log: Vec::new(),
                open_lines: Default::default(),
                changed: watch::Sender::new(0),
            };
            state.containers.insert(id.clone(), record);
            Ok(Created { id, existed: false })
        })
        .await
    }

    /// See [`Engine::start`](crate::docker::Engine::start).
    ///
    /// # Errors
    /// As there.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        let now = self.now();
        self.call("start", id, |state| {
            let record = state.find(id)?;
            match record.seen.status {
                Status::Created => {}
                Status::Running | Status::Paused | Status::Restarting => return Ok(()),
                Status::Exited | Status::Dead | Status::Removing => {
                    return Err(Error::Conflict {
                        message: format!("container {id} has ended and cannot start again"),
                    });
                }
            }
            if let Some(holder) = record.seen.joins.clone() {
                let alive = state.find(&holder);
                if !alive.is_ok_and(|holder| holder.seen.status.is_alive()) {
                    return Err(Error::NetworkGone {
                        message: format!(
                            "cannot join network of a non running container: {holder}"
                        ),
                    });
                }
            }
            let record = state.find(id)?;
            if let Some(exit_code) = record.program.unrunnable {
                record.seen.error = "the command cannot be run".to_owned();
                return Err(Error::Command {
                    exit_code,
                    message: record.seen.error.clone(),
                });
            }
            if let Some(message) = record.program.refused.clone() {
                return Err(classify("start", 500, message));
            }
            record.starts += 1;
            record.seen.status = Status::Running;
            record.seen.started_at = Some(now);
            let (id, starts) = (record.seen.id.clone(), record.starts);
            record.touch();
            let pid = state.made % MAX_PID + 1;
            state.find(&id)?.seen.pid = u32::try_from(pid).ok();
            self.run_program(&id, starts);
            Ok(())
        })
        .await
    }

    /// See [`Engine::inspect`](crate::docker::Engine::inspect).
    ///
    /// # Errors
    /// As there.
    pub async fn inspect(&self, id: &str) -> Result<Option<Container>, Error> {
        self.call("inspect", id, |state| {
            Ok(state.find(id).ok().map(|record| record.seen.clone()))
        })
        .await
    }

    /// See [`Engine::oom_noted`](crate::docker::Engine::oom_noted).
    ///
    /// # Errors
    /// As there.
    pub async fn oom_noted(&self, id: &str, _until: Timestamp) -> Result<bool, Error> {
        self.call("oom noted", id, |state| {
            Ok(state.find(id).is_ok_and(|record| record.oom_noted))
        })
        .await
    }

    /// See [`Engine::wait`](crate::docker::Engine::wait).
    ///
    /// # Errors
    /// As there.
    pub async fn wait(&self, id: &str) -> Result<Exit, Error> {
        let mut changed = self
            .call("wait", id, |state| Ok(state.find(id)?.changed.subscribe()))
            .await?;
        let mut up = self.shared.up.subscribe();
        loop {
            // The container's end is seen before the engine's, in this order: a stopping engine says
            // 137 before its socket goes.
            let seen = {
                let mut state = self.shared.state.lock();
                state.find(id).ok().map(|record| record.seen.clone())
            };
            match seen {
                Some(seen) if seen.status.is_alive() => {}
                Some(seen) => {
                    return Ok(Exit {
                        code: seen.exit_code.unwrap_or(0),
                    });
                }
                // It was removed by force while it ran.
                None => return Ok(Exit { code: KILLED }),
            }
            if !*up.borrow_and_update() {
                return Err(gone("wait"));
            }
            tokio::select! {
                // A container that was removed wakes its waiters by dropping its sender.
                _ = changed.changed() => {}
                _ = up.changed() => {}
            }
        }
    }

    /// See [`Engine::kill`](crate::docker::Engine::kill).
    ///
    /// # Errors
    /// As there.
    pub async fn kill(&self, id: &str, signal: &Signal) -> Result<(), Error> {
        let now = self.now();
        self.call("kill", id, |state| {
            let record = state.find(id)?;
            if !record.seen.status.is_alive() {
                return Err(Error::Conflict {
                    message: format!("container {id} is not running"),
                });
            }
            let stop_signal = record.plan.user.stop_signal.clone();
            if *signal == Signal::kill() {
                record.end(now, KILLED, false);
            } else if signal.as_str() == stop_signal || *signal == Signal::term() {
                ask_to_end(record, now);
            }
            Ok(())
        })
        .await
    }

    /// See [`Engine::ask_to_end`](crate::docker::Engine::ask_to_end).
    ///
    /// # Errors
    /// As there.
    pub async fn ask_to_end(&self, id: &str, signal: &Signal) -> Result<(), Error> {
        self.kill(id, signal).await
    }

    /// See [`Engine::pause`](crate::docker::Engine::pause).
    ///
    /// # Errors
    /// As there.
    pub async fn pause(&self, id: &str) -> Result<(), Error> {
        self.call("pause", id, |state| {
            turn(state, id, Status::Running, Status::Paused)
        })
        .await
    }

    /// See [`Engine::unpause`](crate::docker::Engine::unpause).
    ///
    /// # Errors
    /// As there.
    pub async fn unpause(&self, id: &str) -> Result<(), Error> {
        self.call("unpause", id, |state| {
            turn(state, id, Status::Paused, Status::Running)
        })
        .await
    }

    /// See [`Engine::remove`](crate::docker::Engine::remove).
    ///
    /// # Errors
    /// As there.
    pub async fn remove(&self, id: &str, force: bool) -> Result<(), Error> {
        let now = self.now();
        self.call("remove", id, |state| {
            let Ok(record) = state.find(id) else {
                return Ok(());
            };
            if record.seen.status.is_alive() && !force {
                return Err(Error::Conflict {
                    message: format!("container {id} is running: stop it before removal"),
                });
            }
            record.end(now, KILLED, false);
            let id = record.seen.id.clone();
            state.containers.remove(&id);
            Ok(())
        })
        .await
    }

    /// See [`Engine::list`](crate::docker::Engine::list).
    ///
    /// # Errors
    /// As there.
    pub async fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<Container>, Error> {
        self.call("list", "", |state| {
            let bears = |seen: &&Container| {
                labels
                    .iter()
                    .all(|(name, value)| seen.labels.get(*name).is_some_and(|own| own == value))
            };
            let seen = state.containers.values().map(|record| &record.seen);
            let mut found: Vec<Container> = seen.filter(bears).cloned().collect();
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
        .await
    }

    /// See [`Engine::stats`](crate::docker::Engine::stats).
    ///
    /// # Errors
    /// As there.
    pub async fn stats(&self, id: &str) -> Result<Usage, Error> {
        self.call("stats", id, |state| {
            let record = state.find(id)?;
            let alive = record.seen.status.is_alive();
            Ok(if alive {
                record.program.usage
            } else {
                Usage::default()
            })
        })
        .await
    }

    /// See [`Engine::logs`](crate::docker::Engine::logs).
    pub fn logs(
        &self,
        id: &str,
        _tty: bool,
        follow: bool,
    ) -> BoxStream<'static, Result<LogPiece, Error>> {
        let (fake, id) = (self.clone(), id.to_owned());
        let opening = async move {
            let opened = fake.call("logs", &id, |state| {
                Ok(state.find(&id)?.changed.subscribe())
            });
            let changed = opened.await?;
            let up = fake.shared.up.subscribe();
            Ok(Follower {
                fake,
                id,
                follow,
                changed,
                up,
                at: 0,
                over: false,
            })
        };
        futures::stream::once(opening)
            .flat_map(|opened| match opened {
                Ok(follower) => futures::stream::unfold(follower, Follower::next).boxed(),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }
}

struct Follower {
    fake: Fake,
    id: String,
    follow: bool,
    changed: watch::Receiver<u64>,
    up: watch::Receiver<bool>,
    at: usize,
    over: bool,
}

impl Follower {
    async fn next(mut self) -> Option<(Result<LogPiece, Error>, Self)> {
        while !self.over {
            let seen = {
                let mut state = self.fake.shared.state.lock();
                state.find(&self.id).map(|record| {
                    let status = record.seen.status;
                    let may_print = status.is_alive() || status == Status::Created;
                    (record.log.get(self.at).cloned(), may_print)
                })
            };
            if !*self.up.borrow_and_update() {
                self.over = true;
                return Some((Err(gone("logs")), self));
            }
            match seen {
                Ok((Some(piece), _)) => {
                    self.at += 1;
                    return Some((Ok(piece), self));
                }
                Ok((None, may_print)) if !may_print || !self.follow => return None,
                Ok((None, _)) => {}
                Err(error) => {
                    self.over = true;
                    return Some((Err(error), self));
                }
            }
            tokio::select! {
                // A container that was removed wakes its readers by dropping its sender.
                _ = self.changed.changed() => {}
                _ = self.up.changed() => {}
            }
        }
        None
    }
}

fn gone(call: &'static str) -> Error {
    Error::Unreachable {
        call,
        source: "the engine closed the connection".into(),
    }
}

/// What the program does about its stop signal. A frozen one hears it when it is thawed.
fn ask_to_end(record: &mut Record, now: Timestamp) {
    match record.program.on_stop {
        OnStop::Die => record.end(now, TERMINATED, false),
        OnStop::Exit(code) => record.end(now, code, false),
        OnStop::Ignore => record.touch(),
    }
}

fn turn(state: &mut State, id: &str, from: Status, to: Status) -> Result<(), Error> {
    let record = state.find(id)?;
    if record.seen.status != from {
        return Err(Error::Conflict {
            message: format!("container {id} is not in the state that this needs"),
        });
    }
    record.seen.status = to;
    record.touch();
    Ok(())
}

/// Each port on one of the machine's, as an engine chooses it.
fn published(plan: &Plan) -> Vec<(String, String)> {
    let Some(publish) = &plan.publish else {
        return Vec::new();
    };
    let ports = publish.ports.iter().zip(FIRST_PUBLISHED..);
    ports
        .map(|(port, number)| {
            let at = SocketAddr::new(publish.address, number);
            (port.to_string(), at.to_string())
        })
        .collect()
}

fn created(id: &str, plan: &Plan) -> Container {
    Container {
        id: id.to_owned(),
        name: plan.name.clone(),
        status: Status::Created,
        exit_code: None,
        oom_killed: false,
        started_at: None,
        finished_at: None,
        labels: plan.labels.clone(),
        pid: None,
        error: String::new(),
        image: plan.image.clone(),
        joins: plan.network.joins().map(str::to_owned),
        published: published(plan),
    }
}
