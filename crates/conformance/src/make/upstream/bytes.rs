//! Cases in which bytes of an honest document were changed after it was signed.

use super::{
    About, Case, DEMO_SEED, EvidenceDocument, Expect, NONCE, SIMULATED, SimulatedTee, about, case,
    honest,
};

/// Where things are in the simulated quote: version 4, TD 1.0 (DCAP quoting library API, A.3).
const USER_DATA: usize = 28;
const BODY: usize = 48;
const MR_CONFIG_ID: usize = BODY + 184;
const SIGNATURE: usize = 48 + 584 + 4;
const ATTESTATION_KEY: usize = SIGNATURE + 64;
const QE_REPORT: usize = ATTESTATION_KEY + 64 + 6;
const QE_SIGNATURE: usize = QE_REPORT + 384;
const QE_AUTH_DATA: usize = QE_SIGNATURE + 64 + 2;

const PARSE: &str = "evidence.md section 4";
const SIGNED: &str = "evidence.md section 5, quote-signature";
const FORM: &str = "evidence.md section 2";
const SPELLING: &str = "evidence.md E-4";
const GOOD: &str = "UpToDate";

enum Edit {
    Quote(fn(&mut Vec<u8>)),
    Text(fn(&str) -> String),
}

type Row = (About, Edit, Expect);

pub(super) fn cases() -> Vec<Case> {
    made([quotes(), signatures(), texts(), collateral()])
}

/// Cases that came later: numbers are stable.
pub(super) fn later_cases() -> Vec<Case> {
    made([bindings()])
}

fn made<const N: usize>(rows: [Vec<Row>; N]) -> Vec<Case> {
    let tee = SimulatedTee::from_seed(DEMO_SEED);
    let document = tee.document(&honest(&tee));
    let text = String::from_utf8_lossy(&document);
    let made = |(about, edit, expect): Row| {
        let changed = match edit {
            Edit::Quote(edit) => with_quote(&document, edit),
            Edit::Text(edit) => edit(&text).into_bytes(),
        };
        case(&about, SIMULATED, Some(NONCE), changed, expect)
    };
    rows.into_iter().flatten().map(made).collect()
}

pub(super) fn with_quote(document: &[u8], edit: fn(&mut Vec<u8>)) -> Vec<u8> {
    let changed = EvidenceDocument::parse(document).and_then(|document| {
        let statement = document.statement()?.to_bytes()?;
        let mut quote = document.quote_bytes().to_vec();
        edit(&mut quote);
        EvidenceDocument::write(&statement, &quote, document.collateral())
    });
    // the document is this module's own: it parses
    changed.unwrap_or_default()
}

pub(super) fn flip(bytes: &mut [u8], at: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
}

pub(super) fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

#[rustfmt::skip]
fn quotes() -> Vec<Row> {
    let row = |name, title, change, edit: fn(&mut Vec<u8>)| {
        (about(name, title, PARSE, change), Edit::Quote(edit), Expect::Reject("quote-parse", "quote-malformed"))
    };
    vec![
        (about("quote-padded", "Zero bytes behind the quote, as quoting services pad it", PARSE, "70 zero bytes added"), Edit::Quote(|quote| quote.extend([0; 70])), Expect::Accept(GOOD)),
        row("quote-padded-too-far", "More zero bytes than are padding", "129 zero bytes added", |quote| quote.extend([0; 129])),
        row("quote-trailing-byte", "A byte behind the quote", "one byte added", |quote| quote.push(1)),
        row("quote-empty", "No quote", "cut to nothing", Vec::clear),
        row("quote-cut-in-header", "A quote cut in its header", "cut to 47 bytes", |quote| quote.truncate(47)),
        row("quote-cut-in-body", "A quote cut in its body", "cut to 631 bytes", |quote| quote.truncate(631)),
        row("quote-cut-in-signature", "A quote cut in its signature", "cut to 699 bytes", |quote| quote.truncate(699)),
        row("quote-cut-by-one", "A quote that lacks its last byte", "last byte removed", |quote| quote.truncate(quote.len() - 1)),
        row("quote-of-sgx", "The TEE type of SGX", "TEE type 0", |quote| set(quote, 4, 0)),
        row("quote-version-3", "Version 3", "version 3", |quote| set(quote, 0, 3)),
        row("quote-version-5", "A version 4 quote that says version 5", "version 5", |quote| set(quote, 0, 5)),
        row("quote-key-type", "Another attestation key type", "key type 3", |quote| set(quote, 2, 3)),
        row("quote-length-bomb", "Signature data that claims four gigabytes", "length 0xffffffff", |quote| quote.iter_mut().skip(632).take(4).for_each(|byte| *byte = 0xff)),
    ]
}

#[rustfmt::skip]
fn signatures() -> Vec<Row> {
    let row = |name, title, change, edit: fn(&mut Vec<u8>), code| {
        (about(name, title, SIGNED, change), Edit::Quote(edit), Expect::Reject("quote-signature", code))
    };
    let root = about("root-in-quote-changed", "The root certificate inside the quote, which some libraries never read", "evidence.md section 5, pck-chain-root", "one base64 digit of the last certificate changed");
    vec![
        row("header-flipped", "A bit of the header", "user data flipped", |quote| flip(quote, USER_DATA), "quote-signature-invalid"),
        row("body-flipped", "A bit of the body", "MRCONFIGID flipped", |quote| flip(quote, MR_CONFIG_ID), "quote-signature-invalid"),
        row("signature-flipped", "A bit of the signature", "signature flipped", |quote| flip(quote, SIGNATURE + 40), "quote-signature-invalid"),
        row("qe-report-flipped", "A bit of the quoting enclave's report", "QE report flipped", |quote| flip(quote, QE_REPORT + 20), "qe-report-signature"),
        row("qe-signature-flipped", "A bit of the report's signature", "QE report signature flipped", |quote| flip(quote, QE_SIGNATURE + 40), "qe-report-signature"),
        row("qe-auth-data-flipped", "Authentication data that the enclave did not vouch for", "QE authentication data flipped", |quote| flip(quote, QE_AUTH_DATA), "attestation-key-not-bound"),
        (root, Edit::Quote(|quote| change_root(quote)), Expect::Reject("pck-chain-root", "root-not-trusted")),
    ]
}

/// Changes one digit in the middle of the last certificate, so that it still is base64.
fn change_root(quote: &mut [u8]) {
    let begin = b"-----BEGIN CERTIFICATE-----";
    let last = quote
        .windows(begin.len())
        .rposition(|window| window == begin);
    let at = last.unwrap_or_default() + begin.len() + 200;
    let other = if quote.get(at) == Some(&b'A') {
        b'B'
    } else {
        b'A'
    };
    set(quote, at, other);
}

#[rustfmt::skip]
fn texts() -> Vec<Row> {
    let row = |name, title, change, edit: fn(&str) -> String| {
        (about(name, title, FORM, change), Edit::Text(edit), Expect::Reject("document-parse", "document-malformed"))
    };
    let spelled = |name, title, change, edit: fn(&str) -> String| {
        (about(name, title, SPELLING, change), Edit::Text(edit), Expect::RejectGood("statement-parse", "statement-malformed", GOOD))
    };
    vec![
        row("document-unknown-member", "A member that the format does not have", "member added", |text| text.replacen('{', "{\"note\":true,", 1)),
        row("document-duplicate-member", "A member twice", "`format` twice", |text| text.replacen('{', "{\"format\":\"proofroom.upstream-evidence.v1\",", 1)),
        row("document-missing-crl", "Collateral without a revocation list", "`pck_crl` removed", |text| without(text, "pck_crl")),
        row("document-pck-chain-beside", "A PCK certificate chain beside the quote", "`pck_certificate_chain` added", |text| text.replacen("\"collateral\":{", "\"collateral\":{\"pck_certificate_chain\":\"\",", 1)),
        row("document-of-version-2", "Another format", "format v2", |text| text.replacen("evidence.v1", "evidence.v2", 1)),
        row("document-trailing", "Something behind the document", "`{}` added", |text| format!("{text}{{}}")),
        row("document-no-json", "No JSON", "replaced", |_| "quote".to_owned()),
        row("document-no-base64", "A quote that is not base64", "an asterisk added to the quote", |text| text.replacen("\",\"collateral\"", "*\",\"collateral\"", 1)),
        spelled("statement-with-a-space", "A second spelling of the statement", "a space added", |text| text.replacen(",\\\"nonce", ", \\\"nonce", 1)),
        spelled("statement-member-added", "A key that somebody added to the statement", "member added", |text| text.replacen(",\\\"model", ",\\\"extra\\\":\\\"x\\\",\\\"model", 1)),
        (about("statement-edited", "A statement edited after it was quoted", "evidence.md E-6", "another model"), Edit::Text(|text| text.replacen("glm-5", "glm-6", 1)), Expect::RejectGood("report-data-binding", "report-data-mismatch", GOOD)),
    ]
}

#[rustfmt::skip]
fn bindings() -> Vec<Row> {
    let spelled = |name, title, change, edit: fn(&str) -> String| {
        (about(name, title, SPELLING, change), Edit::Text(edit), Expect::RejectGood("statement-parse", "statement-malformed", GOOD))
    };
    vec![
        spelled("statement-without-nonce", "A statement that answers nobody's nonce", "`nonce` removed", without_nonce),
        spelled("statement-key-added", "A second TLS key in the statement, under the name of the first", "`tls_spki_sha256` twice", |text| text.replacen("\\\"tls_spki_sha256\\\":", &format!("\\\"tls_spki_sha256\\\":\\\"sha256:{}\\\",\\\"tls_spki_sha256\\\":", "00".repeat(32)), 1)),
        (about("document-key-beside", "A signing key beside a statement that does not name it", FORM, "`signing_key` added"), Edit::Text(|text| text.replacen("\"quote\":", "\"signing_key\":\"AA==\",\"quote\":", 1)), Expect::Reject("document-parse", "document-malformed")),
    ]
}

fn without_nonce(text: &str) -> String {
    let Some((before, rest)) = text.split_once("\\\"nonce\\\":") else {
        return text.to_owned();
    };
    let after = rest.split_once(',').map_or(rest, |(_, after)| after);
    format!("{before}{after}")
}

#[rustfmt::skip]
fn collateral() -> Vec<Row> {
    let row = |name, title, change, edit: fn(&str) -> String, code| {
        (about(name, title, "evidence.md section 5, collateral-signature", change), Edit::Text(edit), Expect::Reject("collateral-signature", code))
    };
    vec![
        row("tcb-info-edited", "TCB info that somebody edited", "another date of the level", |text| text.replacen("\\\"tcbType\\\":0", "\\\"tcbType\\\":1", 1), "tcb-info-signature"),
        row("qe-identity-edited", "A QE identity that somebody edited", "another product id", |text| text.replacen("\\\"isvprodid\\\":2", "\\\"isvprodid\\\":3", 1), "qe-identity-signature"),
    ]
}

/// `text` without the string member `name`, which is followed by another.
fn without(text: &str, name: &str) -> String {
    let key = format!("\"{name}\":\"");
    let Some((before, rest)) = text.split_once(&key) else {
        return text.to_owned();
    };
    let rest = rest.split_once("\",").map_or(rest, |(_, rest)| rest);
    format!("{before}{rest}")
}
