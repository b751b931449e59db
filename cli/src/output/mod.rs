//! What the user sees: data on stdout as tables, JSON or bare names; everything else on stderr.
//!
//! Whatever comes from elsewhere (names, reasons, logs) is made harmless here before a terminal sees
//! it. What is shown, and in which columns, is the commands' own business.

mod format;
mod json;
mod log;
mod printable;
mod screen;
mod stdout;
mod table;
pub(crate) mod text;

pub(crate) use format::Format;
pub(crate) use log::LogPrinter;
#[cfg(test)]
pub(crate) use screen::Screen;
pub(crate) use stdout::Output;
pub(crate) use table::{Cell, Column, Table, Tone};
