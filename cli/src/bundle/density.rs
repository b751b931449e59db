//! Whether deflating a file is worth its time.
//!
//! Photos, videos, archives and model weights hardly get smaller, and deflating them takes ten times as long as
//! copying them. Their bytes are spread almost evenly; those of text, code and tables are not. The entropy of three
//! samples tells the two apart in microseconds.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of each sample.
const SAMPLE_BYTES: u64 = 64 * 1024;

/// Files below this are always deflated: the samples are too small to tell, and the time does not matter.
const SMALLEST_BYTES: u64 = 4 * 1024;

/// Bits in a byte, of 8. Text has 4 to 5, programs 6.5, 32-bit floats 7.4, compressed data 7.9. From 7 on, deflating
/// saves at most a tenth.
const DENSE_BITS: f64 = 7.0;

/// Whether the file's content is too dense to compress. Leaves the file at its start. The answer depends on the content
/// alone.
pub(super) fn is_dense(file: &mut File, size_bytes: u64) -> io::Result<bool> {
    if size_bytes < SMALLEST_BYTES {
        return Ok(false);
    }
    let mut counts = [0_u64; 256];
    let last = size_bytes.saturating_sub(SAMPLE_BYTES);
    let mut read_up_to = 0;
    for start in [0, last / 2, last] {
        // Samples of a short file overlap; no byte counts twice.
        let start = start.max(read_up_to);
        let length = SAMPLE_BYTES.min(size_bytes.saturating_sub(start));
        file.seek(SeekFrom::Start(start))?;
        let mut sample = Vec::new();
        file.by_ref().take(length).read_to_end(&mut sample)?;
        for byte in sample {
            if let Some(count) = counts.get_mut(usize::from(byte)) {
                *count += 1;
            }
        }
        read_up_to = start + length;
    }
    file.rewind()?;
    Ok(entropy_bits(&counts) >= DENSE_BITS)
}

/// Shannon's entropy of one byte.
fn entropy_bits(counts: &[u64; 256]) -> f64 {
    let float = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let total = float(counts.iter().sum());
    let parts = counts.iter().filter(|count| **count > 0).map(|count| {
        let part = float(*count) / total;
        -part * part.log2()
    });
    parts.sum()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> (File, u64) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        (file, content.len() as u64)
    }

    /// Bytes without any pattern, always the same ones.
    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn noise_is_dense_and_text_is_not() {
        let text = "the same words again and again, 0123456789\n".repeat(10_000);
        let floats: Vec<u8> = (0..50_000_u16)
            .flat_map(|n| (f32::from(n).sin() * 0.02).to_le_bytes())
            .collect();
        let cases = [
            (noise(1_000_000), true),
            (noise(10_000), true),
            (floats, true),
            (text.into_bytes(), false),
            (noise(3_000), false),
            (Vec::new(), false),
        ];
        for (content, expected) in cases {
            let (mut file, size) = file(&content);
            assert_eq!(is_dense(&mut file, size).unwrap(), expected, "{size}");
        }
    }

    #[test]
    fn a_header_of_text_does_not_hide_what_follows() {
        let mut content = "a header of text ".repeat(2_000).into_bytes();
        content.extend(noise(1_000_000));
        let (mut file, size) = file(&content);
        assert!(is_dense(&mut file, size).unwrap());
        let mut first = [0; 8];
        file.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"a header", "the file is at its start again");
    }
}
