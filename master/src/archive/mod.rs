//! The archive: each job as it was accepted and as it ended, so that the queue can be rebuilt when the store's
//! data is lost.
//!
//! Records are appended to segments in the bundle store, `archive/<day>/<time>-<epoch>-<number>.jsonl`: the time
//! of the first record, the leadership that writes, and a count. Names sort by age, and no two leaders write to the
//! same segment. In a local folder a segment grows by one append and one `fdatasync` for each batch of records;
//! in a bucket each batch is a segment of its own.
//!
//! A line is one record with a checksum:
//!
//! ```text
//! {"sum":"<16 hex digits>","record":{"version":1,"kind":"accepted","at_ms":1790000000000,"job":{…}}}
//! ```
//!
//! `sum` is the beginning of the BLAKE3 digest of the bytes of `record`. `kind` is `accepted` or `finished`,
//! `at_ms` the time of the commit, `job` a [`dopq_common::record::StoredJob`]. A record may appear twice.
//! A crash may leave a last line without its end; [`read()`] skips it.
//!
//! Records are in the order of their commits, and a leader's clock starts no earlier than the latest commit. So a
//! new leader reads the time of the last record and appends what the store holds from that time on.
//!
//! An admin can clear the history ([`clear`]): the task that appends rewrites segments, so that nobody else does.

mod append;
mod clear;
mod history;
mod read;
mod record;
#[cfg(test)]
mod tests;
mod write;

pub use history::{Place, Wanted, history};
pub use read::{Damage, read};
pub use record::{Entry, Kind};
pub use write::Options;

pub(crate) use read::last_id;
pub(crate) use write::Archiver;
