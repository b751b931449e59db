//! The control plane without containers: real Redis and RabbitMQ, real masters in this process, and
//! workers that only pretend to run what they are ordered to.
//!
//! What the parts promise each other when one of them is killed is proved here; containers, HTTP and the
//! command line are left to the end-to-end tests.

mod faults;
mod plane;
