//! What the measurements need of the master's API and of [`plane`](crate::plane). Put the harness on
//! another commit, and only this file and the plane have to follow.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::bundle::config;
use dopq_common::id::{Epoch, JobKey};
use dopq_common::record::Specs;
use dopq_common::sched::{self, Change, Effects, Event, Meta, Settings, State, Submission};
use dopq_common::time::Timestamp;
use dopq_master::clock;
use dopq_master::store::{Batch, LeaderInfo, Store};

use crate::plane::{Master, Plane, SECRET};
use crate::standin::IMAGE;

/// Jobs that have ended, ever.
pub(crate) fn finished(master: &Master) -> u64 {
    let view = master.handle.view();
    view.read(|model| model.state.meta().finished_jobs)
}

/// Submits as any user.
pub(crate) async fn submit(master: &Master, user: &str, config: String, key: String) {
    let submission = Submission {
        user: user.parse().expect("a name"),
        spec: Arc::new(config::parse(&config).expect("a configuration")),
        config: Arc::from(config),
        bundle: None,
        key: Some(Arc::from(key)),
        job_key: JobKey([7; 16]),
    };
    let answer = master.handle.submit(submission).await;
    answer.expect("it is accepted");
}

/// How long a worker with one GPU waited for each next order since the last call, in seconds.
pub(crate) fn turns(plane: &Plane) -> Vec<f64> {
    std::mem::take(&mut plane.turns.0.lock().expect("no panic").1)
}

/// The programs' settings for the plane's cluster.
pub(crate) fn environment(plane: &Plane) -> Vec<(String, String)> {
    [
        ("DOPQ_CLUSTER", "test".to_owned()),
        ("DOPQ_SECRET", SECRET.to_owned()),
        ("DOPQ_STORE_URL", plane.redis.url()),
        ("DOPQ_BROKER_URL", plane.rabbitmq.url()),
        (
            "DOPQ_BUNDLES_URL",
            plane.folder.path().display().to_string(),
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

/// Puts jobs into a store without a master, which is quicker by far.
pub(crate) struct Filler {
    me: LeaderInfo,
    epoch: Epoch,
    seq: u64,
    meta: Meta,
    specs: Specs,
    now: Timestamp,
}

impl Filler {
    /// Takes the lead of an idle store.
    pub(crate) async fn lead(store: &Store) -> Self {
        let me = LeaderInfo {
            id: "filler".to_owned(),
            url: String::new(),
        };
        let epoch = loop {
            let lead = store.take_lead(&me, Duration::from_secs(600)).await;
            match lead.expect("the store answers") {
                Some(epoch) => break epoch,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        Self {
            me,
            epoch,
            seq: store.seq().await.expect("the store answers"),
            meta: Meta::default(),
            specs: Specs::default(),
            now: clock::now(),
        }
    }

    /// Commits jobs, each of a user and with a name and a key.
    pub(crate) async fn submit(
        &mut self,
        store: &Store,
        jobs: impl Iterator<Item = (String, String, String)>,
    ) {
        let mut state = State::new(Settings::default());
        state.apply(Change::Meta(self.meta.clone().into()));
        let mut effects = Effects::default();
        for (user, name, key) in jobs {
            let config = format!(
                r#"{{"name":"{name}","executor_name":"{user}","required_memory":"8m","num_gpus":1,"image":"{IMAGE}"}}"#
            );
            let (config, spec) = self.specs.read(&config).expect("a configuration");
            let submission = Submission {
                user: user.parse().expect("a name"),
                spec,
                config,
                bundle: None,
                key: Some(Arc::from(key)),
                job_key: JobKey([7; 16]),
            };
            let event = Event::Submitted(submission);
            sched::step(&mut state, self.now, event, &mut effects).expect("it is accepted");
        }
        self.seq += 1;
        self.meta = state.meta().clone();
        let batch = Batch {
            changes: state.changes(&effects.dirty),
            ..Batch::new(self.epoch, self.seq)
        };
        store.commit(&batch).await.expect("it is committed");
    }

    /// Leaves the store to a master.
    pub(crate) async fn release(self, store: &Store) {
        let released = store.release_lead(&self.me, self.epoch).await;
        released.expect("the store answers");
    }
}
