//! Who calls a gateway: access tokens of people (JWTs, RFC 9068) and proofs that their sender holds a key
//! (DPoP, RFC 9449). What was verified is a type that this crate alone makes. Nothing is fetched here, and
//! the time and randomness are arguments. Signatures are ring's; nothing that is signed is read before it was
//! found to be one strict form.
//!
//! Nobody else says that somebody was verified:
//!
//! ```compile_fail,E0451
//! fn forge(key: proofroom_authn::Thumbprint) -> proofroom_authn::VerifiedProof {
//!     proofroom_authn::VerifiedProof { key }
//! }
//! ```
//!
//! ```compile_fail,E0451
//! fn rename(person: proofroom_authn::VerifiedPerson) -> proofroom_authn::VerifiedPerson {
//!     proofroom_authn::VerifiedPerson { name: "root".to_owned(), ..person }
//! }
//! ```
//!
//! ```
//! fn holds(proof: proofroom_authn::VerifiedProof) -> proofroom_authn::Thumbprint {
//!     proof.key()
//! }
//! ```

#![forbid(unsafe_code)]

mod address;
mod algorithm;
mod holder;
mod jwk;
mod jws;
mod key_set;
mod nonce;
mod person;
mod proof;
mod replay;
mod token;

pub use address::{Origin, OriginError};
pub use algorithm::Algorithm;
pub use holder::{HolderKey, HolderKeyError, ProofOf};
pub use jwk::{JwkError, PublicKey, Thumbprint, ThumbprintError};
pub use jws::{JwsError, MAX_JWS_BYTES};
pub use key_set::{KeySet, KeySetError, MAX_KEY_SET_BYTES};
pub use nonce::{NONCE_SECONDS, Nonces};
pub use person::{PersonId, PersonIdError};
pub use proof::{
    PROOF_ALGORITHMS, PROOF_WINDOW_SECONDS, ProofError, ProofVerifier, ProvedRequest, VerifiedProof,
};
pub use token::{
    AccessToken, IssuerPolicy, LEEWAY_SECONDS, NameClaim, TokenError, TokenKind, VerifiedPerson,
};
