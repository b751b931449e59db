//! Which waiting jobs each node probably runs next.

use super::*;
use crate::job::{ArraySpec, ImageSource, Indexes};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl Cluster {
    /// Such as `a: 3 4, b: 5`.
    fn upcoming(&self, before: &[(u64, &str)]) -> String {
        let before = before.iter().map(|(job, node)| (JobId(*job), worker(node)));
        let nodes = upcoming(self.state.clone(), self.now, &before.collect());
        let nodes = nodes.iter().map(|(node, jobs)| {
            let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
            format!("{node}: {}", jobs.join(" "))
        });
        nodes.collect::<Vec<_>>().join(", ")
    }

    /// A job with an image of its own.
    fn wants(&mut self, image: &str, runs: u64) -> JobId {
        self.submit("anna", |spec| {
            spec.image = ImageSource::Named(image.to_owned());
            spec.time_request = Some(secs(runs));
        })
    }

    /// Two nodes with one GPU each; the first job runs for 100 s and the second for 1,000 s. Tells which runs where.
    fn busy() -> (Self, [String; 2]) {
        let mut cluster = Self::new();
        cluster.join("w1", 1);
        cluster.join("w2", 1);
        let nodes = [100, 1_000].map(|runs| {
            let id = cluster.wants("first", runs);
            cluster.worker_of(id.0).unwrap().to_owned()
        });
        (cluster, nodes)
    }
}

#[test]
fn jobs_are_expected_where_room_comes_first() {
    let (mut cluster, [soon, late]) = Cluster::busy();
    assert_eq!(cluster.upcoming(&[]), "");
    for image in ["a", "b", "a"] {
        cluster.wants(image, 50);
    }
    assert_eq!(
        cluster.upcoming(&[]),
        format!("{soon}: 3 4"),
        "5 has the image of 3"
    );
    for image in ["c", "d", "e", "f"] {
        cluster.wants(image, 50);
    }
    let told = cluster.upcoming(&[]);
    assert_eq!(
        told,
        format!("{soon}: 3 4 6 7"),
        "a few images for each node"
    );
    assert_ne!(soon, late);
}

#[test]
fn a_job_stays_with_its_node_while_that_takes_jobs() {
    let (mut cluster, [soon, late]) = Cluster::busy();
    cluster.wants("a", 50);
    cluster.wants("b", 50);
    let mut both = [format!("{soon}: 4"), format!("{late}: 3")];
    both.sort();
    assert_eq!(cluster.upcoming(&[(3, &late)]), both.join(", "));
    cluster.ok(Event::CordonSet {
        worker: worker(&late),
        cordon: Some(Cordon {
            by: user("admin"),
            reason: String::new(),
            at: Timestamp::default(),
            drain: None,
        }),
    });
    assert_eq!(cluster.upcoming(&[(3, &late)]), format!("{soon}: 3 4"));
}

#[test]
fn held_jobs_and_those_with_secrets_are_not_expected() {
    let (mut cluster, [soon, _]) = Cluster::busy();
    let held = cluster.wants("a", 50);
    cluster.submit("anna", |spec| {
        spec.secrets = vec!["token".to_owned()];
        spec.time_request = Some(secs(50));
    });
    cluster.ok(Event::HoldRequested {
        job: held,
        by: user("anna"),
    });
    assert_eq!(cluster.upcoming(&[]), "");
    cluster.wants("b", 50);
    assert_eq!(cluster.upcoming(&[]), format!("{soon}: 5"));
}

#[test]
fn an_array_is_expected_once_on_a_node() {
    let (mut cluster, [soon, late]) = Cluster::busy();
    cluster.submit("anna", |spec| {
        spec.array = Some(ArraySpec {
            indexes: Indexes::from_range(0, 9),
            max_running: None,
        });
        spec.time_request = Some(secs(300));
    });
    let mut both = [format!("{soon}: 3"), format!("{late}: 3")];
    both.sort();
    assert_eq!(cluster.upcoming(&[]), both.join(", "));
}

#[test]
fn jobs_of_unknown_length_hide_nothing() {
    let mut cluster = Cluster::new();
    cluster.join("w1", 1);
    cluster.submit("anna", |_| {});
    cluster.submit("anna", |_| {});
    assert_eq!(cluster.upcoming(&[]), "w1: 2");
}
