//! The namespaces over the engine in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::docker::fake::{Fake, Fault};
use crate::docker::{Publish, Traces};

const MOST: usize = 2;
/// The longest that anything here may take; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const QUICK: Pace = Pace {
    look_every: Duration::from_millis(50),
    make_after: Duration::from_millis(5),
    settle: Duration::from_millis(100),
    rest: Duration::from_millis(500),
    remove_again: Duration::from_millis(5),
};

struct Rig {
    fake: Fake,
    networks: Arc<Networks>,
    folder: TempDir,
    running: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Rig {
    fn over(fake: &Fake, networks: Networks) -> Self {
        let networks = Arc::new(networks);
        let running = Arc::clone(&networks);
        Self {
            fake: fake.clone(),
            networks,
            folder: tempfile::tempdir().expect("a folder"),
            running: tokio::spawn(async move { running.run().await }),
        }
    }

    /// One that keeps up to [`MOST`] ready, of which one is.
    async fn ready(fake: &Fake) -> Self {
        let rig = Self::over(fake, networks(fake, MOST));
        rig.free(1).await;
        rig
    }

    /// The container that the attempt's job is to join, if there is one.
    async fn join(&self, job: u64) -> Option<String> {
        let mut plan = plan(PlanNetwork::Bridge("dopq".to_owned()));
        let folder = self.folder.path().join(job.to_string());
        self.networks.join(attempt(job), &mut plan, folder).await;
        let joined = plan.network.joins()?.to_owned();
        self.networks.joined(attempt(job), &job.to_string());
        let found = self.fake.inspect(&joined).await.expect("asked");
        Some(found.expect("there").name)
    }

    fn leave(&self, job: u64) {
        self.networks.leave(&job.to_string());
    }

    async fn holders(&self) -> Vec<String> {
        let all = self.fake.list(&[]).await.expect("listed");
        let names = all.into_iter().map(|found| found.name);
        names.filter(|name| holder::is_name(name)).collect()
    }

    /// Waits until so many are ready; gives the next one's name.
    async fn free(&self, count: usize) -> String {
        let waiting = async {
            loop {
                let ready = self.networks.pool.lock().ready(Kind::Bridge);
                if ready.len() == count {
                    return ready.into_iter().next().unwrap_or_default();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("ready")
    }

    /// Waits until so many containers hold namespaces.
    async fn held(&self, count: usize) -> Vec<String> {
        let waiting = async {
            loop {
                let holders = self.holders().await;
                if holders.len() == count {
                    return holders;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("held")
    }

    async fn is_gone(&self, name: &str) {
        let waiting = async {
            while self.holders().await.iter().any(|found| found == name) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("gone");
    }
}

fn networks(fake: &Fake, most: usize) -> Networks {
    let engine = Engine::Fake(fake.clone());
    Networks {
        pace: QUICK,
        ..Networks::new(engine, identity(), "dopq".to_owned(), most)
    }
}

fn identity() -> Identity {
    Identity {
        cluster: "default".to_owned(),
        worker: "w1".parse().expect("a name"),
        instance: "1".to_owned(),
    }
}

fn plan(network: PlanNetwork) -> Plan {
    holder::plan(&identity(), "dopq-1-1", network)
}

fn bridge() -> PlanNetwork {
    PlanNetwork::Bridge("dopq".to_owned())
}

fn attempt(job: u64) -> AttemptId {
    let key = "07".repeat(16);
    format!("{job}.1-{key}").parse().expect("an attempt")
}

const OPEN: Traces = Traces {
    sockets: 1,
    sent: 0,
};

#[tokio::test]
async fn a_namespace_serves_one_job_after_the_other() {
    let rig = Rig::ready(&Fake::new()).await;
    let first = rig.join(1).await.expect("one is ready");
    let second = rig.free(1).await;
    assert_ne!(first, second, "the first is in use");
    assert_eq!(rig.join(2).await, Some(second));
    rig.free(1).await;
    rig.leave(1);
    rig.join(3).await.expect("another is ready");
    assert_eq!(rig.join(4).await, Some(first), "it is free again");
    let own = rig.folder.path().join("4/hosts");
    let hosts = std::fs::read_to_string(own).expect("written");
    assert_eq!(hosts, "127.0.0.1 localhost");
}

#[tokio::test]
async fn one_that_is_not_as_new_goes() {
    let rig = Rig::ready(&Fake::new()).await;
    let sent = Traces {
        sent: 1,
        ..Traces::default()
    };
    for (job, traces) in [(1, sent), (2, OPEN)] {
        let used = rig.join(job).await.expect("one is ready");
        rig.fake.leave_traces(&used, traces);
        rig.leave(job);
        rig.is_gone(&used).await;
        rig.free(1).await;
    }
    // Traces that appear while nobody is in it do not reach a job either.
    let ready = rig.free(1).await;
    rig.fake.leave_traces(&ready, OPEN);
    assert_ne!(rig.join(3).await, Some(ready.clone()));
    rig.is_gone(&ready).await;
}

#[tokio::test]
async fn sockets_that_are_closed_soon_do_no_harm() {
    let rig = Rig::ready(&Fake::new()).await;
    let used = rig.join(1).await.expect("one is ready");
    rig.free(1).await;
    rig.fake.leave_traces(&used, OPEN);
    rig.leave(1);
    rig.fake.leave_traces(&used, Traces::default());
    rig.free(2).await;
    assert_eq!(rig.holders().await.len(), 2);
}

#[tokio::test]
async fn a_dead_one_reaches_no_job_and_goes() {
    let rig = Rig::ready(&Fake::new()).await;
    let dead = rig.free(1).await;
    rig.fake.end(&dead, 137);
    assert_ne!(rig.join(1).await, Some(dead.clone()));
    rig.is_gone(&dead).await;
    let dead = rig.free(1).await;
    rig.fake.end(&dead, 137);
    // Also when nobody asks for it.
    rig.is_gone(&dead).await;
    rig.free(1).await;
}

#[tokio::test]
async fn no_more_than_the_set_number_stay_ready() {
    let rig = Rig::ready(&Fake::new()).await;
    for job in 1..=5 {
        rig.free(1).await;
        assert!(rig.join(job).await.is_some(), "{job}");
    }
    rig.held(6).await;
    (1..=5).for_each(|job| rig.leave(job));
    rig.held(MOST).await;
    let fake = Fake::new();
    let rig = Rig::over(&fake, networks(&fake, 0));
    assert_eq!(rig.join(1).await, None);
    tokio::time::sleep(2 * QUICK.look_every).await;
    assert_eq!(fake.calls().len(), 0, "it is turned off");
}

#[tokio::test]
async fn after_a_failure_all_jobs_get_their_own_for_a_while() {
    let fake = Fake::new();
    fake.fail_next("create", Fault::Refused);
    let rig = Rig::ready(&fake).await;
    rig.networks.rest();
    assert_eq!(rig.join(1).await, None);
    tokio::time::sleep(QUICK.rest).await;
    assert!(rig.join(1).await.is_some());
}

#[tokio::test]
async fn one_that_was_made_unheard_goes() {
    let fake = Fake::new();
    fake.fail_next("create", Fault::LostAfter);
    let rig = Rig::ready(&fake).await;
    rig.held(1).await;
}

#[tokio::test]
async fn without_a_look_inside_none_is_used() {
    let fake = Fake::new();
    fake.hide_namespaces();
    let rig = Rig::over(&fake, networks(&fake, MOST));
    let starts = || {
        let calls = fake.calls();
        let starts = calls.iter().filter(|call| call.starts_with("start"));
        starts.count()
    };
    let tried = async {
        while starts() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.expect("tried");
    rig.held(0).await;
    assert_eq!(rig.join(1).await, None);
    tokio::time::sleep(2 * QUICK.look_every).await;
    assert_eq!(starts(), 1, "it is not tried again");
}

#[tokio::test]
async fn one_that_ends_at_once_is_made_again() {
    let fake = Fake::new();
    fake.hide_namespaces();
    let rig = Rig::over(&fake, networks(&fake, MOST));
    let mut ended = std::collections::BTreeSet::new();
    let twice = async {
        while ended.len() < 2 {
            for name in rig.holders().await {
                let found = fake.inspect(&name).await.expect("asked");
                if found.is_some_and(|found| found.pid.is_some()) {
                    fake.end(&name, 1);
                    ended.insert(name);
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, twice).await.expect("again");
}

#[tokio::test]
async fn what_a_former_process_left_goes_unless_a_job_uses_it() {
    let fake = Fake::new();
    let former = Rig::ready(&fake).await;
    let mut own = plan(bridge());
    let folder = former.folder.path().join("files");
    former.networks.join(attempt(1), &mut own, folder).await;
    own.labels = [(LABEL_CLUSTER, "default"), (LABEL_WORKER, "w1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let job = fake.create(&own).await.expect("created").id;
    fake.start(&job).await.expect("started");
    former.free(1).await;
    drop(former);

    let left = networks(&fake, 0);
    left.adopt().await.expect("adopted");
    let rig = Rig::over(&fake, left);
    rig.held(1).await;
    rig.networks.leave("another");
    tokio::time::sleep(2 * QUICK.look_every).await;
    let own = own.network.joins();
    let found = fake.inspect(own.expect("it joins")).await.expect("asked");
    assert!(found.is_some(), "the job's stays");
    rig.networks.leave(&job);
    rig.held(0).await;
}

#[tokio::test]
async fn at_the_end_those_in_use_stay() {
    let rig = Rig::ready(&Fake::new()).await;
    let used = rig.join(1).await.expect("ready");
    rig.free(1).await;
    rig.running.abort();
    rig.networks.close().await;
    assert_eq!(rig.holders().await, [used]);
}

#[tokio::test]
async fn a_container_that_was_not_made_as_planned_uses_none() {
    let rig = Rig::ready(&Fake::new()).await;
    let mut own = plan(bridge());
    let folder = rig.folder.path().join("files");
    rig.networks.join(attempt(1), &mut own, folder).await;
    rig.free(1).await;
    rig.networks.put_back(attempt(1));
    rig.free(2).await;
    rig.networks.joined(attempt(1), "other");
    rig.networks.leave("other");
    rig.free(2).await;
    let two = [rig.join(2).await, rig.join(3).await];
    assert_ne!(two[0], two[1], "each is in use once");
}

#[test]
fn jobs_that_set_what_belongs_to_a_namespace_get_their_own() {
    assert_eq!(kind_of(&plan(PlanNetwork::None)), Some(Kind::None));
    assert_eq!(kind_of(&plan(bridge())), Some(Kind::Bridge));
    assert_eq!(kind_of(&plan(PlanNetwork::Host)), None);
    let own: [fn(&mut Plan); 6] = [
        |plan| plan.user.hostname = Some("box".to_owned()),
        |plan| plan.user.domainname = Some("lab".to_owned()),
        |plan| {
            let address = [10, 1, 2, 3].into();
            let ports = BTreeSet::default();
            plan.publish = Some(Publish { address, ports });
        },
        |plan| plan.user.dns.push("10.0.0.1".to_owned()),
        |plan| {
            let host = ("db".to_owned(), "10.0.0.5".to_owned());
            plan.user.extra_hosts.extend([host]);
        },
        |plan| {
            let sysctl = ("net.core.somaxconn".to_owned(), "1".to_owned());
            plan.user.sysctls.extend([sysctl]);
        },
    ];
    for set in own {
        let mut plan = plan(bridge());
        set(&mut plan);
        assert_eq!(kind_of(&plan), None, "{:?}", plan.user);
    }
    let mut other = plan(bridge());
    let sysctl = ("kernel.shmmax".to_owned(), "1".to_owned());
    other.user.sysctls.extend([sysctl]);
    assert_eq!(kind_of(&other), Some(Kind::Bridge));
}
