//! A master killed at every point where it waits, then started again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::folder::Place;
use super::{assert_mixed_is_settled, mixed, sweep};

/// Polls so often and no more: what then hangs in the air is dropped, as the kernel drops a killed process.
struct Killed<F> {
    inner: Pin<Box<F>>,
    polls_left: u32,
}

impl<F: Future> Future for Killed<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.polls_left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.polls_left = left;
        self.inner.as_mut().poll(context).map(Some)
    }
}

/// One life of a master; dropping its runtime waits for system calls that are under way, as a kill does.
fn life<F: Future>(polls: u32, work: F) -> Option<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(Killed {
        inner: Box::pin(work),
        polls_left: polls,
    })
}

#[test]
fn killed_anywhere_no_file_is_lost_and_no_job_made_twice() {
    for keep_accepted in [true, false] {
        let mut kills = 0;
        for polls in 0.. {
            let place = Place::new();
            let work = async {
                let taker = place.taker().await;
                for (path, content) in mixed() {
                    let file = place.path("share/incoming").join(path);
                    if !file.exists() && place.driver.jobs().is_empty() {
                        place.put(path, &content);
                    }
                }
                let taker = super::Taker {
                    keep_accepted,
                    ..taker
                };
                sweep(&taker).await.expect("listed");
            };
            let finished = life(polls, work).is_some();
            life(u32::MAX, async {
                let mut taker = place.taker().await;
                taker.keep_accepted = keep_accepted;
                // Whatever the first life left, further ones settle.
                sweep(&taker).await.expect("listed");
            });
            let mut files = place.files();
            if files.is_empty() {
                // It died before it had even made its folders.
                continue;
            }
            if !keep_accepted {
                // The bundle store has them; for the check they lie in the share as well.
                for (path, content) in mixed() {
                    files.entry(format!("kept/{path}")).or_insert(content);
                }
            }
            if place.driver.jobs().is_empty() && !finished {
                // It died before the files were put there.
                continue;
            }
            assert_mixed_is_settled(&files, &place.driver);
            if finished {
                break;
            }
            kills += 1;
        }
        assert!(kills > 20, "only {kills} kills happened in mid-work");
    }
}
