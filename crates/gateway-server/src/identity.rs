//! What the gateway says it is, to whoever asks: with hardware evidence in a TEE, plainly without
//! elsewhere.

use std::{fmt, sync::Arc};

use proofroom_canonical::{Digest, Nonce, json};
use proofroom_record::gateway::{
    GATEWAY_IDENTITY_PURPOSE, GatewayAttestation, GatewayEvidence, GatewayIdentity,
    GatewayPolicies, GatewayProof,
};
use tokio::sync::Semaphore;

/// Makes evidence of the machine that the gateway runs in.
pub trait Attester: Send + Sync {
    /// Evidence whose report data is the SHA-512 of `statement`, base64, and what the host adds to it.
    /// Blocking.
    ///
    /// # Errors
    /// Why not, in words.
    fn attest(&self, statement: &str) -> Result<(String, String), String>;
}

/// What the gateway has to show.
pub enum Standing {
    /// Nothing, for this reason.
    Outside {
        /// In words.
        reason: String,
    },
    /// Evidence.
    Tee(Arc<dyn Attester>),
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside { .. } => "Outside",
            Self::Tee(_) => "Tee",
        })
    }
}

impl Standing {
    /// As sessions are told.
    pub(crate) const fn attestation(&self) -> GatewayAttestation {
        match self {
            Self::Outside { .. } => GatewayAttestation::None,
            Self::Tee(_) => GatewayAttestation::Tee,
        }
    }
}

/// Answers who the gateway is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) standing: Standing,
    pub(crate) record_key: Digest,
    pub(crate) tls_key: Option<Digest>,
    pub(crate) policies: GatewayPolicies,
    /// A quote takes the machine a while: one at a time, for strangers.
    turn: Semaphore,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Somebody else is being answered.
    Busy,
    /// The machine did not make evidence.
    Failed,
}

impl Identity {
    pub(crate) fn new(
        standing: Standing,
        record_key: Digest,
        tls_key: Option<Digest>,
        policies: GatewayPolicies,
    ) -> Self {
        Self {
            standing,
            record_key,
            tls_key,
            policies,
            turn: Semaphore::new(1),
        }
    }

    pub(crate) async fn answer(&self, nonce: Nonce) -> Result<Vec<u8>, Unanswered> {
        let identity = GatewayIdentity {
            purpose: GATEWAY_IDENTITY_PURPOSE.to_owned(),
            nonce,
            record_key: self.record_key,
            tls_key: self.tls_key,
            policies: self.policies.clone(),
        };
        let text = json::to_bytes(&identity).map_err(|_| Unanswered::Failed)?;
        let identity = String::from_utf8(text).map_err(|_| Unanswered::Failed)?;
        let evidence = match &self.standing {
            Standing::Outside { reason } => GatewayProof::None {
                reason: reason.clone(),
            },
            Standing::Tee(attester) => self.quote(Arc::clone(attester), identity.clone()).await?,
        };
        let answer = GatewayEvidence { identity, evidence };
        json::to_bytes(&answer).map_err(|_| Unanswered::Failed)
    }

    async fn quote(
        &self,
        attester: Arc<dyn Attester>,
        statement: String,
    ) -> Result<GatewayProof, Unanswered> {
        let _turn = self.turn.try_acquire().map_err(|_| Unanswered::Busy)?;
        let quoted = tokio::task::spawn_blocking(move || attester.attest(&statement)).await;
        let (report, aux) = quoted
            .map_err(|_| Unanswered::Failed)?
            .map_err(|_| Unanswered::Failed)?;
        Ok(GatewayProof::Tee { report, aux })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use proofroom_canonical::{Digest, Nonce};
    use proofroom_record::gateway::{GatewayEvidence, GatewayPolicies, GatewayProof};

    use super::{Attester, Identity, Standing, Unanswered};

    struct Slow(Arc<Barrier>);

    impl Attester for Slow {
        fn attest(&self, statement: &str) -> Result<(String, String), String> {
            self.0.wait();
            Ok((format!("quote over {statement}"), String::new()))
        }
    }

    fn identity(standing: Standing) -> Arc<Identity> {
        let one = Digest::of("policy");
        let policies = GatewayPolicies {
            classification: one,
            routing: one,
            appraisal: one,
            upstreams: one,
        };
        let record_key = Digest::of("record");
        Arc::new(Identity::new(standing, record_key, None, policies))
    }

    fn nonce() -> Nonce {
        Nonce::from_random([1; 32])
    }

    #[tokio::test]
    async fn outside_of_a_tee_it_says_so() {
        let reason = "no TEE here".to_owned();
        let standing = Standing::Outside { reason };
        let answer = identity(standing).answer(nonce()).await.unwrap();
        let (answer, stated) = GatewayEvidence::read(&answer, nonce(), None).unwrap();
        assert_eq!(stated.record_key, Digest::of("record"));
        let GatewayProof::None { reason } = answer.evidence else {
            panic!("evidence without a TEE");
        };
        assert_eq!(reason, "no TEE here");
    }

    #[tokio::test]
    async fn a_quote_is_over_the_statement_with_the_nonce_and_strangers_wait_their_turn() {
        let barrier = Arc::new(Barrier::new(2));
        let identity = identity(Standing::Tee(Arc::new(Slow(Arc::clone(&barrier)))));
        let first = tokio::spawn({
            let identity = Arc::clone(&identity);
            async move { identity.answer(nonce()).await }
        });
        while identity.turn.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(identity.answer(nonce()).await, Err(Unanswered::Busy));
        tokio::task::spawn_blocking(move || barrier.wait())
            .await
            .unwrap();
        let answer = first.await.unwrap().unwrap();
        let (answer, _) = GatewayEvidence::read(&answer, nonce(), None).unwrap();
        let GatewayProof::Tee { report, .. } = answer.evidence else {
            panic!("no evidence");
        };
        assert_eq!(report, format!("quote over {}", answer.identity));
    }
}
