//! Which symbolic links of an `/outdir` are kept: those that cannot lead out of it, wherever it is unpacked.

use std::path::{Component, Path, PathBuf};

/// Where the container saw the folder.
const OUTDIR: &str = "/outdir";

/// The target as it is stored, for a link that is `depth` folders below `/outdir`; `None` if it may lead out.
///
/// `..` is allowed only at the beginning. There it leads through the folders in which the link lies, which are no links
/// themselves. After a name it could lead out through another link.
pub(super) fn inside(target: &Path, depth: usize) -> Option<PathBuf> {
    let (ups, rest) = if target.is_absolute() {
        (depth, target.strip_prefix(OUTDIR).ok()?)
    } else {
        let ups = target
            .components()
            .take_while(|part| matches!(part, Component::ParentDir | Component::CurDir))
            .filter(|part| *part == Component::ParentDir)
            .count();
        (ups, target)
    };
    if ups > depth {
        return None;
    }
    let mut names = PathBuf::new();
    for part in rest.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir if names.as_os_str().is_empty() && !target.is_absolute() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let mut kept: PathBuf = std::iter::repeat_n("..", ups).collect();
    if !names.as_os_str().is_empty() {
        kept.push(names);
    }
    if kept.as_os_str().is_empty() {
        kept.push(".");
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_that_stay_inside_are_kept() {
        for (target, depth, kept) in [
            ("epoch=5.ckpt", 0, Some("epoch=5.ckpt")),
            ("./a/b", 0, Some("a/b")),
            ("../../blobs/abc", 2, Some("../../blobs/abc")),
            ("./../x", 1, Some("../x")),
            ("..", 1, Some("..")),
            (".", 0, Some(".")),
            ("/outdir/run/last.ckpt", 0, Some("run/last.ckpt")),
            ("/outdir/last.ckpt", 2, Some("../../last.ckpt")),
            ("/outdir", 0, Some(".")),
            ("../x", 0, None),
            ("../../x", 1, None),
            ("a/../../x", 1, None),
            ("a/../b", 5, None),
            ("/etc/passwd", 0, None),
            ("/outdir/../etc/passwd", 0, None),
            ("/outdirs/x", 0, None),
            ("/proc/self/root", 3, None),
        ] {
            let found = inside(Path::new(target), depth);
            assert_eq!(found.as_deref(), kept.map(Path::new), "{target} at {depth}");
        }
    }
}
