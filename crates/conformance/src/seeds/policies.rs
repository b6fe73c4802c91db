//! Seeds of the targets that read policies, texts to be classified, and what a room says to the egress
//! broker.

use proofroom_testkit::tee::written;

use super::Seeds;

pub(super) fn seeds() -> Vec<Seeds> {
    vec![
        (
            "classify_policy",
            vec![CLASSIFICATION.into(), ROUTING.into()],
        ),
        ("classify_text", TEXTS.map(Into::into).to_vec()),
        ("egress_dns", vec![question(1), question(28)]),
        ("egress_hello", vec![hello()]),
        ("egress_policy", vec![EGRESS.into(), RULES.into()]),
        ("egress_target", TARGETS.map(Into::into).to_vec()),
    ]
}

const CLASSIFICATION: &str = include_str!("../../../classify/policies/classification.toml");
const ROUTING: &str = include_str!("../../../classify/policies/routing.toml");
const EGRESS: &str = include_str!("../../../egress/policies/egress.toml");

/// Something for each kind of detector; the values are nobody's.
const TEXTS: [&str; 6] = [
    "let password = \"kX9#mQ2v!pL7\"; // db\nAWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYzzzzzzzzKEYa",
    "card 4485 2757 4230 8327 exp 09/29, IBAN GB33BUKB20201555555555, SSN 536-22-1234",
    "MSH|^~\\&|LAB|HOSP|||202401011200||ORU^R01|1|P|2.5\rPID|1||12345^^^MRN||Doe^Jane||19800101|F",
    "CUI//SP-CTI\n(S//NF) The patient (MRN 00123456) was given metformin.",
    "cGFzc3dvcmQgPSAia1g5I21RMnYhcEw3Ig== \\u0070assword\\n p\u{200b}assword",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----",
];

const TARGETS: [&str; 4] = [
    "index.crates.io:443",
    "https://static.crates.io/crates/serde/serde-1.0.0.crate?x=1",
    "http://[2001:db8::1]:8080/a/%2e%2e/b",
    "127.0.0.1:80",
];

/// A profile, a tunnel and an endpoint.
const RULES: &str = r#"version = 1
profiles = ["crates-io"]
[caps]
requests_per_minute = 600
sent_per_minute = 4194304
received_per_minute = 1073741824
sent = 33554432
received = 8589934592
[[rule]]
name = "docs"
hosts = ["docs.example.com"]
ports = [443, 8443]
mode = "tls-passthrough"
match = ["CONNECT docs.example.com:443"]
not_match = ["CONNECT docs.example.com:80"]
[[rule]]
name = "api"
hosts = ["api.example.com"]
ports = [443]
mode = "http"
methods = ["GET", "POST"]
paths = ["/v1/tickets/"]
match = ["GET https://api.example.com/v1/tickets/7"]
not_match = ["DELETE https://api.example.com/v1/tickets/7"]
"#;

/// A question for `api.example.org` (RFC 1035, section 4.1), with the extension of RFC 6891.
fn question(kind: u8) -> Vec<u8> {
    let header = [0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let extension = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    [
        &header[..],
        b"\x03Api\x07example\x03org\0",
        &[0, kind, 0, 1],
        &extension,
    ]
    .concat()
}

/// A client hello of TLS 1.3 (RFC 8446, section 4.1.2) for `good.com`.
fn hello() -> Vec<u8> {
    let name = sized(2, &[&[0][..], &sized(2, b"good.com")].concat());
    let extensions = [&[0, 0][..], &sized(2, &name), &[0, 43, 0, 3, 2, 3, 4]].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &sized(1, &[9; 32]),
        &sized(2, &[0x13, 1]),
        &sized(1, &[0]),
        &sized(2, &extensions),
    ]
    .concat();
    let message = [&[1][..], &sized(3, &body)].concat();
    [&[22, 3, 1][..], &sized(2, &message)].concat()
}

/// `body` behind its length of `width` bytes.
fn sized(width: usize, body: &[u8]) -> Vec<u8> {
    let length = written(u32::try_from(body.len())).to_be_bytes();
    let digits = length.into_iter().skip(length.len() - width);
    digits.chain(body.iter().copied()).collect()
}
