//! Makes a bundle of an image archive, as `docker save` writes it, and a configuration beside or inside it.
//!
//! The archive is somebody else's: it is read once to its end, and only the configuration in it is kept in memory. The
//! worker checks it again before an engine sees it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};

use dopq_common::bundle::{Fault, config};
use flate2::bufread::MultiGzDecoder;
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// The rule that an archive breaks which is no image.
const NOT_AN_IMAGE: &str = "not_an_image";
/// The configuration's name in a bundle, and at the top of an archive.
const CONFIG: &str = "container_config.json";
/// The archive's name in a bundle.
const IMAGE: &str = "image.tar";
/// The list of an archive's content.
const MANIFEST: &str = "manifest.json";
/// What a compressed archive begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Tars consist of such blocks.
const BLOCK: usize = 512;
/// Longer extended headers are passed over.
const PAX_MAX_BYTES: u64 = 64 << 10;
/// Larger files need the 64-bit form of a zip.
const LARGE_BYTES: u64 = u32::MAX as u64;
const BUFFER_BYTES: usize = 1 << 18;

/// Writes the bundle to `to`. `beside` wins over a configuration in the archive. A compressed archive is expanded to at
/// most `most` bytes.
///
/// # Errors
/// Those of `to`; the inner one is the archive's fault.
pub(super) fn wrap(
    image: &mut File,
    beside: Option<String>,
    to: &mut File,
    most: u64,
) -> io::Result<Result<(), Fault>> {
    let found = match scan(image, most) {
        Ok(found) => found,
        Err(why) => return Ok(Err(Fault::new(NOT_AN_IMAGE, "", why))),
    };
    let Some(config) = beside.or(found.config) else {
        let message =
            "the image has no configuration: put it into the archive, or beside it as NAME.json";
        return Ok(Err(Fault::new("config_missing", CONFIG, message)));
    };
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        // The same image and configuration are the same bundle.
        .last_modified_time(DateTime::DEFAULT)
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(BufWriter::with_capacity(BUFFER_BYTES, to));
    zip.start_file(CONFIG, options)?;
    zip.write_all(loading(config).as_bytes())?;
    let size = image.metadata()?.len();
    zip.start_file(IMAGE, options.large_file(size >= LARGE_BYTES))?;
    image.rewind()?;
    io::copy(image, &mut zip)?;
    zip.finish()?.flush()?;
    Ok(Ok(()))
}

/// The configuration, which says that the image is to be loaded unless it says something else.
fn loading(config: String) -> String {
    let says = |name: &str| {
        let document = serde_json::from_str::<Value>(&config).ok();
        document.is_none_or(|document| document.get(name).is_some())
    };
    if says("build_flag") || says("image") {
        return config;
    }
    config.replacen('{', r#"{"build_flag":false,"#, 1)
}

/// What an archive contains.
#[derive(Debug, Default)]
struct Found {
    config: Option<String>,
    has_manifest: bool,
}

fn scan(image: &mut File, most: u64) -> Result<Found, String> {
    let unreadable = |error: io::Error| format!("it is not a whole tar: {error}");
    image.rewind().map_err(unreadable)?;
    let mut start = Vec::new();
    let mut begin = Read::take(&mut *image, GZIP.len() as u64);
    begin.read_to_end(&mut start).map_err(unreadable)?;
    image.rewind().map_err(unreadable)?;
    let mut file = BufReader::with_capacity(BUFFER_BYTES, image);
    let found = if start == GZIP {
        let mut expanded = MultiGzDecoder::new(file).take(most);
        let found = entries(&mut expanded);
        if found.is_err() && expanded.limit() == 0 {
            return Err(format!("it expands to more than {most} bytes"));
        }
        found
    } else {
        entries(&mut file)
    };
    let found = found.map_err(unreadable)?;
    if !found.has_manifest {
        return Err(format!("it has no {MANIFEST}; make it with docker save"));
    }
    Ok(found)
}

fn entries(from: &mut impl Read) -> io::Result<Found> {
    let mut found = Found::default();
    let mut long = None;
    loop {
        let mut block = [0; BLOCK];
        from.read_exact(&mut block)?;
        if block == [0; BLOCK] {
            return Ok(found);
        }
        let Some(header) = Header::read(&block) else {
            return Err(io::Error::other("a header is damaged"));
        };
        let size = long.take().unwrap_or(header.size);
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        let padded = padded.ok_or_else(|| io::Error::other("a file is too large"))?;
        let is_file = matches!(header.kind, b'0' | 0);
        let most = match (header.kind, header.name) {
            (b'x', _) => PAX_MAX_BYTES,
            (_, CONFIG) if is_file => config::MAX_BYTES as u64,
            _ => 0,
        };
        found.has_manifest |= is_file && header.name == MANIFEST;
        let mut kept = Vec::new();
        if size <= most {
            from.by_ref().take(size).read_to_end(&mut kept)?;
        }
        let rest = padded.saturating_sub(kept.len() as u64);
        if io::copy(&mut from.by_ref().take(rest), &mut io::sink())? < rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if header.kind == b'x' {
            long = pax_size(&kept);
        } else if !kept.is_empty() {
            found.config = Some(String::from_utf8_lossy(&kept).into_owned());
        }
    }
}

/// What matters of a tar's header.
struct Header<'b> {
    name: &'b str,
    kind: u8,
    size: u64,
}

impl<'b> Header<'b> {
    /// `None` of a damaged one.
    fn read(block: &'b [u8; BLOCK]) -> Option<Self> {
        let (sum_from, sum_to) = (148, 156);
        let sum = block.iter().enumerate();
        let sum = sum.map(|(at, byte)| {
            let is_sum = (sum_from..sum_to).contains(&at);
            u64::from(if is_sum { b' ' } else { *byte })
        });
        let expected = number(block.get(sum_from..sum_to)?)?;
        if sum.sum::<u64>() != expected {
            return None;
        }
        let name = block.get(..100)?.split(|byte| *byte == 0).next()?;
        let name = std::str::from_utf8(name).unwrap_or_default();
        // The folders of a long path stand apart.
        let is_below = block.get(257..263)? == b"ustar\0" && *block.get(345)? != 0;
        let name = if is_below { "" } else { name };
        Some(Self {
            name: name.strip_prefix("./").unwrap_or(name),
            kind: *block.get(156)?,
            size: number(block.get(124..136)?)?,
        })
    }
}

/// A number of a header: octal digits, or after a first bit as bytes.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if *first == 0x80 {
        return rest.iter().try_fold(0_u64, |number, byte| {
            number.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(['\0', ' ']);
    // Some programs leave numbers out that are 0.
    match digits {
        "" => Some(0),
        digits => u64::from_str_radix(digits, 8).ok(),
    }
}

/// The next file's size, if an extended header says it: lines of a length, a name and a value.
fn pax_size(text: &[u8]) -> Option<u64> {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let (_, field) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        field.strip_prefix("size=")?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar of these files, with a size of each in an extended header if it is told.
    fn tar(files: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (name, kind, content) in files {
            let mut header = [0; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[156] = *kind;
            let size = format!("{:011o}", content.len());
            header[124..135].copy_from_slice(size.as_bytes());
            header[148..156].fill(b' ');
            let sum: u64 = header.iter().copied().map(u64::from).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            tar.extend(header);
            tar.extend(*content);
            tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        }
        tar.extend([0; 2 * BLOCK]);
        tar
    }

    fn image(more: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let manifest: (&str, u8, &[u8]) = (MANIFEST, b'0', b"[]");
        tar(&[&[manifest], more].concat())
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        file
    }

    fn wrapped(content: &[u8], beside: Option<&str>) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let mut to = tempfile::tempfile().expect("a file");
        let beside = beside.map(str::to_owned);
        wrap(&mut file(content), beside, &mut to, 1 << 20).expect("written")?;
        let mut zip = zip::ZipArchive::new(to).expect("a zip");
        let read = (0..zip.len()).map(|at| {
            let mut entry = zip.by_index(at).expect("an entry");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("read");
            (entry.name().expect("a name").into_owned(), content)
        });
        Ok(read.collect())
    }

    #[test]
    fn an_image_and_its_configuration_make_a_bundle() {
        let text = r#"{"name":"x"}"#;
        let loads = r#"{"build_flag":false,"name":"x"}"#;
        for (content, beside, config) in [
            (image(&[]), Some(text), loads),
            (image(&[(CONFIG, b'0', text.as_bytes())]), None, loads),
            (
                image(&[("./container_config.json", 0, b"{ }")]),
                Some(text),
                loads,
            ),
            (
                image(&[]),
                Some(r#"{"build_flag":true}"#),
                r#"{"build_flag":true}"#,
            ),
            (image(&[]), Some("not JSON"), "not JSON"),
        ] {
            let entries = wrapped(&content, beside).expect("wrapped");
            let names: Vec<_> = entries.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, [CONFIG, IMAGE]);
            assert_eq!(String::from_utf8_lossy(&entries[0].1), config);
            assert_eq!(entries[1].1, content);
        }
    }

    #[test]
    fn a_compressed_image_is_read_and_bounded() {
        let config: (&str, u8, &[u8]) = (CONFIG, b'0', br#"{"name":"x"}"#);
        let gzip = |content: &[u8]| {
            let level = flate2::Compression::fast();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
            gzip.write_all(content).expect("written");
            gzip.finish().expect("compressed")
        };
        let small = gzip(&image(&[config]));
        assert_eq!(wrapped(&small, None).expect("wrapped")[1].1, small);
        let bomb = gzip(&image(&[("layer", b'0', &[0; 2 << 20]), config]));
        let refused = wrapped(&bomb, None).expect_err("too much");
        assert_eq!(refused.rule, NOT_AN_IMAGE);
        let message = refused.message;
        assert!(message.contains("expands to more than"), "{message}");
    }

    #[test]
    fn sizes_beyond_the_headers_digits_are_read() {
        // The header says nothing of the 700 bytes that follow.
        let mut content = image(&[
            ("PaxHeaders/layer", b'x', b"12 size=700\n"),
            ("layer", b'0', &[]),
        ]);
        content.truncate(content.len() - 2 * BLOCK);
        content.extend([7; 2 * BLOCK]);
        content.extend(tar(&[(CONFIG, b'0', b"{}")]));
        assert_eq!(wrapped(&content, None).expect("wrapped").len(), 2);
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"0000017\0"), Some(15));
        assert_eq!(number(b"\0\0\0"), Some(0));
        assert_eq!(number(b"\xff\xff\xff"), None);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let whole = image(&[("layer", b'0', &[1; 2000])]);
        let mut damaged = whole.clone();
        damaged[BLOCK * 2] ^= 1;
        let huge = image(&[
            ("PaxHeaders/l", b'x', b"29 size=18446744073709551615\n"),
            ("l", b'0', b""),
        ]);
        for (what, content) in [
            ("nothing", Vec::new()),
            ("no tar", b"PK".repeat(1000)),
            ("no manifest", tar(&[("x", b'0', b"x")])),
            ("a manifest below a folder", {
                let mut below = image(&[]);
                below[257..263].copy_from_slice(b"ustar\0");
                below[345] = b'x';
                let sum: u64 = below[..BLOCK].iter().copied().map(u64::from).sum();
                let own: u64 = below[148..156].iter().copied().map(u64::from).sum();
                let sum = format!("{:06o}\0 ", sum - own + 8 * u64::from(b' '));
                below[148..156].copy_from_slice(sum.as_bytes());
                below
            }),
            ("a manifest that is a folder", tar(&[(MANIFEST, b'5', b"")])),
            ("cut", whole[..whole.len() - 3 * BLOCK].to_vec()),
            ("no end", whole[..whole.len() - 2 * BLOCK].to_vec()),
            ("damaged", damaged),
            ("a size without end", huge),
        ] {
            let refused = wrapped(&content, Some("{}")).expect_err(what);
            assert_eq!(refused.rule, NOT_AN_IMAGE, "{what}");
        }
        let refused = wrapped(&whole, None).expect_err("no configuration");
        assert_eq!(refused.rule, "config_missing");
    }
}
