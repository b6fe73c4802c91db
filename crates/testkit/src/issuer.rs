//! A simulated issuer of access tokens: its keys and what it signs, and a server of its discovery document and keys
//! on loopback. Its keys are nobody's secret.

mod server;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use proofroom_canonical::Digest;
use rsa::{PrivateKey, pkcs1v15, signature::SignatureEncoding as _, traits::PublicKeyParts as _};
use serde_json::{Value, json};

pub use server::IssuerServer;

use crate::tee::written;

/// Whom simulated tokens are for.
pub const AUDIENCE: &str = "https://gateway.test";
/// The name of the key that signs simulated tokens.
pub const KEY_ID: &str = "simulated-es256";
/// Of the RSA key.
const RSA_SEED: [u8; 32] = [0x52; 32];

/// A key that signs JWTs.
#[derive(Clone, Debug)]
pub enum SimulatedJwtKey {
    /// ES256.
    Es256(SigningKey),
    /// Ed25519.
    EdDsa(Box<ed25519_dalek::SigningKey>),
    /// RS256.
    Rs256(Box<PrivateKey>),
}

impl SimulatedJwtKey {
    /// An ES256 key of this name.
    #[must_use]
    pub fn es256(name: &str) -> Self {
        let seed = Digest::of(format!("simulated jwt key {name}"));
        Self::Es256(written(SigningKey::from_slice(seed.as_bytes())))
    }

    /// An Ed25519 key of this name.
    #[must_use]
    pub fn eddsa(name: &str) -> Self {
        let seed = Digest::of(format!("simulated jwt key {name}"));
        Self::EdDsa(Box::new(ed25519_dalek::SigningKey::from_bytes(
            seed.as_bytes(),
        )))
    }

    /// The one RSA key.
    #[must_use]
    pub fn rs256() -> Self {
        use chacha20::{ChaCha20Rng, rand_core::SeedableRng as _};
        let mut random = ChaCha20Rng::from_seed(RSA_SEED);
        Self::Rs256(Box::new(written(PrivateKey::new(&mut random, 2048))))
    }

    /// Its public half as JSON.
    #[must_use]
    pub fn jwk(&self) -> Value {
        match self {
            Self::Es256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let x = point.x().map(|x| URL_SAFE_NO_PAD.encode(x));
                let y = point.y().map(|y| URL_SAFE_NO_PAD.encode(y));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
            }
            Self::EdDsa(key) => {
                let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x})
            }
            Self::Rs256(key) => {
                let n = URL_SAFE_NO_PAD.encode(key.n_bytes());
                json!({"kty": "RSA", "n": n, "e": URL_SAFE_NO_PAD.encode(key.e_bytes())})
            }
        }
    }

    /// The algorithm of its signatures.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
        }
    }

    /// A JWS in compact form over exactly these texts.
    #[must_use]
    pub fn sign_texts(&self, header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = match self {
            Self::Es256(key) => {
                let signature: Signature =
                    p256::ecdsa::signature::Signer::sign(key, signed.as_bytes());
                signature.to_bytes().to_vec()
            }
            Self::EdDsa(key) => key.sign(signed.as_bytes()).to_bytes().to_vec(),
            Self::Rs256(key) => {
                let key = pkcs1v15::SigningKey::<rsa::sha2::Sha256>::new((**key).clone());
                rsa::signature::Signer::sign(&key, signed.as_bytes()).to_vec()
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A JWS in compact form.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }
}

/// An issuer.
#[derive(Clone, Debug)]
pub struct SimulatedIssuer {
    /// Its `iss`.
    pub url: String,
    /// The key that signs, of name [`KEY_ID`].
    pub key: SimulatedJwtKey,
}

impl SimulatedIssuer {
    /// An issuer at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            key: SimulatedJwtKey::es256("issuer"),
        }
    }

    /// The header of an honest token.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({"typ": "at+jwt", "alg": self.key.algorithm(), "kid": KEY_ID})
    }

    /// The claims of an honest token of `subject`, issued at `now` (seconds since 1970), good for ten minutes.
    #[must_use]
    pub fn claims(&self, subject: &str, now: i64) -> Value {
        json!({
            "iss": self.url,
            "sub": subject,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "jti": format!("{subject}-{now}"),
            "client_id": "proofroom-cli",
            "email": format!("{subject}@example.test"),
            "email_verified": true,
            "groups": ["developers", "everybody"],
            "scope": "models offline_access",
        })
    }

    /// An honest token.
    #[must_use]
    pub fn token(&self, subject: &str, now: i64) -> String {
        self.key.sign(&self.header(), &self.claims(subject, now))
    }

    /// A token with changed claims.
    ///
    /// # Panics
    /// When `change` makes them no object.
    #[must_use]
    pub fn token_with(&self, subject: &str, now: i64, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims(subject, now);
        change(&mut claims);
        assert!(claims.is_object(), "claims are an object");
        self.key.sign(&self.header(), &claims)
    }

    /// Its key as its set has it.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = self.key.jwk();
        for (name, value) in [
            ("kid", KEY_ID),
            ("use", "sig"),
            ("alg", self.key.algorithm()),
        ] {
            if let Some(members) = jwk.as_object_mut() {
                members.insert(name.to_owned(), json!(value));
            }
        }
        jwk
    }

    /// Its key set.
    #[must_use]
    pub fn key_set(&self) -> Value {
        json!({"keys": [self.jwk()]})
    }

    /// Its table in a gateway's `[people]`, which ends with `proof` (`if-bound`, `required`); further members may follow.
    #[must_use]
    pub fn table(&self, proof: &str) -> String {
        let (url, algorithm) = (&self.url, self.key.algorithm());
        format!(
            "[[people.issuer]]\nurl = \"{url}\"\naudience = \"{AUDIENCE}\"\nalgorithms = [\"{algorithm}\"]\n\
             tokens = \"at+jwt\"\nname = \"email\"\nnames = [\"*@example.test\"]\nlongest_life_minutes = 60\n\
             proof = \"{proof}\"\n"
        )
    }

    /// What its discovery document says.
    #[must_use]
    pub fn discovery(&self) -> Value {
        let url = &self.url;
        json!({
            "issuer": url,
            "jwks_uri": format!("{url}/keys"),
            "token_endpoint": format!("{url}/token"),
            "device_authorization_endpoint": format!("{url}/device"),
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
        })
    }
}
