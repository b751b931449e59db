//! Reads the logs of attempts.
