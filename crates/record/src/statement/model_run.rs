//! The predicate `model-run/v1`: one run of a model, with what was asked, decided, sent and answered.

use proofroom_canonical::{Digest, Nonce, RunId, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use super::provider::{ProviderFacts, Receipt};
use crate::event::RunStatus;

/// Predicate `model-run/v1`: one model request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRun {
    /// The run.
    pub run: RunId,
    /// The session it belongs to.
    pub session: SessionId,
    /// Position among the session's runs, from 0, without gaps.
    pub sequence: u64,
    /// Digest of the session's [`Binding`]: joins the model proof to the room's proof.
    pub session_binding: Digest,
    /// The caller's SPIFFE ID, taken from the room's channel.
    pub caller: String,
    /// Whose key the request carried; absent where the caller's channel says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientIdentity>,
    /// What the client sent.
    pub request: ModelRequest,
    /// How it was classified.
    pub classification: ClassificationResult,
    /// Where it was sent, and why not elsewhere.
    pub routing: RoutingResult,
    /// What other rules would have decided; absent when none were tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowResult>,
    /// What is known of the upstream that served it; absent when nothing was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamFacts>,
    /// Upstreams that were sent the request before, in order, and said that they were busy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierAttempt>,
    /// What came back; absent when nothing was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<ModelResponse>,
    /// Present when the upstream does not speak the client's API, so that `request.forwarded` and
    /// `response` are not what was received but what was said in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated: Option<Translated>,
    /// How the run ended.
    pub status: RunStatus,
    /// Stable code and words of a refusal or failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When what is written of the run had to be on disk.
    #[serde(default)]
    pub log: LogMode,
    /// When the request arrived (gateway's clock).
    pub started: Timestamp,
    /// When the run ended (gateway's clock).
    pub finished: Timestamp,
    /// 32 random bytes in hex, so that the record's digest in the log says nothing about it.
    pub blinding: Nonce,
}

/// A time that a run's request was sent to an upstream which answered that it was busy. Nothing of that answer
/// reached the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierAttempt {
    /// What is known of the upstream; it is of the tier that was chosen.
    pub upstream: UpstreamFacts,
    /// Digest of what it was sent.
    pub forwarded: Digest,
    /// Status of its answer: 429, 503 or 529.
    pub http_status: u16,
    /// When that arrived (gateway's clock).
    pub answered: Timestamp,
}

impl ModelRun {
    /// Every upstream that was sent the request, in order: one may occur twice.
    pub fn sent_to(&self) -> impl Iterator<Item = &UpstreamFacts> {
        let earlier = self.earlier.iter().map(|attempt| &attempt.upstream);
        earlier.chain(&self.upstream)
    }
}

/// When what is written of a run has to be on disk. Records of a time that knew the first alone do not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogMode {
    /// Its intent before the prompt left, its record before the answer ended. No power cut loses either.
    #[default]
    Strict,
    /// Intent and record were written at these moments, and the disk was asked for them within 10 ms. The
    /// end of the gateway's process loses neither; a power cut may lose those of the last moments.
    Prompt,
}

/// How a run was said in another API's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Translated {
    /// Path of the upstream's API, such as `/v1/messages`.
    pub endpoint: String,
    /// Digest of the answer's bytes as the upstream sent them; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Digest>,
}

/// Who holds the virtual key with which a request came, or whose token. Never the key and never the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientIdentity {
    /// The key's id; of a person who came with a token `person-<32 hex digits>`, which is of issuer and subject alone.
    pub key: String,
    /// The person or program that it was issued to; of a token the name that its issuer gives the person.
    pub user: String,
    /// Their team.
    pub team: String,
    /// Who issued the token; absent where the request came with a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// SHA-256 of what is signed of the run's token (RFC 7515 section 5.1); absent where the request came with a key, and in
    /// what is about a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Digest>,
    /// SHA-256 thumbprint (RFC 7638) of the key that the run's sender proved to hold (RFC 9449); absent where nobody
    /// asked, and in what is about a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_key: Option<Digest>,
}

impl ClientIdentity {
    /// The holder of a virtual key.
    #[must_use]
    pub fn of_key(id: &impl ToString, user: &str, team: &str) -> Self {
        Self {
            key: id.to_string(),
            user: user.to_owned(),
            team: team.to_owned(),
            issuer: None,
            token: None,
            proof_key: None,
        }
    }

    /// The same, without what is of one request.
    #[must_use]
    pub fn of_session(&self) -> Self {
        Self {
            token: None,
            proof_key: None,
            ..self.clone()
        }
    }
}

/// A stable code with words for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Stable kebab-case code.
    pub code: String,
    /// For a person. Never quotes a prompt or an answer.
    pub reason: String,
}

/// What the client sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRequest {
    /// Path of the client's API, such as `/v1/chat/completions`.
    pub endpoint: String,
    /// Model name as asked for.
    pub model: String,
    /// `true` when a stream was asked for.
    pub stream: bool,
    /// Digest of the body as it arrived.
    pub received: Digest,
    /// Size of the body as it arrived.
    pub received_bytes: u64,
    /// Digest of the body as it was forwarded; absent when nothing was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Digest>,
}

/// How a request was classified. Rule ids, counts and commitments only: never a value or a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationResult {
    /// Label of this request alone.
    pub label: String,
    /// The session's high-water mark before this request.
    pub high_water_before: String,
    /// The session's high-water mark with this request: what routing went by.
    pub high_water_after: String,
    /// Findings, sorted by rule.
    pub findings: Vec<FindingCount>,
    /// Digest of the classification policy.
    pub policy: Digest,
    /// Names the key without which no commitment can be opened; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment_key: Option<Digest>,
    /// What was replaced by placeholders in what was forwarded; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redaction: Option<RedactionResult>,
}

/// How a request was changed so that its label fell, and its answer back. The label of
/// [`ClassificationResult`] is that of the request as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedactionResult {
    /// Label of what was forwarded: found by classifying it again, as it was forwarded.
    pub label: String,
    /// Highest label of what the session forwarded with this request: what routing went by.
    pub high_water_after: String,
    /// What was replaced, sorted by rule.
    pub replaced: Vec<ReplacedCount>,
    /// How many placeholders the answer had, each of which was put back.
    pub restored: u64,
}

/// One rule's findings that were replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacedCount {
    /// Rule id.
    pub rule: String,
    /// How many different values.
    pub values: u64,
}

/// What rules that are not in force would have decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowResult {
    /// Digest of their classification policy.
    pub classification: Digest,
    /// Digest of their routing policy.
    pub routing: Digest,
    /// Label of this request under them.
    pub label: String,
    /// The session's high-water mark under them.
    pub high_water_after: String,
    /// Rules that found something else, sorted.
    pub differences: Vec<ShadowDifference>,
    /// Id of the routing rule that would have decided.
    pub rule: String,
    /// Tier that would have been chosen; absent when they would have refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
}

/// A rule that finds something else, or asks for another label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowDifference {
    /// Rule id.
    pub rule: String,
    /// Label under the rules in force; absent when it found nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Label under the others; absent when it would have found nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// One rule's findings in one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindingCount {
    /// Rule id.
    pub rule: String,
    /// Reason class, such as `secret` or `pci`.
    pub reason: String,
    /// Label that the rule asks for.
    pub label: String,
    /// How many.
    pub count: u64,
    /// A commitment to each of the different values, sorted; some where there are very many, none where the finding
    /// is no value (`docs/spec/records.md`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commitments: Vec<Digest>,
}

/// The routing decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingResult {
    /// Id of the rule that decided.
    pub rule: String,
    /// Digest of the routing policy.
    pub policy: Digest,
    /// Tier chosen; absent when refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Upstream chosen; absent when refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Upstreams that were not chosen, and why.
    pub rejected: Vec<RejectedUpstream>,
    /// What the rules looked at besides label and model; absent where no rule was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<RoutingInputs>,
}

/// What routing rules look at besides label and model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingInputs {
    /// Name of the session's repository.
    pub repository: String,
    /// Name of the person for whom the session runs, as the host knows it.
    pub person: String,
    /// What the session was opened for, as its key or whoever started it says; empty where nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub purpose: String,
}

/// An upstream that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejectedUpstream {
    /// Its name in the configuration.
    pub upstream: String,
    /// Stable code, such as `tier-not-allowed`, `model-not-served`, `evidence-refused`.
    pub code: String,
}

/// What is known of an upstream. For a standard one this says plainly that no hardware proof exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamFacts {
    /// Name in the configuration.
    pub name: String,
    /// The model that the forwarded request asks for: what evidence must be about. Absent in records of a time that did
    /// not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `live`, or `cassette` for recorded answers that are played back.
    pub source: ModelSource,
    /// What stands behind the upstream's promise.
    pub assurance: Assurance,
    /// Retention mode as configured, such as `zero-retention-contract` or `in-memory`.
    pub retention: String,
    /// Region as configured.
    pub region: String,
    /// When the forwarded request was about to be sent (gateway's clock): after the upstream's
    /// evidence was appraised, before the first byte.
    pub sent: Timestamp,
}

/// Where answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelSource {
    /// A model that computes.
    Live,
    /// Recorded answers, played back. Never a live model.
    Cassette,
}

/// What stands behind an upstream's promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Assurance {
    /// A contract and nothing else: no hardware proof exists.
    ContractOnly {
        /// Reference to the contract, as configured.
        contract: String,
    },
    /// Evidence was verified before the first prompt byte, and its key is the connection's key.
    Attested {
        /// Digest of the evidence document, which lies in the bundle under `evidence/`.
        evidence: Digest,
        /// Name of the appraisal policy. Contains `simulated` when test keys were accepted.
        appraisal_policy: String,
        /// Digest of the appraisal policy.
        policy: Digest,
        /// SHA-256 of the SubjectPublicKeyInfo of the connection, equal to the one in the evidence unless
        /// a provider's check `tls-key` was not made.
        tls_spki: Digest,
        /// When it was appraised.
        appraised: Timestamp,
        /// When the appraisal ceases to hold.
        expires: Timestamp,
        /// Present where the evidence is in a provider's own format (`docs/spec/upstreams.md`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<ProviderFacts>,
    },
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelResponse {
    /// HTTP status of the upstream.
    pub http_status: u16,
    /// Digest of the bytes that went to the client.
    pub digest: Digest,
    /// How many bytes went to the client.
    pub bytes: u64,
    /// Tokens as the upstream counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenCount>,
    /// Whether the model that the upstream says answered is the one that it was asked for; absent where it
    /// says none, and in records of a time that did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<AnsweredBy>,
    /// The provider's signature over it; absent where none is asked for, or none was there to verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// Which model an upstream says answered, against the one that it was asked for. Its word; the name itself is text
/// of the upstream's and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnsweredBy {
    /// The one that was asked for.
    Asked,
    /// One whose name begins with the one that was asked for, as dated versions do, or ends with it after a slash.
    Variant,
    /// Another.
    Other,
}

impl AnsweredBy {
    /// Compares the name of the answer with the one that was asked for.
    #[must_use]
    pub fn compare(asked: &str, named: &str) -> Self {
        if named == asked {
            return Self::Asked;
        }
        let longer = named
            .strip_prefix(asked)
            .is_some_and(|rest| rest.starts_with(['-', '@', ':']));
        let prefixed = |long: &str, short: &str| {
            long.strip_suffix(short)
                .is_some_and(|rest| rest.ends_with('/'))
        };
        if longer || prefixed(named, asked) || prefixed(asked, named) {
            return Self::Variant;
        }
        Self::Other
    }
}

/// Tokens as an upstream counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenCount {
    /// Tokens of the request.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
}
