//! What the tests share: private services, the programs under test, bundles to submit.
//!
//! Everything started here has its own folder and free ports, and is stopped when it is dropped.

pub mod bases;
pub mod bundle;
pub mod cli;
pub mod engine;
pub mod filter;
pub mod process;
pub mod programs;
pub mod registry;
pub mod s3;
pub mod services;

/// Waits until `ready` gives a value, asking every 20 ms.
///
/// # Panics
/// After `limit`, naming `what` was waited for.
pub fn wait_for<T>(
    what: &str,
    limit: std::time::Duration,
    mut ready: impl FnMut() -> Option<T>,
) -> T {
    let start = tokio::time::Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(
            start.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
