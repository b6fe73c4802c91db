//! What was proved of an attested upstream, and by which policy: of our own protocol, or in a provider's
//! own format. One face of both for channels and records.

use std::sync::Arc;

use bytes::Bytes;
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::MAX_DOCUMENT_BYTES;
use proofroom_provider::{MAX_REPORT_BYTES, ProviderPolicy, ReceiptRule, VerifiedProvider};
use proofroom_record::statement::{Assurance, ProviderFacts};
use proofroom_serving::KeyConfig;
use proofroom_verifier::{AppraisalPolicy, Freshness, VerifiedUpstream, appraise};

use crate::{
    attested::EVIDENCE_PATH, channel::ChannelError, gateway::Core, provider, tls::KeyVerifier,
    transport::Fetched,
};

/// What an attested upstream is judged by.
#[derive(Clone)]
pub(crate) enum RoutePolicy {
    Upstream(Box<AppraisalPolicy>),
    Provider(Box<ProviderPolicy>),
}

/// What its evidence proved.
pub(crate) enum Proof {
    Upstream(Box<VerifiedUpstream>),
    Provider(Box<VerifiedProvider>),
}

impl RoutePolicy {
    /// Where the evidence for a challenge is served, and the most bytes of it.
    pub(crate) fn evidence_at(&self, nonce: Nonce) -> (String, usize) {
        match self {
            Self::Upstream(_) => (format!("{EVIDENCE_PATH}?nonce={nonce}"), MAX_DOCUMENT_BYTES),
            Self::Provider(policy) => (provider::report_path(policy, nonce), MAX_REPORT_BYTES),
        }
    }

    /// What the evidence proves, with the document to keep of it.
    pub(crate) fn appraise(
        &self,
        core: &Core,
        fetched: &Fetched,
        nonce: Nonce,
        now: Timestamp,
    ) -> Result<(Proof, Bytes), ChannelError> {
        match self {
            Self::Upstream(policy) => {
                let proof = upstream(&fetched.document, policy, nonce, now)?;
                Ok((Proof::Upstream(Box::new(proof)), fetched.document.clone()))
            }
            Self::Provider(policy) => {
                let collateral = &*core.collateral;
                let (proof, document) =
                    provider::appraise(fetched, policy, collateral, nonce, now)?;
                Ok((Proof::Provider(Box::new(proof)), document.into()))
            }
        }
    }
}

fn upstream(
    document: &[u8],
    policy: &AppraisalPolicy,
    nonce: Nonce,
    now: Timestamp,
) -> Result<VerifiedUpstream, ChannelError> {
    appraise(document, policy, Freshness::Challenge(nonce), now)
        .into_verified()
        .map_err(|appraisal| ChannelError::EvidenceRefused {
            policy: appraisal.policy().to_owned(),
            cause: appraisal.first_failure().map_or_else(
                || "a required check was not made".to_owned(),
                |(check, cause)| format!("check `{check}`: `{cause}`"),
            ),
        })
}

impl Proof {
    pub(crate) fn model(&self) -> &str {
        match self {
            Self::Upstream(proof) => proof.model(),
            Self::Provider(proof) => proof.model(),
        }
    }

    pub(crate) const fn expires(&self) -> Timestamp {
        match self {
            Self::Upstream(proof) => proof.expires(),
            Self::Provider(proof) => proof.expires(),
        }
    }

    pub(crate) fn holds_at(&self, now: Timestamp) -> bool {
        now < self.expires()
    }

    pub(crate) const fn evidence(&self) -> Digest {
        match self {
            Self::Upstream(proof) => proof.evidence(),
            Self::Provider(proof) => proof.evidence(),
        }
    }

    pub(crate) fn policy_name(&self) -> &str {
        match self {
            Self::Upstream(proof) => proof.policy_name(),
            Self::Provider(proof) => proof.policy_name(),
        }
    }

    const fn policy_digest(&self) -> Digest {
        match self {
            Self::Upstream(proof) => proof.policy_digest(),
            Self::Provider(proof) => proof.policy_digest(),
        }
    }

    /// The key that the evidence binds to connections, if it binds one.
    const fn tls_spki(&self) -> Option<Digest> {
        match self {
            Self::Upstream(proof) => Some(proof.tls_spki()),
            Self::Provider(proof) => proof.tls_spki(),
        }
    }

    /// The key that requests are sealed to, where the policy demands that.
    pub(crate) const fn sealing_key(&self) -> Option<KeyConfig> {
        match self {
            Self::Upstream(_) => None,
            Self::Provider(proof) => proof.sealing_key(),
        }
    }

    /// What judges connections: the key that is bound, which must be the one that `fetched` came over. Where
    /// none is, that key and the public authorities together, or that key alone where requests are sealed anyway.
    pub(crate) fn key_verifier(&self, fetched: Digest) -> Result<Arc<KeyVerifier>, ChannelError> {
        match self.tls_spki() {
            Some(bound) if bound == fetched => Ok(KeyVerifier::exactly(bound)),
            Some(_) => Err(ChannelError::KeyNotInEvidence),
            None if self.sealing_key().is_some() => Ok(KeyVerifier::exactly(fetched)),
            None => KeyVerifier::exactly_and_certified(fetched, None)
                .map_err(|_| ChannelError::Internal),
        }
    }

    /// The provider whose answers need receipts.
    pub(crate) fn signs_answers(&self) -> Option<&VerifiedProvider> {
        match self {
            Self::Provider(proof) if proof.receipts() == ReceiptRule::Required => Some(proof),
            Self::Upstream(_) | Self::Provider(_) => None,
        }
    }

    /// What records say of it; `connection` is the key of connections.
    pub(crate) fn assurance(&self, connection: Digest, appraised: Timestamp) -> Assurance {
        Assurance::Attested {
            evidence: self.evidence(),
            appraisal_policy: self.policy_name().to_owned(),
            policy: self.policy_digest(),
            tls_spki: connection,
            appraised,
            expires: self.expires(),
            provider: match self {
                Self::Upstream(_) => None,
                Self::Provider(proof) => Some(ProviderFacts::of(proof)),
            },
        }
    }
}
