//! Output: data on stdout as tables, JSON or names; everything else on stderr.
//!
//! Text from elsewhere (names, reasons, logs) is escaped here before it reaches a terminal. The commands decide what is
//! shown, and in which columns.

mod format;
mod json;
mod log;
mod pager;
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
