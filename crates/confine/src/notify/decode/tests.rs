//! Decoding of this process's own memory, and of garbage.

use std::{ffi::CString, net::SocketAddr, path::Path};

use super::{Call, FinalLink, NATIVE_ARCH, RawNotification, SocketAddress, decode, parse_address};

fn raw(number: libc::c_long, args: [u64; 6]) -> RawNotification {
    RawNotification {
        pid: std::process::id(),
        number: i32::try_from(number).unwrap(),
        arch: NATIVE_ARCH,
        args,
        ..RawNotification::default()
    }
}

#[test]
fn a_path_is_read_with_the_directory_it_is_relative_to() {
    let path = CString::new("some/where").unwrap();
    let at = path.as_ptr() as u64;
    let Call::Open { path, flags } =
        decode(&raw(libc::SYS_openat, [0xffff_ff9c, at, 0o101, 0, 0, 0])).call
    else {
        panic!("not an open")
    };
    assert_eq!(path.given, Path::new("some/where"));
    assert_eq!(path.base, std::env::current_dir().unwrap());
    assert_eq!(flags, 0o101);
}

#[test]
fn garbage_pointers_are_unreadable_and_nothing_worse() {
    let garbage = [
        1,
        0xfff,
        8,
        u64::MAX,
        u64::MAX - 7,
        0x8000_0000_0000,
        1 << 63,
        0x7fff_ffff_f000,
    ];
    for number in 0..470 {
        for pointer in garbage {
            let notification = decode(&raw(number, [pointer; 6]));
            assert!(
                !matches!(notification.call, Call::Open { .. } | Call::Execute { .. }),
                "{notification:?}"
            );
        }
    }
    let Call::Unreadable { .. } = decode(&raw(libc::SYS_connect, [3, 1, 16, 0, 0, 0])).call else {
        panic!("an address at 1 was read")
    };
}

#[test]
fn a_string_without_an_end_is_unreadable() {
    let long = vec![b'a'; 10_000];
    let at = long.as_ptr() as u64;
    let Call::Unreadable { reason } =
        decode(&raw(libc::SYS_openat, [0xffff_ff9c, at, 0, 0, 0, 0])).call
    else {
        panic!("read")
    };
    assert!(reason.ends_with("the string is too long"), "{reason}");
}

#[test]
fn addresses_are_taken_apart_and_short_ones_are_not_guessed() {
    let mut v4 = 2_u16.to_ne_bytes().to_vec();
    assert_eq!(parse_address(&v4), SocketAddress::Other { family: 2 });
    v4.extend([0x20, 0xb9, 127, 0, 0, 1]);
    let expected: SocketAddr = "127.0.0.1:8377".parse().unwrap();
    assert_eq!(parse_address(&v4), SocketAddress::Internet(expected));
    assert_eq!(
        parse_address(&[1, 0, 0, b'x']),
        SocketAddress::UnixAbstract(b"x".to_vec())
    );
    assert_eq!(
        parse_address(&[1, 0, b'/', b'x', 0, 9]),
        SocketAddress::UnixPath("/x".into())
    );
    assert_eq!(parse_address(&[40, 0]), SocketAddress::Other { family: 40 });
    assert_eq!(parse_address(&[]), SocketAddress::Other { family: 0 });
}

#[test]
fn identities_that_the_agent_has_are_ordinary_and_others_are_not() {
    let keep = u64::from(u32::MAX);
    for (number, arguments) in [
        (libc::SYS_setuid, [1000, 0, 0, 0, 0, 0]),
        (libc::SYS_setresuid, [1000, keep, 1000, 0, 0, 0]),
        (libc::SYS_setregid, [keep, keep, 0, 0, 0, 0]),
        (libc::SYS_setfsuid, [keep, 0, 0, 0, 0, 0]),
        (libc::SYS_fchown, [0, 1000, keep, 0, 0, 0]),
    ] {
        assert_eq!(decode(&raw(number, arguments)).call, Call::Ordinary);
    }
    for (number, arguments) in [
        (libc::SYS_setuid, [0; 6]),
        (libc::SYS_setresuid, [1000, 0, 1000, 0, 0, 0]),
        (libc::SYS_setgroups, [0; 6]),
        (libc::SYS_capset, [0; 6]),
        (libc::SYS_fchown, [0, 0, keep, 0, 0, 0]),
        // the kernel looks at 32 bits
        (libc::SYS_setuid, [1 << 32, 0, 0, 0, 0, 0]),
    ] {
        let notification = decode(&raw(number, arguments));
        assert_eq!(notification.call, Call::Identity, "{number}");
        assert!(!notification.call.is_allowable());
    }
}

#[test]
fn a_change_by_descriptor_is_a_change_of_the_file() {
    let file = std::fs::File::open("/etc/passwd").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let number = u64::try_from(number).unwrap();
    let Call::Change { path, .. } = decode(&raw(libc::SYS_fchmod, [number, 0, 0, 0, 0, 0])).call
    else {
        panic!("no change")
    };
    assert_eq!(path.absolute(), Path::new("/etc/passwd"));
    let (pipe, _other) = rustix::pipe::pipe().unwrap();
    let number = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&pipe)).unwrap();
    let call = decode(&raw(libc::SYS_fchmod, [number, 0, 0, 0, 0, 0])).call;
    assert_eq!(call, Call::Ordinary);
}

#[test]
fn a_change_of_a_link_itself_is_not_one_of_what_it_says() {
    let path = CString::new("/some/link").unwrap();
    let at = path.as_ptr() as u64;
    let here = 0xffff_ff9c;
    let no_follow = 0x100;
    let own = 1000;
    for (number, arguments, expected) in [
        (
            libc::SYS_utimensat,
            [here, at, 0, 0, 0, 0],
            FinalLink::Followed,
        ),
        (
            libc::SYS_utimensat,
            [here, at, 0, no_follow, 0, 0],
            FinalLink::Kept,
        ),
        (
            libc::SYS_fchownat,
            [here, at, own, own, 0, 0],
            FinalLink::Followed,
        ),
        (
            libc::SYS_fchownat,
            [here, at, own, own, no_follow, 0],
            FinalLink::Kept,
        ),
        (
            libc::SYS_fchmodat,
            [here, at, 0, no_follow, 0, 0],
            FinalLink::Followed,
        ),
        (libc::SYS_lsetxattr, [at, 0, 0, 0, 0, 0], FinalLink::Kept),
    ] {
        let Call::Change { path, link } = decode(&raw(number, arguments)).call else {
            panic!("{number} is no change")
        };
        assert_eq!(path.absolute(), Path::new("/some/link"));
        assert_eq!(link, expected, "{number}");
    }
}

/// `struct msghdr` with an address of this length; a null pointer for none.
fn message(address: Option<&[u8]>, length: u32) -> [u8; 56] {
    let mut header = [0; 56];
    let at = address.map_or(0, |bytes| bytes.as_ptr() as u64);
    header[..8].copy_from_slice(&at.to_ne_bytes());
    header[8..12].copy_from_slice(&length.to_ne_bytes());
    header
}

fn receivers(number: libc::c_long, args: [u64; 6]) -> Vec<SocketAddress> {
    match decode(&raw(number, args)).call {
        Call::SendTo { addresses } => addresses,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_sent_to_the_address_in_its_header_or_where_its_socket_is_connected() {
    let address = [2, 0, 0, 53, 8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let expected = SocketAddress::Internet("8.8.8.8:53".parse().unwrap());
    let sent = |header: &[u8]| {
        receivers(
            libc::SYS_sendmsg,
            [3, header.as_ptr() as u64, 0x4000, 0, 0, 0],
        )
    };
    assert_eq!(sent(&message(Some(&address), 16)), [expected]);
    assert_eq!(sent(&message(None, 16)), []);
    // Too short for its family is not guessed.
    let short = SocketAddress::Other { family: 2 };
    assert_eq!(sent(&message(Some(&address), 7)), [short]);
    for (number, args) in [
        (libc::SYS_sendmsg, [3, 8, 0, 0, 0, 0]),
        (libc::SYS_sendmmsg, [3, 8, 1, 0, 0, 0]),
    ] {
        let call = decode(&raw(number, args)).call;
        assert!(matches!(call, Call::Unreadable { .. }), "{call:?}");
    }
    let header = message(Some(&address), 16);
    let at = header.as_ptr() as u64;
    let fast_open = decode(&raw(libc::SYS_sendmsg, [3, at, 0x2000_0000, 0, 0, 0]));
    assert!(!fast_open.call.is_allowable());
}

#[test]
fn of_many_messages_every_receiver_is_told_once() {
    let one = [2, 0, 0, 53, 8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let other = [2, 0, 0, 53, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut headers = Vec::new();
    for address in [None, Some(&one), Some(&one), Some(&other)] {
        headers.extend(message(address.map(<[u8; 16]>::as_slice), 16));
        headers.extend([0; 8]);
    }
    let at = headers.as_ptr() as u64;
    let told = |count| receivers(libc::SYS_sendmmsg, [3, at, count, 0, 0, 0]);
    let named = |text: &str| SocketAddress::Internet(text.parse().unwrap());
    assert_eq!(told(0), []);
    assert_eq!(told(1), []);
    assert_eq!(told(3), [named("8.8.8.8:53")]);
    let all = [named("8.8.8.8:53"), named("9.9.9.9:53")];
    assert_eq!(told(4), all);
    // The kernel looks at 32 bits of the count.
    assert_eq!(told(4 | 1 << 32), all);
}
