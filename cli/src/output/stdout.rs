//! The two channels of a command: data to stdout, notes to stderr; and what is known of each.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::format::Format;
use super::json;
use super::pager;
use super::screen::Screen;
use super::table::Table;

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// The form of the data.
    pub(crate) format: Format,
    /// What is known of stdout.
    pub(crate) stdout: Screen,
    /// What is known of stderr.
    pub(crate) stderr: Screen,
    /// Whether long data goes through a pager.
    pages: bool,
}

impl Output {
    /// Looks at the process's own channels.
    pub(crate) fn of_process(format: Format) -> Self {
        let stdout = Screen::of(&console::Term::stdout(), io::stdout().is_terminal());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            format,
            stdout,
            stderr: Screen::of(&console::Term::stderr(), io::stderr().is_terminal()),
            pages: stdout.terminal && !is_dumb,
        }
    }

    /// The same without a pager.
    pub(crate) fn without_pager(mut self) -> Self {
        self.pages = false;
        self
    }

    /// Writes data that may be longer than the terminal is high.
    fn pages(&self, text: &str) -> io::Result<()> {
        let rows = console::Term::stdout().size_checked();
        let is_long = rows.is_some_and(|(rows, _)| text.lines().count() > usize::from(rows));
        if self.pages && is_long && pager::show(text.as_bytes())? {
            return Ok(());
        }
        self.data(text.as_bytes())
    }

    /// Stdout as it is now, for it may have been resized, and its height.
    pub(crate) fn screen_now() -> (Screen, Option<u16>) {
        let term = console::Term::stdout();
        let height = term.size_checked().map(|(rows, _)| rows);
        (Screen::of(&term, io::stdout().is_terminal()), height)
    }

    /// Writes data as it is.
    pub(crate) fn data(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Writes one line of data.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        self.data(format!("{text}\n").as_bytes())
    }

    /// Writes a JSON document over several lines.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> io::Result<()> {
        self.pages(&json::document(value)?)
    }

    /// Writes a JSON document on one line, as an element of a stream.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> io::Result<()> {
        self.data(json::line(value)?.as_bytes())
    }

    /// Writes a table that fits the terminal.
    pub(crate) fn table(&self, table: &Table) -> io::Result<()> {
        self.pages(&table.render(&self.stdout))
    }

    /// Writes tables that fit the terminal, with an empty line between two.
    pub(crate) fn tables(&self, tables: &[Table]) -> io::Result<()> {
        let tables: Vec<String> = tables
            .iter()
            .map(|table| table.render(&self.stdout))
            .collect();
        self.pages(&tables.join("\n"))
    }

    /// Writes data in the form that was asked for.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> Table,
        names: impl FnOnce(&T) -> Vec<String>,
    ) -> io::Result<()> {
        match self.format {
            Format::Table => self.table(&table(value)),
            Format::Json => self.json(value),
            Format::Quiet => {
                let lines: String = names(value)
                    .iter()
                    .map(|name| format!("{name}\n"))
                    .collect();
                self.data(lines.as_bytes())
            }
        }
    }

    /// Tells the person something that is not data; not where `--output quiet` was asked for.
    pub(crate) fn note(&self, text: &str) {
        if self.format != Format::Quiet {
            self.complain(text);
        }
    }

    /// Warns of something that the person should change.
    pub(crate) fn warn(&self, text: &str) {
        self.complain(&format!("warning: {text}"));
    }

    /// Writes a JSON document on one line to stderr.
    pub(crate) fn complain_json<T: Serialize>(&self, value: &T) {
        if let Ok(line) = json::line(value) {
            self.complain(line.trim_end());
        }
    }

    /// Writes a line to stderr. Where that is closed there is nobody left to tell.
    pub(crate) fn complain(&self, text: &str) {
        writeln!(io::stderr().lock(), "{text}").ok();
    }
}
