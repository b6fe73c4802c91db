//! The client's side: a key of its own, and a proof for each request (RFC 9449 section 4.2).

use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    elliptic_curve::zeroize::Zeroizing,
};
use proofroom_canonical::{Digest, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    jwk::{PublicKey, Thumbprint},
    jws::encode,
};

/// A client's key, with which it proves that a request is its own. P-256, and nothing prints it.
pub struct HolderKey {
    key: SigningKey,
    jwk: Value,
    thumbprint: Thumbprint,
}

/// Why 32 bytes are no key.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("these are not 32 bytes of a P-256 key")]
pub struct HolderKeyError;

/// What a proof is made for.
#[derive(Clone, Copy, Debug)]
pub struct ProofOf<'a> {
    /// Method of the request.
    pub method: &'a str,
    /// Its address without query and fragment, as the server knows it.
    pub address: &'a str,
    /// The virtual key or access token that it carries.
    pub token: &'a str,
    /// The server's latest nonce.
    pub nonce: &'a str,
}

impl std::fmt::Debug for HolderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HolderKey").field(&self.thumbprint).finish()
    }
}

impl HolderKey {
    /// Of 32 random bytes: its secret scalar.
    ///
    /// # Errors
    /// One in 2³² values is no scalar of the curve.
    pub fn of(secret: &Zeroizing<[u8; 32]>) -> Result<Self, HolderKeyError> {
        let key = SigningKey::from_slice(secret.as_slice()).map_err(|_| HolderKeyError)?;
        let point = key.verifying_key().to_sec1_point(false);
        let (x, y) = (point.x().ok_or(HolderKeyError)?, point.y());
        let (x, y) = (encode(x), encode(y.ok_or(HolderKeyError)?));
        let members = [("kty", "EC"), ("crv", "P-256"), ("x", &x), ("y", &y)];
        let members = members.map(|(name, value)| (name.to_owned(), json!(value)));
        let jwk = Map::from_iter(members);
        let public = PublicKey::from_jwk(&jwk).map_err(|_| HolderKeyError)?;
        Ok(Self {
            key,
            thumbprint: public.thumbprint(),
            jwk: Value::Object(jwk),
        })
    }

    /// What virtual keys are bound to.
    #[must_use]
    pub const fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// A proof: the value of a `dpop` header. `id` is 16 random bytes that no proof had before.
    #[must_use]
    pub fn prove(&self, proof: &ProofOf<'_>, id: [u8; 16], now: Timestamp) -> String {
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk});
        let claims = json!({
            "jti": encode(id),
            "htm": proof.method,
            "htu": proof.address,
            "iat": now.unix_seconds(),
            "ath": encode(Digest::of(proof.token).as_bytes()),
            "nonce": proof.nonce,
        });
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature: Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.to_bytes()))
    }
}
