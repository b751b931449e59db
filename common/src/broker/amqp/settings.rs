//! RabbitMQ as masters and workers configure it.

use std::path::PathBuf;
use std::time::Duration;

use super::options::Options;
use crate::broker::OptionsError;
use crate::settings::{Layers, ServiceUrl, at_least, between, join};

crate::settings! {
    /// RabbitMQ as configured.
    #[derive(Debug, Clone)]
    pub struct Settings {
        /// RabbitMQ: `amqp[s]://user:password@host:port/vhost`
        pub url: Option<ServiceUrl> = None, ServiceUrl::with_scheme(["amqp", "amqps"]);
        /// Prefix of the names of queues and exchanges; the same on masters and workers
        pub prefix: String = "dopq".to_owned();
        /// How often a message may be redelivered before it becomes a dead letter; the same on masters and workers
        pub delivery_limit: u32 = 20, between(1, 1_000_000);
        /// How long to wait for the broker's confirmation of a message before sending it again
        pub confirm_timeout: Duration = Duration::from_secs(5), at_least(Duration::from_secs(1));
        /// How many messages to take from the broker before they are committed
        pub prefetch: u16 = 64, at_least(1);
        /// PEM file of additional CA certificates for amqps
        pub ca: Option<PathBuf> = None;
    }
}

impl Settings {
    /// The options for `cluster`; `None` when something is missing or wrong. What is wrong is a mistake of the settings in
    /// the table `name`.
    pub fn options(
        &self,
        layers: &mut Layers,
        name: &str,
        cluster: &str,
        client: String,
    ) -> Option<Options> {
        let ca = self.ca.as_deref();
        let mut options = Options::new(self.url.as_ref()?.reveal().as_str(), cluster, client);
        options.ca_pem = ca.and_then(|path| layers.content(&join(name, "ca"), path));
        options.prefix = self.prefix.clone();
        options.delivery_limit = self.delivery_limit;
        options.prefetch = self.prefetch;
        options.confirm_within = self.confirm_timeout;
        options.publish_within = self.confirm_timeout * 3;
        let refused = |error: OptionsError| {
            let key = match error {
                OptionsError::Url | OptionsError::Guest { .. } => join(name, "url"),
                OptionsError::Prefix(_) => join(name, "prefix"),
                OptionsError::Cluster(_) => "cluster".to_owned(),
            };
            layers.refuse(&key, error.to_string());
        };
        options.check().map_err(refused).ok()?;
        Some(options)
    }
}
