//! The store's contract.

mod faults;
mod records;
mod suite;

use std::path::PathBuf;
use std::pin::Pin;

use dopq_common::id::Epoch;
use dopq_master::store::{Batch, Error, LeaderInfo, Options, RedisOptions, Store};
use dopq_tests::services::Redis;

use crate::{PATIENCE, runtime, soon};

/// An empty store, which can be opened again.
pub(crate) struct Bench {
    pub(crate) store: Store,
    options: Options,
}

impl Bench {
    async fn new(options: Options) -> Self {
        Self {
            store: open(options.clone()).await,
            options,
        }
    }

    /// Lets go of the store and opens it again, as a master that starts again does.
    pub(crate) async fn open_again(self) -> Self {
        drop(self.store);
        Self::new(self.options).await
    }
}

type Case = fn(Bench) -> Pin<Box<dyn Future<Output = ()>>>;

/// Names and bodies of the cases.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        &[$((stringify!($case), |bench| Box::pin(suite::$case(bench)))),*]
    };
}

const SUITE: &[(&str, Case)] = cases![
    an_empty_store_is_empty,
    every_kind_of_change_is_read_back,
    any_history_is_read_back,
    a_batch_is_written_whole_or_not_at_all,
    an_older_epoch_is_fenced,
    batches_follow_one_another,
    a_repeated_batch_is_harmless,
    the_lead_is_taken_renewed_and_let_go,
    a_lease_that_ended_can_be_taken_by_another,
    a_standby_follows,
    marks_are_kept,
    keys_go_with_their_jobs,
    the_audit_log_is_read_newest_first,
    lines_of_users_and_of_others_are_read_together,
    the_last_uses_of_tokens_are_kept_until_they_are_forgotten,
];

#[test]
fn embedded() {
    runtime().block_on(async {
        for (name, case) in SUITE {
            eprintln!("store in a file: {name}");
            let folder = tempfile::tempdir().expect("a folder");
            let dir = PathBuf::from(folder.path());
            case(Bench::new(Options::Embedded { dir }).await).await;
        }
    });
    faults::run_embedded(&runtime());
}

#[test]
fn redis() {
    let mut server = Redis::start();
    let runtime = runtime();
    runtime.block_on(async {
        for (number, (name, case)) in SUITE.iter().enumerate() {
            eprintln!("store in Redis: {name}");
            case(Bench::new(redis_options(&server, &format!("c{number}"))).await).await;
        }
    });
    faults::run_redis(&runtime, &mut server);
}

pub(crate) fn redis_options(server: &Redis, cluster: &str) -> Options {
    Options::Redis(RedisOptions::new(server.url(), cluster))
}

pub(crate) async fn open(options: Options) -> Store {
    Store::open(options).await.expect("the store opens")
}

pub(crate) fn master(name: &str) -> LeaderInfo {
    LeaderInfo {
        id: name.to_owned(),
        url: format!("http://{name}:7070"),
    }
}

/// Takes the lead for far longer than the test takes.
pub(crate) async fn lead(store: &Store, name: &str) -> Epoch {
    let taken = store.take_lead(&master(name), 10 * PATIENCE).await;
    taken.expect("the store answers").expect("nobody leads")
}

/// Commits, trying again while it is unclear whether it was written, as a master does.
pub(crate) async fn commit(store: &Store, batch: &Batch) {
    let committed = soon("a commit", async {
        loop {
            match store.commit(batch).await {
                Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
                done => return done,
            }
        }
    });
    committed.await.expect("it is written");
}
