//! From predicates to signed records and back: each predicate fixes its type and its subjects, and
//! a record is read only when both are exactly those.

use p256::ecdsa::VerifyingKey;
use proofroom_canonical::{
    Digest, Refusal,
    json::{self, JsonError},
};
use proofroom_tlog::LeafKind;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    dsse::{Envelope, EnvelopeSigner, MAX_ENVELOPE_BYTES},
    event::{RunStatus, SessionEnd},
    statement::{
        AGENT_SESSION_V1, AgentSession, DESTRUCTION_V1, Destruction, MODEL_RUN_V1, ModelRun,
        Receipt, STATEMENT_TYPE, Signer, Statement, Subject,
    },
};

/// A claim that a statement can carry.
pub trait Predicate: Serialize + DeserializeOwned {
    /// Its predicate type.
    const TYPE: &'static str;
    /// What its leaf in the log is called.
    const LEAF: LeafKind;

    /// The subjects that a statement about it has: exactly these, in this order.
    fn subjects(&self) -> Vec<Subject>;

    /// The first contradiction within it, in words.
    fn contradiction(&self) -> Option<&'static str>;
}

/// Why a record was refused, or could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Something that does not depend on the predicate's version.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another predicate.
    #[error("predicate type is `{found}`, not `{wanted}`")]
    PredicateType {
        /// Type in the statement.
        found: String,
        /// Type wanted.
        wanted: &'static str,
    },
}

impl RecordError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::PredicateType { .. } => "predicate-type",
        }
    }
}

/// A signed record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord {
    /// The envelope's file.
    pub bytes: Vec<u8>,
    /// SHA-256 of `bytes`: what other records, events and the log call this record.
    pub digest: Digest,
}

/// A record whose signature, type and subjects were verified. Only [`open`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRecord<P> {
    predicate: P,
    digest: Digest,
}

impl<P> VerifiedRecord<P> {
    /// The claim.
    pub const fn predicate(&self) -> &P {
        &self.predicate
    }

    /// SHA-256 of the envelope's file.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// A statement about a model run has seldom more.
const COMMON_BYTES: usize = 4096;

/// Makes the statement about `predicate` and signs it.
///
/// # Errors
/// `record-contradiction` when the predicate contradicts itself, and what the signer says.
pub fn seal<P: Predicate>(
    predicate: &P,
    signer: &impl EnvelopeSigner,
) -> Result<SealedRecord, RecordError> {
    check_consistent(predicate)?;
    let statement = Statement {
        statement_type: STATEMENT_TYPE.into(),
        subject: predicate.subjects(),
        predicate_type: P::TYPE.into(),
        predicate,
    };
    let payload = json::to_bytes_of(&statement, COMMON_BYTES).map_err(malformed::<P>)?;
    let bytes = Envelope::sign_to_bytes(&payload, signer)?;
    let digest = Digest::of(&bytes);
    Ok(SealedRecord { bytes, digest })
}

/// Reads a record's file and proves that `key` signed it and that it is a whole statement about a
/// `P`.
///
/// # Errors
/// See [`RecordError`].
pub fn open<P: Predicate>(
    bytes: &[u8],
    key: &VerifyingKey,
) -> Result<VerifiedRecord<P>, RecordError> {
    let payload = Envelope::parse(bytes)?.verify(key)?;
    let predicate = parse_statement(payload.as_bytes())?;
    let digest = Digest::of(bytes);
    Ok(VerifiedRecord { predicate, digest })
}

/// Reads the claim of a record without verifying who signed it: to find out which key should have.
///
/// # Errors
/// See [`RecordError`].
pub fn read_unverified<P: Predicate>(bytes: &[u8]) -> Result<P, RecordError> {
    parse_statement(&Envelope::parse(bytes)?.unverified_payload()?)
}

fn parse_statement<P: Predicate>(payload: &[u8]) -> Result<P, RecordError> {
    let outer: Statement<serde_json::Value> =
        json::parse(payload, MAX_ENVELOPE_BYTES).map_err(malformed::<P>)?;
    let found = outer.statement_type;
    Refusal::unless(found == STATEMENT_TYPE, "statement-type", || {
        format!("`_type` is `{found}`, not `{STATEMENT_TYPE}`")
    })?;
    if outer.predicate_type != P::TYPE {
        return Err(RecordError::PredicateType {
            found: outer.predicate_type.into_owned(),
            wanted: P::TYPE,
        });
    }
    let predicate = P::deserialize(outer.predicate).map_err(JsonError::Shape);
    let predicate = predicate.map_err(malformed::<P>)?;
    let implied = outer.subject == predicate.subjects();
    Refusal::unless(
        implied,
        "statement-subjects",
        || "subjects are not the ones that the predicate implies",
    )?;
    check_consistent(&predicate)?;
    Ok(predicate)
}

fn malformed<P: Predicate>(error: JsonError) -> Refusal {
    let words = format!("payload is not a statement of type `{}`", P::TYPE);
    Refusal::new("statement-malformed", words).because(error)
}

fn check_consistent<P: Predicate>(predicate: &P) -> Result<(), Refusal> {
    match predicate.contradiction() {
        Some(words) => {
            let words = format!("record contradicts itself: {words}");
            Err(Refusal::new("record-contradiction", words))
        }
        None => Ok(()),
    }
}

/// What an upstream answers that did not take a request: RFC 6585 section 4, RFC 9110 section 15.6.4, and Anthropic's own.
const BUSY: [u16; 3] = [429, 503, 529];

impl Predicate for ModelRun {
    const TYPE: &'static str = MODEL_RUN_V1;
    const LEAF: LeafKind = LeafKind::ModelRun;

    fn subjects(&self) -> Vec<Subject> {
        let request = Subject::sha256("request", self.request.received);
        let response = (self.response.as_ref()).map(|r| Subject::sha256("response", r.digest));
        std::iter::once(request).chain(response).collect()
    }

    fn contradiction(&self) -> Option<&'static str> {
        let sent = self.request.forwarded.is_some();
        let answered = self.response.is_some();
        let upstream = self.upstream.as_ref().map(|facts| &facts.name);
        let mut earlier = self.earlier.iter();
        let routed = upstream.is_none() || upstream == self.routing.upstream.as_ref();
        match self.status {
            RunStatus::Refused if sent || answered || self.sent_to().next().is_some() => {
                Some("refused, yet something was sent")
            }
            RunStatus::Complete if !(sent && answered && upstream.is_some()) => {
                Some("complete, yet request, upstream or answer is missing")
            }
            _ if earlier.any(|attempt| !BUSY.contains(&attempt.http_status)) => {
                Some("sent again after a status that does not say busy")
            }
            _ if self.translated.is_some() && !sent => Some("translated, yet nothing was sent"),
            RunStatus::Refused | RunStatus::UpstreamError if self.failure.is_none() => {
                Some("refused or failed without a reason")
            }
            _ if Receipt::is_of_nobody(self) => Some("a receipt of a provider that was not asked"),
            _ if !routed => Some("served by another upstream than the one routed to"),
            _ => None,
        }
    }
}

impl Predicate for AgentSession {
    const TYPE: &'static str = AGENT_SESSION_V1;
    const LEAF: LeafKind = LeafKind::AgentSession;

    fn subjects(&self) -> Vec<Subject> {
        let events = Subject::sha256("event-head", self.events.head);
        let result = (self.result.as_ref()).map(|r| Subject::git_commit("result", &r.commit));
        std::iter::once(events).chain(result).collect()
    }

    fn contradiction(&self) -> Option<&'static str> {
        match (self.signer, self.end) {
            (Signer::Session, SessionEnd::Interrupted) => {
                Some("an interrupted session cannot sign its own record")
            }
            (Signer::Gateway, end) if end != SessionEnd::Interrupted => {
                Some("the gateway signs for interrupted sessions only")
            }
            _ if self.not_proven.is_empty() => Some("`not_proven` is empty"),
            _ => None,
        }
    }
}

impl Predicate for Destruction {
    const TYPE: &'static str = DESTRUCTION_V1;
    const LEAF: LeafKind = LeafKind::Destruction;

    fn subjects(&self) -> Vec<Subject> {
        vec![Subject::sha256("session-record", self.session_record)]
    }

    fn contradiction(&self) -> Option<&'static str> {
        if self.observed.is_empty() {
            return Some("`observed` is empty: nothing was seen to be destroyed");
        }
        let late = self.observed.iter().any(|fact| fact.at > self.at);
        late.then_some("a fact is later than the record that states it")
    }
}
