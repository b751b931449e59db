//! Sanitises an `image.tar` before it reaches the engine.
//!
//! The engine gives a loaded image all names in its archive, including those of other users' images and of common
//! base images. This module therefore rewrites the archive: the manifest keeps only the image's parts, files with
//! names in other formats are dropped, and links cannot replace either. A gzipped archive is expanded within the limits
//! of a bundle.

use std::cell::Cell;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use dopq_common::bundle::Limits;
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use tar::{Archive, Builder, Entry, EntryType, Header};

use super::context::ContextError;

/// The file that lists the archive's content.
const MANIFEST: &str = "manifest.json";

/// Files with image names in other formats; the engine does not need them.
const NAMING: [&str; 3] = ["repositories", "index.json", "oci-layout"];

/// The longest manifest, in bytes.
const MANIFEST_MAX_BYTES: u64 = 1024 * 1024;

/// What the headers of one file may take, with long names and the like. The reader keeps them in memory.
const HEADERS_MAX_BYTES: u64 = 1024 * 1024;

/// One image of the archive, without its names. Other fields are dropped.
#[derive(Deserialize, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    layers: Vec<String>,
}

/// What a gzipped file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Copies the archive without image names.
pub(super) fn copy(archive: &mut dyn Read, to: &mut dyn Write) -> Result<(), ContextError> {
    let mut start = Vec::new();
    Read::take(&mut *archive, GZIP.len() as u64)
        .read_to_end(&mut start)
        .map_err(unreadable)?;
    let is_gzip = start == GZIP;
    let mut whole = start.as_slice().chain(archive);
    if !is_gzip {
        return copy_tar(&mut whole, to);
    }
    let mut expanded = Expanded::new(&mut whole);
    let copied = copy_tar(&mut expanded, to);
    // The reader's error does not say whose fault it is.
    match expanded.exceeded {
        Some(most) => Err(invalid(format!("it expands to more than {most} bytes"))),
        None => copied,
    }
}

/// Expands a gzipped archive, up to the limits of a bundle.
struct Expanded<R: Read> {
    inner: MultiGzDecoder<BufReader<Counted<R>>>,
    expanded: u64,
    limits: Limits,
    /// The limit, once it is exceeded.
    exceeded: Option<u64>,
}

impl<R: Read> Expanded<R> {
    fn new(inner: R) -> Self {
        let counted = Counted { inner, bytes: 0 };
        Self {
            inner: MultiGzDecoder::new(BufReader::new(counted)),
            expanded: 0,
            limits: Limits::default(),
            exceeded: None,
        }
    }
}

impl<R: Read> Read for Expanded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.expanded = self.expanded.saturating_add(length as u64);
        let read = self.inner.get_ref().get_ref().bytes;
        let by_ratio = read.saturating_mul(self.limits.ratio);
        let most = by_ratio
            .max(Limits::RATIO_FLOOR_BYTES)
            .min(self.limits.expanded_bytes);
        if self.expanded > most {
            self.exceeded = Some(most);
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(length)
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.bytes = self.bytes.saturating_add(length as u64);
        Ok(length)
    }
}

/// Reads an archive; no more than what is left while that is limited.
struct Metered<'a> {
    inner: &'a mut dyn Read,
    left: &'a Cell<Option<u64>>,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.get() else {
            return self.inner.read(buffer);
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let Some(part) = buffer.get_mut(..most).filter(|part| !part.is_empty()) else {
            return Err(io::Error::other("the headers of a file are too long"));
        };
        let read = self.inner.read(part)?;
        self.left.set(Some(left.saturating_sub(read as u64)));
        Ok(read)
    }
}

fn copy_tar(archive: &mut dyn Read, to: &mut dyn Write) -> Result<(), ContextError> {
    let left = Cell::new(None);
    let mut archive = Archive::new(Metered {
        inner: archive,
        left: &left,
    });
    let mut out = Builder::new(to);
    let mut manifests = 0;
    let mut entries = archive.entries().map_err(unreadable)?;
    loop {
        left.set(Some(HEADERS_MAX_BYTES));
        let next = entries.next();
        left.set(None);
        let Some(entry) = next else { break };
        let mut entry = entry.map_err(unreadable)?;
        if copy_entry(&mut entry, &mut out)? {
            manifests += 1;
        }
        // What is left of its content is no part of the next headers.
        io::copy(&mut entry, &mut io::sink()).map_err(unreadable)?;
    }
    if manifests != 1 {
        return Err(invalid(format!(
            "it contains {manifests} files {MANIFEST}, not one; create it with docker save"
        )));
    }
    out.finish()?;
    Ok(())
}

/// Copies a file, unless it only names images. Returns whether it is the manifest.
fn copy_entry<R: Read>(
    entry: &mut Entry<'_, R>,
    out: &mut Builder<&mut dyn Write>,
) -> Result<bool, ContextError> {
    let path = relative(&entry.path().map_err(unreadable)?)?;
    let kind = entry.header().entry_type();
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if path.as_os_str().is_empty() {
        return Ok(false);
    }
    let is_manifest = name == MANIFEST;
    if is_manifest || NAMING.contains(&name.as_str()) {
        if path.as_path() != Path::new(&name) || kind != EntryType::Regular {
            return Err(invalid(format!("{} is in the wrong place", path.display())));
        }
        if is_manifest {
            let text = manifest(entry)?;
            append(out, kind, &path, text.len() as u64, &mut &text[..])?;
        }
        return Ok(is_manifest);
    }
    match kind {
        EntryType::Regular => {
            let size = entry.size();
            append(out, kind, &path, size, entry)?;
        }
        EntryType::Directory => append(out, kind, &path, 0, &mut io::empty())?,
        EntryType::Symlink => {
            let target = entry.link_name().map_err(unreadable)?.unwrap_or_default();
            link(out, &path, &name, &target)?;
        }
        _ => {
            return Err(invalid(format!(
                "{} is not a file, folder or layer link",
                path.display()
            )));
        }
    }
    Ok(false)
}

/// Older engines save a shared layer as a link from one `layer.tar` to another, skopeo as a link to `../<digest>.tar`.
fn link(
    out: &mut Builder<&mut dyn Write>,
    path: &Path,
    name: &str,
    target: &Path,
) -> Result<(), ContextError> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let is_layer = inside(folder, target).is_some_and(|file| {
        file.extension().is_some_and(|extension| extension == "tar") && file.as_path() != path
    });
    if name != "layer.tar" || !is_layer {
        return Err(invalid(format!("{} is a link", path.display())));
    }
    let mut header = header(EntryType::Symlink, 0);
    Ok(out.append_link(&mut header, path, target)?)
}

/// Where a link in `folder` leads; `None` if that is outside of the archive.
fn inside(folder: &Path, target: &Path) -> Option<PathBuf> {
    let mut place = folder.to_owned();
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => place.push(name),
            Component::ParentDir if place.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}

fn append(
    out: &mut Builder<&mut dyn Write>,
    kind: EntryType,
    path: &Path,
    size: u64,
    content: &mut dyn Read,
) -> Result<(), ContextError> {
    Ok(out.append_data(&mut header(kind, size), path, content)?)
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory {
        0o755
    } else {
        0o644
    });
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// The manifest of one image, without its names.
fn manifest(entry: &mut dyn Read) -> Result<Vec<u8>, ContextError> {
    let mut text = Vec::new();
    entry
        .take(MANIFEST_MAX_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MANIFEST_MAX_BYTES {
        return Err(invalid(format!("{MANIFEST} is too long")));
    }
    let images: Vec<Image> =
        serde_json::from_slice(&text).map_err(|error| invalid(format!("{MANIFEST}: {error}")))?;
    if images.len() != 1 {
        return Err(invalid(format!(
            "it contains {} images, not one",
            images.len()
        )));
    }
    serde_json::to_vec(&images).map_err(|error| ContextError::Io(Box::new(error)))
}

/// The path without `.`; nothing absolute, no `..`.
fn relative(path: &Path) -> Result<PathBuf, ContextError> {
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => relative.push(name),
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(invalid(format!("{} leads out of it", path.display())));
            }
        }
    }
    Ok(relative)
}

fn invalid(what: String) -> ContextError {
    ContextError::Invalid(format!("image.tar: {what}"))
}

/// A read error: the archive is invalid or the bundle cannot be read. The bundle's digest was checked, so the archive
/// is invalid.
fn unreadable(error: io::Error) -> ContextError {
    invalid(format!("it is not a tar archive: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Part<'a> {
        File(&'a str, &'a str),
        Link(&'a str, &'a str),
        Hard(&'a str, &'a str),
    }

    fn archive(parts: &[Part<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for part in parts {
            match part {
                Part::File(path, text) => {
                    let mut header = header(EntryType::Regular, text.len() as u64);
                    // Written by hand, because the library refuses paths that lead out.
                    let name = &mut header.as_gnu_mut().expect("gnu").name;
                    name.split_at_mut(path.len())
                        .0
                        .copy_from_slice(path.as_bytes());
                    header.set_cksum();
                    builder.append(&header, text.as_bytes()).expect("written");
                }
                Part::Link(path, target) => {
                    let mut header = header(EntryType::Symlink, 0);
                    builder
                        .append_link(&mut header, path, target)
                        .expect("written");
                }
                Part::Hard(path, target) => {
                    let mut header = header(EntryType::Link, 0);
                    builder
                        .append_link(&mut header, path, target)
                        .expect("written");
                }
            }
        }
        builder.into_inner().expect("written")
    }

    fn copied(parts: &[Part<'_>]) -> Result<Vec<(String, String)>, String> {
        let mut out = Vec::new();
        copy(&mut &archive(parts)[..], &mut out).map_err(|error| error.to_string())?;
        let mut archive = Archive::new(&out[..]);
        let entries = archive.entries().expect("a tar");
        Ok(entries
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let mut text = String::new();
                entry.read_to_string(&mut text).expect("text");
                (entry.path().expect("a path").display().to_string(), text)
            })
            .collect())
    }

    const ONE: &str = r#"[{"Config":"c.json","RepoTags":["evil:latest"],"repotags":["evil:2"],"Layers":["l/layer.tar"],"Parent":"x"}]"#;

    #[test]
    fn names_do_not_get_through() {
        use Part::{File, Link};
        let got = copied(&[
            File("c.json", "{}"),
            Link("m/layer.tar", "../l/layer.tar"),
            File("./manifest.json", ONE),
            File("repositories", "{\"evil\":{}}"),
            File("index.json", "evil"),
            File("oci-layout", "{}"),
            File("l/layer.tar", "layer"),
        ]);
        let want = [
            ("c.json", "{}"),
            ("m/layer.tar", ""),
            (
                "manifest.json",
                r#"[{"Config":"c.json","Layers":["l/layer.tar"]}]"#,
            ),
            ("l/layer.tar", "layer"),
        ];
        let want = want.map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(got.expect("accepted"), want);
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("into memory");
        encoder.finish().expect("into memory")
    }

    #[test]
    fn archives_of_skopeo_and_gzipped_ones_are_taken() {
        use Part::{File, Link};
        let digest = "a".repeat(64);
        let layer = format!("{digest}.tar");
        let text = format!(r#"[{{"Config":"c.json","Layers":["{layer}"]}}]"#);
        let target = format!("../{layer}");
        let parts = [
            File(&layer, "layer"),
            File("c.json", "{}"),
            Link("1/layer.tar", &target),
            File("manifest.json", &text),
        ];
        let plain = copied(&parts).expect("accepted");
        assert_eq!(plain.len(), 4);
        let (mut from_gzip, mut from_tar) = (Vec::new(), Vec::new());
        let tar = archive(&parts);
        copy(&mut &gzipped(&tar)[..], &mut from_gzip).expect("accepted");
        copy(&mut &tar[..], &mut from_tar).expect("accepted");
        assert_eq!(from_gzip, from_tar);
    }

    #[test]
    fn a_gzipped_archive_expands_within_limits() {
        let mut bomb = Builder::new(Vec::new());
        let zeros = vec![0; 8 << 20];
        let mut header = header(EntryType::Regular, zeros.len() as u64);
        bomb.append_data(&mut header, "layer.tar", &zeros[..])
            .expect("written");
        let bomb = gzipped(&bomb.into_inner().expect("written"));
        let error = copy(&mut &bomb[..], &mut Vec::new()).expect_err("a bomb");
        assert!(
            error.to_string().contains("it expands to more than"),
            "{error}"
        );
    }

    /// Counts what is read of an archive that goes on for long.
    struct Long<'a>(&'a mut u64, Box<dyn Read>);

    impl Read for Long<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.1.read(buffer)?;
            *self.0 += read as u64;
            Ok(read)
        }
    }

    #[test]
    fn long_headers_are_not_read_into_memory() {
        for kind in [
            EntryType::XHeader,
            EntryType::GNULongName,
            EntryType::GNULongLink,
        ] {
            let mut header = header(kind, 64 << 20);
            header.set_path("x").expect("a name");
            header.set_cksum();
            let begin = io::Cursor::new(header.as_bytes().to_vec());
            let mut read = 0;
            let content = begin.chain(io::repeat(b'x').take(64 << 20));
            let mut archive = Long(&mut read, Box::new(content));
            let error = copy(&mut archive, &mut io::sink()).expect_err("too long");
            assert!(
                error.to_string().contains("headers of a file are too long"),
                "{error}"
            );
            assert!(read <= HEADERS_MAX_BYTES + 1024, "{read} bytes");
        }
    }

    #[test]
    fn content_that_is_not_copied_is_no_header() {
        use Part::File;
        let long = "x".repeat(3 << 20);
        let got = copied(&[
            File("repositories", &long),
            File("c.json", "{}"),
            File("manifest.json", ONE),
        ]);
        assert_eq!(got.expect("accepted").len(), 2);
    }

    #[test]
    fn archives_that_are_not_one_image_are_refused() {
        use Part::{File, Hard, Link};
        let two = format!("[{0},{0}]", ONE.trim_matches(['[', ']']));
        let cases: [(&[Part<'_>], &str); 15] = [
            (&[], "0 files manifest.json"),
            (
                &[File("manifest.json", ONE), File("manifest.json", ONE)],
                "2 files",
            ),
            (&[File("manifest.json", &two)], "2 images"),
            (&[File("manifest.json", "[]")], "0 images"),
            (&[File("manifest.json", "{")], "manifest.json: "),
            (&[File("d/manifest.json", ONE)], "in the wrong place"),
            (&[File("../manifest.json", ONE)], "leads out"),
            (&[Link("manifest.json", "x")], "in the wrong place"),
            (&[Hard("manifest.json", "x")], "in the wrong place"),
            (&[Link("d", ".")], "is a link"),
            (&[Link("1/layer.tar", "../../x.tar")], "is a link"),
            (&[Link("1/layer.tar", "/x.tar")], "is a link"),
            (&[Link("1/layer.tar", "../manifest.json")], "is a link"),
            (&[Link("1/layer.tar", "layer.tar")], "is a link"),
            (&[Hard("x", "y")], "not a file, folder"),
        ];
        for (parts, reason) in cases {
            let error = copied(parts).expect_err(reason);
            assert!(error.contains(reason), "{error} lacks {reason}");
        }
        let error = copy(&mut &[b'x'; 2048][..], &mut Vec::new()).expect_err("no tar");
        assert!(error.to_string().contains("not a tar archive"), "{error}");
    }
}
