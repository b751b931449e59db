//! Cuts output into messages as the engine's log does: at newlines and at 16 KiB.

use bytes::{Bytes, BytesMut};

/// The engine's longest message.
const MESSAGE_MAX_BYTES: usize = 16 * 1024;

/// What was printed to one stream and is no message yet.
#[derive(Debug, Default)]
pub(super) struct Lines(BytesMut);

impl Lines {
    /// Takes in what was printed; gives the messages that it completes.
    pub(super) fn push(&mut self, printed: &[u8]) -> Vec<Bytes> {
        self.0.extend_from_slice(printed);
        let mut messages = Vec::new();
        loop {
            let within = self.0.get(..MESSAGE_MAX_BYTES).unwrap_or(&self.0);
            let end = match within.iter().position(|byte| *byte == b'\n') {
                Some(newline) => newline + 1,
                None if self.0.len() >= MESSAGE_MAX_BYTES => MESSAGE_MAX_BYTES,
                None => return messages,
            };
            messages.push(self.0.split_to(end).freeze());
        }
    }

    /// The last message, when no newline ended it.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        let last = std::mem::take(&mut self.0).freeze();
        (!last.is_empty()).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_at_newlines_or_at_the_longest() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a"), Vec::<Bytes>::new());
        assert_eq!(lines.push(b"b\n\nc"), ["ab\n", "\n"]);
        let long = lines.push(&[b'x'; MESSAGE_MAX_BYTES]);
        assert_eq!(
            long.iter().map(Bytes::len).collect::<Vec<_>>(),
            [MESSAGE_MAX_BYTES]
        );
        assert_eq!(lines.finish().expect("a rest"), "x");
        assert_eq!(lines.finish(), None);
    }
}
