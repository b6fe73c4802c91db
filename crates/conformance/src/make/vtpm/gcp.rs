//! Guests of Google's.

use super::{
    AkKey, Base64, Beside, Hex, Kit, NONCE, OTHER_SEED, Row, SEED, SimulatedGoogle, SimulatedGuest,
    SimulatedKey, SimulatedRsaKey, SimulatedTee, SimulatedVtpm, VtpmDocument, VtpmGuest, padded,
    written,
};

fn document(guest: &SimulatedGuest) -> VtpmDocument {
    let nonce = NONCE.as_bytes();
    guest.document(nonce, guest.bound(nonce))
}

/// The document of a guest of which something else was planned.
fn planned(kit: &Kit, edit: fn(&mut SimulatedGuest)) -> VtpmDocument {
    let mut guest = kit.guest.clone();
    edit(&mut guest);
    document(&guest)
}

fn certificates(document: &mut VtpmDocument) -> Option<&mut Vec<Base64>> {
    match &mut document.guest {
        VtpmGuest::Gcp {
            ak_certificates, ..
        } => Some(ak_certificates),
        VtpmGuest::Azure { .. } => None,
    }
}

/// A document whose event log is that of another boot.
fn log_of(kit: &Kit, edit: fn(&mut SimulatedVtpm)) -> VtpmDocument {
    let mut other = kit.guest.tpm.clone();
    edit(&mut other);
    with_log(kit, other.event_log())
}

fn with_log(kit: &Kit, log: Vec<u8>) -> VtpmDocument {
    let mut document = document(&kit.guest);
    if let VtpmGuest::Gcp { event_log, .. } = &mut document.guest {
        *event_log = Base64(log);
    }
    document
}

fn snp(kit: &Kit, report_data: [u8; 64]) -> VtpmDocument {
    let guest = VtpmGuest::Gcp {
        ak_certificates: kit.guest.certificates(),
        event_log: Base64(kit.guest.tpm.event_log()),
        snp_report: Some(Base64(kit.snp(report_data).report)),
    };
    let tpm = &kit.guest.tpm;
    VtpmDocument::new(guest, tpm.quote(NONCE.as_bytes()), tpm.pcrs(), None)
}

/// The guest with the key of another, certified like its own.
fn with_key(kit: &Kit, key: AkKey) -> SimulatedGuest {
    let mut guest = kit.guest.clone();
    guest.tpm.key = key;
    guest
}

fn another_key() -> AkKey {
    AkKey::Ecdsa(SimulatedKey::derive(&OTHER_SEED, "ak"))
}

pub(super) fn rows(kit: &Kit) -> Vec<Row> {
    let all = [
        accepted(kit),
        chains(kit),
        quotes(kit),
        boots(kit),
        hardware(kit),
    ];
    all.into_iter().flatten().collect()
}

#[rustfmt::skip]
fn accepted(kit: &Kit) -> Vec<Row> {
    let rsa = with_key(kit, AkKey::Rsa(SimulatedRsaKey::derive(&SEED, "ak")));
    let nonce_alone = kit.guest.document(NONCE.as_bytes(), padded());
    vec![
        Row::new("gcp-tdx-accepted", "A TD of Google's that is in order, its key bound to the hardware", "", None, &document(&kit.guest)),
        Row::new("gcp-tdx-rsa-key", "An RSA attestation key", "RSA-2048", None, &document(&rsa)),
        Row::new("gcp-tdx-nonce-alone", "A policy for which the nonce in the hardware's report is enough", "report data is the nonce", None, &nonce_alone).under("gcp-tdx-nonce"),
        Row::new("gcp-snp-accepted", "An SNP guest of Google's that is in order", "", None, &snp(kit, padded())).under("gcp-snp").with(Beside::Chain),
    ]
}

#[rustfmt::skip]
fn chains(kit: &Kit) -> Vec<Row> {
    let check = "ak-certificates";
    let changed = |name, title, change, code, edit: fn(&mut Vec<Base64>)| {
        let mut document = document(&kit.guest);
        if let Some(certificates) = certificates(&mut document) { edit(certificates); }
        Row::new(name, title, change, Some((check, code)), &document)
    };
    let planned = |name, title, change, check, code, edit| Row::new(name, title, change, Some((check, code)), &planned(kit, edit));
    let other = SimulatedGoogle::from_seed(OTHER_SEED);
    let of_other: Vec<_> = other.certificates(&kit.guest.tpm.key, &kit.guest.certificate).into_iter().map(Base64).collect();
    let mut foreign = document(&kit.guest);
    let mut under_our_root = document(&kit.guest);
    if let (Some(all), Some(ours)) = (certificates(&mut foreign), certificates(&mut under_our_root)) {
        let root = ours.pop();
        *ours = of_other.clone();
        ours.pop();
        ours.extend(root);
        *all = of_other;
    }
    vec![
        changed("gcp-no-certificates", "No certificates", "removed", "chain-malformed", Vec::clear),
        changed("gcp-certificate-cut", "A certificate that was cut", "100 bytes left", "chain-malformed", |all| if let Some(one) = all.get_mut(1) { one.0.truncate(100); }),
        changed("gcp-intermediate-missing", "A chain with a certificate missing", "the authority's removed", "chain-broken", |all| drop(all.remove(1))),
        changed("gcp-certificate-flipped", "A certificate that was changed", "a bit of its signature", "chain-broken", |all| if let Some(byte) = all.first_mut().and_then(|one| one.0.last_mut()) { *byte ^= 1; }),
        Row::new("gcp-other-root", "A root that the policy does not name", "of another seed", Some((check, "root-not-trusted")), &foreign),
        Row::new("gcp-ak-of-another-chain", "A key that others certified, above it a root that the policy names", "authority of another seed", Some((check, "chain-broken")), &under_our_root),
        Row::new("gcp-production-policy", "The policy for genuine guests trusts no simulated root", "another policy", Some((check, "root-not-trusted")), &document(&kit.guest)).under("production-gcp-tdx"),
        planned("gcp-certificate-late", "A certificate that has ended", "until 2026", check, "certificate-expired", |guest| guest.certificate.years = (2020, 2026)),
        planned("gcp-certificate-early", "A certificate from the future", "from 2048", check, "certificate-not-yet-valid", |guest| guest.certificate.years = (2048, 2049)),
        planned("gcp-endorsement-key", "A key that is not for signatures", "keyEncipherment", check, "ak-usage", |guest| guest.certificate.usage = rcgen::KeyUsagePurpose::KeyEncipherment),
        planned("gcp-no-instance", "A certificate that names no instance", "extension left out", "instance", "instance-malformed", |guest| guest.certificate.instance = false),
        planned("gcp-not-production", "An instance that is not of production", "isProduction false", "instance", "instance-not-production", |guest| guest.certificate.production = Some(false)),
        planned("gcp-production-not-said", "An instance of which nobody says that it is of production", "isProduction absent", "instance", "instance-not-production", |guest| guest.certificate.production = None),
        planned("gcp-other-project", "An instance of somebody else's project", "another project", "instance", "project-not-allowed", |guest| "another-project".clone_into(&mut guest.certificate.project)),
    ]
}

#[rustfmt::skip]
fn quotes(kit: &Kit) -> Vec<Row> {
    let (check, invalid) = ("quote-signature", "quote-signature-invalid");
    let changed = |name, title, change, check, code, edit: fn(&mut VtpmDocument)| {
        let mut document = document(&kit.guest);
        edit(&mut document);
        Row::new(name, title, change, Some((check, code)), &document)
    };
    let mut by_another = document(&kit.guest);
    let (quote, signature) = SimulatedVtpm::booted(another_key()).quote(NONCE.as_bytes());
    (by_another.quote, by_another.signature) = (Base64(quote), Base64(signature));
    let stale = kit.guest.document(&[8; 32], kit.guest.bound(NONCE.as_bytes()));
    let text = String::from_utf8(written(document(&kit.guest).write())).unwrap_or_default();
    let mut member = changed("gcp-member-added", "A member that the format does not know", "`collateral` added", "document-parse", "document-malformed", |_| {});
    member.document = text.replacen("\"quote\":", "\"collateral\":\"\",\"quote\":", 1).into_bytes();
    let mut format = changed("gcp-format", "A document of another format", "v2", "document-parse", "document-member", |_| {});
    format.document = text.replacen("vtpm-evidence.v1", "vtpm-evidence.v2", 1).into_bytes();
    vec![
        member,
        format,
        changed("gcp-quote-cut", "A quote that was cut", "100 bytes left", "quote-parse", "tpm-malformed", |it| it.quote.0.truncate(100)),
        Row::new("gcp-quote-by-another-key", "A quote by another key", "of another seed", Some((check, invalid)), &by_another),
        changed("gcp-signature-flipped", "Another signature", "byte 9", check, invalid, |it| if let Some(byte) = it.signature.0.get_mut(9) { *byte ^= 1; }),
        changed("gcp-signature-trailing", "A byte behind the signature", "one added", check, invalid, |it| it.signature.0.push(0)),
        Row::new("gcp-nonce-of-another-exchange", "A quote that answers another nonce", "another nonce", Some(("qualifying-data", "qualifying-data-mismatch")), &stale),
    ]
}

#[rustfmt::skip]
fn boots(kit: &Kit) -> Vec<Row> {
    let mut fewer = document(&kit.guest);
    if let Some(at) = fewer.quote.0.windows(3).position(|bytes| bytes == [0xff; 3]) {
        fewer.quote.0.get_mut(at).into_iter().for_each(|byte| *byte = 0);
    }
    fewer.signature = Base64(kit.guest.tpm.sign(&fewer.quote.0));
    let mut swapped = document(&kit.guest);
    swapped.pcrs.swap(4, 5);
    let mut unlisted = document(&kit.guest);
    if let Some(pcr) = unlisted.pcrs.last_mut() { *pcr = Hex::from_bytes([1; 32]); }
    let cut = { let mut log = kit.guest.tpm.event_log(); log.truncate(100); log };
    let (check, mismatch) = ("event-log", Some(("event-log", "event-log-mismatch")));
    vec![
        Row::new("gcp-fewer-registers", "A quote that leaves out what is compared", "PCR 0 to 7 not selected", Some(("pcr-selection", "pcr-selection-mismatch")), &fewer),
        Row::new("gcp-register-swapped", "Registers that were not quoted", "PCR 4 and 5 swapped", Some(("pcr-digest", "pcr-digest-mismatch")), &swapped),
        Row::new("gcp-register-not-compared", "A register that was not quoted, and that nobody compares", "PCR 23", Some(("pcr-digest", "pcr-digest-mismatch")), &unlisted),
        Row::new("gcp-log-cut", "An event log that was cut", "100 bytes left", Some((check, "event-log-malformed")), &with_log(kit, cut)),
        Row::new("gcp-log-edited", "An event log of another boot", "an event of PCR 5 edited", mismatch, &log_of(kit, |tpm| if let Some(event) = tpm.boot.get_mut(5) { event.data = b"another".to_vec(); })),
        Row::new("gcp-log-reordered", "An event log with an event of another register", "the last event twice", mismatch, &log_of(kit, |tpm| tpm.boot.extend(tpm.boot.last().cloned()))),
        Row::new("gcp-log-event-dropped", "An event log that leaves out a compared register", "the event of PCR 4 dropped", Some((check, "event-log-incomplete")), &log_of(kit, |tpm| tpm.boot.retain(|event| event.pcr != 4))),
        Row::new("gcp-other-boot", "Another boot", "another boot loader in PCR 4", Some(("reference-pcrs", "reference-mismatch")), &planned(kit, |guest| if let Some(event) = guest.tpm.boot.get_mut(4) { event.data = b"another".to_vec(); })),
    ]
}

#[rustfmt::skip]
fn hardware(kit: &Kit) -> Vec<Row> {
    let refused = Some(("hardware", "hardware-refused"));
    let mismatch = Some(("report-data", "report-data-mismatch"));
    let nonce = NONCE.as_bytes();
    let unbound = kit.guest.document(nonce, padded());
    let stale = kit.guest.document(nonce, kit.guest.bound(&[8; 32]));
    // the TPM of another machine, whose TD answers the same nonce
    let mut relayed = document(&with_key(kit, another_key()));
    relayed.td_quote = Some(Base64(SimulatedTee::demo().quote(&kit.guest.plan.td, kit.guest.bound(nonce))));
    vec![
        Row::new("gcp-no-collateral", "Nothing vouches for the hardware", "collateral not supplied", Some(("tee", "tee-incomplete")), &document(&kit.guest)).with(Beside::Nothing),
        Row::new("gcp-other-hardware", "An SNP guest under a policy for TDs", "SNP report", Some(("tee", "tee-refused")), &snp(kit, padded())).with(Beside::Chain),
        Row::new("gcp-td-debug", "A debug TD", "DEBUG set", refused, &planned(kit, |guest| guest.plan.td.attributes |= 1)),
        Row::new("gcp-td-without-sept-ve", "Without a paravisor SEPT_VE_DISABLE must be on", "attribute off", refused, &planned(kit, |guest| guest.plan.td.attributes = 0)),
        Row::new("gcp-other-kernel", "What the hardware itself measured is another boot", "another RTMR1", refused, &planned(kit, |guest| guest.plan.td.rtmr.swap(1, 2))),
        Row::new("gcp-key-not-bound", "A policy for which the nonce alone is not enough", "report data is the nonce", mismatch, &unbound),
        Row::new("gcp-report-data-stale", "A TD that answered another exchange", "another nonce", mismatch, &stale),
        Row::new("gcp-tpm-of-another-machine", "The TPM of one machine beside the hardware of another", "key and quote of another TPM", mismatch, &relayed),
        Row::new("gcp-snp-without-list", "Without a revocation list the chip's key is not accepted", "not supplied", refused, &snp(kit, padded())).under("gcp-snp").with(Beside::ChainWithoutList),
        Row::new("gcp-snp-report-data", "An SNP report that answers another exchange", "another report data", mismatch, &snp(kit, [8; 64])).under("gcp-snp").with(Beside::Chain),
    ]
}
