//! Counts an entry's bytes while reading them.
//!
//! Checks the declared sizes against the actual bytes, so a wrong size is found and a zip bomb stops at the limit.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::directory::{Method, Record};
use crate::bundle::Limits;

/// How many more bytes the archive may expand to.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) expanded: u64,
    expanded_max: u64,
    ratio_max: u64,
    ratio: u64,
}

impl Budget {
    pub(super) fn new(size: u64, limits: &Limits) -> Self {
        let ratio_max = size.saturating_mul(limits.ratio);
        Self {
            expanded: 0,
            expanded_max: limits.expanded_bytes,
            ratio_max: ratio_max.max(Limits::RATIO_FLOOR_BYTES),
            ratio: limits.ratio,
        }
    }

    /// The limit that a total of `expanded` bytes exceeds.
    pub(super) fn judge(&self, expanded: u64) -> Result<(), Refused> {
        if expanded > self.expanded_max {
            Err(Refused::Expanded(self.expanded_max))
        } else if expanded > self.ratio_max {
            Err(Refused::Ratio(self.ratio))
        } else {
            Ok(())
        }
    }
}

/// Why an entry's bytes are refused; the inner error of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the archive expands to more than {0} bytes")]
    Expanded(u64),
    #[error("the archive expands to more than {0} times its size")]
    Ratio(u64),
    #[error("its size differs from the size it declares")]
    Size,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its compressed data is damaged")]
    Damaged,
    #[error("its compressed data ends too early")]
    Hidden,
}

impl Refused {
    pub(super) fn rule(&self) -> &'static str {
        match self {
            Self::Expanded(_) => "expanded_too_large",
            Self::Ratio(_) => "ratio",
            Self::Size => "size_lie",
            Self::Checksum => "checksum",
            Self::Damaged => "damaged",
            Self::Hidden => "hidden_bytes",
        }
    }

    /// Whether it concerns the whole archive, so that reading must stop.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Expanded(_) | Self::Ratio(_) => true,
            Self::Size | Self::Checksum | Self::Damaged | Self::Hidden => false,
        }
    }
}

/// Remembers an I/O error of the archive, which is not a fault of its content.
struct Source<'a, R> {
    inner: Take<&'a mut R>,
    failed: bool,
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        if let Err(error) = &read {
            self.failed = error.kind() != io::ErrorKind::Interrupted;
        }
        read
    }
}

enum Decoder<'a, R> {
    Stored(Source<'a, R>),
    Deflated(Box<DeflateDecoder<BufReader<Source<'a, R>>>>),
}

/// Reads one entry. An error with [`Refused`] inside is the archive's fault; any other is the reader's.
pub(super) struct Content<'a, R> {
    decoder: Decoder<'a, R>,
    budget: &'a mut Budget,
    crc: Crc,
    expected_crc: u32,
    compressed: u64,
    left: u64,
    ended: bool,
}

impl<'a, R: Read + Seek> Content<'a, R> {
    pub(super) fn open(
        reader: &'a mut R,
        record: &Record,
        (start, method): (u64, Method),
        budget: &'a mut Budget,
    ) -> io::Result<Self> {
        reader.seek(SeekFrom::Start(start))?;
        let source = Source {
            inner: reader.take(record.compressed),
            failed: false,
        };
        let decoder = match method {
            Method::Stored => Decoder::Stored(source),
            Method::Deflated => {
                Decoder::Deflated(Box::new(DeflateDecoder::new(BufReader::new(source))))
            }
        };
        Ok(Self {
            decoder,
            budget,
            crc: Crc::new(),
            expected_crc: record.crc,
            compressed: record.compressed,
            left: record.expanded,
            ended: false,
        })
    }

    fn decode(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.decoder {
            Decoder::Stored(source) => source.read(buffer),
            Decoder::Deflated(decoder) => decoder.read(buffer).map_err(|error| {
                let broken = error.kind() != io::ErrorKind::Interrupted;
                if broken && !decoder.get_ref().get_ref().failed {
                    refuse(Refused::Damaged)
                } else {
                    error
                }
            }),
        }
    }

    /// Checks size and checksum at the end.
    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        if self.left != 0 {
            return Err(refuse(Refused::Size));
        }
        if self.crc.sum() != self.expected_crc {
            return Err(refuse(Refused::Checksum));
        }
        let used = match &self.decoder {
            Decoder::Stored(source) => self.compressed - source.inner.limit(),
            Decoder::Deflated(decoder) => decoder.total_in(),
        };
        if used != self.compressed {
            return Err(refuse(Refused::Hidden));
        }
        Ok(())
    }
}

impl<R: Read + Seek> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.decode(buffer)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            self.end()?;
            return Ok(0);
        };
        self.crc.update(bytes);
        let count_u64 = u64::try_from(count).unwrap_or(u64::MAX);
        self.left = self
            .left
            .checked_sub(count_u64)
            .ok_or_else(|| refuse(Refused::Size))?;
        self.budget.expanded = self.budget.expanded.saturating_add(count_u64);
        self.budget.judge(self.budget.expanded).map_err(refuse)?;
        Ok(count)
    }
}

fn refuse(refused: Refused) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, refused)
}

/// The archive's fault, if it was one.
pub(super) fn refused(error: &io::Error) -> Option<&Refused> {
    error.get_ref()?.downcast_ref()
}
