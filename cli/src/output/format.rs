//! The three output formats.

/// The format of data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables for people.
    #[default]
    Table,
    /// The API's own JSON, for programs.
    Json,
    /// Ids or names only, one per line; only errors on stderr.
    Quiet,
}
