//! The message broker port: orders, reports and live traffic, over RabbitMQ or in process.
