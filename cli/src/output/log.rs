//! Prints log pieces: raw bytes into pipes, harmless text and colours onto terminals, JSON lines for
//! programs.

use std::collections::BTreeMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dopq_common::api::LogEvent;

use super::format::Format;
use super::printable::Printable;
use super::stdout::Output;

/// Prints the pieces of one job's log.
#[derive(Debug)]
pub(crate) struct LogPrinter {
    output: Output,
    /// `--raw`: bytes as they are, whoever looks at them.
    raw: bool,
    /// One filter a source, because a character may be cut in one while another speaks.
    filters: BTreeMap<String, Printable>,
    attempt: Option<u32>,
}

impl LogPrinter {
    /// A printer to stdout; `raw` hands bytes through even to a terminal.
    pub(crate) fn new(output: Output, raw: bool) -> Self {
        Self {
            output,
            raw,
            filters: BTreeMap::new(),
            attempt: None,
        }
    }

    /// Prints one piece.
    ///
    /// # Errors
    ///
    /// Those of stdout, and `InvalidData` where the piece is not base64.
    pub(crate) fn print(&mut self, event: &LogEvent) -> io::Result<()> {
        match self.output.format {
            Format::Json => return self.output.json_line(event),
            Format::Quiet => return Ok(()),
            Format::Table => {}
        }
        if self.attempt.is_some_and(|attempt| attempt != event.attempt) {
            self.finish()?;
            self.output
                .note(&format!("attempt {} begins", event.attempt));
        }
        self.attempt = Some(event.attempt);
        let bytes = STANDARD
            .decode(&event.data)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if self.raw || !self.output.stdout.terminal {
            return self.output.data(&bytes);
        }
        let mut shown = Vec::with_capacity(bytes.len());
        self.filters
            .entry(event.source.clone())
            .or_insert_with(|| Printable::new(self.output.stdout.colour))
            .push(&bytes, &mut shown);
        self.output.data(&shown)
    }

    /// Prints what the filters still hold back, and ends their colours.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let mut shown = Vec::new();
        for filter in std::mem::take(&mut self.filters).values_mut() {
            filter.finish(&mut shown);
        }
        self.output.data(&shown)
    }
}
