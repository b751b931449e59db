//! An error in the configuration.

/// An error in a flag, a variable or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    /// The variable, flag, or file and line.
    pub(crate) place: String,
    /// What is wrong, and what is right.
    pub(crate) message: String,
}
