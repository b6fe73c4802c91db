//! Records: in-toto Statements (v1) with Proofroom's predicates. The structs here are the writing
//! side and the reading side of one format; `docs/spec/records.md` is its text.

mod model_run;
mod provider;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use proofroom_canonical::{Digest, IsolationLevel, Nonce, RunId, SessionId, Timestamp};
use proofroom_evidence::EvidenceType;
use serde::{Deserialize, Serialize};

pub use model_run::{
    AnsweredBy, Assurance, ClassificationResult, ClientIdentity, EarlierAttempt, Failure,
    FindingCount, LogMode, ModelRequest, ModelResponse, ModelRun, ModelSource, RedactionResult,
    RejectedUpstream, ReplacedCount, RoutingInputs, RoutingResult, ShadowDifference, ShadowResult,
    TokenCount, Translated, UpstreamFacts,
};
pub use provider::{CheckFact, ProviderFacts, Receipt};

use crate::event::{RunStatus, SessionEnd};

/// `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Predicate type of a model-run record.
pub const MODEL_RUN_V1: &str = "https://proofroom.dev/model-run/v1";
/// Predicate type of a session record.
pub const AGENT_SESSION_V1: &str = "https://proofroom.dev/agent-session/v1";
/// Predicate type of a destruction record.
pub const DESTRUCTION_V1: &str = "https://proofroom.dev/destruction/v1";

/// An in-toto Statement whose predicate is a `P`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement<P> {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: Cow<'static, str>,
    /// What the statement is about; never empty.
    pub subject: Vec<Subject>,
    /// One of the predicate types above.
    #[serde(rename = "predicateType")]
    pub predicate_type: Cow<'static, str>,
    /// The claim.
    pub predicate: P,
}

/// One subject of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What it is.
    pub name: Cow<'static, str>,
    /// Algorithm name to hex digits; `sha256`, or `gitCommit` for commits.
    pub digest: BTreeMap<Cow<'static, str>, String>,
}

impl Subject {
    /// A subject named by its SHA-256.
    #[must_use]
    pub fn sha256(name: impl Into<Cow<'static, str>>, digest: Digest) -> Self {
        Self {
            name: name.into(),
            digest: BTreeMap::from([("sha256".into(), digest.to_hex())]),
        }
    }

    /// A git commit.
    #[must_use]
    pub fn git_commit(name: impl Into<Cow<'static, str>>, commit: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            digest: BTreeMap::from([("gitCommit".into(), commit.into())]),
        }
    }
}

/// What a room proves it was started for. Its digest is the root of the session's event chain, is
/// cited by every model-run record, and is what a hardware quote's report data is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// `proofroom.session-binding.v1`: keeps these bytes from meaning anything else.
    pub purpose: String,
    /// The session.
    pub session: SessionId,
    /// Chosen by the session service.
    pub nonce: Nonce,
    /// Agent identity (SPIFFE ID).
    pub spiffe_id: String,
    /// Commit the workspace was made from.
    pub commit: String,
    /// Digest of the task's text.
    pub task: Digest,
    /// Digests of every policy in force.
    pub policies: PolicyDigests,
    /// SHA-256 of the session key's SubjectPublicKeyInfo.
    pub session_key: Digest,
}

/// Value of [`Binding::purpose`].
pub const BINDING_PURPOSE: &str = "proofroom.session-binding.v1";

/// SHA-256 of each policy file that governed a session, over the file's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDigests {
    /// `access.cedar`.
    pub access: Digest,
    /// `classification.toml`.
    pub classification: Digest,
    /// `routing.toml`.
    pub routing: Digest,
    /// `room.toml`.
    pub room: Digest,
    /// The appraisal policy for attested upstreams.
    pub appraisal: Digest,
    /// `egress.toml`.
    pub egress: Digest,
    /// The appraisal policy for rooms. It pins the reference values by their digest.
    pub room_appraisal: Digest,
    /// SHA-256 of the entry of the deployment's policy history that was in force; absent where the
    /// deployment keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Digest>,
    /// The policies for providers that attest in their own format, and the policies that these rest on, by file
    /// name; none where no upstream is such a provider.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub providers: BTreeMap<String, Digest>,
}

impl PolicyDigests {
    /// The digests by the policies' names, as a room measures them.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, Digest> {
        let named = self.each();
        named.map(|(name, digest)| (name.to_owned(), digest)).into()
    }

    /// The policies' names, each with its digest.
    pub(crate) const fn each(&self) -> [(&'static str, Digest); 7] {
        [
            ("access", self.access),
            ("classification", self.classification),
            ("routing", self.routing),
            ("room", self.room),
            ("appraisal", self.appraisal),
            ("egress", self.egress),
            ("room_appraisal", self.room_appraisal),
        ]
    }
}

/// What a room proves at its end. Its SHA-512 is what the closing quote's report data is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// `proofroom.session-closing.v1`: keeps these bytes from meaning anything else.
    pub purpose: String,
    /// The session.
    pub session: SessionId,
    /// Digest of the session's [`Binding`].
    pub binding: Digest,
    /// How many events the session has.
    pub events: u64,
    /// Digest of the last event's line.
    pub head: Digest,
}

/// Value of [`Closing::purpose`].
pub const CLOSING_PURPOSE: &str = "proofroom.session-closing.v1";

impl Closing {
    /// What the room of `session`, whose binding has this digest, proves when it has these events.
    #[must_use]
    pub fn of(session: SessionId, binding: Digest, events: &EventSummary) -> Self {
        Self {
            purpose: CLOSING_PURPOSE.to_owned(),
            session,
            binding,
            events: events.count,
            head: events.head,
        }
    }
}

/// Predicate `agent-session/v1`: one session, from its room's start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSession {
    /// The session.
    pub session: SessionId,
    /// The agent's SPIFFE ID.
    pub spiffe_id: String,
    /// The agent, as the access policy names it.
    pub agent: String,
    /// How strongly the room was isolated.
    pub isolation: IsolationLevel,
    /// Mechanisms in force, such as `user-namespace`, `landlock-abi-7`, `seccomp`.
    pub mechanisms: Vec<String>,
    /// What this level does not prove, in words.
    pub not_proven: Vec<String>,
    /// Digest of the [`Binding`], which lies in the bundle.
    pub binding: Digest,
    /// How the room showed what it is, at its start and at its end.
    pub room_evidence: RoomEvidenceClaims,
    /// The event chain.
    pub events: EventSummary,
    /// Every model run, in order.
    pub model_runs: Vec<ModelRunReference>,
    /// Highest label any request had.
    pub high_water: String,
    /// What was delivered; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<SessionResult>,
    /// How it ended.
    pub end: SessionEnd,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Who signed: the session key, or the gateway for a session whose room was lost.
    pub signer: Signer,
    /// 32 random bytes, so that the record's digest in the log says nothing about it.
    pub blinding: Nonce,
}

/// How a room showed what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomEvidenceClaims {
    /// Before the session key was certified.
    pub start: RoomEvidenceClaim,
    /// After the last event.
    pub end: RoomEvidenceClaim,
}

/// How a room showed what it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RoomEvidenceClaim {
    /// Not at all.
    None {
        /// Why not, such as `process room: no attester`.
        reason: String,
    },
    /// By evidence, which lies in the bundle with its endorsements.
    Attested {
        /// What kind of machine signed it.
        #[serde(rename = "type")]
        evidence_type: EvidenceType,
        /// SHA-256 of the evidence's exact text.
        evidence: Digest,
        /// Name of the room appraisal policy.
        appraisal_policy: String,
        /// Digest of the room appraisal policy.
        policy: Digest,
    },
}

/// The event chain of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSummary {
    /// How many events; their `seq` run from 0 to one less.
    pub count: u64,
    /// Digest of the last event's line.
    pub head: Digest,
    /// Count by event type (`intent`, `outcome`, …).
    pub by_type: BTreeMap<String, u64>,
    /// Attempts that were stopped: denials and blocked observations, repeats counted.
    pub stopped: u64,
}

/// A model run as the session record cites it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRunReference {
    /// The run.
    pub run: RunId,
    /// Digest of its record's file.
    pub record: Digest,
    /// How it ended.
    pub status: RunStatus,
}

/// What a session handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionResult {
    /// Reference in the origin repository.
    pub reference: String,
    /// Its commit.
    pub commit: String,
    /// The commit's tree.
    pub tree: String,
}

/// Who signed a session record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    /// The key that was made inside the room.
    Session,
    /// The deployment's gateway, from what was durable when the room was lost.
    Gateway,
}

impl Signer {
    /// The signer as records spell it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Gateway => "gateway",
        }
    }
}

/// Predicate `destruction/v1`: the host's statement that a room is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destruction {
    /// The session.
    pub session: SessionId,
    /// Isolation of the room that is gone.
    pub isolation: IsolationLevel,
    /// Digest of the session record's file.
    pub session_record: Digest,
    /// What was observed, in the order of observation.
    pub observed: Vec<ObservedFact>,
    /// What this does not prove, in words.
    pub not_proven: Vec<String>,
    /// When the record was made (host's clock); no fact is later.
    pub at: Timestamp,
    /// 32 random bytes, so that the record's digest in the log says nothing about it.
    pub blinding: Nonce,
}

/// One thing that the host really looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedFact {
    /// Its name, such as `pid-namespace-ended` or `files-unlinked`; kebab-case.
    pub fact: String,
    /// When it was observed (host's clock).
    pub at: Timestamp,
    /// Which or how many; empty where the name says it all.
    pub detail: String,
}

impl fmt::Display for ObservedFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fact)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        write!(f, " at {}", self.at)
    }
}
