//! What builds printed that ran ahead of their jobs, until a job finds the image.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Of so many builds the output is kept.
const BUILDS_MAX: usize = 32;
/// So much of each.
const BYTES_MAX: usize = 1 << 20;

/// The output of builds, by the image's name.
#[derive(Debug, Default)]
pub(super) struct Unseen(Mutex<BTreeMap<String, Vec<Bytes>>>);

impl Unseen {
    /// All that a build prints, up to a bound.
    pub(super) async fn collect(mut lines: mpsc::Receiver<Bytes>) -> Vec<Bytes> {
        let (mut kept, mut bytes, mut is_full) = (Vec::new(), 0, false);
        while let Some(line) = lines.recv().await {
            bytes += line.len();
            if bytes <= BYTES_MAX {
                kept.push(line);
            } else if !std::mem::replace(&mut is_full, true) {
                let rest = "[dopq] the rest of this build's output was not kept\n";
                kept.push(Bytes::from_static(rest.as_bytes()));
            }
        }
        kept
    }

    /// Keeps what the build of an image printed.
    pub(super) fn keep(&self, image: String, lines: Vec<Bytes>) {
        let mut unseen = self.0.lock();
        unseen.insert(image, lines);
        if unseen.len() > BUILDS_MAX {
            unseen.pop_first();
        }
    }

    /// Prints what is kept for the first job that finds the image.
    pub(super) async fn print(&self, image: &str, output: &mpsc::Sender<Bytes>) {
        let Some(lines) = self.0.lock().remove(image) else {
            return;
        };
        let told =
            "[dopq] the image was built before the job had its machine; that build printed:\n";
        let told = Bytes::from_static(told.as_bytes());
        for line in std::iter::once(told).chain(lines) {
            // A reader that is gone wants nothing more.
            if output.send(line).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collected(lines: &[Bytes]) -> Vec<Bytes> {
        let (output, receiver) = mpsc::channel(lines.len());
        for line in lines {
            output.send(line.clone()).await.expect("sent");
        }
        drop(output);
        Unseen::collect(receiver).await
    }

    #[tokio::test]
    async fn the_output_of_a_build_is_bounded_and_seen_once() {
        let long = Bytes::from(vec![b'x'; BYTES_MAX]);
        let short = Bytes::from_static(b"Step 1\n");
        let kept = collected(&[short.clone(), long.clone(), short.clone()]).await;
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert_eq!(kept.first(), Some(&short));

        let unseen = Unseen::default();
        unseen.keep("a".to_owned(), kept);
        let (output, mut lines) = mpsc::channel(10);
        unseen.print("b", &output).await;
        unseen.print("a", &output).await;
        unseen.print("a", &output).await;
        drop(output);
        let mut printed = 0;
        while lines.recv().await.is_some() {
            printed += 1;
        }
        assert_eq!(printed, 3);
    }

    #[test]
    fn only_some_builds_are_kept() {
        let unseen = Unseen::default();
        for build in 0..BUILDS_MAX + 5 {
            unseen.keep(format!("{build}"), Vec::new());
        }
        assert_eq!(unseen.0.lock().len(), BUILDS_MAX);
    }
}
