//! The form of the records on disk. Fields are only ever added; golden tests keep old ones loading.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::agent::{Attempt, Ended, Exit, Meta, Run, Stage, StopOrder};
use dopq_common::id::{AttemptId, Epoch};
use dopq_common::job::Outcome;
use dopq_common::time::Timestamp;
use dopq_common::wire::{RunOrder, WireOutcome};
use serde::{Deserialize, Serialize};

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is not JSON of the right shape.
    #[error("its content is not understood")]
    Shape(#[source] serde_json::Error),
    /// Its attempt's id breaks a rule.
    #[error("its attempt is not valid")]
    Attempt(#[source] dopq_common::id::ParseIdError),
}

#[derive(Debug, Serialize, Deserialize)]
struct MetaRecord {
    epoch: u64,
    seq: u64,
    #[serde(default)]
    linked_at_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct AttemptRecord {
    attempt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<RunOrder>,
    boot: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop: Option<StopRecord>,
    stage: StageRecord,
}

#[derive(Debug, Serialize, Deserialize)]
struct StopRecord {
    outcome: WireOutcome,
    grace_ms: u64,
    #[serde(default)]
    forget: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndedRecord {
    outcome: WireOutcome,
    ran_ms: u64,
    #[serde(default)]
    log_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ExitRecord {
    code: i64,
    oom_killed: bool,
    #[serde(default)]
    started_at_ms: Option<u64>,
    #[serde(default)]
    finished_at_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
enum StageRecord {
    Fetching,
    Building,
    Creating {
        image: String,
    },
    Starting {
        container: String,
        since_ms: u64,
    },
    Running {
        container: String,
        since_ms: u64,
    },
    Paused {
        container: String,
        since_ms: u64,
    },
    Stopping {
        container: String,
        since_ms: u64,
        kill_at_ms: u64,
    },
    Exited {
        container: String,
        exit: ExitRecord,
    },
    Uploading {
        container: Option<String>,
        ended: EndedRecord,
    },
    Reported {
        container: Option<String>,
        ended: EndedRecord,
    },
    Forgotten {
        ended: EndedRecord,
        since_ms: u64,
    },
    Refused {
        reason: String,
        since_ms: u64,
    },
}

/// Writes the counters.
pub(super) fn encode_meta(meta: &Meta) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&MetaRecord {
        epoch: meta.epoch.0,
        seq: meta.seq,
        linked_at_ms: meta.linked_at.as_millis(),
    })
}

/// Reads the counters.
pub(super) fn decode_meta(bytes: &[u8]) -> Result<Meta, DecodeError> {
    let record: MetaRecord = serde_json::from_slice(bytes).map_err(DecodeError::Shape)?;
    Ok(Meta {
        epoch: Epoch(record.epoch),
        seq: record.seq,
        linked_at: Timestamp::from_millis(record.linked_at_ms),
    })
}

/// Writes an attempt.
pub(super) fn encode(attempt: &Attempt) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&AttemptRecord {
        attempt: attempt.id.to_string(),
        order: attempt.run.as_ref().map(|run| run.order.clone()),
        boot: attempt.boot.to_string(),
        stop: attempt.stop.as_ref().map(|stop| StopRecord {
            outcome: WireOutcome::from(&stop.outcome),
            grace_ms: millis(stop.grace),
            forget: stop.forget,
        }),
        stage: StageRecord::from(&attempt.stage),
    })
}

/// Reads an attempt. One whose order is not understood any more is read without it: its container can
/// still be watched and its end reported.
pub(super) fn decode(bytes: &[u8]) -> Result<Attempt, DecodeError> {
    let record: AttemptRecord = serde_json::from_slice(bytes).map_err(DecodeError::Shape)?;
    let id: AttemptId = record.attempt.parse().map_err(DecodeError::Attempt)?;
    let run = record.order.and_then(|order| match Run::read(order) {
        Ok(run) => Some(Arc::new(run)),
        Err(error) => {
            tracing::warn!(attempt = %id, %error, "cannot parse the recorded order");
            None
        }
    });
    Ok(Attempt {
        id,
        run,
        boot: Arc::from(record.boot),
        stop: record.stop.map(|stop| StopOrder {
            outcome: Outcome::from(&stop.outcome),
            grace: Duration::from_millis(stop.grace_ms),
            forget: stop.forget,
        }),
        stage: Stage::from(record.stage),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<&Ended> for EndedRecord {
    fn from(ended: &Ended) -> Self {
        Self {
            outcome: WireOutcome::from(&ended.outcome),
            ran_ms: ended.ran_ms,
            log_bytes: ended.log_bytes,
        }
    }
}

impl From<EndedRecord> for Ended {
    fn from(record: EndedRecord) -> Self {
        Self {
            outcome: Outcome::from(&record.outcome),
            ran_ms: record.ran_ms,
            log_bytes: record.log_bytes,
        }
    }
}

impl From<&Exit> for ExitRecord {
    fn from(exit: &Exit) -> Self {
        Self {
            code: exit.code,
            oom_killed: exit.oom_killed,
            started_at_ms: exit.started_at.map(Timestamp::as_millis),
            finished_at_ms: exit.finished_at.map(Timestamp::as_millis),
        }
    }
}

impl From<ExitRecord> for Exit {
    fn from(record: ExitRecord) -> Self {
        Self {
            code: record.code,
            oom_killed: record.oom_killed,
            started_at: record.started_at_ms.map(Timestamp::from_millis),
            finished_at: record.finished_at_ms.map(Timestamp::from_millis),
        }
    }
}

impl From<&Stage> for StageRecord {
    fn from(stage: &Stage) -> Self {
        match stage {
            Stage::Fetching => Self::Fetching,
            Stage::Building => Self::Building,
            Stage::Creating { image } => Self::Creating {
                image: image.to_string(),
            },
            // When to look is for the present process only; the next one looks at once.
            Stage::Starting {
                container, since, ..
            } => Self::Starting {
                container: container.to_string(),
                since_ms: since.as_millis(),
            },
            Stage::Running { container, since } => Self::Running {
                container: container.to_string(),
                since_ms: since.as_millis(),
            },
            Stage::Paused { container, since } => Self::Paused {
                container: container.to_string(),
                since_ms: since.as_millis(),
            },
            Stage::Stopping {
                container,
                since,
                kill_at,
            } => Self::Stopping {
                container: container.to_string(),
                since_ms: since.as_millis(),
                kill_at_ms: kill_at.as_millis(),
            },
            Stage::Exited { container, exit } => Self::Exited {
                container: container.to_string(),
                exit: ExitRecord::from(exit),
            },
            Stage::Uploading { container, ended } => Self::Uploading {
                container: container.as_deref().map(str::to_owned),
                ended: EndedRecord::from(ended),
            },
            Stage::Reported { container, ended } => Self::Reported {
                container: container.as_deref().map(str::to_owned),
                ended: EndedRecord::from(ended),
            },
            Stage::Forgotten { ended, at } => Self::Forgotten {
                ended: EndedRecord::from(ended),
                since_ms: at.as_millis(),
            },
            Stage::Refused { reason, at } => Self::Refused {
                reason: reason.clone(),
                since_ms: at.as_millis(),
            },
        }
    }
}

impl From<StageRecord> for Stage {
    fn from(record: StageRecord) -> Self {
        let at = Timestamp::from_millis;
        match record {
            StageRecord::Fetching => Self::Fetching,
            StageRecord::Building => Self::Building,
            StageRecord::Creating { image } => Self::Creating {
                image: Arc::from(image),
            },
            StageRecord::Starting {
                container,
                since_ms,
            } => Self::Starting {
                container: Arc::from(container),
                since: at(since_ms),
                look_at: None,
            },
            StageRecord::Running {
                container,
                since_ms,
            } => Self::Running {
                container: Arc::from(container),
                since: at(since_ms),
            },
            StageRecord::Paused {
                container,
                since_ms,
            } => Self::Paused {
                container: Arc::from(container),
                since: at(since_ms),
            },
            StageRecord::Stopping {
                container,
                since_ms,
                kill_at_ms,
            } => Self::Stopping {
                container: Arc::from(container),
                since: at(since_ms),
                kill_at: at(kill_at_ms),
            },
            StageRecord::Exited { container, exit } => Self::Exited {
                container: Arc::from(container),
                exit: Exit::from(exit),
            },
            StageRecord::Uploading { container, ended } => Self::Uploading {
                container: container.map(Arc::from),
                ended: Ended::from(ended),
            },
            StageRecord::Reported { container, ended } => Self::Reported {
                container: container.map(Arc::from),
                ended: Ended::from(ended),
            },
            StageRecord::Forgotten { ended, since_ms } => Self::Forgotten {
                ended: Ended::from(ended),
                at: at(since_ms),
            },
            StageRecord::Refused { reason, since_ms } => Self::Refused {
                reason,
                at: at(since_ms),
            },
        }
    }
}
