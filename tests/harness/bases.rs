//! The base images that `tests/bundles` name, at the engine while they are needed.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::engine;
use crate::programs::unique;

/// Images with the usual names. Those that are made for the tests are removed when it is dropped.
#[derive(Debug)]
pub struct Bases {
    label: String,
}

impl Bases {
    /// Those that all tests of this process share.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Bases>> = Mutex::new(Weak::new());
        // A test that failed to make them does not keep the others from trying.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::import());
            *shared = Arc::downgrade(&made);
            made
        })
    }

    fn import() -> Self {
        let this = Self {
            label: unique("bases"),
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/bases.sh");
        let made = Command::new(script).args(["import", &this.label]).status();
        assert!(
            made.expect("bash runs").success(),
            "the base images cannot be made; see above"
        );
        this
    }
}

impl Drop for Bases {
    fn drop(&mut self) {
        engine::sweep(&self.label);
    }
}
