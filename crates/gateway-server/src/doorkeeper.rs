//! Who is let in: the one credential of a request, whose it is, and the proof that it is theirs where it is bound to
//! a key of theirs.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proofroom_authn::{
    Nonces, Origin, ProofError, ProofVerifier, ProvedRequest, Thumbprint, VerifiedProof,
};
use proofroom_canonical::{Digest, Timestamp};
use proofroom_clock::steady;
use zeroize::Zeroizing;

use crate::{
    config::Config,
    held::{Held, HolderId},
    issuer_client::IssuerClientError,
    keys::{self, KeyFileError, KeyRefusal},
    people::{BarFileError, People, PeopleProblem, PersonRefusal},
    ring::KeyRing,
};

/// What is needed of a request to know whose it is.
pub(crate) struct Head<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// SPKI digest of the TLS key that the connection's client showed.
    pub(crate) client_key: Option<Digest>,
}

/// Lets requests in.
pub(crate) struct Doorkeeper {
    ring: KeyRing,
    people: Arc<People>,
    /// Where proofs are taken, because it is known under which addresses.
    proofs: Option<ProofVerifier>,
    /// What is to last is counted from then, by a clock that nobody sets and that counts a sleep of the machine.
    started: Timestamp,
}

/// Why there is no [`Doorkeeper`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorkeeperProblem {
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    #[error(transparent)]
    Bars(#[from] BarFileError),
    #[error(transparent)]
    Issuer(#[from] IssuerClientError),
    #[error(transparent)]
    Glob(#[from] globset::Error),
    #[error("the system gave no randomness")]
    NoRandomness,
}

impl From<PeopleProblem> for DoorkeeperProblem {
    fn from(problem: PeopleProblem) -> Self {
        match problem {
            PeopleProblem::Bars(error) => Self::Bars(error),
            PeopleProblem::Client(error) => Self::Issuer(error),
            PeopleProblem::Glob(error) => Self::Glob(error),
        }
    }
}

/// Why a request is not let in.
#[derive(Debug)]
pub(crate) enum Refused {
    Key(KeyRefusal),
    Person(PersonRefusal),
    Proof(ProofRefusal),
}

/// Why a request is not its sender's.
#[derive(Debug)]
pub(crate) enum ProofRefusal {
    /// It was sent as a bearer's.
    Scheme,
    /// It was sent as bound, and is not.
    NotBound,
    /// No proof.
    Missing,
    /// Several.
    Several,
    /// The gateway does not know its own addresses.
    NotConfigured,
    Proof(ProofError),
}

impl From<KeyRefusal> for Refused {
    fn from(refusal: KeyRefusal) -> Self {
        Self::Key(refusal)
    }
}

impl From<PersonRefusal> for Refused {
    fn from(refusal: PersonRefusal) -> Self {
        Self::Person(refusal)
    }
}

impl From<ProofRefusal> for Refused {
    fn from(refusal: ProofRefusal) -> Self {
        Self::Proof(refusal)
    }
}

impl Refused {
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Key(refusal) => refusal.code(),
            Self::Person(refusal) => refusal.code(),
            Self::Proof(refusal) => match refusal {
                ProofRefusal::Scheme => "key-bound-to-client",
                ProofRefusal::NotBound => "proof-of-nothing",
                ProofRefusal::Missing => "proof-missing",
                ProofRefusal::Several => "proof-ambiguous",
                ProofRefusal::NotConfigured => "proof-not-configured",
                ProofRefusal::Proof(error) => error.code(),
            },
        }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Key(_) => StatusCode::UNAUTHORIZED,
            Self::Person(refusal) => refusal.status(),
            Self::Proof(ProofRefusal::NotConfigured | ProofRefusal::Proof(ProofError::Full)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Proof(_) => StatusCode::UNAUTHORIZED,
        }
    }

    /// What `www-authenticate` asks for (RFC 6750 section 3, RFC 9449 section 7.1).
    pub(crate) const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Key(_) => Some("Bearer"),
            Self::Person(PersonRefusal::NotBound) => {
                Some(r#"DPoP error="invalid_token", algs="ES256 ES384 EdDSA""#)
            }
            Self::Person(refusal) => match refusal.status() {
                StatusCode::UNAUTHORIZED => Some(r#"Bearer error="invalid_token""#),
                _ => None,
            },
            Self::Proof(ProofRefusal::NotConfigured | ProofRefusal::Proof(ProofError::Full)) => {
                None
            }
            Self::Proof(ProofRefusal::Proof(ProofError::Nonce)) => {
                Some(r#"DPoP error="use_dpop_nonce", algs="ES256 ES384 EdDSA""#)
            }
            Self::Proof(ProofRefusal::Scheme | ProofRefusal::NotBound) => {
                Some(r#"DPoP error="invalid_token", algs="ES256 ES384 EdDSA""#)
            }
            Self::Proof(_) => Some(r#"DPoP error="invalid_dpop_proof", algs="ES256 ES384 EdDSA""#),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(refusal) => f.write_str(refusal.message()),
            Self::Person(refusal) => refusal.fmt(f),
            Self::Proof(refusal) => match refusal {
                ProofRefusal::Scheme => f.write_str(
                    "the key or token is bound to its client's key; send it as `authorization: DPoP` with a proof, as `proofroom gateway proxy` does",
                ),
                ProofRefusal::NotBound => {
                    f.write_str("the key or token is not bound to a key; send it as `authorization: Bearer`")
                }
                ProofRefusal::Missing => f.write_str("there is no `dpop` header with a proof"),
                ProofRefusal::Several => f.write_str("there are several `dpop` headers; send one"),
                ProofRefusal::NotConfigured => f.write_str(
                    "the gateway does not know its own addresses; ask its operator to set `listen.urls`",
                ),
                ProofRefusal::Proof(error) => error.fmt(f),
            },
        }
    }
}

impl Doorkeeper {
    pub(crate) fn open(config: &Config) -> Result<Self, DoorkeeperProblem> {
        let (ring, people) = (KeyRing::open(&config.keys)?, People::open(&config.people)?);
        Self::new(ring, people, config.urls.clone())
    }

    pub(crate) fn new(
        ring: KeyRing,
        people: People,
        origins: Vec<Origin>,
    ) -> Result<Self, DoorkeeperProblem> {
        let proofs = match origins.is_empty() {
            true => None,
            false => Some(verifier(origins)?),
        };
        Ok(Self {
            ring,
            people: Arc::new(people),
            proofs,
            started: steady(),
        })
    }

    /// What a request was let in with.
    pub(crate) async fn let_in(&self, head: &Head<'_>, now: Timestamp) -> Result<Held, Refused> {
        let (scheme, text) = carried(head.headers)?;
        let held = if keys::is_key(text) || !self.people.expects_anybody() {
            Held::of_key(self.ring.authenticate(text, head.client_key, now)?)
        } else {
            self.people.authenticate(text, now, self.uptime()).await?
        };
        match (held.proof_key(), scheme) {
            (None, Scheme::Bearer) => Ok(held),
            (None, Scheme::Dpop) => Err(ProofRefusal::NotBound.into()),
            (Some(_), Scheme::Bearer) => Err(ProofRefusal::Scheme.into()),
            (Some(key), Scheme::Dpop) => {
                let proof = self.prove(head, (text, key), held.holder, now)?;
                Ok(held.proved(proof))
            }
        }
    }

    fn prove(
        &self,
        head: &Head<'_>,
        (token, key): (&str, Thumbprint),
        holder: HolderId,
        now: Timestamp,
    ) -> Result<VerifiedProof, ProofRefusal> {
        let proofs = self.proofs.as_ref().ok_or(ProofRefusal::NotConfigured)?;
        let mut found = head.headers.get_all("dpop").iter();
        let proof = match (found.next(), found.next()) {
            (None, _) => return Err(ProofRefusal::Missing),
            (Some(_), Some(_)) => return Err(ProofRefusal::Several),
            (Some(proof), None) => proof.to_str().unwrap_or_default(),
        };
        let request = ProvedRequest {
            method: head.method.as_str(),
            path: head.path,
            token,
            key,
            holder: Digest::of(holder.to_string()),
        };
        let proved = proofs.verify(proof, &request, now, self.uptime());
        proved.map_err(ProofRefusal::Proof)
    }

    fn uptime(&self) -> Duration {
        let millis = steady()
            .unix_millis()
            .saturating_sub(self.started.unix_millis());
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    /// The nonce for clients' next proofs, where proofs are taken.
    pub(crate) fn nonce(&self) -> Option<HeaderValue> {
        let proofs = self.proofs.as_ref()?;
        let nonce = proofs.nonce(self.uptime());
        HeaderValue::from_str(&nonce).ok()
    }

    /// Whether somebody may still come whose session this is.
    pub(crate) fn is_usable(&self, holder: HolderId, now: Timestamp) -> bool {
        match holder {
            HolderId::Key(id) => self.ring.is_usable(id, now),
            HolderId::Person(id) => !self.people.bars_person(id),
        }
    }

    /// Looks at what changed, while nobody asks. Returns at once.
    pub(crate) fn tend(&self) {
        self.ring.look();
        self.people.tend(self.uptime());
    }

    /// Which file cannot be read, so that those are refused whom it is about.
    pub(crate) fn unreadable(&self) -> Option<&'static str> {
        match (self.ring.is_readable(), self.people.is_readable()) {
            (false, _) => Some("keys-unreadable\n"),
            (true, false) => Some("bars-unreadable\n"),
            (true, true) => None,
        }
    }
}

/// With nonces that no process before had.
fn verifier(origins: Vec<Origin>) -> Result<ProofVerifier, DoorkeeperProblem> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut_slice()).map_err(|_| DoorkeeperProblem::NoRandomness)?;
    Ok(ProofVerifier::new(origins, Nonces::of(&random)))
}

/// How a credential was sent: by itself, or as one that needs a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Bearer,
    Dpop,
}

/// The one credential that a request carries.
fn carried(headers: &HeaderMap) -> Result<(Scheme, &str), KeyRefusal> {
    let named = headers.get_all(header::AUTHORIZATION).iter();
    let named = named.map(|value| {
        let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Scheme::Bearer,
            "dpop" => Scheme::Dpop,
            _ => return None,
        };
        Some((scheme, text.trim()))
    });
    let plain = headers.get_all("x-api-key").iter();
    let plain = plain.map(|value| Some((Scheme::Bearer, value.to_str().ok()?)));
    let mut found: Option<(Scheme, &str)> = None;
    for one in named.chain(plain) {
        let one = one.ok_or(KeyRefusal::Unknown)?;
        if found.is_some_and(|other| other != one) {
            return Err(KeyRefusal::Ambiguous);
        }
        found = Some(one);
    }
    found.ok_or(KeyRefusal::Missing)
}

#[cfg(test)]
mod tests;
