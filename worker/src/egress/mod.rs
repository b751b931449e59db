//! Limits what containers reach beyond the engine's bridges, by rules of the machine's packet filter.
//!
//! The rules name a bridge. So they hold for each container on it from its first packet, for those in ready networks too,
//! and no container can change them. They stay when the worker ends, because its containers run on. Which network a
//! container gets is left to [`docker::plan`]; other firewalls still decide about what these rules let pass.

mod allowed;
mod filter;
mod resolvers;
mod rules;

use std::path::Path;
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::settings::{Named, Scalar as _};
use parking_lot::Mutex;

use crate::docker::{self, BuildNetwork, Engine};

pub use allowed::Allowed;
pub use filter::FilterError;

/// The engine's default bridge, on which BuildKit runs its steps.
const BUILDS: &str = "bridge";
/// The kernel's settings of each interface that this process sees.
const INTERFACES: &str = "/proc/sys/net/ipv4/conf";
/// A firewall that is loaded anew drops all rules, and names and name servers get other addresses.
const EVERY: Duration = Duration::from_secs(60);
/// How long removing rules may take when the worker ends.
const CLOSING: Duration = Duration::from_secs(3);

/// What jobs reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    /// All that the machine reaches, and the machine.
    Open,
    /// The Internet, and what the administrator allows.
    Internet,
    /// Nothing.
    None,
}

impl Named for Egress {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("open", Self::Open),
        ("internet", Self::Internet),
        ("none", Self::None),
    ];
}

/// What is to hold on this machine.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Names the rules, so that each worker of a machine has its own.
    pub name: String,
    /// What jobs reach.
    pub jobs: Egress,
    /// The bridge of the jobs.
    pub bridge: String,
    /// What build steps reach.
    pub builds: BuildNetwork,
    /// What is reached beside the Internet.
    pub allowed: Vec<Allowed>,
}

/// Why containers cannot be limited.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine does not tell what is needed.
    #[error("look at the engine's network {network}")]
    Engine {
        /// Which network.
        network: String,
        /// Why.
        #[source]
        source: docker::Error,
    },
    /// The bridge is in another network namespace, or on another machine.
    #[error(
        "find {interface}, the interface of the engine's network {network}; the worker must be on the engine's machine \
         and, in a container, in the machine's network"
    )]
    Elsewhere {
        /// Which network.
        network: String,
        /// Its interface.
        interface: String,
    },
    /// Others would be limited too.
    #[error(
        "limit builds without limiting the containers that share the engine's default bridge with them: {}",
        containers.join(", ")
    )]
    Shared {
        /// Their names.
        containers: Vec<String>,
    },
    /// The rules cannot be set.
    #[error("set rules")]
    Filter(#[source] FilterError),
}

/// The rules that hold on this machine.
#[derive(Debug)]
pub struct Rules {
    engine: Engine,
    /// The name of their table.
    table: String,
    allowed: Vec<Allowed>,
    jobs: Egress,
    builds: BuildNetwork,
    /// The engine's networks from which only the Internet is reached.
    networks: Vec<String>,
    /// Why they may not stand any more.
    problem: Mutex<Option<String>>,
}

impl Rules {
    /// Sets the rules, before any container can start. Builds that may be limited are left alone where they cannot be.
    ///
    /// # Errors
    /// [`Error`] where what is wanted cannot be enforced.
    pub async fn set(engine: Engine, wanted: Wanted) -> Result<Self, Error> {
        let mut rules = Self {
            engine,
            table: table_name(&wanted.name),
            allowed: wanted.allowed,
            jobs: wanted.jobs,
            builds: wanted.builds,
            networks: Vec::new(),
            problem: Mutex::default(),
        };
        if wanted.jobs == Egress::Internet {
            rules.networks.push(wanted.bridge.clone());
        }
        if wanted.builds == BuildNetwork::Internet {
            rules.networks.push(BUILDS.to_owned());
        }
        if !rules.networks.is_empty() {
            rules.apply().await?;
        }
        if wanted.builds == BuildNetwork::Auto {
            rules.builds = match rules.limit_builds().await {
                Ok(()) => BuildNetwork::Internet,
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(
                        error,
                        "builds reach all that this machine reaches; set builds.network to choose"
                    );
                    BuildNetwork::Default
                }
            };
        }
        if rules.networks.is_empty() {
            rules.remove(&wanted.bridge).await;
        } else {
            let (table, networks) = (&rules.table, &rules.networks);
            tracing::info!(table, ?networks, "containers reach the Internet only");
        }
        Ok(rules)
    }

    /// What jobs reach.
    #[must_use]
    pub fn jobs(&self) -> Egress {
        self.jobs
    }

    /// What build steps reach; never [`BuildNetwork::Auto`].
    #[must_use]
    pub fn builds(&self) -> BuildNetwork {
        self.builds
    }

    /// The name of the rules' table, which is there while something is limited.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Why the rules may not stand any more.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Sets the rules again from time to time, until the worker ends. Calls `changed` when they cannot be set any more, and
    /// when they can again.
    pub(crate) async fn keep(&self, changed: impl Fn()) {
        while !self.networks.is_empty() {
            tokio::time::sleep(EVERY).await;
            let problem = self.apply().await.err().map(|error| {
                let error = chain(&error);
                tracing::error!(error, "failed to limit what containers reach");
                format!("it fails to limit what containers reach: {error}")
            });
            let turned = self.problem.lock().is_some() != problem.is_some();
            *self.problem.lock() = problem;
            if turned {
                changed();
            }
        }
    }

    /// Ends the rules for builds, which do not outlive the worker. Those for jobs stay.
    pub async fn close(&self) {
        let jobs = self.networks.iter().filter(|name| *name != BUILDS);
        let jobs: Vec<String> = jobs.cloned().collect();
        if jobs.len() == self.networks.len() {
            return;
        }
        let left = async {
            let rules = match &*jobs {
                [] => rules::removal(&self.table),
                jobs => self.rules(jobs).await?,
            };
            filter::apply(&rules).await.map_err(Error::Filter)
        };
        match tokio::time::timeout(CLOSING, left).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    error = chain(&error),
                    "failed to remove the rules for builds"
                );
            }
            Err(_) => tracing::warn!("the rules for builds were not removed in time"),
        }
    }

    /// Limits builds, where that concerns nobody else.
    async fn limit_builds(&mut self) -> Result<(), Error> {
        let containers = self.bridge(BUILDS).await?.containers;
        if !containers.is_empty() {
            return Err(Error::Shared { containers });
        }
        self.networks.push(BUILDS.to_owned());
        let applied = self.apply().await;
        if applied.is_err() {
            self.networks.pop();
        }
        applied
    }

    async fn apply(&self) -> Result<(), Error> {
        let rules = self.rules(&self.networks).await?;
        filter::apply(&rules).await.map_err(Error::Filter)
    }

    /// The rules for these networks.
    async fn rules(&self, networks: &[String]) -> Result<String, Error> {
        let mut interfaces = Vec::new();
        for network in networks {
            interfaces.push(self.bridge(network).await?.interface);
        }
        let mut targets = resolvers::resolvers();
        let proxies = self.engine.proxies().await;
        let proxies = proxies.iter().filter_map(|address| Allowed::proxy(address));
        let proxies: Vec<_> = proxies.collect();
        for allowed in self.allowed.iter().chain(&proxies) {
            match allowed.targets().await {
                Ok(found) => targets.extend(found),
                Err(error) => {
                    let name = allowed.show();
                    tracing::warn!(name, %error, "cannot find what containers may reach");
                }
            }
        }
        Ok(rules::table(&self.table, &interfaces, &targets))
    }

    /// The bridge, if its packets pass through the filter that this process sets.
    async fn bridge(&self, network: &str) -> Result<docker::Bridge, Error> {
        let found = self.engine.find_bridge(network).await;
        let bridge = found.map_err(|source| Error::Engine {
            network: network.to_owned(),
            source,
        })?;
        if !Path::new(INTERFACES).join(&bridge.interface).exists() {
            return Err(Error::Elsewhere {
                network: network.to_owned(),
                interface: bridge.interface,
            });
        }
        Ok(bridge)
    }

    /// Removes what an earlier setting left, where there can be something.
    async fn remove(&self, bridge: &str) {
        if self.bridge(bridge).await.is_ok()
            && let Err(error) = filter::apply(&rules::removal(&self.table)).await
        {
            // Without the program or the right to use it, this worker has set none.
            tracing::debug!(error = chain(&error), "cannot remove rules");
        }
    }
}

/// The name of a worker's table; `nft` does not read all names of workers.
fn table_name(worker: &str) -> String {
    let digest = blake3::hash(worker.as_bytes()).to_hex();
    let (short, _) = digest.split_at(16);
    format!("dopq-{short}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::fake::Fake;

    fn wanted(jobs: Egress, builds: BuildNetwork) -> Wanted {
        Wanted {
            name: "default/w1".to_owned(),
            jobs,
            bridge: "dopq".to_owned(),
            builds,
            allowed: Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_cannot_be_enforced_is_refused_unless_it_may_be_left() {
        let set = async |jobs, builds| {
            let engine = Engine::Fake(Fake::new());
            Rules::set(engine, wanted(jobs, builds)).await
        };
        for (jobs, builds) in [
            (Egress::Internet, BuildNetwork::Default),
            (Egress::Open, BuildNetwork::Internet),
            (Egress::None, BuildNetwork::Internet),
        ] {
            let refused = set(jobs, builds).await;
            assert!(
                matches!(refused, Err(Error::Engine { .. })),
                "{jobs:?} {builds:?}: {refused:?}"
            );
        }
        for jobs in [Egress::Open, Egress::None] {
            let rules = set(jobs, BuildNetwork::Auto).await.expect("left alone");
            assert_eq!(
                (rules.jobs(), rules.builds()),
                (jobs, BuildNetwork::Default)
            );
            assert_eq!(rules.problem(), None);
        }
    }

    #[test]
    fn each_worker_has_a_table_of_its_own() {
        let name = table_name("default/gpu@1");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        assert_ne!(name, table_name("default/gpu@2"));
    }
}
