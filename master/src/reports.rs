//! Takes the workers' reports: opens each message's seal, turns its reports into events, hands them to the
//! owner.
//!
//! A message is acknowledged after the commit that contains its reports ([`crate::driver`]). A report that
//! can never be used is counted and left out; a message with no other is acknowledged here, so that it does
//! not come for ever.

use dopq_common::chain::chain;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dopq_common::broker::{Broker, Delivery};
use dopq_common::id::{AttemptId, GpuId, WorkerId};
use dopq_common::resources::GpuTaken;
use dopq_common::sched::{Event, Machine, Progress};
use dopq_common::wire::{
    EnvelopeError, Hello, NumberedReport, OpenError, Report, ReportEnvelope, Sealed, WorkerKeys,
    read_envelope,
};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::driver::Handle;
use crate::keys::NodeKeys;
use crate::metrics::Metrics;

/// Between two attempts to consume.
const PAUSE: Duration = Duration::from_secs(1);

/// So many different complaints are told at the warning level; the rest only counts.
const TOLD_MAX: usize = 256;

/// The longest word on a machine that is kept.
const WORD_MAX_CHARS: usize = 120;

/// What taking reports needs.
#[derive(Debug, Clone)]
pub struct Intake {
    /// Opens the seals.
    pub keys: NodeKeys,
    /// Where events go.
    pub handle: Handle,
    /// What is counted.
    pub metrics: Metrics,
}

/// A report that no event can be made of.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Seal(#[from] OpenError),
    #[error("worker {sealed} reports in the name of {named}")]
    Impostor { sealed: WorkerId, named: WorkerId },
    #[error("reports of worker {worker} are refused")]
    Envelope {
        worker: WorkerId,
        #[source]
        source: EnvelopeError,
    },
    #[error("cannot parse a report of worker {worker}")]
    Shape {
        worker: WorkerId,
        #[source]
        source: serde_json::Error,
    },
    #[error("worker {0} sends a kind of report that this version does not know")]
    UnknownKind(WorkerId),
}

impl Unusable {
    /// The word that it is counted under.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Seal(OpenError::Forged(_)) | Self::Impostor { .. } => "forged_report",
            Self::Seal(OpenError::NoKey(_)) => "unknown_worker",
            Self::Envelope {
                source: EnvelopeError::Version(_),
                ..
            } => "report_version",
            Self::Seal(OpenError::NotSealed(_) | OpenError::Content { .. })
            | Self::Envelope {
                source: EnvelopeError::Shape(_),
                ..
            }
            | Self::Shape { .. } => "malformed_report",
            Self::UnknownKind(_) => "unknown_report",
        }
    }
}

/// Takes reports until `stop`.
pub async fn run(broker: Broker, intake: Intake, stop: CancellationToken) {
    let taking = async {
        let mut taker = Taker {
            intake,
            latest: Latest::default(),
            told: BTreeSet::new(),
        };
        loop {
            match broker.consume_reports().await {
                Ok(mut messages) => {
                    while let Some(message) = messages.next().await {
                        taker.take(message).await;
                    }
                }
                Err(error) => tracing::warn!(error = chain(&error), "cannot receive reports"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = taking => {}
    }
}

/// The number of the latest report of each worker.
#[derive(Debug, Default)]
struct Latest(BTreeMap<WorkerId, u64>);

impl Latest {
    /// Whether the worker has said more since. What it says of itself as a whole is then out of date: a
    /// hello that comes again knows nothing of the attempts that were taken after it.
    fn outdates(&mut self, read: &Read) -> bool {
        let latest = self.0.entry(read.worker.clone()).or_default();
        let is_late = read.seq < *latest;
        *latest = read.seq.max(*latest);
        is_late
            && matches!(
                read.event,
                Event::WorkerJoined { .. } | Event::WorkerLeft { .. }
            )
    }
}

struct Taker {
    intake: Intake,
    latest: Latest,
    /// The complaints that were logged.
    told: BTreeSet<String>,
}

impl Taker {
    async fn take(&mut self, delivery: Delivery) {
        let mut events = Vec::new();
        match read(&self.intake.keys, &delivery.body) {
            Ok(reports) => {
                for report in reports {
                    events.extend(self.events(report));
                }
            }
            Err(unusable) => self.complain(&unusable),
        }
        if !events.is_empty() {
            self.intake.handle.report(events, delivery).await;
        } else if let Err(error) = delivery.ack().await {
            tracing::debug!(%error, "failed to acknowledge reports");
        }
    }

    /// The events of one report.
    fn events(&mut self, report: Result<Read, Unusable>) -> Vec<Event> {
        match report {
            Ok(read) if self.latest.outdates(&read) => {
                self.intake.metrics.fenced("late_report");
                tracing::debug!(worker.id = %read.worker, report.seq = read.seq, "a report came too late");
                Vec::new()
            }
            Ok(read) => {
                let mut events = vec![read.event];
                if let Some(hello) = read.hello {
                    let taken = taken(&hello);
                    let session: Arc<str> = Arc::from(hello.session);
                    events.push(Event::WorkerClosed {
                        worker: read.worker.clone(),
                        session: Arc::clone(&session),
                        why: hello.closed.as_deref().map(Arc::from),
                    });
                    events.push(Event::GpusTaken {
                        worker: read.worker,
                        session,
                        taken,
                    });
                }
                events
            }
            Err(unusable) => {
                self.complain(&unusable);
                Vec::new()
            }
        }
    }

    fn complain(&mut self, unusable: &Unusable) {
        self.intake.metrics.fenced(unusable.kind());
        let complaint = chain(unusable);
        if self.told.len() < TOLD_MAX && self.told.insert(complaint.clone()) {
            tracing::warn!(error = complaint, "dropped a report");
        }
    }
}

/// A report that can be used.
#[derive(Debug)]
struct Read {
    worker: WorkerId,
    /// Its number among the worker's reports.
    seq: u64,
    event: Event,
    /// What the scheduler has no use for, but readers have.
    hello: Option<Hello>,
}

/// The reports of one message.
fn read(keys: &dyn WorkerKeys, body: &[u8]) -> Result<Vec<Result<Read, Unusable>>, Unusable> {
    let (worker, text) = Sealed::open::<Box<RawValue>>(keys, body)?;
    let read = read_envelope::<ReportEnvelope>(text.get().as_bytes());
    let envelope = read.map_err(|source| Unusable::Envelope {
        worker: worker.clone(),
        source,
    })?;
    if envelope.worker != worker {
        return Err(Unusable::Impostor {
            sealed: worker,
            named: envelope.worker,
        });
    }
    let reports = envelope.reports.iter();
    Ok(reports.map(|text| read_one(&worker, text.get())).collect())
}

fn read_one(worker: &WorkerId, text: &str) -> Result<Read, Unusable> {
    let NumberedReport { seq, report, .. } =
        serde_json::from_str(text).map_err(|source| Unusable::Shape {
            worker: worker.clone(),
            source,
        })?;
    let mut hello = None;
    let event = match report {
        Report::Hello(introduction) => {
            let event = joined(worker, &introduction);
            hello = Some(*introduction);
            event
        }
        Report::Goodbye => Event::WorkerLeft {
            worker: worker.clone(),
        },
        Report::Accepted { attempt } => reported(worker, attempt, Progress::Accepted),
        Report::Refused { attempt, reason } => {
            reported(worker, attempt, Progress::Refused { reason })
        }
        Report::Entered {
            attempt,
            phase,
            note,
        } => reported(worker, attempt, Progress::Entered { phase, note }),
        Report::Finished {
            attempt,
            outcome,
            ran_ms,
            log_bytes,
            results,
        } => {
            let progress = Progress::Finished {
                outcome,
                ran: Duration::from_millis(ran_ms),
                log_bytes,
                results,
            };
            reported(worker, attempt, progress)
        }
        Report::Measured { attempt, measured } => {
            reported(worker, attempt, Progress::Measured(measured))
        }
        Report::Unknown => return Err(Unusable::UnknownKind(worker.clone())),
    };
    Ok(Read {
        worker: worker.clone(),
        seq,
        event,
        hello,
    })
}

fn reported(worker: &WorkerId, attempt: AttemptId, progress: Progress) -> Event {
    Event::Reported {
        worker: worker.clone(),
        attempt,
        progress,
    }
}

fn joined(worker: &WorkerId, hello: &Hello) -> Event {
    Event::WorkerJoined {
        worker: worker.clone(),
        session: Arc::from(hello.session.as_str()),
        capacity: hello.capacity.clone(),
        images: hello.images.clone(),
        machine: Arc::new(machine(hello)),
        known: hello.attempts.clone(),
    }
}

/// The GPUs of a machine that must not be given to jobs.
fn taken(hello: &Hello) -> BTreeMap<GpuId, GpuTaken> {
    let gpus = hello.capacity.gpus.iter();
    let taken = gpus.filter_map(|gpu| {
        let taken = hello.taken.get(&gpu.id)?;
        let shown = GpuTaken {
            by: taken.by,
            detail: word(&taken.detail),
        };
        Some((gpu.id.clone(), shown))
    });
    taken.collect()
}

/// What is shown to people and stored is short and plain.
fn word(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(WORD_MAX_CHARS).collect()
}

/// What is kept of a machine.
fn machine(hello: &Hello) -> Machine {
    Machine {
        instance: word(&hello.instance),
        host: word(&hello.host),
        agent: word(&hello.agent),
        engine: word(&hello.engine),
        gpu_mode: word(&hello.gpu_mode),
        egress: word(&hello.egress),
        build_egress: word(&hello.build_egress),
    }
}

#[cfg(test)]
mod tests;
