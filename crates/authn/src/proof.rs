//! Proofs of possession (DPoP, RFC 9449): that whoever sends a request holds a key, for this request, now, and for
//! this token.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use proofroom_canonical::{Digest, Timestamp};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use crate::{
    address::Origin,
    algorithm::Algorithm,
    jwk::{JwkError, PublicKey, Thumbprint},
    jws::{Jws, JwsError, encode, shown},
    nonce::{Epoch, Nonces},
    replay::{Unusable, UsedProofs},
};

/// How far a client's clock may be off. The nonce says when a proof was made; this says that its sender knows the time.
pub const PROOF_WINDOW_SECONDS: i64 = 300;
/// What a proof is signed by: algorithms of short keys.
pub const PROOF_ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];

const HEADER: [&str; 3] = ["typ", "alg", "jwk"];
const MAX_PROOF_ID: usize = 255;

/// Why a proof is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Not a JWS that is looked at.
    #[error("the proof cannot be read: {0}")]
    Malformed(#[source] JwsError),
    /// Another type.
    #[error("the proof's `typ` is `{0}`, not `dpop+jwt`")]
    Type(String),
    /// An algorithm that is not allowed.
    #[error("the proof's `alg` is `{0}`, not ES256, ES384 or EdDSA")]
    Algorithm(String),
    /// No public key, or a private one.
    #[error("the proof's `jwk` is not the public key that it must be: {0}")]
    Key(#[source] JwkError),
    /// Not signed by the key in it.
    #[error("the proof is not signed by the key in it")]
    Signature,
    /// Another key than the one that key or token are bound to.
    #[error("the proof is by another key than the one that this key or token is bound to")]
    OtherKey,
    /// A claim that is missing, or of another shape.
    #[error("the proof's claim `{0}` is missing or not what it must be")]
    Claim(&'static str),
    /// For another method.
    #[error("the proof is for another method than the request's")]
    Method,
    /// For another address.
    #[error(
        "the proof is for another address: `htu` must be one under which the gateway is known, with the request's path"
    )]
    Address,
    /// Made at another time.
    #[error("the proof was not made now; is the clock right?")]
    Time,
    /// For another token.
    #[error("the proof is for another key or token")]
    Token,
    /// No nonce, or one that is not taken any more.
    #[error("the proof needs the nonce that is in this answer's `dpop-nonce`")]
    Nonce,
    /// It was used.
    #[error("the proof was used before; make one for each request")]
    Used,
    /// Too many proofs in a minute.
    #[error("too many proofs were used within a minute; try again later")]
    Full,
}

impl ProofError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(JwsError::Member(_)) => "proof-header",
            Self::Malformed(_) => "proof-malformed",
            Self::Type(_) => "proof-type",
            Self::Algorithm(_) => "proof-algorithm",
            Self::Key(_) => "proof-key",
            Self::Signature => "proof-signature",
            Self::OtherKey => "key-bound-to-client",
            Self::Claim(_) => "proof-claim",
            Self::Method => "proof-method",
            Self::Address => "proof-address",
            Self::Time => "proof-time",
            Self::Token => "proof-token",
            Self::Nonce => "use-dpop-nonce",
            Self::Used => "proof-used",
            Self::Full => "proofs-full",
        }
    }
}

/// The request that a proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct ProvedRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, as it was written.
    pub path: &'a str,
    /// The virtual key or access token that it carries.
    pub token: &'a str,
    /// The key that this is bound to.
    pub key: Thumbprint,
    /// Whose request it is: digest of their name. Proofs are counted by it, because one person may have many keys.
    pub holder: Digest,
}

/// That a request was sent by whoever holds the key that its credential is bound to, and not before.
/// [`ProofVerifier::verify`] alone makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedProof {
    key: Thumbprint,
}

impl VerifiedProof {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> Thumbprint {
        self.key
    }
}

/// Verifies proofs for one process: its addresses, its nonces, and which proofs it has seen.
#[derive(Debug)]
pub struct ProofVerifier {
    origins: Vec<Origin>,
    nonces: Nonces,
    /// Locked for a look and an entry; whatever costs time is done before.
    used: Mutex<UsedProofs>,
}

impl ProofVerifier {
    /// For a server that clients know under `origins`.
    #[must_use]
    pub fn new(origins: Vec<Origin>, nonces: Nonces) -> Self {
        Self {
            origins,
            nonces,
            used: Mutex::default(),
        }
    }

    /// The nonce that clients are to put into their next proofs.
    #[must_use]
    pub fn nonce(&self, uptime: Duration) -> String {
        self.nonces.at(uptime)
    }

    /// Verifies `proof`, the one `dpop` header of `request` (RFC 9449 section 4.3), and takes note that it was used.
    ///
    /// # Errors
    /// See [`ProofError`]. [`ProofError::Nonce`] comes after every defect that another nonce would not mend.
    pub fn verify(
        &self,
        proof: &str,
        request: &ProvedRequest<'_>,
        now: Timestamp,
        uptime: Duration,
    ) -> Result<VerifiedProof, ProofError> {
        let jws = Jws::parse(proof, &HEADER).map_err(ProofError::Malformed)?;
        let key = request.key;
        verify_signature(&jws, key)?;
        let claims = jws.claims();
        let id = text(claims, "jti")?;
        if id.is_empty() || id.len() > MAX_PROOF_ID {
            return Err(ProofError::Claim("jti"));
        }
        if text(claims, "htm")? != request.method {
            return Err(ProofError::Method);
        }
        let htu = text(claims, "htu")?;
        if !self.origins.iter().any(|own| own.has(htu, request.path)) {
            return Err(ProofError::Address);
        }
        verify_time(claims, now)?;
        let ath = encode(Digest::of(request.token).as_bytes());
        if !bool::from(text(claims, "ath")?.as_bytes().ct_eq(ath.as_bytes())) {
            return Err(ProofError::Token);
        }
        let nonce = claims.get("nonce").and_then(Value::as_str);
        let epoch = nonce.and_then(|nonce| self.nonces.epoch_of(nonce, uptime));
        let epoch = epoch.ok_or(ProofError::Nonce)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.take(request.holder, (key, id), epoch, Epoch::at(uptime))
            .map_err(|unusable| match unusable {
                Unusable::Used => ProofError::Used,
                Unusable::Full => ProofError::Full,
            })?;
        Ok(VerifiedProof { key })
    }
}

/// That the key in the header is `bound`, and signed.
fn verify_signature(jws: &Jws<'_>, bound: Thumbprint) -> Result<(), ProofError> {
    let kind = jws.header("typ").unwrap_or_default();
    if !kind.eq_ignore_ascii_case("dpop+jwt") {
        return Err(ProofError::Type(shown(kind)));
    }
    let name = jws.header("alg").unwrap_or_default();
    let algorithm = name.parse().ok();
    let algorithm = algorithm
        .filter(|algorithm| PROOF_ALGORITHMS.contains(algorithm))
        .ok_or_else(|| ProofError::Algorithm(shown(name)))?;
    let jwk = jws.header_object("jwk");
    let key = PublicKey::from_jwk(jwk.ok_or(ProofError::Key(JwkError::Kind))?)
        .map_err(ProofError::Key)?;
    // a signature by a key that does not count is not worth its time
    if key.thumbprint() != bound {
        return Err(ProofError::OtherKey);
    }
    if key.signed(algorithm, jws.signed(), jws.signature()) {
        return Ok(());
    }
    Err(ProofError::Signature)
}

fn verify_time(claims: &Map<String, Value>, now: Timestamp) -> Result<(), ProofError> {
    let made = claims.get("iat").and_then(Value::as_i64);
    let made = made.ok_or(ProofError::Claim("iat"))?;
    let apart = made.abs_diff(now.unix_seconds());
    if apart <= PROOF_WINDOW_SECONDS.unsigned_abs() {
        return Ok(());
    }
    Err(ProofError::Time)
}

fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, ProofError> {
    let found = claims.get(name).and_then(Value::as_str);
    found.ok_or(ProofError::Claim(name))
}
