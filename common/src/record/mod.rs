//! What is stored: the formats of jobs, users, workers and counters.
