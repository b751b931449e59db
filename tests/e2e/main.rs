//! The whole path, through the programs as users run them: real processes, real engine, real services.

mod arrays;
mod bundles;
mod checkpoints;
mod cluster;
mod crashes;
mod documents;
mod ends;
mod exec;
mod forward;
mod hostile;
mod logs;
mod networks;
mod outcomes;
mod prefetch;
mod share;
mod volumes;
mod walls;
