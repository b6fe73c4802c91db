//! Quotes built by hand, byte by byte, and every way to cut or stretch them.

use super::{BodyKind, MAX_PADDING, MAX_QUOTE_BYTES, Quote, QuoteVersion, TdAttributes, TdFlaw};

/// Where signature data begins in a version 4 quote.
const SIGNED_V4: usize = 48 + 584;

fn header(version: u16) -> Vec<u8> {
    let mut bytes = version.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[2, 0, 0x81, 0, 0, 0]);
    bytes.resize(48, 7);
    bytes
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

fn signature_data() -> Vec<u8> {
    let mut qe = vec![0; 384 + 64];
    qe.extend_from_slice(&[32, 0]);
    qe.extend_from_slice(&[0; 32]);
    qe.extend_from_slice(&[5, 0]);
    qe.extend(sized(b"chain"));
    let mut data = vec![0; 128];
    data.extend_from_slice(&[6, 0]);
    data.extend(sized(&qe));
    sized(&data)
}

fn v4() -> Vec<u8> {
    let mut quote = header(4);
    quote.extend((0..584).map(|i| u8::try_from(i % 251).unwrap()));
    quote.extend(signature_data());
    quote
}

fn v5(body_type: u16, size: u32, body: usize) -> Vec<u8> {
    let mut quote = header(5);
    quote.extend_from_slice(&body_type.to_le_bytes());
    quote.extend_from_slice(&size.to_le_bytes());
    quote.extend(vec![3; body]);
    quote.extend(signature_data());
    quote
}

#[track_caller]
fn refused(bytes: &[u8], code: &str) {
    assert_eq!(Quote::parse(bytes).unwrap_err().code(), code);
}

#[test]
fn fields_come_from_their_offsets() {
    let quote = Quote::parse(&v4()).unwrap();
    let at = |offset: usize| u8::try_from(offset % 251).unwrap();
    assert_eq!(quote.version(), QuoteVersion::V4);
    assert_eq!(quote.body(), BodyKind::Td10);
    assert_eq!(quote.signed_length(), SIGNED_V4);
    let claims = quote.claims();
    assert_eq!(claims.tee_tcb_svn[0], at(0));
    assert_eq!(claims.mr_seam.as_bytes()[0], at(16));
    assert_eq!(claims.td_attributes.bits().to_le_bytes()[0], at(120));
    assert_eq!(claims.mr_td.as_bytes()[0], at(136));
    assert_eq!(claims.mr_config_id.as_bytes()[0], at(184));
    assert_eq!(claims.rtmr[0].as_bytes()[0], at(328));
    assert_eq!(claims.rtmr[3].as_bytes()[0], at(472));
    assert_eq!(claims.report_data[0], at(520));
    assert_eq!(claims.report_data[63], at(583));
}

#[test]
fn every_truncation_is_refused() {
    let whole = v4();
    for end in 0..whole.len() {
        refused(&whole[..end], "quote-truncated");
    }
    let whole = v5(3, 648, 648);
    Quote::parse(&whole).unwrap();
    for end in 0..whole.len() {
        refused(&whole[..end], "quote-truncated");
    }
}

#[test]
fn trailing_bytes_are_refused_at_every_level() {
    let mut quote = v4();
    quote.push(1);
    refused(&quote, "quote-trailing-bytes");

    let mut padded = v4();
    padded.extend([0; MAX_PADDING]);
    Quote::parse(&padded).unwrap();
    padded.push(0);
    refused(&padded, "quote-trailing-bytes");

    // one byte more inside signature data, its length counted up
    let mut inside = v4();
    let length = u32::from_le_bytes(inside[SIGNED_V4..SIGNED_V4 + 4].try_into().unwrap());
    inside[SIGNED_V4..SIGNED_V4 + 4].copy_from_slice(&(length + 1).to_le_bytes());
    inside.push(0);
    refused(&inside, "quote-trailing-bytes");
}

#[test]
fn other_kinds_are_refused() {
    let mut other = v4();
    other[4] = 0; // TEE type SGX
    refused(&other, "quote-unsupported");
    for version in [0, 3, 6] {
        let mut other = v4();
        other[0] = version;
        refused(&other, "quote-unsupported");
    }
    let mut other = v4();
    other[2] = 3; // ECDSA P-384
    refused(&other, "quote-unsupported");
}

#[test]
fn version_5_bodies_must_be_known_and_of_their_size() {
    assert_eq!(
        Quote::parse(&v5(2, 584, 584)).unwrap().body(),
        BodyKind::Td10
    );
    let td15 = Quote::parse(&v5(3, 648, 648)).unwrap();
    assert_eq!(td15.signed_length(), 48 + 6 + 648);
    assert_eq!(
        td15.claims().mr_service_td.unwrap().repeated_byte(),
        Some(3)
    );
    for (body_type, size) in [(1, 384), (4, 885), (9, 648)] {
        let quote = v5(body_type, u32::try_from(size).unwrap(), size);
        refused(&quote, "quote-unsupported");
    }
    refused(&v5(2, 648, 648), "quote-field");
    refused(&v5(3, 584, 584), "quote-field");
    refused(&v5(3, u32::MAX, 648), "quote-field");
}

#[test]
fn a_length_past_the_end_is_refused_without_reading_it() {
    let mut quote = v4();
    quote[SIGNED_V4..SIGNED_V4 + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(&quote, "quote-truncated");
    refused(&vec![0; MAX_QUOTE_BYTES + 1], "quote-too-large");
}

#[test]
fn identity_covers_header_and_body_alone() {
    let identity = Quote::parse(&v4()).unwrap().identity();
    let mut behind = v4();
    behind[SIGNED_V4 + 10] ^= 1;
    assert_eq!(Quote::parse(&behind).unwrap().identity(), identity);
    for at in [20, 48, SIGNED_V4 - 1] {
        let mut inside = v4();
        inside[at] ^= 1;
        assert_ne!(Quote::parse(&inside).unwrap().identity(), identity);
    }
}

#[test]
fn attribute_flaws_are_named() {
    let good = 1 << 28;
    assert_eq!(TdAttributes::from_bits(good).flaws(), []);
    // every reserved bit: 1-3, 7-15, 23-26, 32-61 (TDX module ABI 348551-008US, table 3.23)
    for bit in (1..=3).chain(7..=15).chain(23..=26).chain(32..=61) {
        let flaws = TdAttributes::from_bits(good | 1 << bit).flaws();
        assert_eq!(flaws, [TdFlaw::Reserved], "bit {bit}");
    }
    for (bit, flaw) in [
        (0, TdFlaw::Debug),
        (4, TdFlaw::Profiling),
        (6, TdFlaw::Profiling),
        (17, TdFlaw::ServiceTd),
        (29, TdFlaw::Migratable),
    ] {
        assert_eq!(TdAttributes::from_bits(good | 1 << bit).flaws(), [flaw]);
    }
    assert_eq!(TdAttributes::from_bits(0).flaws(), [TdFlaw::SeptVe]);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        let mut quote = header(4);
        quote.extend_from_slice(&bytes);
        proptest::prop_assert!(Quote::parse(&quote).is_err());
    }
}
