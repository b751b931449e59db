//! The jobs' bridge: the worker's own network, on which containers cannot reach each other.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{Network, NetworkCreateRequest};
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptions};

use super::client::Client;
use super::error::Error;
use super::plan::LABEL_CLUSTER;

/// The most tries to create the bridge, with pauses between.
const TRIES: usize = 30;

/// The option for traffic between containers of a bridge.
const ICC: &str = "com.docker.network.bridge.enable_icc";

/// The option with the name of a bridge's interface.
const INTERFACE: &str = "com.docker.network.bridge.name";

/// A network of the engine's that is a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its interface, where the engine runs.
    pub interface: String,
    /// The names of the containers on it.
    pub containers: Vec<String>,
}

impl Client {
    /// The bridge of this name.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Conflict`] if there are several or it is not a bridge; and any other.
    pub async fn find_bridge(&self, name: &str) -> Result<Bridge, Error> {
        const CALL: &str = "inspect network";
        let found = self.networks(name).await?;
        let id = match &*found {
            [only] => only.id.as_deref().unwrap_or_default(),
            [] => {
                return Err(Error::NotFound {
                    message: format!("network {name}"),
                });
            }
            [_, ..] => {
                return Err(Error::Conflict {
                    message: format!("several networks are named {name}"),
                });
            }
        };
        let docker = self.docker(CALL).await?;
        let options = None::<InspectNetworkOptions>;
        let found = self.call(CALL, docker.inspect_network(id, options)).await?;
        let options = found.options.unwrap_or_default();
        let named = options.get(INTERFACE).cloned();
        let interface = named.or_else(|| interface_of(id));
        let interface = interface
            .filter(|name| is_interface(name) && found.driver.as_deref() == Some("bridge"));
        let containers = found.containers.unwrap_or_default().into_values();
        let mut containers: Vec<_> = containers.filter_map(|found| found.name).collect();
        containers.sort_unstable();
        Ok(Bridge {
            interface: interface.ok_or_else(|| Error::Conflict {
                message: format!("network {name} is not a bridge with an interface"),
            })?,
            containers,
        })
    }

    /// Creates the bridge if it is missing.
    ///
    /// Engines before 25 accept a name twice if two workers ask at once, and list a network only some time after its
    /// creation. A worker that sees another network beside its own removes its own and looks again after a random pause,
    /// until there is one. Newer engines refuse the second, which is then found at the next look.
    ///
    /// # Errors
    /// [`Error::Conflict`] if a network of this name lets containers reach each other or is not a bridge, or if others keep
    /// creating it too; and any other.
    pub async fn ensure_network(&self, name: &str, cluster: &str) -> Result<(), Error> {
        for _ in 0..TRIES {
            match &*self.networks(name).await? {
                [] => match self.create_network(name, cluster).await {
                    Ok(made) => {
                        if let [only] = &*self.networks(name).await? {
                            return is_isolated_bridge(name, only);
                        }
                        self.remove_network(&made).await?;
                    }
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                },
                [only] => return is_isolated_bridge(name, only),
                [_, ..] => {}
            }
            tokio::time::sleep(random_pause()).await;
        }
        Err(Error::Conflict {
            message: format!("several networks are named {name}; remove all but one"),
        })
    }

    async fn create_network(&self, name: &str, cluster: &str) -> Result<String, Error> {
        const CALL: &str = "create network";
        let docker = self.docker(CALL).await?;
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([(ICC.to_owned(), "false".to_owned())])),
            labels: Some(HashMap::from([(
                LABEL_CLUSTER.to_owned(),
                cluster.to_owned(),
            )])),
            ..NetworkCreateRequest::default()
        };
        Ok(self.call(CALL, docker.create_network(request)).await?.id)
    }

    /// Removes the bridge, if it exists.
    ///
    /// # Errors
    /// Any, also while containers are on it.
    pub async fn remove_network(&self, name: &str) -> Result<(), Error> {
        const CALL: &str = "remove network";
        let docker = self.docker(CALL).await?;
        match self.call(CALL, docker.remove_network(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All networks of that name.
    async fn networks(&self, name: &str) -> Result<Vec<Network>, Error> {
        const CALL: &str = "list networks";
        let docker = self.docker(CALL).await?;
        let options = ListNetworksOptions {
            filters: Some(HashMap::from([("name".to_owned(), vec![name.to_owned()])])),
        };
        let found = self.call(CALL, docker.list_networks(Some(options))).await?;
        // The filter also matches longer names.
        let of_name = found.into_iter();
        Ok(of_name
            .filter(|found| found.name.as_deref() == Some(name))
            .collect())
    }
}

/// As the engine names the interface of a network by itself.
fn interface_of(id: &str) -> Option<String> {
    Some(format!("br-{}", id.get(..12)?))
}

/// Whether the kernel takes the name, and it means nothing else in rules.
fn is_interface(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=15).contains(&name.len()) && name.bytes().all(plain)
}

/// A pause that differs from other workers' pauses.
fn random_pause() -> Duration {
    let mut byte = [0];
    getrandom::fill(&mut byte).unwrap_or_default();
    let [byte] = byte;
    Duration::from_millis(20 + 2 * u64::from(byte))
}

/// Refuses a network with other properties.
fn is_isolated_bridge(name: &str, found: &Network) -> Result<(), Error> {
    let icc = found.options.as_ref().and_then(|options| options.get(ICC));
    if found.driver.as_deref() == Some("bridge") && icc.is_some_and(|value| value == "false") {
        return Ok(());
    }
    Err(Error::Conflict {
        message: format!(
            "network {name} exists but is not a bridge with {ICC}=false; remove it or choose another name"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_s_interface_has_the_name_that_the_engine_gives_it() {
        let id = "0123456789abcdef";
        assert_eq!(interface_of(id).as_deref(), Some("br-0123456789ab"));
        assert_eq!(interface_of("short"), None);
        for name in ["docker0", "br-0123456789ab", "dopq.1_a"] {
            assert!(is_interface(name), "{name}");
        }
        for name in ["", "a\" accept", "a-name-that-is-too-long", "x;y", "a b"] {
            assert!(!is_interface(name), "{name}");
        }
    }
}
