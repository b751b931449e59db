//! Little-endian fields out of a slice, without a panic on any input.

/// The unread rest of a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// The extra fields of an entry, by id; `None` if their lengths do not add up.
pub(super) fn extra_fields(bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut bytes = Bytes(bytes);
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let id = bytes.u16()?;
        let length = bytes.u16()?;
        fields.push((id, bytes.take(usize::from(length))?));
    }
    Some(fields)
}
