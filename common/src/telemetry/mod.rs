//! What attempts use over their time: exact means and peaks, and a short series, from any number of samples.
//!
//! A worker adds each sample to the attempt's [`Meter`]. At the end it reports what that comes to, a [`Measured`].

mod io;
mod measured;
mod meter;
#[cfg(test)]
mod tests;

pub use io::Io;
pub use measured::{Measured, POINTS_MAX, PerFigure, Series, write_down};
pub use meter::Meter;
