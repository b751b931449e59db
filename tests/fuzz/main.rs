//! Feeds hostile input to everything that reads what users and peers wrote.
//!
//! Each target runs for `DOPQ_FUZZ_SECONDS` (10 by default; `make fuzz` asks for more) on cases that are built from the
//! target's own structure, or bent from such a case or from a corpus of known attacks. A case fails when the reader
//! panics, breaks an invariant of the target, takes more than a second of processor time (in a debug build), makes
//! its process grow by more than 512 MiB, or ends it. The failing bytes are kept in a file, which
//! `DOPQ_FUZZ_CASE=TARGET:FILE` runs again alone.
//!
//! `DOPQ_FUZZ_SEED` chooses the sequence of cases; without it every run is the same.

mod archive;
mod array;
mod bend;
mod config;
mod dice;
mod dockerfile;
mod ignore;
mod image_tar;
mod run;
mod wire;
