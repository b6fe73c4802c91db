//! Reports, lists, tokens and manifests built by hand, and every way to cut or stretch them.

use proptest::prelude::*;

use super::{
    DetachedEat, DeviceReport, EvidenceList, FeatureFlag, Jws, MAX_REPORT_BYTES, Rim, Switched,
    certificate_chain,
};

fn opaque() -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, value) in [
        (6_u16, &[0x00, 0xcf, 0x00, 0x96, 0x02, 0, 0, 0][..]),
        (3, b"570.172.08\0"),
        (20, &[9; 48]),
        (11, &[0x55]),
        (21, &[0xaa]),
        (36, &[2, 0]),
        (99, b"unknown"),
    ] {
        out.extend(kind.to_le_bytes());
        out.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        out.extend_from_slice(value);
    }
    out
}

fn report_with(blocks: &[[u8; 7]], opaque: &[u8]) -> Vec<u8> {
    let mut out = vec![0x11, 0xe0, 1, 0xff];
    out.extend([7; 32]);
    out.push(0);
    out.extend([0x11, 0x60, 0, 0, u8::try_from(blocks.len()).unwrap()]);
    let length = u32::try_from(blocks.len() * 55).unwrap().to_le_bytes();
    out.extend_from_slice(&length[..3]);
    for block in blocks {
        out.extend_from_slice(block);
        out.extend([block[0]; 48]);
    }
    out.extend([8; 32]);
    out.extend(u16::try_from(opaque.len()).unwrap().to_le_bytes());
    out.extend_from_slice(opaque);
    out.extend([5; 96]);
    out
}

const fn block(index: u8) -> [u8; 7] {
    [index, 1, 51, 0, 1, 48, 0]
}

fn report() -> Vec<u8> {
    report_with(&[block(1), block(2), block(9)], &opaque())
}

#[track_caller]
fn refused(bytes: &[u8], code: &str) {
    assert_eq!(DeviceReport::parse(bytes).unwrap_err().code(), code);
}

#[test]
fn fields_come_from_their_lengths() {
    let bytes = report();
    let report = DeviceReport::parse(&bytes).unwrap();
    assert_eq!(report.nonce().as_bytes(), &[7; 32]);
    assert_eq!(report.responder_nonce(), &[8; 32]);
    assert_eq!(report.slot(), 0);
    assert_eq!(report.signature(), &[5; 96]);
    assert_eq!(report.signed(), &bytes[..bytes.len() - 96]);
    let indices: Vec<u8> = report.measurements().iter().map(|m| m.index).collect();
    assert_eq!(indices, [1, 2, 9]);
    assert_eq!(report.measurement(9).unwrap().as_bytes(), &[9; 48]);
    assert_eq!(report.measurement(3), None);
    let opaque = report.opaque();
    assert_eq!(opaque.vbios_version.as_deref(), Some("96.00.CF.00.02"));
    assert_eq!(opaque.driver_version.as_deref(), Some("570.172.08"));
    assert_eq!(opaque.fwid.unwrap().as_bytes(), &[9; 48]);
    assert_eq!(opaque.nvdec0, Some(Switched::Off));
    assert_eq!(opaque.protected_pcie, Some(Switched::On));
    assert_eq!(opaque.feature, Some(FeatureFlag::ProtectedPcie));
}

#[test]
fn every_truncation_is_refused() {
    let whole = report();
    for end in 0..whole.len() {
        refused(&whole[..end], "gpu-report-truncated");
    }
}

#[test]
fn what_follows_is_filling_or_refused() {
    let whole = report();
    let identity = DeviceReport::parse(&whole).unwrap().identity();
    for filling in [1, 64] {
        let filled = [whole.clone(), vec![0; filling]].concat();
        assert_eq!(DeviceReport::parse(&filled).unwrap().identity(), identity);
    }
    refused(
        &[whole.clone(), vec![0; 65]].concat(),
        "gpu-report-trailing-bytes",
    );
    refused(&[whole, vec![1]].concat(), "gpu-report-trailing-bytes");
    refused(&vec![0; MAX_REPORT_BYTES + 1], "gpu-too-large");
}

#[test]
fn other_messages_are_refused() {
    for (at, value, code) in [
        (0, 0x12, "gpu-report-unsupported"), // SPDM 1.2
        (1, 0xe1, "gpu-report-field"),
        (2, 0, "gpu-report-field"),       // no signature asked for
        (3, 1, "gpu-report-unsupported"), // one measurement alone
        (36, 16, "gpu-report-field"),     // slot
        (37, 0x10, "gpu-report-unsupported"),
        (38, 0xe0, "gpu-report-field"),
        (41, 0, "gpu-report-field"),          // no blocks
        (41, 2, "gpu-report-trailing-bytes"), // fewer blocks than the record has
        (41, 4, "gpu-report-truncated"),      // more
        (42, 164, "gpu-report-truncated"),    // a shorter record
        (45, 0, "gpu-report-field"),          // index 0
        (45, 2, "gpu-report-field"),          // an index twice
        (46, 2, "gpu-report-unsupported"),    // not DMTF
        (47, 50, "gpu-report-field"),         // block size
        (49, 0x81, "gpu-report-unsupported"), // raw bytes
        (50, 32, "gpu-report-unsupported"),   // SHA-256
    ] {
        let mut bytes = report();
        bytes[at] = value;
        refused(&bytes, code);
    }
}

#[test]
fn opaque_fields_are_strict() {
    let with = |fields: &[u8]| report_with(&[block(1)], fields);
    for fields in [
        &[11, 0, 1, 0, 0x56][..],     // neither on nor off
        &[36, 0, 2, 0, 3, 0],         // an unknown feature
        &[20, 0, 2, 0, 1, 1],         // a short firmware id
        &[3, 0, 3, 0, b'a', 0, b'b'], // text behind its end
        &[3, 0, 1, 0, 0],             // no text
        &[3, 0, 1, 0, 0x1b],          // an escape
        &[14, 0, 0, 0, 14, 0, 0, 0],  // twice
    ] {
        refused(&with(fields), "gpu-opaque-malformed");
    }
    for fields in [&[3][..], &[3, 0, 1], &[3, 0, 2, 0, b'a']] {
        refused(&with(fields), "gpu-report-truncated");
    }
    // how a switch writes its BIOS's version
    let text = b"\x06\x00\x0e\x0096.10.73.00.01";
    let report = DeviceReport::parse(&with(text)).unwrap();
    let version = report.opaque().vbios_version.as_deref();
    assert_eq!(version, Some("96.10.73.00.01"));
}

#[test]
fn lists_have_exactly_the_known_members() {
    let parse =
        |text: &str| EvidenceList::parse(text.as_bytes()).map_err(|error| error.code().to_owned());
    let one = r#"{"certificate":"eHg=","evidence":"eHg="}"#;
    assert_eq!(parse(&format!("[{one}]")).unwrap().devices().len(), 1);
    let request = format!(r#"{{"nonce":"x","arch":"HOPPER","evidence_list":[{one},{one}]}}"#);
    assert_eq!(parse(&request).unwrap().devices().len(), 2);
    for (text, code) in [
        ("[]".to_owned(), "gpu-list-member"),
        (format!("[{}]", [one; 33].join(",")), "gpu-list-member"),
        (
            format!("[{}]", one.replace("eHg=", "eHg")),
            "gpu-list-member",
        ),
        (
            format!("[{}]", one.replace("eHg=\"}", "eHg=\",\"x\":1}")),
            "gpu-list-malformed",
        ),
        ("{}".to_owned(), "gpu-list-malformed"),
        ("[1]".to_owned(), "gpu-list-malformed"),
        (String::new(), "gpu-list-malformed"),
    ] {
        assert_eq!(parse(&text).unwrap_err(), code, "{text}");
    }
}

#[test]
fn a_manifest_with_many_namespaces_is_refused_before_they_are_multiplied() {
    let of = |count: usize, inner: &str| {
        let declared: String = (0..count).map(|n| format!(" xmlns:p{n}='x'")).collect();
        let text = format!("<s xmlns='x'{declared}>{inner}</s>");
        Rim::parse(text.as_bytes()).unwrap_err().to_string()
    };
    let many = "too many namespaces";
    assert!(!of(15, "").contains(many));
    assert!(of(16, "").contains(many));
    assert!(of(10_000, &"<a/>".repeat(1_000)).contains(many));
    for declared in ["xmlns:='x'", "xmlns::a='x'", "xmlns:a:b='x'", "xmlns:a=''"] {
        let text = format!("<s xmlns='x' {declared}></s>");
        let words = Rim::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(
            words.contains("not plain") || words.contains("malformed"),
            "{declared}: {words}"
        );
    }
}

#[test]
fn a_jws_is_three_parts_of_which_the_header_is_strict() {
    // {"alg":"ES384","kid":"k"} and {"a":1}
    let jws = Jws::parse("eyJhbGciOiJFUzM4NCIsImtpZCI6ImsifQ.eyJhIjoxfQ.AAAA").unwrap();
    assert_eq!(jws.header().alg, "ES384");
    assert_eq!(jws.claims()["a"], 1);
    assert_eq!(jws.signature(), [0, 0, 0]);
    assert_eq!(
        jws.signed(),
        b"eyJhbGciOiJFUzM4NCIsImtpZCI6ImsifQ.eyJhIjoxfQ"
    );
    for text in [
        "",
        "a.b",
        "eyJhbGciOiJFUzM4NCIsImtpZCI6ImsifQ.eyJhIjoxfQ.AAAA.AAAA",
        "eyJhbGciOiJFUzM4NCIsImtpZCI6ImsifQ.eyJhIjoxfQ.AAA=",
        "eyJhbGciOiJFUzM4NCIsImtpZCI6ImsifQ.W10.AAAA", // an array
        "eyJhbGciOiJFUzM4NCIsImp3ayI6e319.eyJhIjoxfQ.AAAA", // a key in the header
        "eyJhbGciOiJFUzM4NCIsImFsZyI6Im5vbmUifQ.eyJhIjoxfQ.AAAA", // two algorithms
    ] {
        assert_eq!(Jws::parse(text).unwrap_err().code(), "gpu-token-malformed");
    }
    let jws = "eyJhbGciOiJFUzM4NCJ9.e30.AAAA";
    let eat = format!(r#"[["JWT","{jws}"],{{"GPU-0":"{jws}"}}]"#);
    let eat = DetachedEat::parse(eat.as_bytes()).unwrap();
    assert_eq!(eat.submodules()["GPU-0"].digest(), eat.overall().digest());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        drop(DeviceReport::parse(&bytes));
        drop(EvidenceList::parse(&bytes));
        drop(DetachedEat::parse(&bytes));
        drop(Rim::parse(&bytes));
        drop(certificate_chain(&bytes));
    }

    #[test]
    fn no_changed_report_panics(at in 0_usize..700, value: u8) {
        let mut bytes = report();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(report) = DeviceReport::parse(&bytes) {
            prop_assert!(report.signed().len() + 96 <= bytes.len());
        }
    }

    #[test]
    fn no_changed_manifest_panics(at in 0_usize..300, value in 0x20_u8..0x7f) {
        let mut text = b"<SoftwareIdentity xmlns=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\" name=\"x\"><Entity/><Meta product=\"GH100\" colloquialVersion=\"1\"/><Payload></Payload></SoftwareIdentity>".to_vec();
        let at = at % text.len();
        text[at] = value;
        prop_assert_eq!(Rim::parse(&text).unwrap_err().code(), "gpu-rim-malformed");
    }
}
