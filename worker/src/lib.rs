//! The worker: the agent on one GPU machine.
