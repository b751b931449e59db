//! Tests over the whole router, on a real driver with its embedded store and in-process broker.

mod access;
mod arrays;
mod ask;
mod audit;
mod checkpoints;
mod control;
mod data;
mod doctor;
mod errors;
mod estimates;
mod gpus;
mod groups;
mod history;
mod jobs;
mod logs;
mod machines;
mod node_keys;
mod people;
mod prune;
mod sight;
mod streams;
mod upload;
mod usage;
mod world;
