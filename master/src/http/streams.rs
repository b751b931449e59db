//! How many long answers each user has open.

use std::collections::BTreeMap;
use std::sync::Arc;

use dopq_common::api::ErrorCode;
use dopq_common::id::UserName;
use parking_lot::Mutex;

use super::error::{Error, Result};

/// The most open answers of one user. Each follower of a log or of a list has one.
const OPEN_PER_USER: usize = 64;

/// How many answers each user has open.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Arc<Mutex<BTreeMap<UserName, usize>>>,
}

/// One open answer; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Slot {
    open: Arc<Mutex<BTreeMap<UserName, usize>>>,
    user: UserName,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

impl Streams {
    /// Room for one more answer to `user`.
    pub(super) fn open(&self, user: &UserName) -> Result<Slot> {
        let mut open = self.open.lock();
        let count = open.entry(user.clone()).or_default();
        if *count >= OPEN_PER_USER {
            let message = format!("you have {OPEN_PER_USER} open streams, the maximum");
            return Err(Error::new(ErrorCode::TooManyRequests, message)
                .hint("end a dopq logs, watch or fetch that you do not need"));
        }
        *count += 1;
        Ok(Slot {
            open: Arc::clone(&self.open),
            user: user.clone(),
        })
    }
}
