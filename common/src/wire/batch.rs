//! How many orders or reports one message takes.

use super::MESSAGE_MAX_BYTES;

/// What a message holds beside its items: versions, names, the seal.
const ENVELOPE_MAX_BYTES: usize = 1024;

/// Counts the bytes of a message while it is filled.
#[derive(Debug, Default)]
pub struct Packer {
    bytes: usize,
}

impl Packer {
    /// The most bytes that the items of one message may take.
    pub const MAX_BYTES: usize = MESSAGE_MAX_BYTES - ENVELOPE_MAX_BYTES;

    /// Takes an item of `bytes` into the message; false when the message is full without it. The first
    /// item is always taken: if it is too long for a message, no other message carries it either.
    pub fn take(&mut self, bytes: usize) -> bool {
        let fits = self.bytes == 0 || self.bytes + bytes <= Self::MAX_BYTES;
        if fits {
            self.bytes += bytes;
        }
        fits
    }

    /// What `item`, which is JSON, takes in a list of items.
    #[must_use]
    pub const fn plain(item: &str) -> usize {
        item.len() + 1
    }

    /// What `item`, which is JSON, takes in a list of items that is sealed, as text inside JSON.
    #[must_use]
    pub fn sealed(item: &str) -> usize {
        let escaped = item.bytes().filter(|byte| matches!(byte, b'"' | b'\\'));
        Self::plain(item) + escaped.count()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::id::WorkerId;
    use crate::wire::{ClusterKey, NumberedReport, Report, ReportEnvelope, WIRE_VERSION};

    #[test]
    fn a_full_message_fits_the_broker_and_has_little_room_left() {
        let worker: WorkerId = "w".repeat(63).parse().expect("a name");
        for note in ["", "plain", r#"a "quoted" \ path"#, "\u{1}\n\t", "köln 🦀"] {
            let mut packer = Packer::default();
            let mut reports = Vec::new();
            for seq in 1_767_225_600_000.. {
                let report = NumberedReport {
                    seq,
                    at_ms: seq,
                    report: Report::Refused {
                        attempt: format!("7.1-{}", "ab".repeat(16)).parse().expect("attempt"),
                        reason: note.to_owned(),
                    },
                };
                let item = to_raw_value(&report).expect("JSON");
                if !packer.take(Packer::sealed(item.get())) {
                    break;
                }
                reports.push(item);
            }
            let envelope = ReportEnvelope {
                version: WIRE_VERSION,
                worker: worker.clone(),
                reports,
            };
            let key = ClusterKey::from_secret("s").worker(&worker);
            let sealed = key.seal(&worker, &envelope).expect("sealed");
            assert!(
                sealed.len() <= MESSAGE_MAX_BYTES,
                "{note:?}: {}",
                sealed.len()
            );
            assert!(
                sealed.len() > MESSAGE_MAX_BYTES - 2048,
                "{note:?}: {}",
                sealed.len()
            );
        }
    }

    #[test]
    fn the_first_item_is_taken_whatever_its_length() {
        let mut packer = Packer::default();
        assert!(packer.take(2 * MESSAGE_MAX_BYTES));
        assert!(!packer.take(1));
    }
}
