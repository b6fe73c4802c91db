//! Keys that a command is given: P-256, in PEM.

use std::{fs, path::Path};

use p256::{
    ecdsa::{SigningKey, VerifyingKey},
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _},
};
use proofroom_canonical::Sensitive;

use super::{Failure, USAGE};

/// The private key in `path` (PKCS #8); what is none ends the command with `code`.
pub(super) fn private(path: &Path, code: &'static str) -> Result<SigningKey, Failure> {
    let text = fs::read_to_string(path).map(Sensitive::new);
    let key = text
        .ok()
        .and_then(|text| SigningKey::from_pkcs8_pem(text.expose()).ok());
    key.ok_or_else(|| no_key(path, code))
}

/// The public key in `path` (SubjectPublicKeyInfo); what is none ends the command with `code`.
pub(super) fn public(path: &Path, code: &'static str) -> Result<VerifyingKey, Failure> {
    let text = fs::read_to_string(path).unwrap_or_default();
    VerifyingKey::from_public_key_pem(&text).map_err(|_| no_key(path, code))
}

fn no_key(path: &Path, code: &'static str) -> Failure {
    let words = format!("`{}` is no P-256 key in PEM", path.display());
    Failure::new(USAGE, code, anyhow::Error::msg(words))
}
