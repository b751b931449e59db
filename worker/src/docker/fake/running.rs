//! Runs a pretended container's program by tokio's clock.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::program::Step;
use super::state::KILLED;
use super::{Ending, Fake};
use crate::docker::types::Status;

impl Fake {
    /// Starts the program of the container `id` on a task of its own, which ends with it.
    pub(super) fn run_program(&self, id: &str, start: u32) {
        let running = Running {
            fake: self.clone(),
            id: id.to_owned(),
            start,
        };
        tokio::spawn(running.run());
    }
}

struct Running {
    fake: Fake,
    id: String,
    /// Which start of the container this is.
    start: u32,
}

impl Running {
    async fn run(self) {
        let Some((program, mut changed)) =
            self.look(|record| (record.program.clone(), record.changed.subscribe()))
        else {
            return;
        };
        for step in program.steps {
            let now = self.fake.now();
            let going = match step {
                Step::Print { stderr, bytes } => {
                    self.awake(&mut changed).await
                        && self
                            .look(|record| record.print(now, stderr, &bytes))
                            .is_some()
                }
                Step::Leave { name, bytes } => {
                    let outdir = self.look(|record| record.outdir()).flatten();
                    let file = outdir.map(|outdir| outdir.join(name));
                    let left = file.is_some_and(|file| std::fs::write(file, bytes).is_ok());
                    if !left {
                        self.look(|record| record.end(now, 1, false));
                    }
                    left
                }
                Step::Sleep(duration) => self.sleep(duration, &mut changed).await,
            };
            if !going {
                return;
            }
        }
        if !self.awake(&mut changed).await {
            return;
        }
        let now = self.fake.now();
        self.look(|record| match program.ending {
            Ending::Exit(code) => record.end(now, code, false),
            Ending::OutOfMemory { late } => {
                record.oom_noted = true;
                record.end(now, KILLED, !late);
            }
            Ending::Never => {}
        });
    }

    /// Reaches the container while this very start of it is alive.
    fn look<T>(&self, act: impl FnOnce(&mut super::state::Record) -> T) -> Option<T> {
        let mut state = self.fake.shared.state.lock();
        let record = state.find(&self.id).ok()?;
        let alive = record.starts == self.start && record.seen.status.is_alive();
        alive.then(|| act(record))
    }

    /// Sleeps, not counting the time that it is frozen; false when it has ended meanwhile.
    async fn sleep(&self, duration: Duration, changed: &mut watch::Receiver<u64>) -> bool {
        let mut left = duration;
        while !left.is_zero() {
            if !self.awake(changed).await {
                return false;
            }
            let since = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(left) => left = Duration::ZERO,
                more = changed.changed() => {
                    if more.is_err() {
                        return false;
                    }
                    left = left.saturating_sub(since.elapsed());
                }
            }
        }
        true
    }

    /// Waits while it is frozen; false when it has ended.
    async fn awake(&self, changed: &mut watch::Receiver<u64>) -> bool {
        loop {
            match self.look(|record| record.seen.status) {
                None => return false,
                Some(Status::Paused) => {
                    if changed.changed().await.is_err() {
                        return false;
                    }
                }
                Some(
                    Status::Created
                    | Status::Running
                    | Status::Restarting
                    | Status::Removing
                    | Status::Exited
                    | Status::Dead,
                ) => return true,
            }
        }
    }
}
