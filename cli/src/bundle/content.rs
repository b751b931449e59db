//! A file that several readers read at once, each at its own position.
//!
//! The zip of a folder is an unnamed file, so that an interrupted program leaves nothing behind. It can therefore not be
//! opened again to be sent again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

/// A file and a position in it; a clone reads independently.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    file: Arc<File>,
    place: u64,
}

impl Content {
    /// At the start of the file.
    pub(super) fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
            place: 0,
        }
    }

    /// Another reader, at the start.
    pub(crate) fn reader(&self) -> Self {
        Self {
            file: Arc::clone(&self.file),
            place: 0,
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let length = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.place)?;
        #[cfg(windows)]
        let length = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.place)?;
        self.place += u64::try_from(length).unwrap_or(0);
        Ok(length)
    }
}

impl Seek for Content {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(place) => (place, 0),
            SeekFrom::End(offset) => (self.file.metadata()?.len(), offset),
            SeekFrom::Current(offset) => (self.place, offset),
        };
        self.place = base.checked_add_signed(offset).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a place before the start")
        })?;
        Ok(self.place)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn readers_do_not_disturb_each_other() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut one = Content::new(file);
        let mut two = one.reader();
        let read = |reader: &mut Content| {
            let mut buffer = [0; 3];
            reader.read_exact(&mut buffer).unwrap();
            String::from_utf8(buffer.to_vec()).unwrap()
        };
        assert_eq!(read(&mut one), "012");
        assert_eq!(read(&mut two), "012");
        assert_eq!(read(&mut one), "345");
        assert_eq!(two.seek(SeekFrom::End(-3)).unwrap(), 7);
        assert_eq!(read(&mut two), "789");
        assert_eq!(two.seek(SeekFrom::Current(-9)).unwrap(), 1);
        assert!(two.seek(SeekFrom::Current(-2)).is_err());
        assert_eq!(read(&mut two), "123");
    }
}
