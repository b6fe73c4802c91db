//! What calls are taken for, where no running process is needed to tell.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_confine::{Loopback, SocketAddress, SocketKind};
use proofroom_egress::HostName;
use proofroom_record::event::Attempt;

use crate::names::Directory;

use super::{Reach, attempt_by_name, kind_of_change, stranger};

fn reach(loopback: Loopback) -> Reach {
    Reach {
        socket: PathBuf::from("/run/proofroom/agent.sock"),
        loopback,
        names: None,
    }
}

fn internet(text: &str) -> SocketAddress {
    SocketAddress::Internet(text.parse().unwrap())
}

fn unix(path: &str) -> SocketAddress {
    SocketAddress::UnixPath(path.into())
}

#[test]
fn the_channel_is_the_one_address_on_the_net() {
    let reach = reach(Loopback::ChannelOnly);
    for open in ["127.0.0.1:8377", "[::1]:8377", "[::ffff:127.0.0.1]:8377"] {
        assert_eq!(reach.connecting(&internet(open)), None, "{open}");
    }
    for closed in [
        "127.0.0.1:22",
        "0.0.0.0:8377",
        "127.1.2.3:8377",
        "1.1.1.1:8377",
        "169.254.169.254:80",
        "[fe80::1]:8377",
        "[::ffff:10.0.0.1]:8377",
    ] {
        let told = reach.connecting(&internet(closed));
        assert_eq!(told, Some(format!("ip {closed}")), "{closed}");
    }
    for kind in [SocketKind::Datagram, SocketKind::Other] {
        assert!(!reach.may_bind(&internet("127.0.0.1:4444"), kind));
        assert!(!reach.may_bind(&internet("0.0.0.0:0"), kind));
        assert!(!reach.may_bind(&unix("/run/proofroom/mine.sock"), kind));
        for own in ["/tmp/x.sock", "x.sock", "/workspace/x.sock"] {
            assert!(reach.may_bind(&unix(own), kind), "{own}");
        }
    }
}

#[test]
fn names_open_the_resolver_and_their_own_addresses() {
    for loopback in [Loopback::ChannelOnly, Loopback::TestServers] {
        let directory = Directory::new([443].into());
        let name = HostName::parse("api.example.org").unwrap();
        assert!(directory.address_of(&name).is_some());
        let reach = Reach {
            names: Some(Arc::new(directory)),
            ..reach(loopback)
        };
        for open in ["127.0.0.1:53", "127.64.0.1:443", "127.0.0.1:8377"] {
            assert_eq!(reach.connecting(&internet(open)), None, "{open}");
        }
        let elsewhere = reach.connecting(&internet("127.64.0.1:22"));
        assert_eq!(elsewhere.as_deref(), Some("name api.example.org:22"));
        for closed in ["127.64.0.2:443", "1.1.1.1:53", "10.0.0.1:443"] {
            let told = reach.connecting(&internet(closed));
            assert_eq!(told, Some(format!("ip {closed}")), "{closed}");
        }
        let servers = loopback == Loopback::TestServers;
        let answer = internet("0.0.0.0:0");
        assert!(reach.may_bind(&answer, SocketKind::Datagram));
        for (address, kind) in [
            ("0.0.0.0:0", SocketKind::Other),
            ("127.64.0.1:443", SocketKind::Other),
            ("127.0.0.1:5353", SocketKind::Datagram),
        ] {
            assert_eq!(reach.may_bind(&internet(address), kind), servers);
        }
    }
}

#[test]
fn test_servers_may_be_reached_where_they_are_allowed_and_only_here() {
    let reach = reach(Loopback::TestServers);
    assert_eq!(reach.connecting(&internet("127.0.0.1:4444")), None);
    assert!(reach.may_bind(&internet("0.0.0.0:4444"), SocketKind::Other));
    assert!(reach.connecting(&internet("10.0.0.1:4444")).is_some());
}

#[test]
fn sockets_with_names_are_the_agents_own_or_told() {
    let reach = reach(Loopback::ChannelOnly);
    for quiet in [
        "/run/proofroom/agent.sock",
        "/tmp/x.sock",
        "/workspace/a/b",
        "/var/run/nscd/socket",
        "relative.sock",
    ] {
        assert_eq!(reach.connecting(&unix(quiet)), None, "{quiet}");
    }
    for told in ["/var/run/docker.sock", "/run/proofroom/other", "/tmpx/y"] {
        let name = Some(format!("unix {told}"));
        assert_eq!(reach.connecting(&unix(told)), name);
    }
    let vsock = SocketAddress::Other { family: 40 };
    assert_eq!(reach.connecting(&vsock), Some("family 40".to_owned()));
}

#[test]
fn a_process_that_the_caller_does_not_see_is_a_stranger() {
    let sees = |number| number == 7;
    let target = "/proc/9/environ";
    let expected = Attempt::Process {
        target: target.to_owned(),
    };
    assert_eq!(stranger(Path::new(target), sees), Some(expected));
    for known in [
        "/proc/7/maps",
        "/proc/1/mem",
        "/proc/self/maps",
        "/proc/net",
        "/etc/9/x",
    ] {
        assert_eq!(stranger(Path::new(known), sees), None, "{known}");
    }
}

#[test]
fn refused_calls_are_told_by_what_they_are_for() {
    for call in ["ptrace", "process_vm_readv", "kill", "pidfd_open"] {
        let expected = Attempt::Process {
            target: call.to_owned(),
        };
        assert_eq!(attempt_by_name(call), expected);
    }
    for call in ["mount", "umount2", "chroot"] {
        let expected = Attempt::File {
            path: call.to_owned(),
            access: "mount".to_owned(),
        };
        assert_eq!(attempt_by_name(call), expected);
    }
    for call in ["setuid", "bpf", "compat-102", "syscall-999"] {
        let expected = Attempt::Syscall {
            name: call.to_owned(),
        };
        assert_eq!(attempt_by_name(call), expected);
    }
    assert_eq!(kind_of_change("fchmodat2"), "chmod");
    assert_eq!(kind_of_change("lchown"), "chown");
    assert_eq!(kind_of_change("lremovexattr"), "xattr");
    for call in ["utimensat", "futimesat", "utime", "utimes"] {
        assert_eq!(kind_of_change(call), "times", "{call}");
    }
}
