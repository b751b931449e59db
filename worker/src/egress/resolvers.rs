//! The name servers that containers ask from their own network.

use std::net::IpAddr;

use super::allowed::{Network, Target};

/// Where the machine's name servers stand; the second is systemd's, which Docker reads when the first names its stub.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
const PORT: u16 = 53;

/// What must be reached for names to be found.
pub(super) fn resolvers() -> Vec<Target> {
    let texts = FILES.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let mut found: Vec<_> = texts.iter().flat_map(|text| named_in(text)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Those that `text` names. One on a loopback address is asked by the engine, not by containers.
fn named_in(text: &str) -> impl Iterator<Item = Target> {
    let named = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    named
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .filter(|address| !address.is_loopback())
        .map(|address| Target {
            network: Network::from(address),
            port: Some(PORT),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_containers_ask_count() {
        let text = "# comment\nsearch lab\nnameserver 10.0.0.2\nnameserver 127.0.0.53\n\
            nameserver ::1\nnameserver fd00::2\nnameserver fe80::1%eth0\noptions edns0\n";
        let found: Vec<_> = named_in(text)
            .map(|target| (target.network.to_string(), target.port))
            .collect();
        let expected = ["10.0.0.2", "fd00::2"].map(|address| (address.to_owned(), Some(53)));
        assert_eq!(found, expected);
    }
}
