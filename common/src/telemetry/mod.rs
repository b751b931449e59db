//! What attempts use.

mod io;

pub use io::Io;
