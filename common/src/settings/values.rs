//! The types of settings and how each is read and shown.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use url::{Host, Url};

use super::scalar::Scalar;
use crate::bundle::config::{duration, size};
use crate::id::WorkerId;
use crate::resources::{ByteSize, MilliCpu};

/// Types with how a text is read and how a value is shown; `true` for secrets.
macro_rules! scalars {
    ($text:ident, $value:ident: $($type:ty => $read:expr, $show:expr $(, $secret:literal)?;)*) => {
        $(impl Scalar for $type {
            $(const SECRET: bool = $secret;)?

            fn read($text: &str) -> Result<Self, String> {
                $read
            }

            fn show(&self) -> String {
                let $value = self;
                $show
            }
        })*
    };
}

scalars! { text, value:
    String => filled(text), value.clone();
    PathBuf => filled(text).map(Self::from), value.display().to_string();
    SecretString => filled(text).map(Self::from), format!("{value:?}"), true;
    bool => truth(text), value.to_string();
    u16 => whole(text, Self::MAX), value.to_string();
    u32 => whole(text, Self::MAX), value.to_string();
    u64 => whole(text, Self::MAX), value.to_string();
    usize => whole(text, Self::MAX), value.to_string();
    f64 => weight(text), value.to_string();
    (String, f64) => named_weight(text), format!("{}={}", value.0, value.1);
    Duration => duration(text), in_unit(value.as_millis(), &DURATIONS, "ms");
    ByteSize => size(text, 1), in_unit(value.0.into(), &SIZES, "");
    MilliCpu => cores(text), format!("{}.{:03}", value.0 / 1000, value.0 % 1000);
    WorkerId => text.parse().map_err(|error| format!("{error}")), value.to_string();
    SocketAddr => address(text), value.to_string();
    IpAddr => ip_address(text), value.to_string();
    Share => share(text), format!("{}%", value.0 * 100.0);
    ClusterName => cluster_name(text), value.0.clone();
    BaseUrl => base_url(text), value.0.clone();
    ServiceUrl => service_url(text), value.0.to_string();
}

fn filled(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn truth(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn whole<T: FromStr + fmt::Display>(text: &str, most: T) -> Result<T, String> {
    let fault = |_| format!("{text:?} is not a whole number from 0 to {most}");
    text.trim().parse().map_err(fault)
}

fn weight(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok();
    number
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
        .ok_or_else(|| format!("{text:?} is not a number of at least 0"))
}

fn named_weight(text: &str) -> Result<(String, f64), String> {
    let fault = || format!("{text:?} is not a name and its weight, such as h100=4");
    let (name, number) = text.split_once('=').ok_or_else(fault)?;
    Ok((filled(name)?, weight(number)?))
}

fn cores(text: &str) -> Result<MilliCpu, String> {
    let milli = text
        .trim()
        .parse()
        .map_or(0.0, |cores: f64| (cores * 1000.0).round());
    if !(1.0..=1e9).contains(&milli) {
        return Err(format!(
            "{text:?} is not a number of cores, such as 16 or 7.5"
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the bounds that were just checked"
    )]
    Ok(MilliCpu(milli as u64))
}

fn ip_address(text: &str) -> Result<IpAddr, String> {
    let fault = |_| format!("{text:?} is not an address, such as 10.1.2.3");
    text.trim().parse().map_err(fault)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let named = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    named.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!("{text:?} is not an address and port, such as 127.0.0.1:7070 or [::]:7070")
    })
}

const DURATIONS: [(&str, u128); 3] = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
const SIZES: [(&str, u128); 4] = [
    ("t", 1 << 40),
    ("g", 1 << 30),
    ("m", 1 << 20),
    ("k", 1 << 10),
];

/// `count` in the largest unit that leaves a whole number.
fn in_unit(count: u128, units: &[(&str, u128)], smallest: &str) -> String {
    let unit = units
        .iter()
        .find(|(_, unit)| count > 0 && count.is_multiple_of(*unit));
    let (name, unit) = unit.copied().unwrap_or((smallest, 1));
    format!("{}{name}", count / unit)
}

/// A share of a whole, at least 0 and below 1: `5%` or `0.05`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

fn share(text: &str) -> Result<Share, String> {
    let (number, of) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text.trim(), 1.0),
    };
    let share = number.parse::<f64>().map_or(1.0, |number| number / of);
    match (0.0..1.0).contains(&share) {
        true => Ok(Share(share)),
        false => Err(format!("{text:?} is not a share; write 5% or 0.05")),
    }
}

/// A cluster's name; part of the names of queues, keys, containers and networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterName(String);

impl ClusterName {
    /// The name when none is set, which names of containers and networks leave out.
    pub const DEFAULT: &'static str = "default";
}

impl Default for ClusterName {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl Deref for ClusterName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

fn cluster_name(text: &str) -> Result<ClusterName, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let fits = text.len() <= 40
        && text.bytes().all(|b| plain(b) || b == b'-')
        && text.bytes().next().is_some_and(plain);
    match fits {
        true => Ok(ClusterName(text.to_owned())),
        false => Err(format!(
            "{text:?} is not a cluster's name: 1 to 40 of a-z, 0-9 and -, a letter or digit first"
        )),
    }
}

/// An `http` or `https` URL that paths are appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

impl Deref for BaseUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

fn base_url(text: &str) -> Result<BaseUrl, String> {
    let plain = Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    match plain {
        true => Ok(BaseUrl(text.trim_end_matches('/').to_owned())),
        false => Err(format!(
            "{text:?} is not a URL such as https://dopq.example.org:7070"
        )),
    }
}

/// The URL of a service with a host and, possibly, a password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl(Url);

impl ServiceUrl {
    /// The URL with its password.
    #[must_use]
    pub const fn reveal(&self) -> &Url {
        &self.0
    }

    /// Bounds: one of these schemes.
    pub fn with_scheme(schemes: [&'static str; 2]) -> impl Fn(&Self) -> Result<(), String> {
        move |url| match schemes.contains(&url.0.scheme()) {
            true => Ok(()),
            false => Err(format!(
                "it does not begin with {}:// or {}://",
                schemes[0], schemes[1]
            )),
        }
    }

    /// Whether the host is this machine and no other.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            // Of schemes that the web does not know, addresses are taken for names.
            Some(Host::Domain(name)) => {
                name.eq_ignore_ascii_case("localhost")
                    || name
                        .parse::<IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://(hidden)", self.0.scheme())
    }
}

fn service_url(text: &str) -> Result<ServiceUrl, String> {
    let url = Url::parse(text.trim()).ok().filter(Url::has_host);
    url.map(ServiceUrl).ok_or_else(|| {
        "it is not a URL of the form scheme://user:password@host:port/path".to_owned()
    })
}
