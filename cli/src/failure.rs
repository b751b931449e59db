//! Why a command failed: the message, a hint, and the exit code.

use std::io;
use std::path::PathBuf;

use dopq_common::api::Fault;
use dopq_common::chain::chain;
use dopq_common::id::JobName;
use dopq_common::sim::SimError;
use serde_json::{Value, json};

use crate::output::text::{clean, count};
use crate::output::{Column, Format, Output, Table};
use crate::{bundle, client, config, exit};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments are wrong.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong.
    #[error("the configuration has {}", count(.0.len() as u64, "error", "errors"))]
    Configuration(Vec<config::Error>),
    /// A call to the master failed.
    #[error("failed to {doing}")]
    Call {
        /// Completes "failed to …".
        doing: String,
        /// Why not.
        #[source]
        source: client::Error,
    },
    /// The folder cannot be made into a bundle.
    #[error("failed to pack {}", place.display())]
    Pack {
        /// The folder or zip.
        place: PathBuf,
        /// Why not.
        #[source]
        source: bundle::Error,
    },
    /// The bundle breaks rules.
    #[error("{} is not a valid bundle", place.display())]
    Bundle {
        /// The folder or zip.
        place: PathBuf,
        /// All that is wrong.
        faults: Vec<Fault>,
    },
    /// The folder is a bundle already.
    #[error("{} has a Dockerfile and a container_config.json", .0.display())]
    Exists(PathBuf),
    /// The bundle names somebody else.
    #[error("executor_name is {named}, but you are {me}")]
    NotYours {
        /// Whom it names.
        named: String,
        /// Who submits it.
        me: String,
    },
    /// The results cannot be unpacked.
    #[error("failed to unpack the results of job {job}")]
    Unpack {
        /// Whose.
        job: JobName,
        /// Why not.
        #[source]
        source: bundle::UnpackError,
    },
    /// A file of one's own cannot be read or written.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The simulator refuses the arguments.
    #[error("failed to simulate")]
    Simulation(#[source] SimError),
    /// The connection of a session broke.
    #[error("the connection to the master broke: {0}")]
    Session(String),
    /// A port here cannot be had.
    #[error("failed to listen on port {port} of this machine; name another, such as PORT:0")]
    Listen {
        /// Which.
        port: u16,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nothing matches.
    #[error("{0}")]
    Nothing(String),
    /// What is there does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// Stdout cannot be written.
    #[error("failed to write the output")]
    Output(#[from] io::Error),
    /// The process lacks something that it needs.
    #[error("failed to start")]
    Start(#[source] io::Error),
}

impl Failure {
    /// For `map_err` on calls to the master; `doing` completes "failed to …".
    pub(crate) fn call(doing: impl Into<String>) -> impl FnOnce(client::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Call { doing, source }
    }

    /// Whether the reader of stdout is gone, which counts as success.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code that belongs to it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Simulation(_) => exit::USAGE,
            Self::Configuration(_) => exit::BAD_CONFIGURATION,
            Self::Call { source, .. } => source.exit_code(),
            Self::Session(_) => exit::UNREACHABLE,
            Self::NotYours { .. } => exit::NOT_ALLOWED,
            Self::Exists(_) | Self::Conflict(_) => exit::CONFLICT,
            Self::Nothing(_) => exit::NOT_FOUND,
            Self::File { source, .. }
            | Self::Pack {
                source: bundle::Error::Read { source, .. },
                ..
            } if source.kind() == io::ErrorKind::NotFound => exit::NOT_FOUND,
            Self::Pack { .. }
            | Self::Bundle { .. }
            | Self::Unpack { .. }
            | Self::File { .. }
            | Self::Listen { .. }
            | Self::Output(_)
            | Self::Start(_) => exit::FAILED,
        }
    }

    /// For programs: the master's own code, or one for each exit code.
    fn code(&self) -> String {
        if let Self::Call { source, .. } = self
            && let Some(code) = source.code()
        {
            return code;
        }
        let code = match self.exit_code() {
            exit::USAGE => "usage",
            exit::NOT_FOUND => "not_found",
            exit::NOT_ALLOWED => "forbidden",
            exit::UNREACHABLE => "unreachable",
            exit::CONFLICT => "conflict",
            exit::BAD_CONFIGURATION => "bad_configuration",
            _ => "failed",
        };
        code.to_owned()
    }

    /// The error in the form of the API's errors.
    fn document(&self) -> Value {
        let mut faults = self.faults().to_vec();
        if let Self::Configuration(errors) = self {
            faults.extend(errors.iter().map(|error| Fault {
                rule: "configuration".to_owned(),
                place: error.place.clone(),
                message: error.message.clone(),
            }));
        }
        json!({"error": {
            "code": self.code(),
            "message": chain(self),
            "hint": self.hint().unwrap_or_default(),
            "faults": faults,
            "exit_code": self.exit_code(),
        }})
    }

    /// Prints the error, its details and a hint to stderr.
    pub(crate) fn report(&self, output: &Output) {
        if output.format == Format::Json {
            output.complain_json(&self.document());
            return;
        }
        let mut lines = vec![format!("error: {}", clean(&chain(self)))];
        if let Self::Configuration(errors) = self {
            for error in errors {
                lines.push(format!(
                    "  {}: {}",
                    clean(&error.place),
                    clean(&error.message)
                ));
            }
        }
        let faults = self.faults();
        if !faults.is_empty() {
            let table = fault_table(faults).render(&output.stderr);
            lines.extend(
                table
                    .lines()
                    .map(|line| format!("  {line}").trim_end().to_owned()),
            );
        }
        if let Some(hint) = self.hint() {
            lines.push(format!("  hint: {}", clean(&hint)));
        }
        output.complain(&lines.join("\n"));
    }

    fn faults(&self) -> &[Fault] {
        match self {
            Self::Bundle { faults, .. } => faults,
            Self::Call { source, .. } => source.faults(),
            Self::Usage(_)
            | Self::Simulation(_)
            | Self::Configuration(_)
            | Self::Pack { .. }
            | Self::Exists(_)
            | Self::NotYours { .. }
            | Self::Unpack { .. }
            | Self::File { .. }
            | Self::Session(_)
            | Self::Listen { .. }
            | Self::Nothing(_)
            | Self::Conflict(_)
            | Self::Output(_)
            | Self::Start(_) => &[],
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Call { source, .. } => source.hint(),
            Self::Bundle { .. } => {
                Some("fix these and check again with: dopq check; see docs/JOBS.md".to_owned())
            }
            Self::NotYours { .. } => {
                Some("submit as yourself with --mine, or correct container_config.json".to_owned())
            }
            Self::Exists(_) => Some("overwrite them with --force".to_owned()),
            Self::Usage(_)
            | Self::Simulation(_)
            | Self::Configuration(_)
            | Self::Pack { .. }
            | Self::Unpack { .. }
            | Self::File { .. }
            | Self::Session(_)
            | Self::Listen { .. }
            | Self::Nothing(_)
            | Self::Conflict(_)
            | Self::Output(_)
            | Self::Start(_) => None,
        }
    }
}

/// Faults as a table, also for `dopq check`.
pub(crate) fn fault_table(faults: &[Fault]) -> Table {
    let mut table = Table::new(&[
        Column::new("RULE"),
        Column::text("WHERE"),
        Column::text("PROBLEM"),
    ])
    .wrapping();
    for fault in faults {
        let place = if fault.place.is_empty() {
            "bundle"
        } else {
            &fault.place
        };
        table.row([(&fault.rule).into(), place.into(), (&fault.message).into()]);
    }
    table
}
