//! Rungs `checkpoint`, `inclusion` and `consistency`: that the log's key signed one tree head, and
//! that every record of the bundle is in that tree.

use proofroom_canonical::SessionId;
use proofroom_tlog::{KeyError, LogProof, RecordLeaf, SignedNote, VerifiedCheckpoint, VerifierKey};

use super::{Failure, Made, check::Blame, one_line, signatures::Records};
use crate::{
    bundle::{BundleParts, LoggedRecord, POLICY_VERSION, model_run_name, proof_name},
    policy_version::NO_SESSION,
    predicate::{Predicate, VerifiedRecord},
};

pub(super) fn verify_checkpoint(log_key: &[u8], parts: &BundleParts) -> Made<VerifiedCheckpoint> {
    let key = parse_log_key(log_key)?;
    let name = "log/checkpoint";
    let note = SignedNote::parse(&parts.checkpoint)
        .map_err(|error| Failure::at(name, error.code(), &error))?;
    check_signed_once(name, &note)?;
    let verified = key
        .verify_checkpoint(&note)
        .map_err(|error| Failure::at(name, error.code(), &error))?;
    let found = format!(
        "`{}`, {} leaves, signed by the log's Ed25519 key",
        verified.checkpoint().origin(),
        verified.checkpoint().size().get()
    );
    Ok((found, verified))
}

/// Reads the one line of a verifier-key file.
pub(super) fn parse_log_key(file: &[u8]) -> Result<VerifierKey, Failure> {
    let name = "trust/log.vkey";
    let line = one_line(file, name, "log-key-file")?;
    VerifierKey::parse(line).map_err(|error| {
        let failure = Failure::at(name, error.code(), &error);
        match error {
            KeyError::Unsupported { .. } => failure.blamed(Blame::Unsupported),
            _ => failure,
        }
    })
}

pub(super) fn verify_inclusion(
    checkpoint: &VerifiedCheckpoint,
    parts: &BundleParts,
    records: &Records,
) -> Made<Vec<SignedNote>> {
    let key = checkpoint.key();
    let session = records.session.predicate().session;
    let mut notes = Vec::new();
    for (number, (file, record)) in parts.model_runs.iter().zip(&records.runs).enumerate() {
        let name = model_run_name(number);
        notes.push(included(key, session, &name, file, record)?);
    }
    let (file, record) = (&parts.session, &records.session);
    notes.push(included(key, session, "session", file, record)?);
    if let (Some(file), Some(record)) = (&parts.destruction, &records.destruction) {
        notes.push(included(key, session, "destruction", file, record)?);
    }
    if let (Some(file), Some(record)) = (&parts.trust.policy_version, &records.version) {
        notes.push(included(key, NO_SESSION, POLICY_VERSION, file, record)?);
    }
    let found = format!("{} records are leaves of the log (RFC 9162)", notes.len());
    Ok((found, notes))
}

fn included<P: Predicate>(
    key: &VerifierKey,
    session: SessionId,
    name: &str,
    file: &LoggedRecord,
    record: &VerifiedRecord<P>,
) -> Result<SignedNote, Failure> {
    let name = proof_name(name);
    let proof =
        LogProof::parse(&file.proof).map_err(|error| Failure::at(&name, error.code(), &error))?;
    if !proof.unauthenticated_extra().is_empty() {
        let cause = format!("{name}: carries extra data that nobody signed");
        return Err(Failure::refused("proof-extra", cause));
    }
    check_signed_once(&name, proof.note())?;
    let leaf = RecordLeaf {
        kind: P::LEAF,
        session,
        digest: record.digest(),
    };
    key.verify_proof(&proof, &leaf.to_bytes())
        .map_err(|error| Failure::at(&name, error.code(), &error))?;
    Ok(proof.note().clone())
}

pub(super) fn verify_consistency(
    checkpoint: &VerifiedCheckpoint,
    notes: &[SignedNote],
) -> Made<()> {
    if notes.iter().any(|note| note != checkpoint.note()) {
        return Err(Failure::refused(
            "checkpoint-differs",
            "a receipt leads to another checkpoint than `log/checkpoint`",
        ));
    }
    Ok(("all receipts lead to the one checkpoint".to_owned(), ()))
}

// A second signature would be bytes that no check covers: this version configures no witnesses.
fn check_signed_once(name: &str, note: &SignedNote) -> Result<(), Failure> {
    let count = note.signatures().len();
    if count == 1 {
        return Ok(());
    }
    let cause = format!("{name}: {count} signatures, not one by the log");
    Err(Failure::refused("checkpoint-signatures", cause))
}
