//! The three forms of output.

/// How data is written to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables for people.
    #[default]
    Table,
    /// The API's own JSON, for programs.
    Json,
    /// Ids or names only, one a line; nothing on stderr but errors.
    Quiet,
}
