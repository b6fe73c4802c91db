//! Addresses that a name may lead to. Judged before they are dialled and again when the connection
//! stands; only public addresses pass, unless a rule names a network in words.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// An address that is not public.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` is {what}, and no rule allows it by `allow_addresses`")]
pub struct AddressRefusal {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub what: &'static str,
}

/// Addresses of the form `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `address/bits`; the bits behind the prefix must be 0.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let bits: u8 = length.parse().ok().filter(|_| digits)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let whole = bits <= most && address.to_canonical() == address;
        (whole && masked(address, bits) == value(address)).then_some(Self { address, bits })
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && masked(address, self.bits) == value(self.address)
    }

    /// What in it no rule can allow: where a machine's own credentials are served.
    #[must_use]
    pub fn holds_metadata(&self) -> bool {
        METADATA
            .iter()
            .filter_map(|text| Self::parse(text))
            .any(|other| self.holds(other.address) || other.holds(self.address))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Link-local, and the metadata services of clouds outside it.
const METADATA: [&str; 5] = [
    "169.254.0.0/16",
    "fe80::/10",
    "fd00:ec2::254/128",
    "100.100.100.200/32",
    "168.63.129.16/32",
];

fn value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(address: IpAddr, bits: u8) -> u128 {
    let width: u8 = if address.is_ipv4() { 32 } else { 128 };
    let drop = u32::from(width.saturating_sub(bits));
    value(address)
        .checked_shr(drop)
        .map_or(0, |kept| kept.checked_shl(drop).unwrap_or(0))
}

const V4: [(&str, &str); 16] = [
    ("0.0.0.0/8", "an address of this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared address space"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local or a metadata service"),
    ("172.16.0.0/12", "private"),
    ("168.63.129.16/32", "a metadata service"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "a relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
];

/// Within 2000::/3, which is all of IPv6 that is public.
const V6: [(&str, &str); 5] = [
    ("2001::/23", "a tunnel or reserved"),
    ("2001:db8::/32", "for documentation"),
    ("2002::/16", "a tunnel"),
    ("3fff::/20", "for documentation"),
    ("2620:4f:8000::/48", "reserved"),
];

/// Passes an address that is public, or that one of `allowed` holds.
///
/// # Errors
/// [`AddressRefusal`].
pub fn judge(address: IpAddr, allowed: &[Network]) -> Result<(), AddressRefusal> {
    let canonical = address.to_canonical();
    if allowed.iter().any(|network| network.holds(canonical)) {
        return Ok(());
    }
    let what = match canonical {
        IpAddr::V4(four) => within(IpAddr::V4(four), &V4),
        IpAddr::V6(six) => judge_v6(six),
    };
    match what {
        None => Ok(()),
        Some(what) => Err(AddressRefusal { address, what }),
    }
}

fn judge_v6(address: Ipv6Addr) -> Option<&'static str> {
    let public = Network::parse("2000::/3").is_some_and(|all| all.holds(address.into()));
    if !public {
        return Some(match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => "an address of this network",
            [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
            [0xff00..=0xffff, ..] => "multicast",
            [0xfe80..=0xfebf, ..] => "link-local",
            [0xfc00..=0xfdff, ..] => "private",
            [0x64, 0xff9b, ..] => "a translated IPv4 address",
            _ => "not public",
        });
    }
    within(address.into(), &V6)
}

fn within(address: IpAddr, table: &[(&str, &'static str)]) -> Option<&'static str> {
    let mut found = table.iter().filter(|(network, _)| {
        Network::parse(network).is_none_or(|network| network.holds(address))
    });
    found.next().map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::{METADATA, Network, V4, V6, judge};

    fn passes(address: &str) -> bool {
        judge(address.parse().unwrap(), &[]).is_ok()
    }

    #[test]
    fn only_public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "192.167.1.1",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(passes(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.0.3",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "100::1",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!passes(address), "{address}");
        }
    }

    #[test]
    fn a_named_network_passes_and_nothing_beside_it() {
        let allowed = [
            Network::parse("127.0.0.1/32").unwrap(),
            Network::parse("10.1.0.0/16").unwrap(),
        ];
        let passes = |address: &str| judge(address.parse().unwrap(), &allowed).is_ok();
        assert!(passes("127.0.0.1") && passes("::ffff:127.0.0.1") && passes("10.1.255.1"));
        assert!(!passes("127.0.0.2") && !passes("10.2.0.1") && !passes("::1"));
    }

    #[test]
    fn networks_are_written_in_one_way() {
        for text in [
            "10.0.0.1/8",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "::/129",
            "x/8",
            "10.0.0.0/",
            "::ffff:10.0.0.0/104",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        let all = V4
            .iter()
            .chain(&V6)
            .map(|(network, _)| network)
            .chain(&METADATA);
        for network in all {
            assert_eq!(Network::parse(network).unwrap().to_string(), *network);
        }
        for (text, metadata) in [
            ("169.254.169.254/32", true),
            ("0.0.0.0/0", true),
            ("100.64.0.0/10", true),
            ("10.0.0.0/8", false),
            ("::/0", true),
            ("fd00::/8", true),
            ("127.0.0.0/8", false),
        ] {
            assert_eq!(
                Network::parse(text).unwrap().holds_metadata(),
                metadata,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_address_and_its_ipv6_spelling_are_judged_alike(bits in any::<u32>()) {
            let four = std::net::Ipv4Addr::from_bits(bits);
            let six = four.to_ipv6_mapped();
            prop_assert!(judge(four.into(), &[]).is_ok() == judge(six.into(), &[]).is_ok());
            prop_assert!(!four.is_private() || judge(four.into(), &[]).is_err());
            prop_assert!(!four.is_loopback() || judge(four.into(), &[]).is_err());
        }
    }
}
