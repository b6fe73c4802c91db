//! The checks on a TPM quote: whose key, which registers, and what the logs say about them. A pass
//! counts only when the signature, and for logs the digest over the registers, were proved.

use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
use proofroom_evidence::{
    Bank, PcrSelection, RoomDocument, RoomEndorsements, RoomEvidence, TpmKey, TpmQuote,
    TpmSignature, pcr_digest,
};

use super::{
    Work, ak,
    boot_log::{self, BootLog},
    events, statement, unreadable,
};
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
    let quote = TpmQuote::parse(&evidence.quote).map_err(|error| unreadable(&error));
    let quote = work.made.read(Name::QuoteParse, quote);
    match attestation_key(evidence) {
        Ok((key, public)) => {
            work.made.set(Name::AttestationKey, attributes(&public));
            of_key(work, document, &key);
            if let Some(quote) = &quote {
                let signer = signer(quote, &public);
                work.made.set_if_proved(Name::QuoteSigner, SIGNED, signer);
            }
        }
        Err(outcome) => work.made.set(Name::AttestationKey, outcome),
    }
    let statement = statement(work, evidence);
    work.made.set(Name::Statement, statement);
    if let Some(quote) = &quote {
        let judged = [
            (Name::QualifyingData, qualifying_data(quote, evidence)),
            (Name::PcrSelection, selection(quote)),
        ];
        work.made.set_all_if_proved(SIGNED, judged);
        registers(work, quote, evidence);
    }
    events::check(work, evidence, REPLAYED);
}

fn attestation_key(evidence: &RoomEvidence) -> Result<(VerifyingKey, TpmKey), RoomOutcome> {
    let public = TpmKey::parse(&evidence.key).map_err(|error| unreadable(&error))?;
    let key = VerifyingKey::from_sec1_bytes(public.point()).map_err(|_| {
        let words = "the attestation key is not a point of P-256";
        RoomOutcome::fail(RoomCode::AkKey, words)
    })?;
    Ok((key, public))
}

fn attributes(key: &TpmKey) -> RoomOutcome {
    let (attributes, code) = (key.attributes(), RoomCode::AkAttributes);
    RoomOutcome::when(attributes.is_attestation_key(), code, || {
        let words = "not a restricted signing key that its TPM made and keeps";
        format!("attributes {:#010x}: {words}", attributes.bits())
    })
}

/// Who vouches for the key, and what it signed.
fn of_key(work: &mut Work<'_>, document: &RoomDocument, key: &VerifyingKey) {
    if let RoomEndorsements::Tpm2 { ak_certificate } = document.endorsements() {
        let certificate = ak::check(work, ak_certificate, key);
        work.made.set(Name::AkCertificate, certificate);
    }
    let signed = signature(document.evidence(), key);
    work.made
        .set_if_proved(Name::QuoteSignature, CERTIFIED, signed);
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
    let name = match key.endorsement_name() {
        Ok(name) => name,
        Err(error) => return unreadable(&error),
    };
    RoomOutcome::when(
        name == quote.qualified_signer,
        RoomCode::QuoteSignerMismatch,
        || "the quote names another signer than this key as a primary of the endorsement hierarchy",
    )
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
    let log = BootLog::read(&evidence.boot_log, RUNTIME_PCR, "PCR 15");
    let Some(log) = work.made.read(Name::BootLog, log) else {
        return;
    };
    let runtime = events::replay(evidence);
    let quoted = QUOTED.map(|pcr| match pcr {
        RUNTIME_PCR => runtime,
        _ => log.register(pcr),
    });
    let sum = pcr_digest(quoted.iter().map(<[u8; 48]>::as_slice));
    let outcome = RoomOutcome::when(
        quote.pcr_digest == sum,
        RoomCode::PcrDigestMismatch,
        || "boot log and runtime events do not add up to the quoted registers",
    );
    work.made.set_if_proved(Name::PcrDigest, SIGNED, outcome);
    references(work, &log);
}

fn references(work: &mut Work<'_>, log: &BootLog) {
    let reference = work.trust.policy.reference().contents();
    for (pcr, name) in REFERENCES {
        let wanted = reference.tpm2.sha384.get(&pcr);
        let same = wanted.map(Hash384::as_bytes) == Some(&log.register(pcr));
        let outcome = RoomOutcome::when(same, RoomCode::ReferenceMismatch, || {
            let events = reference.events.iter().filter(|event| event.pcr == pcr);
            boot_log::difference(&format!("PCR {pcr}"), log, pcr, events)
        });
        work.made.set_if_proved(name, REPLAYED, outcome);
    }
}
