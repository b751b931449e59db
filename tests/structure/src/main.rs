//! Fails when the modules of a crate import each other in a circle, or when a folder of the scheduler imports from
//! one above it. `make lint` runs it.
//!
//! What counts is the file that defines what a path names: a name that a `mod.rs` re-exports counts as its own file.
//! Tests are left out. Methods are not seen, only paths.

mod circles;
mod graph;
mod modules;
mod paths;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use graph::Graph;

/// The crates, by the file that each begins with.
const CRATES: [&str; 4] = [
    "common/src/lib.rs",
    "master/src/lib.rs",
    "worker/src/lib.rs",
    "cli/src/main.rs",
];

/// Folders whose order is an order of imports: each may import from itself and from those before it.
const LAYERS: [(&str, &[&str]); 1] = [(
    "common/src/sched",
    &[
        "model", "state", "rank", "fit", "place", "events", "answers",
    ],
)];

/// Circles that are meant, by their files, each with its reason.
const MEANT: [(&[&str], &str); 2] = [
    (
        &[
            "common/src/broker/amqp/broker.rs",
            "common/src/broker/amqp/consumer.rs",
            "common/src/broker/amqp/lane.rs",
            "common/src/broker/amqp/live.rs",
            "common/src/broker/amqp/publisher.rs",
            "common/src/broker/inproc.rs",
            "common/src/broker/port.rs",
        ],
        "the port is an enum over its adapters, and what they deliver carries the adapter's own claim",
    ),
    (
        &["common/src/job/array.rs", "common/src/job/state.rs"],
        "an array is one state of a job and is held like one",
    ),
];

#[expect(clippy::print_stdout, reason = "it is a command")]
fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut faults = Vec::new();
    for entry in CRATES {
        match Graph::read(&root, Path::new(entry)) {
            Ok(graph) => {
                faults.extend(circles::faults(&graph, &MEANT));
                faults.extend(
                    LAYERS
                        .iter()
                        .flat_map(|(folder, layers)| graph.upward_imports(folder, layers)),
                );
            }
            Err(error) => faults.push(format!("cannot read {entry}: {error}")),
        }
    }
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!(
            "Move what both need into a module below them. The order of folders is in docs/ARCHITECTURE.md."
        );
        ExitCode::FAILURE
    }
}
