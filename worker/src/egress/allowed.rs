//! What containers reach beside the Internet: addresses, networks or names, each with or without a port.

use std::fmt;
use std::net::IpAddr;

use dopq_common::settings::Scalar;
use url::Url;

/// Addresses and ports that the administrator lets containers reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Network(Network),
    /// Looked up whenever the rules are set.
    Name(String),
}

/// Addresses with a common prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Network {
    pub(super) address: IpAddr,
    pub(super) bits: u8,
}

/// Where packets may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) network: Network,
    /// Of TCP and UDP; `None` for everything.
    pub(super) port: Option<u16>,
}

impl Scalar for Allowed {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not an address, a network or a name, with or without a port, such as 10.1.0.0/16, \
                 10.1.2.3:3128, [fd00::1]:53 or proxy.lab:3128"
            )
        };
        let text = text.trim();
        let (host, port) = split(text).ok_or_else(wrong)?;
        let port = port.map(str::parse).transpose().map_err(|_| wrong())?;
        if port == Some(0) {
            return Err(wrong());
        }
        let host = match network(host) {
            Some(network) => Host::Network(network),
            None if is_name(host) => Host::Name(host.to_owned()),
            None => return Err(wrong()),
        };
        Ok(Self { host, port })
    }

    fn show(&self) -> String {
        let host = match &self.host {
            Host::Network(network) if self.port.is_some() && network.address.is_ipv6() => {
                format!("[{network}]")
            }
            Host::Network(network) => network.to_string(),
            Host::Name(name) => name.clone(),
        };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }
}

impl Allowed {
    /// A proxy, by its address in the Docker configuration.
    pub(super) fn proxy(address: &str) -> Option<Self> {
        let url = match address.contains("://") {
            true => Url::parse(address),
            false => Url::parse(&format!("http://{address}")),
        };
        let url = url.ok()?;
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        Self::read(&format!("{host}:{port}")).ok()
    }

    /// Where packets may go, as names are looked up now.
    ///
    /// # Errors
    /// The lookup's.
    pub(super) async fn targets(&self) -> std::io::Result<Vec<Target>> {
        let port = self.port;
        let name = match &self.host {
            Host::Network(network) => {
                let network = *network;
                return Ok(vec![Target { network, port }]);
            }
            Host::Name(name) => name.as_str(),
        };
        let found = tokio::net::lookup_host((name, 0)).await?;
        let targets = found.map(|address| Target {
            network: Network::from(address.ip()),
            port,
        });
        Ok(targets.collect())
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            bits: most_bits(address),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == most_bits(self.address) {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}/{}", self.address, self.bits)
    }
}

const fn most_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The host and the port. An address of IPv6 with a port is in brackets.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(port))),
        Some(_) | None => Some((text, None)),
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = most_bits(address);
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
    (bits <= most).then_some(Network { address, bits })
}

/// Whether it may be a host's name. Digits and dots alone are a mistyped address.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=253).contains(&text.len())
        && text.bytes().all(plain)
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_network_or_a_name_with_or_without_a_port() {
        for text in [
            "10.1.0.0/16",
            "10.1.2.3",
            "10.1.2.3:3128",
            "10.1.0.0/16:443",
            "fd00::/8",
            "fd00::1",
            "[fd00::1]:53",
            "[fd00::/8]:53",
            "proxy.lab",
            "proxy-1.lab:3128",
        ] {
            let read = Allowed::read(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(read.show(), text);
        }
        let full = Allowed::read(" 10.1.2.3/32 ").expect("an address");
        assert_eq!(full.show(), "10.1.2.3");
        for text in [
            "",
            "10.1.2",
            "10.1.2.3/33",
            "fd00::/129",
            "10.1.2.3:0",
            "10.1.2.3:99999",
            "10.1.2.3:",
            "[fd00::1]53",
            "[fd00::1",
            "http://proxy:3128",
            "proxy lab",
            "-proxy",
            "10.0.0.1; accept",
        ] {
            assert!(Allowed::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_its_port() {
        for (address, target) in [
            ("http://proxy.lab:3128", "proxy.lab:3128"),
            ("http://anna:secret@10.1.2.3:3128/", "10.1.2.3:3128"),
            ("http://proxy.lab", "proxy.lab:80"),
            ("https://[fd00::1]", "[fd00::1]:443"),
            ("proxy.lab:3128", "proxy.lab:3128"),
        ] {
            let read = Allowed::proxy(address).map(|allowed| allowed.show());
            assert_eq!(read.as_deref(), Some(target), "{address}");
        }
        for address in ["", "socks5://proxy", "http://"] {
            assert_eq!(Allowed::proxy(address), None, "{address}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let of = async |text: &str| {
            let allowed = Allowed::read(text).expect("sound");
            allowed.targets().await.map(|mut targets| {
                targets.retain(|target| target.network.address.is_ipv4());
                targets
            })
        };
        let loopback = Target {
            network: Network::from(IpAddr::from([127, 0, 0, 1])),
            port: Some(3128),
        };
        assert_eq!(of("localhost:3128").await.expect("known"), [loopback]);
        assert!(of("no-such-name.invalid").await.is_err());
    }
}
