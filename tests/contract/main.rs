//! One contract suite for each port, run against each of its adapters.
//!
//! A suite is a list of cases; one test runs the list against one adapter, on one server where it needs
//! one. What only a server can suffer (being killed, frozen, wiped) comes after, in the same test.

mod broker;
mod bundles;
mod store;

use std::time::Duration;

/// The longest that anything awaited may take before the test is lost: far more than it ever needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `future`, naming `what` when it does not come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// The runtime of one test. What the adapters log is shown when the test fails.
fn runtime() -> tokio::runtime::Runtime {
    let log = tracing_subscriber::fmt().with_test_writer();
    // The first test of the process has set it for all.
    drop(
        log.with_env_filter("warn,lapin=off,dopq_common=debug,dopq_master=debug")
            .try_init(),
    );
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}
