//! Where a `/workspace` lies in its user's folder.
//!
//! The folders of both kinds lie beside each other, so that the setting can change while jobs run: what a container sees
//! is never above what another does.

use std::path::Path;

use super::setting::WorkspacePer;
use crate::docker::{WORKSPACE, WORKSPACE_ASIDE};

/// The longest name of a job that is a folder's name as it is.
const PLAIN_MAX: usize = 100;
/// How much of another name stays readable.
const READABLE: usize = 60;

/// Where the container sees it. Many images keep their program in a folder of the same name and begin there; the mount
/// must not hide it.
pub(super) fn target(working_dir: &str) -> &'static str {
    if Path::new(working_dir).starts_with(WORKSPACE) {
        WORKSPACE_ASIDE
    } else {
        WORKSPACE
    }
}

/// The folder of a user's jobs of this name, below the user's own.
pub(super) fn parts(per: WorkspacePer, job: &str) -> Vec<String> {
    match per {
        WorkspacePer::User => vec!["files".to_owned()],
        WorkspacePer::JobName => vec!["jobs".to_owned(), folder_of(job)],
    }
}

/// A file name for a job's name, which may hold slashes and be longer. Different names have different ones: `~` is in
/// none that is taken as it is.
fn folder_of(job: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if job.len() <= PLAIN_MAX && job.chars().all(is_plain) && !job.starts_with('.') {
        return job.to_owned();
    }
    let readable: String = job
        .chars()
        .take(READABLE)
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    let hash = blake3::hash(job.as_bytes());
    let (short, _) = hash.as_bytes().split_at(8);
    format!(
        "{}~{}",
        readable.trim_start_matches('.'),
        hex::encode(short)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_name_has_a_file_name_of_its_own() {
        assert_eq!(folder_of("train-v1.2_b"), "train-v1.2_b");
        let long = "x".repeat(PLAIN_MAX + 1);
        let names = [
            "a/b",
            "a_b",
            "a b",
            "../..",
            ".",
            "..",
            "ä",
            "a~b",
            &*long,
            "train\u{202e}",
        ];
        let folders: Vec<_> = names.iter().map(|name| folder_of(name)).collect();
        for (at, folder) in folders.iter().enumerate() {
            let fits = folder.len() <= 100 && !folder.starts_with('.') && !folder.contains('/');
            assert!(fits && folder.is_ascii(), "{folder}");
            assert!(!folders[..at].contains(folder), "{folder} twice");
        }
    }

    #[test]
    fn an_image_that_works_in_workspace_keeps_it() {
        for begins in ["", "/", "/app", "/workspaces", "workspace"] {
            assert_eq!(target(begins), "/workspace", "{begins}");
        }
        for begins in ["/workspace", "/workspace/", "//workspace/src"] {
            assert_eq!(target(begins), "/volumes/workspace", "{begins}");
        }
    }

    #[test]
    fn the_kinds_lie_beside_each_other() {
        assert_eq!(parts(WorkspacePer::User, "train"), ["files"]);
        assert_eq!(parts(WorkspacePer::JobName, "train"), ["jobs", "train"]);
    }
}
