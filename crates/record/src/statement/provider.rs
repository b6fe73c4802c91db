//! What a model-run record keeps of a provider that attests in its own format: the checks on its evidence, and its
//! signature over the answer.

use std::fmt;

use proofroom_provider::{KeptReceipt, ProviderCheck, VerifiedProvider, VerifiedReceipt};
use serde::{Deserialize, Serialize};

use super::{Assurance, ModelRun};

/// What was checked of a provider's own evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderFacts {
    /// Whose format, such as `near-ai`.
    pub format: String,
    /// Every check, in order.
    pub checks: Vec<CheckFact>,
}

/// A named check with what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckFact {
    /// What it is about and its name, such as `model-0: gpu`.
    pub check: String,
    /// `pass` or `not-evaluated`: nothing is accepted with a check that failed.
    pub outcome: String,
    /// Why it was not made. Of `request: sealed` the digest of the key that the request was sealed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// A provider's signature over one answer, as the gateway verified it: the digests in `text` are those of
/// the bytes that were forwarded and of those that came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Whose machine signed, such as `gateway` or `model-0`.
    pub signer: String,
    /// `ecdsa` (secp256k1, EIP-191) or `ed25519`.
    pub algorithm: String,
    /// The address or key, in hex, that the machine's quote binds.
    pub key: String,
    /// What was signed.
    pub text: String,
    /// The signature in hex.
    pub signature: String,
}

impl Receipt {
    /// What a record keeps of a receipt that verified.
    #[must_use]
    pub fn of(receipt: &VerifiedReceipt) -> Self {
        Self {
            signer: receipt.signer().to_string(),
            algorithm: receipt.key().algorithm().to_owned(),
            key: receipt.key().to_string(),
            text: receipt.text().to_owned(),
            signature: receipt.signature().to_owned(),
        }
    }

    /// Whether a run has one though no provider that proved itself was sent anything.
    pub(crate) fn is_of_nobody(run: &ModelRun) -> bool {
        let has = run.response.as_ref().is_some_and(|it| it.receipt.is_some());
        let proved = run.upstream.as_ref().is_some_and(|upstream| {
            let assurance = &upstream.assurance;
            matches!(
                assurance,
                Assurance::Attested {
                    provider: Some(_),
                    ..
                }
            )
        });
        has && !(proved && run.request.forwarded.is_some())
    }

    /// What can be judged again.
    pub(crate) fn kept(&self) -> KeptReceipt<'_> {
        KeptReceipt {
            algorithm: &self.algorithm,
            key: &self.key,
            text: &self.text,
            signature: &self.signature,
        }
    }
}

impl ProviderFacts {
    /// What the evidence of a verified provider showed, check for check, and that requests to it are sealed where they
    /// are.
    #[must_use]
    pub fn of(proof: &VerifiedProvider) -> Self {
        let checks = proof.checks().iter().map(CheckFact::of);
        let sealed = proof.sealing_key().map(|key| CheckFact {
            check: "request: sealed".to_owned(),
            outcome: "pass".to_owned(),
            code: Some(key.digest().to_string()),
        });
        Self {
            format: proof.format().as_str().to_owned(),
            checks: checks.chain(sealed).collect(),
        }
    }

    /// How many checks hold.
    pub(crate) fn held(&self) -> usize {
        self.checks.iter().filter(|check| check.holds()).count()
    }
}

impl CheckFact {
    fn of(check: &ProviderCheck) -> Self {
        Self {
            check: check.label(),
            outcome: check.outcome.word().to_owned(),
            code: check.outcome.code().map(str::to_owned),
        }
    }

    /// One that a verifier could not make of what a record holds.
    pub(crate) fn not_made(check: &str, code: &str) -> Self {
        Self {
            check: check.to_owned(),
            outcome: "not-evaluated".to_owned(),
            code: Some(code.to_owned()),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.outcome == "pass"
    }
}

impl fmt::Display for CheckFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} [{}]",
            self.check,
            self.code.as_deref().unwrap_or_default()
        )
    }
}
