//! How single values are understood.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use url::{Host, Url};

pub(super) fn text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

pub(super) fn number<T: FromStr + PartialOrd + std::fmt::Display>(
    text: &str,
    at_least: T,
) -> Result<T, String> {
    match text.trim().parse::<T>() {
        Ok(number) if number >= at_least => Ok(number),
        Ok(_) | Err(_) => Err(format!(
            "{text:?} is not a whole number of {at_least} or more"
        )),
    }
}

/// A share such as `5%` or `0.05`, at least 0 and below 1.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let fault = || format!("{text:?} is not a share; write 5% or 0.05");
    let (number, of) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text.trim(), 1.0),
    };
    let ratio = number.parse::<f64>().map_err(|_| fault())? / of;
    match (0.0..1.0).contains(&ratio) {
        true => Ok(ratio),
        false => Err(fault()),
    }
}

/// A number of at least 0, with or without a fraction.
pub(super) fn weight(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a number of at least 0")),
    }
}

/// Weights by name, such as `h100=4,a100=2`.
pub(super) fn weights(text: &str) -> Result<Vec<(String, f64)>, String> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not a model and its weight, such as h100=4"))?;
            Ok((name.trim().to_owned(), weight(value)?))
        })
        .collect()
}

pub(super) fn cluster(text: &str) -> Result<String, String> {
    let fits = (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    match fits {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} is not a cluster's name: 1 to 64 of a-z, 0-9 and -, a letter or digit first"
        )),
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let named = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    let numeric = named.as_deref().unwrap_or(text);
    numeric.parse().map_err(|_| {
        format!("{text:?} is not an address and port, such as 127.0.0.1:7070 or [::]:7070")
    })
}

/// An address without path, as it is put before paths.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    let fault = || format!("{text:?} is not an address such as https://dopq.example.org:7070");
    let url = Url::parse(text).map_err(|_| fault())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match plain {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(fault()),
    }
}

/// A URL with one of `schemes`. It may hold a password, so it is never repeated.
pub(super) fn secret_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(text.trim()).ok();
    url.filter(|url| schemes.contains(&url.scheme()) && url.has_host())
        .ok_or_else(|| {
            let schemes = schemes
                .iter()
                .map(|scheme| format!("{scheme}://"))
                .collect::<Vec<_>>();
            format!(
                "it is not a URL with a host that begins with {}",
                schemes.join(" or ")
            )
        })
}

/// Whether the URL's host is this machine and no other.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // Of schemes that the web does not know, addresses are taken for names.
        Some(Host::Domain(name)) => {
            name.eq_ignore_ascii_case("localhost")
                || name
                    .parse::<IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}
