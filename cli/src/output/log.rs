//! Prints log pieces: raw bytes into pipes, harmless text and colours onto terminals, JSON lines for
//! programs.

use std::collections::BTreeMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dopq_common::api::LogEvent;

use super::format::Format;
use super::json;
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
    /// What is not yet written.
    pending: Vec<u8>,
}

/// As much is written at once, while more is there.
const BLOCK_BYTES: usize = 64 * 1024;

impl LogPrinter {
    /// A printer to stdout; `raw` hands bytes through even to a terminal.
    pub(crate) fn new(output: Output, raw: bool) -> Self {
        Self {
            output,
            raw,
            filters: BTreeMap::new(),
            attempt: None,
            pending: Vec::new(),
        }
    }

    /// Prints one piece, at the latest with the next [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// Those of stdout, and `InvalidData` where the piece is not base64.
    pub(crate) fn print(&mut self, event: &LogEvent) -> io::Result<()> {
        match self.output.format {
            Format::Json => self.pending.extend(json::line(event)?.into_bytes()),
            Format::Quiet => {}
            Format::Table => self.print_bytes(event)?,
        }
        if self.pending.len() >= BLOCK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn print_bytes(&mut self, event: &LogEvent) -> io::Result<()> {
        if self.attempt.is_some_and(|attempt| attempt != event.attempt) {
            self.finish()?;
            self.output
                .note(&format!("attempt {} begins", event.attempt));
        }
        self.attempt = Some(event.attempt);
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if self.raw || !self.output.stdout.terminal {
            let decoded = STANDARD.decode_vec(&event.data, &mut self.pending);
            return decoded.map_err(malformed);
        }
        let bytes = STANDARD.decode(&event.data).map_err(malformed)?;
        self.filters
            .entry(event.source.clone())
            .or_insert_with(|| {
                Printable::new(self.output.stdout.colour, self.output.stdout.redraws())
            })
            .push(&bytes, &mut self.pending);
        Ok(())
    }

    /// Writes what was printed.
    ///
    /// # Errors
    ///
    /// Those of stdout.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.output.data(&self.pending);
        self.pending.clear();
        written
    }

    /// Prints what the filters still hold back, ends their colours, and writes it all.
    ///
    /// # Errors
    ///
    /// Those of stdout.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        for filter in std::mem::take(&mut self.filters).values_mut() {
            filter.finish(&mut self.pending);
        }
        self.flush()
    }
}
