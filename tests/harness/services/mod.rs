//! Private Redis and RabbitMQ servers: own folders, own ports, own passwords.
//!
//! Whoever starts one owns it; dropping it stops the server and removes its folder. Both can be killed,
//! frozen and started again on the same data, which is what the tests of faults do.

mod rabbitmq;
mod redis;
mod tls;

pub use rabbitmq::RabbitMq;
pub use redis::Redis;
pub use tls::Certificates;
