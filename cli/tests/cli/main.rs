//! Drives the program itself against a master that answers by script.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up may panic"
)]

mod arrays;
mod commands;
mod contexts;
mod doctor;
mod groups;
mod init;
mod logs;
mod machines;
mod shell;
mod sim;
mod submit;
mod support;
mod usage;
mod volumes;
