//! Addresses that stand for names in a room: loopback addresses that lead to the supervisor, each of
//! them one name's until the session ends.

use std::{collections::BTreeMap, net::Ipv4Addr};

use crate::host::HostName;

/// The most names that have an address in one session.
pub const MAX_NAMES: usize = 1024;
/// 127.64.0.0/10: loopback (RFC 1122, section 3.2.1.3) that nothing else in a room has.
const NETWORK: u32 = 0x7f40_0000;
const MASK: u32 = 0xffc0_0000;

/// Which address stands for which name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_name: BTreeMap<HostName, Ipv4Addr>,
    by_address: BTreeMap<Ipv4Addr, HostName>,
}

impl Names {
    /// The address of `name`, which keeps the one that it has; none when there is none left.
    pub fn address_of(&mut self, name: &HostName) -> Option<Ipv4Addr> {
        if let Some(address) = self.by_name.get(name) {
            return Some(*address);
        }
        if self.by_name.len() >= MAX_NAMES {
            return None;
        }
        // The network's own address stands for nothing.
        let number = u32::try_from(self.by_name.len()).ok()?.checked_add(1)?;
        let address = Ipv4Addr::from_bits(NETWORK.checked_add(number)?);
        self.by_name.insert(name.clone(), address);
        self.by_address.insert(address, name.clone());
        Some(address)
    }

    /// The name that `address` stands for.
    #[must_use]
    pub fn name_of(&self, address: Ipv4Addr) -> Option<&HostName> {
        self.by_address.get(&address)
    }
}

/// Whether an address is one that can stand for a name, whether it does or not.
#[must_use]
pub const fn is_for_names(address: Ipv4Addr) -> bool {
    address.to_bits() & MASK == NETWORK
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAMES, Names, is_for_names};
    use crate::host::HostName;

    fn name(number: usize) -> HostName {
        HostName::parse(&format!("n{number}.example.org")).unwrap()
    }

    #[test]
    fn a_name_keeps_its_address_and_shares_it_with_none() {
        let mut names = Names::default();
        let first = names.address_of(&name(1)).unwrap();
        let second = names.address_of(&name(2)).unwrap();
        assert_eq!(first.to_string(), "127.64.0.1");
        assert_ne!(first, second);
        assert_eq!(names.address_of(&name(1)), Some(first));
        assert_eq!(names.name_of(second), Some(&name(2)));
        assert_eq!(names.name_of([127, 64, 0, 3].into()), None);
    }

    #[test]
    fn names_are_bounded_and_those_that_have_an_address_keep_it() {
        let mut names = Names::default();
        for number in 0..MAX_NAMES {
            let address = names.address_of(&name(number)).unwrap();
            assert!(is_for_names(address), "{address}");
        }
        assert_eq!(names.address_of(&name(MAX_NAMES)), None);
        assert_eq!(names.address_of(&name(0)), Some([127, 64, 0, 1].into()));
    }

    #[test]
    fn other_loopback_addresses_stand_for_nothing() {
        for address in [
            [127, 0, 0, 1],
            [127, 63, 255, 255],
            [127, 128, 0, 0],
            [128, 64, 0, 1],
        ] {
            assert!(!is_for_names(address.into()), "{address:?}");
        }
        assert!(is_for_names([127, 127, 255, 255].into()));
    }
}
