//! Names and Ed25519 keys of C2SP `signed-note`, type 0x01. No other signature type is made or
//! verified here.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use proofroom_canonical::lower_hex;
use sha2::{Digest as _, Sha256};

use crate::note::{NoteError, NoteSignature, SignedNote};

/// The name of a key: not empty, without spaces, control characters or `+`. A log's key name is
/// also its origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyName(String);

/// A public key with its name; the `vkey` of Go's `sumdb/note`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: u32,
    key: VerifyingKey,
}

/// A private key with its name. `Debug` shows the public part only; the key is wiped when dropped.
pub struct NoteSigner {
    key: SigningKey,
    public: VerifierKey,
}

/// Why a name or a key was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The name is empty, too long, or has a character that notes cannot carry.
    #[error(
        "a key name has 1 to {KEY_NAME_MAX_BYTES} bytes, no space, no control character, no `+`"
    )]
    Name,
    /// The text is not `<name>+<8 hex digits>+<base64>`.
    #[error("a verifier key is written `<name>+<key id in 8 lower-case hex digits>+<base64>`")]
    Malformed,
    /// The key is of another type than Ed25519 (0x01).
    #[error("key type {kind:#04x} is not supported; use an Ed25519 key (0x01)")]
    Unsupported {
        /// The type byte found.
        kind: u8,
    },
    /// The id does not follow from name and key.
    #[error("the key id does not belong to this name and key; copy the whole line again")]
    IdMismatch,
    /// The bytes are no point, or one of small order that verifies anything.
    #[error("the 32 bytes are not a usable Ed25519 public key")]
    Point,
}

impl KeyError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name => "note-key-name",
            Self::Malformed => "note-key-malformed",
            Self::Unsupported { .. } => "note-key-unsupported",
            Self::IdMismatch => "note-key-id-mismatch",
            Self::Point => "note-key-point",
        }
    }
}

impl KeyName {
    /// Reads a key name.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn parse(name: &str) -> Result<Self, KeyError> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.len() > KEY_NAME_MAX_BYTES || name.contains(bad) {
            return Err(KeyError::Name);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl VerifierKey {
    /// Reads `<name>+<key id>+<base64(0x01 || public key)>`.
    ///
    /// # Errors
    /// When the text is not exactly that, or the key cannot be used.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        if vkey.len() > VKEY_MAX_BYTES {
            return Err(KeyError::Malformed);
        }
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Malformed);
        };
        let name = KeyName::parse(name)?;
        let id = lower_hex(id).ok_or(KeyError::Malformed)?;
        let key = STANDARD.decode(key).map_err(|_| KeyError::Malformed)?;
        let (&kind, key) = key.split_first().ok_or(KeyError::Malformed)?;
        if kind != ED25519 {
            return Err(KeyError::Unsupported { kind });
        }
        let bytes: &[u8; 32] = key.try_into().map_err(|_| KeyError::Malformed)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
        let parsed = Self::new(name, key)?;
        if parsed.id == u32::from_be_bytes(id) {
            Ok(parsed)
        } else {
            Err(KeyError::IdMismatch)
        }
    }

    /// Names a public key.
    ///
    /// # Errors
    /// [`KeyError::Point`] for a key of small order or in a second spelling.
    pub fn new(name: KeyName, key: VerifyingKey) -> Result<Self, KeyError> {
        // a non-canonical point would have two key ids
        if key.is_weak() || key.to_edwards().compress().to_bytes() != key.to_bytes() {
            return Err(KeyError::Point);
        }
        let id = key_id(&name, &key);
        Ok(Self { name, id, key })
    }

    /// The key's name, which is also the log's origin.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key id: the first four bytes of SHA-256(name || 0x0A || 0x01 || public key).
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Verifies that this key signed the note's text, and returns the text. Signatures of other
    /// keys are ignored (`signed-note`, "Signatures").
    ///
    /// # Errors
    /// [`NoteError::NotSigned`] if no signature claims this key, [`NoteError::Signature`] if any
    /// that does is false.
    pub fn verify<'a>(&self, note: &'a SignedNote) -> Result<&'a str, NoteError> {
        let mut found = false;
        let ours = |s: &&NoteSignature| s.name() == &self.name && s.key_id() == self.id;
        for signature in note.signatures().iter().filter(ours) {
            let signature =
                Signature::from_slice(signature.bytes()).map_err(|_| NoteError::Signature)?;
            self.key
                .verify_strict(note.text().as_bytes(), &signature)
                .map_err(|_| NoteError::Signature)?;
            found = true;
        }
        if found {
            Ok(note.text())
        } else {
            Err(NoteError::NotSigned)
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![ED25519];
        typed.extend_from_slice(self.key.as_bytes());
        write!(
            f,
            "{}+{:08x}+{}",
            self.name,
            self.id,
            STANDARD.encode(typed)
        )
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl NoteSigner {
    /// Names the private key with this RFC 8032 seed.
    ///
    /// # Errors
    /// [`KeyError::Point`], which no seed is known to give.
    pub fn from_seed(name: KeyName, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(seed);
        let public = VerifierKey::new(name, key.verifying_key())?;
        Ok(Self { key, public })
    }

    /// The public part.
    #[must_use]
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.public
    }

    /// Signs `text`, which must end in a newline.
    ///
    /// # Errors
    /// When `text` cannot stand in a note.
    pub fn sign(&self, text: String) -> Result<SignedNote, NoteError> {
        let bytes = self.key.sign(text.as_bytes()).to_bytes();
        let signature = NoteSignature::new(self.public.name.clone(), self.public.id, &bytes)?;
        SignedNote::new(text, vec![signature])
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSigner")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

fn key_id(name: &KeyName, key: &VerifyingKey) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(name.as_str());
    hasher.update([b'\n', ED25519]);
    hasher.update(key.as_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

/// Longest key name, in bytes.
pub const KEY_NAME_MAX_BYTES: usize = 255;

/// Longest verifier key: name, `+`, 8 digits, `+`, 44 base64 characters for 33 bytes, and room to
/// name the type of a longer key.
pub const VKEY_MAX_BYTES: usize = 4096;

const ED25519: u8 = 0x01;

#[cfg(test)]
mod tests;
