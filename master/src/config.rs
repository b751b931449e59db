//! The master's configuration: file, environment and flags, with every mistake told at once.
