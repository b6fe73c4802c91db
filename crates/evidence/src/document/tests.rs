//! Documents: one outer form, everything else refused.

use serde_json::{Value, json};

use super::{Collateral, EvidenceDocument, MAX_DOCUMENT_BYTES};
use crate::MAX_QUOTE_BYTES;

fn collateral() -> Collateral {
    Collateral {
        pck_crl_issuer_chain: "chain".into(),
        root_ca_crl: vec![1, 2],
        pck_crl: vec![3],
        tcb_info_issuer_chain: "chain".into(),
        tcb_info: "{}".into(),
        tcb_info_signature: vec![4],
        qe_identity_issuer_chain: "chain".into(),
        qe_identity: "{}".into(),
        qe_identity_signature: vec![5],
    }
}

fn document() -> Vec<u8> {
    EvidenceDocument::write(b"{\"a\":1}", &[9; 100], &collateral()).unwrap()
}

#[track_caller]
fn refused(bytes: &[u8], code: &str) {
    assert_eq!(EvidenceDocument::parse(bytes).unwrap_err().code(), code);
}

fn edited(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(&document()).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn a_document_survives_its_bytes() {
    let parsed = EvidenceDocument::parse(&document()).unwrap();
    assert_eq!(parsed.quote_bytes(), [9; 100]);
    assert_eq!(parsed.collateral(), &collateral());
    let again =
        EvidenceDocument::write(b"{\"a\":1}", parsed.quote_bytes(), parsed.collateral()).unwrap();
    assert_eq!(again, document());
}

#[test]
fn report_data_is_sha512_of_the_statements_exact_bytes() {
    let parsed = EvidenceDocument::parse(&document()).unwrap();
    assert_eq!(
        hex::encode(parsed.bound_report_data().as_bytes()),
        SHA512_OF_STATEMENT
    );
}

/// `printf '{"a":1}' | sha512sum`
const SHA512_OF_STATEMENT: &str = "efb7a8298f905ae743dbe2152e162415f62a16d2d5ac5c78816dcd57114e7a574729b813988f1d0984cf6f38c4fcc9a37ea9fec3da351983536f72785d7ab707";

#[test]
fn unknown_missing_and_doubled_members_are_refused() {
    refused(
        &edited(|value| value["more"] = json!(1)),
        "document-malformed",
    );
    for member in ["format", "statement", "quote", "collateral"] {
        let without = edited(|value| {
            value.as_object_mut().unwrap().remove(member);
        });
        refused(&without, "document-malformed");
    }
    let inner = edited(|value| value["collateral"]["pck_certificate_chain"] = json!(""));
    refused(&inner, "document-malformed");
    let text = String::from_utf8(document()).unwrap();
    let doubled = text.replacen('{', "{\"quote\":\"\",", 1);
    refused(doubled.as_bytes(), "document-malformed");
    let trailing = text + "{}";
    refused(trailing.as_bytes(), "document-malformed");
}

#[test]
fn another_format_or_base64_is_refused() {
    refused(
        &edited(|value| value["format"] = json!("proofroom.upstream-evidence.v2")),
        "document-member",
    );
    for quote in ["!", "QQ", "QR==", "QQ==\n", "QQ-_"] {
        refused(
            &edited(|value| value["quote"] = json!(quote)),
            "document-member",
        );
    }
}

#[test]
fn sizes_are_bounded() {
    let quote = vec![0; MAX_QUOTE_BYTES + 1];
    let large = EvidenceDocument::write(b"{}", &quote, &collateral()).unwrap();
    refused(&large, "quote-too-large");
    let mut huge = document();
    huge.resize(MAX_DOCUMENT_BYTES + 1, b' ');
    refused(&huge, "document-malformed");
}
