//! What a worker does with its attempts: a pure state machine, like the scheduler.
