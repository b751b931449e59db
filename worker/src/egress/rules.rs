//! Writes the rules as the program `nft` reads them. Pure.
//!
//! A worker has one table, which is replaced in one step. It only ever rejects: what it lets pass, other tables still
//! decide about.

use std::fmt::Write as _;

use super::allowed::Target;

/// Addresses of IPv4 that are not the Internet's (RFC 6890), the metadata address of most clouds and Azure's among them.
/// Those for documentation are nobody's.
const NOT_INTERNET: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16, 169.254.0.0/16, \
    172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/4, 240.0.0.0/4";
/// The Internet's addresses of IPv6.
const INTERNET_V6: &str = "2000::/3";
/// Those among them that contain an address of IPv4 to which a tunnel leads (Teredo, 6to4).
const TUNNELS_V6: &str = "2001::/32, 2002::/16";
/// Of the two ways to write it, the one that all versions of `nft` read.
const REJECT: &str = "reject with icmpx type admin-prohibited";

/// The rules: containers on these bridges reach the Internet and `allowed`.
///
/// Answers pass, so that ports that the engine publishes work. The rules about the direction look at each packet, so
/// they also end connections that are older than the rules.
pub(super) fn table(name: &str, interfaces: &[String], allowed: &[Target]) -> String {
    let mut lines = vec![
        format!("add table inet {name}"),
        format!("delete table inet {name}"),
        format!("table inet {name} {{"),
        "chain allowed {".to_owned(),
        "ct direction reply ct state established,related accept".to_owned(),
    ];
    lines.extend(allowed.iter().map(accept));
    lines.extend([
        "}".to_owned(),
        "chain beyond {".to_owned(),
        "jump allowed".to_owned(),
        format!("ip daddr {{ {NOT_INTERNET} }} {REJECT}"),
        format!("ip6 daddr != {INTERNET_V6} {REJECT}"),
        format!("ip6 daddr {{ {TUNNELS_V6} }} {REJECT}"),
        "}".to_owned(),
        "chain machine {".to_owned(),
        "jump allowed".to_owned(),
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept".to_owned(),
        REJECT.to_owned(),
        "}".to_owned(),
    ]);
    // Before the chains of the engine and of firewalls, which are at 0.
    lines.push("chain forward { type filter hook forward priority -5; policy accept;".to_owned());
    for interface in interfaces {
        let from = format!("iifname \"{interface}\"");
        lines.push(format!("{from} oifname \"{interface}\" {REJECT}"));
        lines.push(format!("{from} jump beyond"));
    }
    lines.push("}".to_owned());
    lines.push("chain input { type filter hook input priority -5; policy accept;".to_owned());
    for interface in interfaces {
        lines.push(format!("iifname \"{interface}\" jump machine"));
    }
    lines.push("}\n}\n".to_owned());
    lines.join("\n")
}

/// Removes the rules; without them it does nothing.
pub(super) fn removal(name: &str) -> String {
    format!("add table inet {name}\ndelete table inet {name}\n")
}

fn accept(target: &Target) -> String {
    let network = target.network;
    let family = if network.address.is_ipv4() {
        "ip"
    } else {
        "ip6"
    };
    let mut rule = format!("{family} daddr {network}");
    if let Some(port) = target.port {
        write!(rule, " meta l4proto {{ tcp, udp }} th dport {port}").unwrap_or_default();
    }
    rule.push_str(" accept");
    rule
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::egress::allowed::Network;

    fn target(address: &str, bits: Option<u8>, port: Option<u16>) -> Target {
        let address: IpAddr = address.parse().expect("an address");
        let whole = Network::from(address);
        let bits = bits.unwrap_or(whole.bits);
        Target {
            network: Network { address, bits },
            port,
        }
    }

    #[test]
    fn the_rules_are_these() {
        let bridges = ["br-0123456789ab".to_owned(), "docker0".to_owned()];
        let allowed = [
            target("10.0.0.2", None, Some(53)),
            target("fd00::2", None, Some(53)),
            target("10.1.0.0", Some(16), None),
        ];
        insta::assert_snapshot!(table("dopq-1", &bridges, &allowed));
    }

    #[test]
    fn what_is_allowed_comes_before_what_is_not_and_only_there() {
        let text = table(
            "dopq-1",
            &["br-1".to_owned()],
            &[target("10.0.0.2", None, None)],
        );
        let at = |line: &str| {
            let found = text.lines().position(|other| other == line);
            found.unwrap_or_else(|| panic!("{line} is missing:\n{text}"))
        };
        let allowed = at("ip daddr 10.0.0.2 accept");
        assert!((at("chain allowed {")..at("chain beyond {")).contains(&allowed));
        // Nothing else is let through before it was looked at.
        let accepting: Vec<_> = text
            .lines()
            .filter(|line| line.ends_with(" accept"))
            .collect();
        assert_eq!(accepting.len(), 3, "{accepting:?}");
        assert!(!removal("dopq-1").contains("chain"));
    }
}
