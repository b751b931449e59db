//! The bundle store.
