//! The checks on a TPM quote: whose key, which registers, and what the logs say about them. A pass
//! counts only when the signature, and for logs the digest over the registers, were proved.

use std::collections::BTreeMap;

use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
use proofroom_evidence::{
    Bank, EventLog, PcrSelection, RoomDocument, RoomEndorsements, RoomEvidence, TpmKey, TpmQuote,
    TpmSignature, pcr_digest,
};

use super::{Work, ak, boot_log, events, statement, unreadable};
use crate::{RoomCheckName as Name, RoomCode, RoomOutcome, reference::Hash384};

/// The PCR that runtime events are extended into.
const RUNTIME_PCR: u32 = 15;
/// The PCRs that must be quoted, ascending: those of the boot, then the runtime one.
const QUOTED: [u32; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, RUNTIME_PCR];
const REFERENCES: [(u32, Name); 11] = [
    (0, Name::ReferencePcr0),
    (1, Name::ReferencePcr1),
    (2, Name::ReferencePcr2),
    (3, Name::ReferencePcr3),
    (4, Name::ReferencePcr4),
    (5, Name::ReferencePcr5),
    (6, Name::ReferencePcr6),
    (7, Name::ReferencePcr7),
    (8, Name::ReferencePcr8),
    (9, Name::ReferencePcr9),
    (14, Name::ReferencePcr14),
];

const CERTIFIED: &[Name] = &[Name::AttestationKey, Name::AkCertificate];
const SIGNED: &[Name] = &[
    Name::AttestationKey,
    Name::AkCertificate,
    Name::QuoteSignature,
];
const REPLAYED: &[Name] = &[
    Name::AttestationKey,
    Name::AkCertificate,
    Name::QuoteSignature,
    Name::PcrSelection,
    Name::PcrDigest,
];

pub(super) fn check(work: &mut Work<'_>, document: &RoomDocument) {
    let evidence = document.evidence();
    let quote = match TpmQuote::parse(&evidence.quote) {
        Ok(quote) => {
            work.made.set(Name::QuoteParse, RoomOutcome::Pass);
            Some(quote)
        }
        Err(error) => {
            work.made.set(Name::QuoteParse, unreadable(&error));
            None
        }
    };
    if let Some((key, public)) = attestation_key(work, evidence) {
        let RoomEndorsements::Tpm2 { ak_certificate } = document.endorsements() else {
            return;
        };
        let certificate = ak::check(work, ak_certificate, &key);
        work.made.set(Name::AkCertificate, certificate);
        let signed = signature(evidence, &key);
        work.made
            .set_if_proved(Name::QuoteSignature, CERTIFIED, signed);
        if let Some(quote) = &quote {
            let signer = signer(quote, &public);
            work.made.set_if_proved(Name::QuoteSigner, SIGNED, signer);
        }
    }
    let statement = statement(work, evidence);
    work.made.set(Name::Statement, statement);
    if let Some(quote) = &quote {
        let bound = qualifying_data(quote, evidence);
        work.made.set_if_proved(Name::QualifyingData, SIGNED, bound);
        let selected = selection(quote);
        work.made
            .set_if_proved(Name::PcrSelection, SIGNED, selected);
        registers(work, quote, evidence);
    }
    events::check(work, evidence, REPLAYED);
}

fn attestation_key(work: &mut Work<'_>, evidence: &RoomEvidence) -> Option<(VerifyingKey, TpmKey)> {
    let public = match TpmKey::parse(&evidence.key) {
        Ok(public) => public,
        Err(error) => {
            work.made.set(Name::AttestationKey, unreadable(&error));
            return None;
        }
    };
    let Ok(key) = VerifyingKey::from_sec1_bytes(public.point()) else {
        let words = "the attestation key is not a point of P-256";
        work.made.set(
            Name::AttestationKey,
            RoomOutcome::fail(RoomCode::AkKey, words),
        );
        return None;
    };
    let attributes = public.attributes();
    let outcome = RoomOutcome::when(
        attributes.is_attestation_key(),
        RoomCode::AkAttributes,
        || {
            let bits = attributes.bits();
            format!(
                "attributes {bits:#010x}: not a restricted signing key that its TPM made and keeps"
            )
        },
    );
    work.made.set(Name::AttestationKey, outcome);
    Some((key, public))
}

fn signature(evidence: &RoomEvidence, key: &VerifyingKey) -> RoomOutcome {
    let signature = match TpmSignature::parse(&evidence.signature) {
        Ok(signature) => signature,
        Err(error) => return unreadable(&error),
    };
    let holds = Signature::from_scalars(signature.r, signature.s)
        .is_ok_and(|signature| key.verify(&evidence.quote, &signature).is_ok());
    RoomOutcome::when(
        holds,
        RoomCode::QuoteSignatureInvalid,
        || "the attestation key did not sign these bytes",
    )
}

fn signer(quote: &TpmQuote, key: &TpmKey) -> RoomOutcome {
    match key.endorsement_name() {
        Ok(name) => {
            let signed_it = name == quote.qualified_signer;
            RoomOutcome::when(
                signed_it,
                RoomCode::QuoteSignerMismatch,
                || "the quote names another signer than this key as a primary of the endorsement hierarchy",
            )
        }
        Err(error) => unreadable(&error),
    }
}

fn qualifying_data(quote: &TpmQuote, evidence: &RoomEvidence) -> RoomOutcome {
    let bound = quote.qualifying_data == evidence.bound_qualifying_data();
    RoomOutcome::when(
        bound,
        RoomCode::QualifyingDataMismatch,
        || "the quote's qualifying data is not the digest of the statement's report data",
    )
}

fn selection(quote: &TpmQuote) -> RoomOutcome {
    let wanted = [PcrSelection {
        bank: Bank::Sha384,
        pcrs: QUOTED.to_vec(),
    }];
    RoomOutcome::when(
        quote.selections == wanted,
        RoomCode::PcrSelectionMismatch,
        || "the quote must be over PCRs 0 to 9, 14 and 15 of the sha384 bank, and nothing else",
    )
}

/// Replays the logs, compares their sum with the quote, and each register with its reference.
fn registers(work: &mut Work<'_>, quote: &TpmQuote, evidence: &RoomEvidence) {
    let log = match EventLog::parse(&evidence.boot_log) {
        Ok(log) => log,
        Err(error) => {
            work.made.set(Name::BootLog, unreadable(&error));
            return;
        }
    };
    let mut values = match log.replay_sha384() {
        Ok(values) => values,
        Err(error) => {
            work.made.set(Name::BootLog, unreadable(&error));
            return;
        }
    };
    if values.contains_key(&RUNTIME_PCR) {
        let words = "the boot log extends PCR 15, which belongs to runtime events";
        let outcome = RoomOutcome::fail(RoomCode::BootLogRuntimeRegister, words);
        work.made.set(Name::BootLog, outcome);
        return;
    }
    work.made.set(Name::BootLog, RoomOutcome::Pass);
    values.insert(RUNTIME_PCR, events::replay(evidence));
    let zero = [0; 48];
    let quoted = QUOTED.map(|pcr| *values.get(&pcr).unwrap_or(&zero));
    let sum = pcr_digest(quoted.iter().map(<[u8; 48]>::as_slice));
    let outcome = RoomOutcome::when(
        quote.pcr_digest == sum,
        RoomCode::PcrDigestMismatch,
        || "boot log and runtime events do not add up to the quoted registers",
    );
    work.made.set_if_proved(Name::PcrDigest, SIGNED, outcome);
    references(work, &log, &values);
}

fn references(work: &mut Work<'_>, log: &EventLog, values: &BTreeMap<u32, [u8; 48]>) {
    let zero = [0; 48];
    let reference = work.trust.policy.reference();
    for (pcr, name) in REFERENCES {
        let found = values.get(&pcr).unwrap_or(&zero);
        let wanted = reference.contents().tpm2.sha384.get(&pcr);
        let same = wanted.map(Hash384::as_bytes) == Some(found);
        let outcome = RoomOutcome::when(same, RoomCode::ReferenceMismatch, || {
            difference(work, log, pcr)
        });
        work.made.set_if_proved(name, REPLAYED, outcome);
    }
}

/// The first event of a register that is not the one that the reference has there.
fn difference(work: &Work<'_>, log: &EventLog, pcr: u32) -> String {
    let contents = work.trust.policy.reference().contents();
    let wanted = contents.events.iter().filter(|event| event.pcr == pcr);
    boot_log::difference(&format!("PCR {pcr}"), log, pcr, wanted)
}
