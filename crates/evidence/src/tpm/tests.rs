//! TPM structures: genuine ones as they come, and what must be refused.

use proptest::prelude::*;

use super::{Bank, MAX_TPM_BYTES, TpmKey, TpmQuote, TpmSignature, VtpmSignature, pcr_digest};
use crate::{RoomError, genuine};

#[track_caller]
fn code<T: std::fmt::Debug>(refused: Result<T, RoomError>) -> &'static str {
    refused.unwrap_err().code()
}

#[test]
fn a_genuine_quote_of_a_cloud_tpm_is_read() {
    let Some(bytes) = genuine::read("dstack/tpm-attest_tests_tpm_quote_sample.bin") else {
        return;
    };
    let quote = TpmQuote::parse(&bytes).unwrap();
    assert_eq!(quote.qualifying_data, [0x12, 0x34, 0x56, 0x78]);
    assert_eq!(quote.reset_count, 16);
    let [selection] = quote.selections.as_slice() else {
        panic!("one bank was selected");
    };
    assert_eq!(selection.bank, Bank::Sha256);
    assert_eq!(quote.pcr_digest.len(), 32);
    for cut in 0..bytes.len() {
        let refused = TpmQuote::parse(bytes.get(..cut).unwrap());
        assert_eq!(code(refused), "tpm-malformed");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(code(TpmQuote::parse(&longer)), "tpm-malformed");
}

#[test]
fn a_genuine_quote_is_over_the_registers_that_come_with_it() {
    let Some(json) = genuine::read("trustee/az-tdx-vtpm/tpm-quote-v1.json") else {
        return;
    };
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let hex_of = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
    let quote = TpmQuote::parse(&hex_of(&json["message"])).unwrap();
    let pcrs: Vec<Vec<u8>> = json["pcrs"]
        .as_array()
        .unwrap()
        .iter()
        .map(hex_of)
        .collect();
    let selected: Vec<u32> = quote.selections[0].pcrs.clone();
    assert_eq!(selected, (0..24).collect::<Vec<u32>>());
    assert_eq!(quote.pcr_digest, pcr_digest(pcrs.iter().map(Vec::as_slice)));
    let reordered = pcrs.iter().rev().map(Vec::as_slice);
    assert_ne!(quote.pcr_digest, pcr_digest(reordered));
}

fn key() -> Vec<u8> {
    let mut bytes = vec![0, 0x23, 0, 0x0b, 0, 5, 0, 0x72, 0, 0];
    bytes.extend([0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10]);
    bytes.extend([0, 32]);
    bytes.extend([7; 32]);
    bytes.extend([0, 31]);
    bytes.extend([8; 31]);
    bytes
}

#[test]
fn a_key_has_its_point_with_leading_zeros_and_its_names() {
    let key = TpmKey::parse(&key()).unwrap();
    assert_eq!(key.point()[0], 4);
    assert_eq!(key.point()[1..33], [7; 32]);
    assert_eq!(key.point()[33], 0);
    assert_eq!(key.point()[34..], [8; 31]);
    assert!(key.attributes().is_attestation_key());
    assert_eq!(key.name().len(), 34);
    assert_ne!(key.endorsement_name().unwrap(), key.name());
}

#[test]
fn rsa_and_other_algorithms_are_refused_by_their_own_codes() {
    let changed = |at: usize, byte: u8| {
        let mut bytes = key();
        bytes[at] = byte;
        code(TpmKey::parse(&bytes))
    };
    assert_eq!(changed(1, 1), "tpm-rsa");
    assert_eq!(changed(1, 8), "tpm-unsupported"); // keyed hash
    assert_eq!(changed(3, 4), "tpm-unsupported"); // name by SHA-1
    assert_eq!(changed(11, 6), "tpm-unsupported"); // a storage key
    assert_eq!(changed(13, 0x1a), "tpm-unsupported"); // ECDAA
    assert_eq!(changed(15, 4), "tpm-unsupported"); // SHA-1
    assert_eq!(changed(17, 4), "tpm-unsupported"); // P-384
    assert_eq!(changed(21, 33), "tpm-malformed");
    let signature = |scheme: u16, hash: u16| {
        let words = [scheme, hash, 1, 0x0100, 2];
        words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect::<Vec<u8>>()
    };
    assert_eq!(code(TpmSignature::parse(&signature(0x14, 0x0b))), "tpm-rsa");
    assert_eq!(code(TpmSignature::parse(&signature(0x16, 0x0b))), "tpm-rsa");
    let other = TpmSignature::parse(&signature(0x1a, 0x0b));
    assert_eq!(code(other), "tpm-unsupported");
    let sha1 = TpmSignature::parse(&signature(0x18, 4));
    assert_eq!(code(sha1), "tpm-unsupported");
    let cut = TpmSignature::parse(&signature(0x18, 0x0b));
    assert_eq!(code(cut), "tpm-malformed");
}

#[test]
fn a_virtual_tpms_signature_is_of_either_kind_and_of_sha_256() {
    let rsa = [&[0, 0x14, 0, 0x0b, 0, 3][..], &[1, 2, 3]].concat();
    let read = VtpmSignature::parse(&rsa).unwrap();
    assert_eq!(read, VtpmSignature::Rsa(vec![1, 2, 3]));
    for cut in 0..rsa.len() {
        let refused = VtpmSignature::parse(&rsa[..cut]);
        assert_eq!(code(refused), "tpm-malformed");
    }
    let longer = [&rsa[..], &[0]].concat();
    assert_eq!(code(VtpmSignature::parse(&longer)), "tpm-malformed");
    let changed = |at: usize, byte: u8| {
        let mut bytes = rsa.clone();
        bytes[at] = byte;
        code(VtpmSignature::parse(&bytes))
    };
    assert_eq!(changed(3, 4), "tpm-unsupported"); // SHA-1
    assert_eq!(changed(1, 0x1a), "tpm-unsupported"); // ECDAA
    assert_eq!(changed(1, 0x16), "tpm-rsa"); // RSASSA-PSS
    let ecdsa = [0, 0x18, 0, 0x0b, 0, 1, 7, 0, 1, 8];
    let read = VtpmSignature::parse(&ecdsa).unwrap();
    assert!(matches!(read, VtpmSignature::Ecdsa(_)));
}

#[test]
fn another_attestation_than_a_quote_of_the_tpm_is_refused() {
    assert_eq!(code(TpmQuote::parse(&[0; 100])), "tpm-magic");
    let certify = [0xff, b'T', b'C', b'G', 0x80, 0x17];
    assert_eq!(code(TpmQuote::parse(&certify)), "tpm-quote-kind");
    let large = vec![0; MAX_TPM_BYTES + 1];
    assert_eq!(code(TpmQuote::parse(&large)), "tpm-malformed");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(TpmQuote::parse(&bytes));
        drop(TpmKey::parse(&bytes));
        drop(TpmSignature::parse(&bytes));
        drop(VtpmSignature::parse(&bytes));
        let quote = [&[0xff, b'T', b'C', b'G', 0x80, 0x18][..], &bytes].concat();
        drop(TpmQuote::parse(&quote));
    }
}
