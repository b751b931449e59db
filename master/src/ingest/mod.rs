//! Takes bundles from a watched folder or bucket: `incoming/` becomes `accepted/` or `rejected/`.
//!
//! ```text
//! incoming/<user>/NAME.zip   what a user put there; incoming/NAME.zip only with trust_executor_name
//! accepted/NAME.json         the receipt with the job's id, and NAME.zip beside it
//! rejected/NAME.zip          what was refused, and NAME.reason.json with every reason
//! ```
//!
//! A file is taken once it has stood still for two looks. The order is always: our own copy, the bundle store,
//! the commit of job and mark, the receipt, and only then the source is moved; so a crash anywhere leaves the
//! file in `incoming/`, and taking it again gives the same job by its mark (path, size and etag). `looks`
//! decides when, `take` does one file, `share` is the only part that touches the place itself, `run` is the
//! loop. Only zips that lie directly in a user's folder are taken; anything else stays where it is, counted.
//!
//! The mark is path, size and etag, which in a bucket follow from the content: the same zip under the same
//! name is the same job until its mark expires. In a folder every copy of a file is a new one.

mod looks;
mod receipt;
mod run;
mod share;
mod space;
mod submit;
mod take;
#[cfg(test)]
mod tests;

pub use run::{Options, Parts, run};
pub use share::Error;
pub use submit::Submit;
