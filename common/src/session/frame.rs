//! What the two ends of a session say: one byte for the kind, then the content.

use crate::wire::SessionEnd;

/// The longest piece of data.
pub const PIECE_MAX_BYTES: usize = 32 * 1024;

/// Where data belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// To the command or the connection.
    Input,
    /// Standard output, a terminal's output, or what the connection brings.
    Output,
    /// Standard error.
    Error,
}

impl Channel {
    /// The byte that stands for it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Input => 0,
            Self::Output => 1,
            Self::Error => 2,
        }
    }

    /// The channel that `code` stands for.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Input),
            1 => Some(Self::Output),
            2 => Some(Self::Error),
            _ => None,
        }
    }
}

/// One message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Worker: the nonce that makes this session's keys. The first message.
    Challenge([u8; 16]),
    /// Master: begin, and you may send so many pieces. Its first message.
    Begin(u64),
    /// Worker: it runs.
    Started,
    /// Either: data, byte for byte. Costs a credit.
    Data(Channel, Vec<u8>),
    /// Either: no more data from here. Costs a credit.
    Close,
    /// Master: the terminal has so many rows and columns. Costs a credit.
    Resize(u16, u16),
    /// Either: you may send so many pieces in all. Repeated as a sign of life.
    Credit(u64),
    /// Either: it is over.
    End(SessionEnd),
}

/// A message that is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is no frame of a session")]
pub struct Unreadable;

impl Frame {
    /// Whether it needs credit.
    #[must_use]
    pub const fn costs(&self) -> bool {
        match self {
            Self::Data(..) | Self::Close | Self::Resize(..) => true,
            Self::Challenge(_)
            | Self::Begin(_)
            | Self::Started
            | Self::Credit(_)
            | Self::End(_) => false,
        }
    }

    /// As bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        match self {
            Self::Challenge(nonce) => [&[0], &nonce[..]].concat(),
            Self::Begin(credit) => [&[1], &credit.to_le_bytes()[..]].concat(),
            Self::Started => vec![2],
            Self::Data(channel, bytes) => [&[3, channel.code()], &bytes[..]].concat(),
            Self::Close => vec![4],
            Self::Resize(rows, columns) => {
                [&[5], &rows.to_le_bytes()[..], &columns.to_le_bytes()[..]].concat()
            }
            Self::Credit(credit) => [&[6], &credit.to_le_bytes()[..]].concat(),
            // The type always has a JSON form.
            Self::End(end) => [&[7], &serde_json::to_vec(end).unwrap_or_default()[..]].concat(),
        }
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (kind, rest) = bytes.split_first().ok_or(Unreadable)?;
        let number = || rest.try_into().map(u64::from_le_bytes);
        match kind {
            0 => rest.try_into().map(Self::Challenge).map_err(|_| Unreadable),
            1 => number().map(Self::Begin).map_err(|_| Unreadable),
            2 if rest.is_empty() => Ok(Self::Started),
            3 => {
                let (channel, data) = rest.split_first().ok_or(Unreadable)?;
                let channel = Channel::from_code(*channel).ok_or(Unreadable)?;
                if data.len() > PIECE_MAX_BYTES {
                    return Err(Unreadable);
                }
                Ok(Self::Data(channel, data.to_vec()))
            }
            4 if rest.is_empty() => Ok(Self::Close),
            5 => {
                let [a, b, c, d] = rest.try_into().map_err(|_| Unreadable)?;
                Ok(Self::Resize(
                    u16::from_le_bytes([a, b]),
                    u16::from_le_bytes([c, d]),
                ))
            }
            6 => number().map(Self::Credit).map_err(|_| Unreadable),
            7 => serde_json::from_slice(rest)
                .map(Self::End)
                .map_err(|_| Unreadable),
            _ => Err(Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::EndCause;

    #[test]
    fn frames_are_read_back_and_nothing_else_is() {
        let frames = [
            Frame::Challenge([7; 16]),
            Frame::Begin(16),
            Frame::Started,
            Frame::Data(Channel::Error, b"a\0\xff".to_vec()),
            Frame::Data(Channel::Input, Vec::new()),
            Frame::Close,
            Frame::Resize(24, 300),
            Frame::Credit(u64::MAX),
            Frame::End(SessionEnd::exited(-1)),
            Frame::End(SessionEnd::new(EndCause::Busy, "full")),
        ];
        for frame in frames {
            assert_eq!(Frame::read(&frame.write()), Ok(frame));
        }
        let long = [&[3, 1], &[0; PIECE_MAX_BYTES + 1][..]].concat();
        for wrong in [
            &[][..],
            &[9],
            &[0, 1],
            &[1],
            &[2, 0],
            &[3],
            &[3, 9],
            &[5, 1, 2, 3],
            &[7],
            &long,
        ] {
            assert_eq!(Frame::read(wrong), Err(Unreadable), "{:?}", wrong.first());
        }
        let later = br#"{"cause":"something_new","detail":"x"}"#;
        let later = Frame::read(&[&[7], &later[..]].concat());
        assert_eq!(
            later,
            Ok(Frame::End(SessionEnd::new(EndCause::Failed, "x")))
        );
    }
}
