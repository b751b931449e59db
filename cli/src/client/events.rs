//! Server-sent events: bytes in, events out, as the HTML standard reads them (section 9.2.6).

use std::collections::VecDeque;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use memchr::memchr2;

/// The longest event that is accepted; log pieces are far shorter.
const EVENT_MAX_BYTES: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// Why a stream of events ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the master closed the stream")]
    Closed,
    #[error("the connection broke")]
    Connection(#[source] reqwest::Error),
    #[error("the stream is not an event stream")]
    Nonsense,
}

/// A stream of events until it breaks.
pub(super) struct Events {
    pieces: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    parser: Parser,
    ready: VecDeque<Event>,
}

impl Events {
    pub(super) fn new(response: reqwest::Response) -> Self {
        Self {
            pieces: response.bytes_stream().boxed(),
            parser: Parser::default(),
            ready: VecDeque::new(),
        }
    }

    /// The next event. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> Result<Event, Broken> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.pieces.next().await {
                None => return Err(Broken::Closed),
                Some(Err(error)) => return Err(Broken::Connection(error.without_url())),
                Some(Ok(piece)) => {
                    self.parser.push(&piece, &mut self.ready)?;
                }
            }
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Parser {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    after_return: bool,
    event: Event,
    has_data: bool,
}

impl Parser {
    fn push(&mut self, piece: &[u8], ready: &mut VecDeque<Event>) -> Result<(), Broken> {
        let mut rest = piece;
        while let Some((&first, after_first)) = rest.split_first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = after_first;
                continue;
            }
            let Some(end) = memchr2(b'\r', b'\n', rest) else {
                self.line.extend_from_slice(rest);
                return self.bounded();
            };
            let (line, after) = rest.split_at(end);
            if self.line.is_empty() {
                self.end_line(line, ready);
            } else {
                self.line.extend_from_slice(line);
                let line = std::mem::take(&mut self.line);
                self.end_line(&line, ready);
            }
            self.bounded()?;
            self.after_return = after.starts_with(b"\r");
            rest = after.get(1..).unwrap_or_default();
        }
        Ok(())
    }

    fn bounded(&self) -> Result<(), Broken> {
        if self.line.len() + self.event.data.len() > EVENT_MAX_BYTES {
            return Err(Broken::Nonsense);
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], ready: &mut VecDeque<Event>) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                ready.push_back(event);
            }
            return;
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments, ids (also in the data), retry times, unknown fields.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        let mut ready = VecDeque::new();
        for piece in pieces {
            parser.push(piece, &mut ready).unwrap();
        }
        ready.into_iter().map(|e| (e.name, e.data)).collect()
    }

    #[test]
    fn events_are_found_wherever_the_stream_is_cut() {
        let text = b": hello\r\n\r\nevent: log\nid: 1:5\ndata: a\ndata:b\n\nevent: gone\n\ndata\r\rdata: \xc3\xa9\n\ndata: cut";
        let expected = [("log", "a\nb"), ("", ""), ("", "é")]
            .map(|(name, data)| (name.to_owned(), data.to_owned()));
        for cut in 0..text.len() {
            let (head, tail) = text.split_at(cut);
            assert_eq!(parse(&[head, tail]), expected, "{cut}");
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut parser = Parser::default();
        let mut ready = VecDeque::new();
        let piece = vec![b'x'; EVENT_MAX_BYTES];
        assert!(parser.push(&piece, &mut ready).is_ok());
        assert!(matches!(
            parser.push(b"xx", &mut ready),
            Err(Broken::Nonsense)
        ));
    }
}
