//! Opens what the configuration names: the listener, the store, the broker, the bundle store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::broker::{self, Broker};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::data_dir::DataDir;
use crate::bundles::Bundles;
use crate::clock;
use crate::config::Config;
use crate::http;
use crate::management::Management;
use crate::metrics::{Board, Part, PartState};
use crate::store::{self, Store};
use dopq_common::chain::chain;

/// Between two attempts to open the store.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// Listens on `address`.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })
}

/// Reads certificate and key, where there are some.
pub(super) fn tls(config: &Config) -> Result<Option<Arc<http::Tls>>, Error> {
    let tls = &config.settings.tls;
    let files = tls.cert.as_ref().zip(tls.key.as_ref());
    let loaded = files.map(|(cert, key)| http::Tls::load(cert, key).map(Arc::new));
    loaded.transpose().map_err(Error::Tls)
}

/// Where others reach this master.
pub(super) fn url(config: &Config, address: SocketAddr) -> String {
    if let Some(url) = &config.settings.advertise_url {
        return url.to_string();
    }
    let mut address = address;
    if address.ip().is_unspecified() {
        // Only a standalone master gets here, and its worker is on this machine.
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

/// Opens the store, waiting for one that cannot be reached; `None` when asked to stop meanwhile.
pub(super) async fn store(
    config: &Config,
    data_dir: &DataDir,
    board: &Board,
    shutdown: &CancellationToken,
) -> Result<Option<Store>, Error> {
    let (name, options) = match &config.services {
        None => (
            "embedded",
            store::Options::Embedded {
                dir: data_dir.join("store"),
            },
        ),
        Some(services) => ("redis", store::Options::Redis(services.store.clone())),
    };
    let mut told = false;
    loop {
        match Store::open(options.clone()).await {
            Ok(store) => {
                board.set(clock::now(), Part::Store, PartState::Up, store.name());
                board.set_faults(Part::Store, store.faults().to_vec());
                return Ok(Some(store));
            }
            Err(error @ store::Error::Unavailable(_)) => {
                let fault = chain(&error);
                if !told {
                    tracing::warn!(error = fault, store = name, "waiting for the store");
                    told = true;
                }
                board.set(clock::now(), Part::Store, PartState::Down, fault);
            }
            Err(error) => return Err(Error::Store(error)),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(STORE_PAUSE) => {}
        }
    }
}

/// Opens the broker, which connects in the background.
pub(super) fn broker(config: &Config) -> Result<Broker, Error> {
    match &config.services {
        None => Ok(Broker::Inproc(broker::inproc::Broker::default())),
        Some(services) => broker::amqp::Broker::open(services.broker.clone())
            .map(Broker::Amqp)
            .map_err(Error::Broker),
    }
}

/// RabbitMQ's management API, where the settings name it.
pub(super) fn management(config: &Config) -> Result<Option<Management>, Error> {
    let services = config.services.as_ref();
    let url = config.settings.management.url.clone();
    let Some((services, url)) = services.zip(url) else {
        return Ok(None);
    };
    let ca = services.broker.ca_pem.as_deref();
    Management::new(url, ca)
        .map(Some)
        .map_err(Error::Management)
}

/// What the broker is, for people.
pub(super) const fn broker_name(config: &Config) -> &'static str {
    match &config.services {
        None => "in-process",
        Some(_) => "rabbitmq",
    }
}

/// Opens the bundle store.
pub(super) fn bundles(config: &Config, data_dir: &DataDir) -> Result<Bundles, Error> {
    let opened = match &config.services {
        None => {
            let folder = data_dir.join("bundles").display().to_string();
            Bundles::open(&folder, &BTreeMap::new())
        }
        Some(services) => Bundles::open(&services.bundles, &config.settings.bundles.options),
    };
    opened.map_err(Error::Bundles)
}
