//! What the measurements need of the master's API and of [`plane`](crate::plane). Put the harness on
//! another commit, and only this file and the plane have to follow.

use std::sync::Arc;

use dopq_common::bundle::config;
use dopq_common::sched::Submission;

use crate::plane::{Master, Plane, SECRET};

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
