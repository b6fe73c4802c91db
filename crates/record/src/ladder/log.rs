//! Rungs `checkpoint`, `inclusion` and `consistency`: that the log's key signed one tree head, and
//! that every record of the bundle is in that tree.

use proofroom_canonical::SessionId;
use proofroom_tlog::{
    KeyError, LogProof, RecordLeaf, SignedNote, VerifiedCheckpoint, VerifierKey, VerifyError,
};

use super::{Failure, check::Blame, signatures::Records};
use crate::{
    bundle::{BundleParts, LoggedRecord, POLICY_VERSION, model_run_name, proof_name},
    policy_version::{NO_SESSION, PolicyVersion},
    predicate::{Predicate, VerifiedRecord},
    statement::{AgentSession, Destruction, ModelRun},
};

pub(super) fn verify_checkpoint(
    log_key: &[u8],
    parts: &BundleParts,
) -> Result<(String, VerifiedCheckpoint), Failure> {
    let key = parse_log_key(log_key)?;
    let name = "log/checkpoint";
    let note = SignedNote::parse(&parts.checkpoint)
        .map_err(|error| Failure::at(name, error.code(), &error))?;
    check_signed_once(name, &note)?;
    let verified = key
        .verify_checkpoint(&note)
        .map_err(|error| log_failure(name, &error))?;
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
    let line = (file
        .strip_suffix(b"\n")
        .and_then(|line| std::str::from_utf8(line).ok()))
    .ok_or_else(|| Failure::refused("log-key-file", format!("{name}: not one line of text")))?;
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
    session: SessionId,
    parts: &BundleParts,
    records: &Records,
) -> Result<(String, Vec<SignedNote>), Failure> {
    let key = checkpoint.key();
    let mut notes = Vec::new();
    for (number, (file, record)) in parts.model_runs.iter().zip(&records.runs).enumerate() {
        let name = model_run_name(number);
        notes.push(included::<ModelRun>(key, session, &name, file, record)?);
    }
    notes.push(included::<AgentSession>(
        key,
        session,
        "session",
        &parts.session,
        &records.session,
    )?);
    if let (Some(file), Some(record)) = (&parts.destruction, &records.destruction) {
        notes.push(included::<Destruction>(
            key,
            session,
            "destruction",
            file,
            record,
        )?);
    }
    if let (Some(file), Some(version)) = (&parts.trust.policy_version, &records.version) {
        notes.push(included::<PolicyVersion>(
            key,
            NO_SESSION,
            POLICY_VERSION,
            file,
            version,
        )?);
    }
    Ok((
        format!("{} records are leaves of the log (RFC 9162)", notes.len()),
        notes,
    ))
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
        .map_err(|error| log_failure(&name, &error))?;
    Ok(proof.note().clone())
}

pub(super) fn verify_consistency(
    checkpoint: &VerifiedCheckpoint,
    notes: &[SignedNote],
) -> Result<(String, ()), Failure> {
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
    match note.signatures().len() {
        1 => Ok(()),
        count => Err(Failure::refused(
            "checkpoint-signatures",
            format!("{name}: {count} signatures, not one by the log"),
        )),
    }
}

fn log_failure(name: &str, error: &VerifyError) -> Failure {
    Failure::at(name, error.code(), error)
}
