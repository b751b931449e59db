//! Measures the system as its users feel it, in one table: `make bench`.
//!
//! The run starts itself once for each measurement, as a process group with its own folder and a time
//! limit, so that a failure costs one measurement and leaves nothing behind. What is driven are the real
//! programs, and the master's public API in `control`; what depends on its version is in `compat`.

use std::process::ExitCode;

mod backlog;
mod builds;
mod client;
mod compat;
mod containers;
mod control;
mod engine;
mod logs;
mod restart;
mod rig;
mod row;
mod run;
mod standin;
mod table;
mod worker;

#[path = "../../control/plane.rs"]
#[expect(dead_code, reason = "the tests of the control plane use all of it")]
mod plane;

#[path = "../../../common/benches/scheduler.rs"]
mod scheduler;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// A short run with rough figures.
    pub(crate) fast: bool,
}

impl Scale {
    /// `full`, or `fast` in a short run.
    pub(crate) fn pick<T>(self, full: T, fast: T) -> T {
        if self.fast { fast } else { full }
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut arguments = std::env::args().skip_while(|argument| argument != run::MEASURE);
    let scale = Scale {
        fast: std::env::var("FAST").is_ok_and(|fast| !fast.is_empty()),
    };
    match arguments.nth(1) {
        Some(name) => runtime.block_on(run::measure(&name, scale)),
        None => runtime.block_on(run::all(scale)),
    }
}
