//! The bridge that jobs run on: the worker's own, on which containers cannot reach each other.

use std::collections::HashMap;

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::InspectNetworkOptions;

use super::client::Client;
use super::error::Error;
use super::plan::LABEL_CLUSTER;

/// Switches traffic between containers of a bridge.
const ICC: &str = "com.docker.network.bridge.enable_icc";

impl Client {
    /// Makes the bridge unless it is there.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a network of this name lets containers reach each other or is no
    /// bridge; and any other.
    pub async fn ensure_network(&self, name: &str, cluster: &str) -> Result<(), Error> {
        const CALL: &str = "create network";
        if self.is_isolated_bridge(name).await? {
            return Ok(());
        }
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
        match self.call(CALL, docker.create_network(request)).await {
            Ok(_) => Ok(()),
            // Another worker on this engine was faster.
            Err(Error::Conflict { message }) => match self.is_isolated_bridge(name).await? {
                true => Ok(()),
                false => Err(Error::Conflict { message }),
            },
            Err(error) => Err(error),
        }
    }

    /// Removes the bridge; one that is gone is fine.
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

    /// Whether it is there; what is there under another nature is an error.
    async fn is_isolated_bridge(&self, name: &str) -> Result<bool, Error> {
        const CALL: &str = "inspect network";
        let docker = self.docker(CALL).await?;
        let look = docker.inspect_network(name, None::<InspectNetworkOptions>);
        let found = match self.call(CALL, look).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let icc_off = found
            .options
            .unwrap_or_default()
            .get(ICC)
            .is_some_and(|value| value == "false");
        if found.driver.as_deref() == Some("bridge") && icc_off {
            Ok(true)
        } else {
            Err(Error::Conflict {
                message: format!(
                    "network {name} is there, but is no bridge with {ICC}=false; remove it or name another"
                ),
            })
        }
    }
}
