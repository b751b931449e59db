//! Tests over the whole router, on a real driver with its embedded store and in-process broker.

mod access;
mod data;
mod errors;
mod jobs;
mod logs;
mod upload;
mod world;
