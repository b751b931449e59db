//! The master: takes jobs, decides whose turn it is, keeps the truth.
