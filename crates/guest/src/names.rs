//! Where names lead in the room: which loopback address stands for which name, on which ports, and
//! what of it a command may connect to.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use proofroom_confine::{CHANNEL_PORT, NameService, RESOLVER_PORT};
use proofroom_egress::{Endpoint, HostName, Names, names::is_for_names};

/// The names of one session.
#[derive(Debug)]
pub struct Directory {
    names: Mutex<Names>,
    ports: BTreeSet<u16>,
}

/// Where a command wants to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To the resolver, or to a name on a port that some rule allows.
    ToTheSupervisor,
    /// To an address that stands for names, and to nothing there; in words for an event.
    ToNothing(String),
    /// Elsewhere: names have nothing to do with it.
    Elsewhere,
}

impl Directory {
    /// No name yet, on these ports. The room's own two are only what they are.
    #[must_use]
    pub fn new(mut ports: BTreeSet<u16>) -> Self {
        ports.retain(|port| ![CHANNEL_PORT, RESOLVER_PORT].contains(port));
        Self {
            names: Mutex::default(),
            ports,
        }
    }

    /// The ports.
    #[must_use]
    pub const fn ports(&self) -> &BTreeSet<u16> {
        &self.ports
    }

    /// The address of a name; none when there is none left.
    #[must_use]
    pub fn address_of(&self, name: &HostName) -> Option<Ipv4Addr> {
        self.names().address_of(name)
    }

    /// What a connection to this address of the supervisor's is for.
    #[must_use]
    pub fn endpoint(&self, address: SocketAddr) -> Option<Endpoint> {
        let IpAddr::V4(ip) = address.ip().to_canonical() else {
            return None;
        };
        let host = self.names().name_of(ip)?.clone();
        let port = address.port();
        Some(Endpoint { host, port })
    }

    /// What a command's connection to `address` would meet.
    #[must_use]
    pub fn leads(&self, address: SocketAddr) -> Leads {
        let IpAddr::V4(ip) = address.ip().to_canonical() else {
            return Leads::Elsewhere;
        };
        let port = address.port();
        if (ip, port) == (Ipv4Addr::LOCALHOST, RESOLVER_PORT) {
            return Leads::ToTheSupervisor;
        }
        if !is_for_names(ip) {
            return Leads::Elsewhere;
        }
        match self.endpoint(address) {
            Some(_) if self.ports.contains(&port) => Leads::ToTheSupervisor,
            Some(endpoint) => Leads::ToNothing(format!("name {endpoint}")),
            None => Leads::ToNothing(format!("ip {address}")),
        }
    }

    /// What the confinement must leave open.
    #[must_use]
    pub fn service(&self) -> NameService {
        let ports = self.ports.iter().copied().collect();
        NameService::Present { ports }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proofroom_confine::NameService;
    use proofroom_egress::HostName;

    use super::{Directory, Leads};

    fn directory() -> Directory {
        let directory = Directory::new([53, 80, 443, 8377].into());
        let name = HostName::parse("api.example.org").unwrap();
        assert_eq!(directory.address_of(&name), Some([127, 64, 0, 1].into()));
        directory
    }

    fn leads(address: &str) -> Leads {
        directory().leads(address.parse().unwrap())
    }

    #[test]
    fn a_name_leads_to_the_supervisor_on_ports_of_rules() {
        for open in ["127.64.0.1:443", "[::ffff:127.64.0.1]:80", "127.0.0.1:53"] {
            assert_eq!(leads(open), Leads::ToTheSupervisor, "{open}");
        }
        for (closed, told) in [
            ("127.64.0.1:22", "name api.example.org:22"),
            ("127.64.0.1:53", "name api.example.org:53"),
            ("127.64.0.1:8377", "name api.example.org:8377"),
            ("127.64.0.2:443", "ip 127.64.0.2:443"),
            ("127.127.255.255:80", "ip 127.127.255.255:80"),
        ] {
            assert_eq!(leads(closed), Leads::ToNothing(told.to_owned()));
        }
        for elsewhere in ["127.0.0.1:443", "[::1]:53", "127.0.0.53:53", "8.8.8.8:53"] {
            assert_eq!(leads(elsewhere), Leads::Elsewhere, "{elsewhere}");
        }
    }

    #[test]
    fn a_connection_is_for_the_name_of_its_address() {
        let directory = directory();
        let endpoint = |address: &str| directory.endpoint(address.parse().unwrap());
        let found = endpoint("127.64.0.1:80").unwrap();
        assert_eq!(found.to_string(), "api.example.org:80");
        assert_eq!(endpoint("127.0.0.1:80"), None);
        assert_eq!(endpoint("[::1]:80"), None);
    }

    #[test]
    fn the_rooms_own_ports_are_none_of_names() {
        let ports = vec![80, 443];
        assert_eq!(directory().service(), NameService::Present { ports });
    }
}
