//! Takes the workers' reports and turns them into events.
