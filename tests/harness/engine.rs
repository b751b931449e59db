//! Looks at the container engine itself, past DoPQ, to check what DoPQ says.

use std::process::Command;

/// One container as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name.
    pub name: String,
    /// GPUs, from our label.
    pub gpus: Vec<String>,
    /// When it was created, as the engine prints it.
    pub created: String,
    /// `running`, `exited` and the like.
    pub state: String,
}

/// The containers of a cluster.
///
/// # Panics
/// When the engine does not answer.
#[must_use]
pub fn containers(cluster: &str, all: bool) -> Vec<Listed> {
    let mut command = Command::new("docker");
    command.args([
        "ps",
        "--no-trunc",
        "--format",
        "{{.Names}}\t{{.Label \"dopq.gpus\"}}\t{{.CreatedAt}}\t{{.State}}",
        "--filter",
        &format!("label=dopq.cluster={cluster}"),
    ]);
    if all {
        command.arg("--all");
    }
    let output = command.output().expect("docker runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |part: Option<&str>| part.unwrap_or_default().to_owned();
    text.lines()
        .map(|line| {
            let mut parts = line.split('\t');
            let name = field(parts.next());
            let gpus = field(parts.next());
            let gpus = gpus
                .split(',')
                .filter(|gpu| !gpu.is_empty())
                .map(str::to_owned)
                .collect();
            Listed {
                name,
                gpus,
                created: field(parts.next()),
                state: field(parts.next()),
            }
        })
        .collect()
}

/// Removes whatever a cluster left at the engine: containers, images, networks.
pub fn sweep(cluster: &str) {
    let filter = format!("label=dopq.cluster={cluster}");
    let list = |arguments: &[&str]| -> Vec<String> {
        let output = Command::new("docker").args(arguments).output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let remove = |arguments: &[&str], ids: Vec<String>| {
        if !ids.is_empty() {
            drop(Command::new("docker").args(arguments).args(ids).output());
        }
    };
    // Jobs' containers, and those that hold networks for them.
    for filter in [&filter, &format!("label=dopq.holder={cluster}")] {
        remove(
            &["rm", "--force"],
            list(&["ps", "--all", "--quiet", "--filter", filter]),
        );
    }
    // An image that another was built on goes only after it.
    for _ in 0..3 {
        remove(
            &["rmi", "--force"],
            list(&["images", "--quiet", "--filter", &filter]),
        );
    }
    remove(
        &["network", "rm"],
        list(&["network", "ls", "--quiet", "--filter", &filter]),
    );
}

/// The engine's major version.
///
/// # Panics
/// When the engine does not answer.
#[must_use]
pub fn major_version() -> u32 {
    let mut command = Command::new("docker");
    command.args(["version", "--format", "{{.Server.Version}}"]);
    let output = command.output().expect("docker runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let major = text.split('.').next().unwrap_or_default();
    major
        .parse()
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}
