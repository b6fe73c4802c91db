//! Client hellos made by hand, whole and broken.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{Hello, HelloError, MAX_HELLO_BYTES, client_hello};
use crate::host::HostName;

fn vector(width: usize, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[4 - width..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, body)].concat()
}

fn names(name: &[u8]) -> Vec<u8> {
    extension(0, &vector(2, &[&[0], &vector(2, name)[..]].concat()))
}

fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &[7; 32],
        &vector(1, &[9; 32]),
        &vector(2, &[0x13, 1]),
        &vector(1, &[0]),
        &vector(2, &extensions.concat()),
    ]
    .concat();
    [&[1][..], &vector(3, &body)].concat()
}

fn record(fragment: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &vector(2, fragment)].concat()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    record(&message(extensions))
}

fn to(name: &str) -> Result<Hello, HelloError> {
    Ok(Hello::To(HostName::parse(name).unwrap()))
}

#[test]
fn the_name_is_found_wherever_it_stands() {
    let padding = extension(21, &[0; 300]);
    assert_eq!(client_hello(&hello(&[names(b"Good.com")])), to("good.com"));
    assert_eq!(
        client_hello(&hello(&[
            padding.clone(),
            names(b"good.com"),
            extension(43, &[2, 3, 4])
        ])),
        to("good.com")
    );
    let after = [hello(&[names(b"good.com")]), vec![23, 3, 3, 0, 1, 0]].concat();
    assert_eq!(client_hello(&after), to("good.com"));
}

#[test]
fn a_hello_in_pieces_is_read_when_it_is_whole() {
    let whole = message(&[names(b"good.com"), extension(21, &[0; 3000])]);
    let records: Vec<u8> = whole.chunks(7).flat_map(record).collect();
    for end in 0..records.len() {
        assert_eq!(
            client_hello(&records[..end]),
            Ok(Hello::Incomplete),
            "{end}"
        );
    }
    assert_eq!(client_hello(&records), to("good.com"));
}

#[test]
fn what_names_no_server_or_two_is_refused() {
    assert_eq!(
        client_hello(&hello(&[extension(43, &[0])])),
        Err(HelloError::NoName)
    );
    assert_eq!(client_hello(&hello(&[])), Err(HelloError::NoName));
    assert_eq!(
        client_hello(&hello(&[names(b"a.com"), names(b"b.com")])),
        Err(HelloError::Malformed)
    );
    let two = [&[0][..], &vector(2, b"a.com"), &[0], &vector(2, b"b.com")].concat();
    assert_eq!(
        client_hello(&hello(&[extension(0, &vector(2, &two))])),
        Err(HelloError::Malformed)
    );
    assert_eq!(
        client_hello(&hello(&[extension(0, &[])])),
        Err(HelloError::Malformed)
    );
    for name in [
        &b"good.com\0.evil.com"[..],
        b"127.0.0.1",
        b"::1",
        b"",
        b"good_.com",
    ] {
        let refused = client_hello(&hello(&[names(name)])).unwrap_err();
        assert!(matches!(refused, HelloError::Name(_)), "{refused:?}");
    }
    assert_eq!(
        client_hello(&hello(&[names(b"\xff.com")])),
        Err(HelloError::Malformed)
    );
}

#[test]
fn a_hidden_name_is_refused_whatever_the_outer_one_says() {
    for kind in [0xfe0d, 0xffce] {
        let hidden = hello(&[names(b"good.com"), extension(kind, &[0; 40])]);
        assert_eq!(client_hello(&hidden), Err(HelloError::Encrypted));
    }
}

#[test]
fn what_is_not_tls_is_refused_with_its_first_byte() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"SSH-2.0-x",
        &[0x80, 0x2e, 1],
        &[22, 2, 0],
        &[22, 3, 1, 0, 1, 2],
        &[20, 3, 3, 0, 1, 1],
    ] {
        assert_eq!(client_hello(bytes), Err(HelloError::NotTls), "{bytes:?}");
    }
    assert_eq!(client_hello(&[22, 3, 1, 0, 0]), Err(HelloError::Malformed));
    assert_eq!(
        client_hello(&[22, 3, 1, 0x40, 1]),
        Err(HelloError::Malformed)
    );
}

#[test]
fn a_hello_without_an_end_is_refused_at_its_cap() {
    let endless = message(&[extension(21, &[0; 20_000])]);
    assert_eq!(
        client_hello(&record(&endless[..100])),
        Err(HelloError::TooLarge)
    );
    let slow: Vec<u8> = message(&[extension(21, &[0; 16_000])])
        .chunks(1)
        .flat_map(record)
        .take(MAX_HELLO_BYTES)
        .collect();
    assert_eq!(client_hello(&slow), Err(HelloError::TooLarge));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_more_bytes_change_no_answer(bytes in any::<Vec<u8>>(), cut in any::<prop::sample::Index>()) {
        let mut mixed = hello(&[names(b"good.com")]);
        if !bytes.is_empty() {
            let at = cut.index(mixed.len());
            mixed[at] = bytes[0];
        }
        for input in [bytes.clone(), mixed] {
            let whole = client_hello(&input);
            let cut = &input[..cut.index(input.len().max(1)).min(input.len())];
            match client_hello(cut) {
                Ok(Hello::Incomplete) => {}
                early => prop_assert_eq!(early, whole),
            }
        }
    }

    #[test]
    fn a_name_it_returns_was_in_the_bytes(name in "[a-z]{1,9}\\.[a-z]{2,5}") {
        let found = client_hello(&hello(&[names(name.as_bytes())]));
        prop_assert!(found == to(&name));
    }
}

use proptest::prelude::prop;
