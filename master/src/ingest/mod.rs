//! Takes bundles from a watched folder or bucket: `incoming/` becomes `accepted/` or `rejected/`.
//!
//! ```text
//! incoming/<user>/NAME.zip   what a user put there; incoming/NAME.zip only with trust_executor_name
//! incoming/<user>/NAME.tar   likewise, an image of `docker save` with its configuration in it, or in NAME.json beside it
//! accepted/NAME.json         the receipt with the job's id, and NAME.zip beside it
//! rejected/NAME.zip          what was refused, and NAME.reason.json with every reason
//! ```
//!
//! Ingest takes a file once it is unchanged between two looks. The order is always: private copy, bundle store,
//! commit of job and mark, receipt, move. After a crash at any point the file is still in `incoming/`, and
//! taking it again gives the same job by its mark (path, size and etag). `looks` decides when, `take` handles
//! one file, `share` accesses the share, `run` is the loop. Only zips and images directly in a user's folder are taken;
//! everything else stays and is counted.
//!
//! In a bucket the etag follows from the content, so the same zip under the same name is the same job until its
//! mark expires. In a folder every copy is a new file. A file whose examination kills the process twice is
//! refused (`examined`).

mod examined;
mod looks;
mod receipt;
mod run;
mod share;
mod space;
mod submit;
mod take;
#[cfg(test)]
mod tests;

pub use run::{Parts, run};
pub use share::Error;
pub use submit::Submit;
