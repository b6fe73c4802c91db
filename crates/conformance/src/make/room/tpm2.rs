//! Rooms whose machine has a software TPM of its host.

use proofroom_evidence::{Moment, RoomDocument, RoomEndorsements, RoomEvidence, RuntimeEvent};
use proofroom_testkit::{
    event_log::BootEvent,
    tee::{SimulatedKey, written},
    tpm::SimulatedTpm,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, date_time_ymd,
};

use super::{Case, Failure, Machine, Row, STATEMENT, as_text, boot, case, logs, measured, session};
use crate::vector::RawRequest;

pub(super) const MACHINE: Machine = Machine {
    policy: "tpm2",
    made: "made: the simulated TPM of seed 0x0909..09 and a deployment's CA of seed 0x0303..03",
    clause: "room-evidence.md section 5",
};
const CODES: logs::Codes = logs::Codes {
    boot: Some(("pcr-digest", "pcr-digest-mismatch")),
    runtime: Some(("pcr-digest", "pcr-digest-mismatch")),
    runtime_register: 15,
};
/// 10 MiB.
const TEN_MEGABYTES: usize = 10 * 1024 * 1024;

struct Ca {
    issuer: Issuer<'static, SimulatedKey>,
    pem: String,
}

fn ca(seed: u8) -> Ca {
    let key = SimulatedKey::derive(&[seed; 32], "deployment-ca");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "SIMULATED deployment CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    let pem = written(params.self_signed(&key)).pem();
    Ca {
        issuer: Issuer::new(params, key),
        pem,
    }
}

pub(super) fn ca_pem() -> String {
    ca(3).pem
}

fn tpm(runtime: Vec<RuntimeEvent>) -> SimulatedTpm {
    tpm_of(boot(|pcr| pcr), runtime)
}

fn tpm_of(boot: Vec<BootEvent>, runtime: Vec<RuntimeEvent>) -> SimulatedTpm {
    let mut tpm = SimulatedTpm::boot([9; 32], boot);
    runtime.into_iter().for_each(|event| tpm.measure(event));
    tpm
}

fn evidence(tpm: &SimulatedTpm) -> RoomEvidence {
    tpm.evidence(Moment::Start, STATEMENT)
}

fn certificate(tpm: &SimulatedTpm) -> String {
    tpm.certificate(&ca(3).issuer, session(), |_| ())
}

fn document(text: &str, ak_certificate: String) -> Vec<u8> {
    let endorsements = RoomEndorsements::Tpm2 { ak_certificate };
    written(RoomDocument::write(text, &endorsements))
}

fn of_tpm(tpm: &SimulatedTpm) -> Vec<u8> {
    of_evidence(tpm, &evidence(tpm))
}

fn of_evidence(tpm: &SimulatedTpm, evidence: &RoomEvidence) -> Vec<u8> {
    document(&as_text(evidence, |text| text), certificate(tpm))
}

/// The document of a room that booted its image.
pub(super) fn honest() -> Vec<u8> {
    of_tpm(&tpm(measured()))
}

pub(super) fn cases() -> Vec<Case> {
    let honest = tpm(measured());
    let good = evidence(&honest);
    let row = |(name, title, change, failure): logs::About, document| Row {
        name,
        title,
        change,
        failure,
        document,
    };
    let edited = |edit: &dyn Fn(&mut RoomEvidence)| {
        let mut changed = good.clone();
        edit(&mut changed);
        of_evidence(&honest, &changed)
    };
    let mut rows = vec![row(
        ("accepted", "A room that booted its image", "", None),
        of_tpm(&honest),
    )];
    rows.extend(logs::boots(&CODES).into_iter().map(|(about, edit)| {
        let mut events = boot(|pcr| pcr);
        edit(&mut events);
        let log = tpm_of(events, Vec::new()).boot_log();
        row(
            about,
            edited(&|evidence| evidence.boot_log.clone_from(&log)),
        )
    }));
    rows.extend(
        logs::bytes(&CODES)
            .into_iter()
            .map(|(about, edit)| row(about, edited(&|e| edit(&mut e.boot_log, &CODES)))),
    );
    rows.extend(
        logs::edits(&CODES)
            .into_iter()
            .map(|(about, edit)| row(about, edited(&edit))),
    );
    let first = Some(("runtime-boot-config", "boot-config-missing"));
    rows.extend(
        logs::measurements(first)
            .into_iter()
            .map(|(about, events)| row(about, of_tpm(&tpm(events())))),
    );
    rows.extend(
        logs::texts()
            .into_iter()
            .map(|(about, edit)| row(about, document(&as_text(&good, edit), certificate(&honest)))),
    );
    rows.extend(boots());
    rows.extend(configurations());
    rows.extend(quotes());
    rows.extend(certificates());
    let mut cases: Vec<Case> = rows.into_iter().map(|row| case(MACHINE, row)).collect();
    cases.push(ten_megabytes(&honest));
    cases
}

/// Filling is all that it has too much: a reader without a limit would accept it.
fn ten_megabytes(honest: &SimulatedTpm) -> Case {
    let mut case = case(
        MACHINE,
        Row {
            name: "boot-log-of-ten-megabytes",
            title: "A log of ten megabytes",
            change: "zero bytes added to the boot log up to 10 MiB, when the case is read: the file here is the honest document",
            failure: Some(("document-parse", "room-document-malformed")),
            document: of_tpm(honest),
        },
    );
    if let RawRequest::Room {
        fill_boot_log_to, ..
    } = &mut case.request
    {
        *fill_boot_log_to = Some(TEN_MEGABYTES);
    }
    case.expected.identity = None;
    case
}

fn changed(change: impl FnOnce(&mut SimulatedTpm)) -> Vec<u8> {
    let mut tpm = tpm(measured());
    change(&mut tpm);
    of_tpm(&tpm)
}

fn rewritten(change: impl FnOnce(&mut RoomEvidence)) -> Vec<u8> {
    let tpm = tpm(measured());
    let mut evidence = evidence(&tpm);
    change(&mut evidence);
    of_evidence(&tpm, &evidence)
}

fn flip(bytes: &mut [u8], index: usize) {
    if let Some(byte) = bytes.get_mut(index) {
        *byte ^= 1;
    }
}

/// Machines that booted something else, and said so.
#[rustfmt::skip]
fn boots() -> Vec<Row> {
    let row = |name, title, change, check, edit: fn(&mut Vec<BootEvent>)| {
        let mut events = boot(|pcr| pcr);
        edit(&mut events);
        let failure = Some((check, "reference-mismatch"));
        Row { name, title, change, failure, document: of_tpm(&tpm_of(events, measured())) }
    };
    vec![
        row("booted-another-kernel", "Another kernel", "another kernel booted", "reference-pcr-4", |log| rewrite(log, 2)),
        row("booted-another-command-line", "Another command line", "another command line booted", "reference-pcr-9", |log| rewrite(log, 4)),
        row("booted-without-secure-boot-event", "A boot without one of its measurements", "event 2 not measured", "reference-pcr-7", |log| drop(log.remove(1))),
        row("booted-in-another-order", "A boot that measured in another order", "events 5 and 6 exchanged", "reference-pcr-9", |log| log.swap(4, 5)),
    ]
}

fn rewrite(log: &mut [BootEvent], at: usize) {
    if let Some(event) = log.get_mut(at) {
        event.data = b"another".to_vec();
    }
}

#[rustfmt::skip]
fn configurations() -> Vec<Row> {
    let row = |name, title, change, code, edit: fn(&str) -> String| {
        let mut events = measured();
        if let Some(config) = events.first_mut() {
            config.content = edit(&config.content);
        }
        Row { name, title, change, failure: Some(("runtime-boot-config", code)), document: of_tpm(&tpm(events)) }
    };
    vec![
        row("configuration-no-json", "A boot configuration that is none", "`boot` measured", "boot-config-malformed", |_| "boot".to_owned()),
        row("configuration-without-layers", "A boot configuration without its list of layers", "`layers` renamed", "boot-config-malformed", |text| text.replace("layers", "lairs")),
        row("configuration-of-another-shape", "A machine with more memory", "2048 MiB", "boot-config-shape", |text| text.replace("1024", "2048")),
        row("layer-of-another-root", "A layer with another content", "another root", "boot-config-layer", |text| text.replace("\"root\":\"", "\"root\":\"00")),
        row("layer-missing", "A layer that is not there", "no layers", "boot-config-layer-missing", |text| format!("{}[]}}", text.split('[').next().unwrap_or_default())),
        row("layer-twice", "A layer twice", "the layer doubled", "boot-config-layer-extra", twice),
    ]
}

fn twice(text: &str) -> String {
    let layer = text.split(['[', ']']).nth(1).unwrap_or_default();
    text.replace(layer, &format!("{layer},{layer}"))
}

/// Where TPMS_ATTEST has its type: behind the mark.
const KIND: usize = 5;

#[rustfmt::skip]
fn quotes() -> Vec<Row> {
    let row = |name, title, change, failure: (&'static str, &'static str), document| Row { name, title, change, failure: Some(failure), document };
    let signature = ("quote-signature", "quote-signature-invalid");
    let parse = |code| ("quote-parse", code);
    vec![
        row("quote-of-another-maker", "A structure that the TPM did not make itself", "another mark", parse("tpm-magic"), changed(|t| t.magic = 0x1234_5678)),
        row("quote-of-another-kind", "An attestation that is no quote", "type TPM_ST_ATTEST_CERTIFY", parse("tpm-quote-kind"), rewritten(|e| if let Some(kind) = e.quote.get_mut(KIND) { *kind = 0x17 })),
        row("quote-trailing-byte", "A byte behind the quote", "one added", parse("tpm-malformed"), rewritten(|e| e.quote.push(0))),
        row("quote-truncated", "A quote without its last byte", "one removed", parse("tpm-malformed"), rewritten(|e| { e.quote.pop(); })),
        row("key-not-restricted", "A key that signs anything", "RESTRICTED off", ("attestation-key", "ak-attributes"), changed(|t| t.attributes &= !0x1_0000)),
        row("key-not-fixed", "A key that can be carried to another TPM", "FIXED_TPM off", ("attestation-key", "ak-attributes"), changed(|t| t.attributes &= !2)),
        row("key-of-another-hierarchy", "A key that says it is no endorsement primary", "owner hierarchy", ("quote-signer", "quote-signer-mismatch"), changed(|t| t.hierarchy = [0x40, 0, 0, 1])),
        row("quote-flipped", "A quote changed after it was signed", "last bit flipped", signature, rewritten(|e| { let last = e.quote.len() - 1; flip(&mut e.quote, last) })),
        row("signature-changed", "Another signature", "a bit of s flipped", signature, rewritten(|e| { let last = e.signature.len() - 1; flip(&mut e.signature, last) })),
        row("signature-of-rsa", "A signature of another scheme", "scheme RSASSA", ("quote-signature", "tpm-rsa"), rewritten(|e| flip_scheme(&mut e.signature))),
        row("statement-of-another-session", "A quote that binds another statement", "another statement quoted", ("statement", "statement-mismatch"), { let tpm = tpm(measured()); of_evidence(&tpm, &tpm.evidence(Moment::Start, "{}")) }),
        row("statement-swapped", "The session's statement beside a quote that binds another", "statement exchanged after quoting", ("qualifying-data", "qualifying-data-mismatch"), { let tpm = tpm(measured()); let mut e = tpm.evidence(Moment::Start, "{}"); e.statement = STATEMENT.to_owned(); of_evidence(&tpm, &e) }),
        row("moment-of-the-end", "Evidence of another moment", "made for the end", ("moment", "moment-mismatch"), { let tpm = tpm(measured()); of_evidence(&tpm, &tpm.evidence(Moment::End, STATEMENT)) }),
        row("quote-without-pcr-15", "A quote that leaves the runtime events out", "PCR 15 not quoted", ("pcr-selection", "pcr-selection-mismatch"), changed(|t| { t.quoted.pop(); })),
    ]
}

/// TPM_ALG_RSASSA in the place of TPM_ALG_ECDSA.
fn flip_scheme(signature: &mut [u8]) {
    if let Some(scheme) = signature.get_mut(1) {
        *scheme = 0x14;
    }
}

#[rustfmt::skip]
fn certificates() -> Vec<Row> {
    let row = |name, title, change, code, edit: fn(&mut CertificateParams)| {
        let tpm = tpm(measured());
        let pem = tpm.certificate(&ca(3).issuer, session(), edit);
        let failure: Failure = Some(("ak-certificate", code));
        Row { name, title, change, failure, document: document(&as_text(&evidence(&tpm), |text| text), pem) }
    };
    let issued = |name, title, change, code, pem: String| {
        let text = as_text(&evidence(&tpm(measured())), |text| text);
        Row { name, title, change, failure: Some(("ak-certificate", code)), document: document(&text, pem) }
    };
    let other = SimulatedTpm::boot([8; 32], boot(|pcr| pcr));
    let own = tpm(measured());
    vec![
        row("certificate-early", "A certificate from the future", "from 2027", "ak-certificate-time", |p| p.not_before = date_time_ymd(2027, 1, 1)),
        row("certificate-late", "A certificate that has ended", "until 2025", "ak-certificate-time", |p| p.not_after = date_time_ymd(2025, 1, 1)),
        row("certificate-for-servers", "A certificate for another use", "server authentication", "ak-certificate-use", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        row("certificate-of-a-ca", "A certificate that makes a CA of the key", "CA", "ak-certificate-use", |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        row("certificate-of-another-subject", "A certificate about something else than a TPM", "another common name", "ak-certificate-session", |p| p.distinguished_name.push(DnType::CommonName, "something else")),
        issued("certificate-of-another-session", "The certificate of another session", "another session", "ak-certificate-session", own.certificate(&ca(3).issuer, proofroom_canonical::SessionId::from_random([6; 16]), |_| ())),
        issued("certificate-of-another-ca", "A certificate of another deployment's CA of the same name", "seed 0x0404..04", "ak-certificate-issuer", own.certificate(&ca(4).issuer, session(), |_| ())),
        issued("certificate-of-another-key", "A certificate for the key of another TPM", "TPM of seed 0x0808..08", "ak-certificate-key", other.certificate(&ca(3).issuer, session(), |_| ())),
        issued("certificate-no-pem", "No certificate", "replaced by `none`", "ak-certificate-malformed", "none".to_owned()),
    ]
}
