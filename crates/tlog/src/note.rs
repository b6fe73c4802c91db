//! C2SP `signed-note`: text and the signatures under it. Parsing verifies nothing; see
//! [`VerifierKey::verify`](crate::VerifierKey::verify).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::key::KeyName;

/// A note: its text and the signatures that it claims to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line. Of any type, since only type and key tell what its bytes mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: KeyName,
    key_id: u32,
    bytes: Vec<u8>,
}

/// Why a note was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteError {
    /// More bytes than a note may have.
    #[error("a note has at most {NOTE_MAX_BYTES} bytes")]
    TooLarge,
    /// Not UTF-8, or with a control character.
    #[error("a note is UTF-8 text without control characters other than newline")]
    NotText,
    /// No blank line, no final newline, or a line below the blank one that is no signature.
    #[error("a note is text, an empty line and signature lines, each ended by a newline")]
    Malformed,
    /// More signatures than a note may have.
    #[error("a note has at most {NOTE_MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// No signature of the expected key.
    #[error("the note carries no signature of the expected key")]
    NotSigned,
    /// A signature of the expected key that is false.
    #[error("the signature of the expected key is false: text, signature or key was changed")]
    Signature,
}

impl NoteError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "note-too-large",
            Self::NotText => "note-not-text",
            Self::Malformed => "note-malformed",
            Self::TooManySignatures => "note-too-many-signatures",
            Self::NotSigned => "note-not-signed",
            Self::Signature => "note-signature",
        }
    }
}

impl SignedNote {
    /// Puts signatures under a text.
    ///
    /// # Errors
    /// When [`Self::parse`] would not read the note back as it is.
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        let note = Self { text, signatures };
        if Self::parse(note.to_string().as_bytes())? == note {
            Ok(note)
        } else {
            Err(NoteError::Malformed)
        }
    }

    /// Reads a note. What is accepted is written back byte for byte by `Display`.
    ///
    /// # Errors
    /// When the bytes are no note, or more than this crate reads.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_MAX_BYTES {
            return Err(NoteError::TooLarge);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        if note.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(NoteError::NotText);
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        if lines.split('\n').count() > NOTE_MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        let signatures = lines
            .split('\n')
            .map(NoteSignature::parse)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            text: format!("{text}\n"),
            signatures,
        })
    }

    /// The signed text, with its final newline. Not to be believed before it is verified.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures in the order of their lines, at least one.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }
}

impl NoteSignature {
    /// A signature by the key of this name and id.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if `bytes` is empty.
    pub fn new(name: KeyName, key_id: u32, bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.is_empty() {
            return Err(NoteError::Malformed);
        }
        Ok(Self {
            name,
            key_id,
            bytes: bytes.to_vec(),
        })
    }

    /// The name of the key that is said to have signed.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id of that key.
    #[must_use]
    pub const fn key_id(&self) -> u32 {
        self.key_id
    }

    /// The signature without the key id, at least one byte.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn parse(line: &str) -> Result<Self, NoteError> {
        let rest = line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed)?;
        let (name, signature) = rest.split_once(' ').ok_or(NoteError::Malformed)?;
        let name = KeyName::parse(name).map_err(|_| NoteError::Malformed)?;
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| NoteError::Malformed)?;
        let (id, bytes) = signature
            .split_first_chunk::<4>()
            .ok_or(NoteError::Malformed)?;
        Self::new(name, u32::from_be_bytes(*id), bytes)
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.key_id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.bytes);
        write!(f, "\u{2014} {} {}", self.name, STANDARD.encode(bytes))
    }
}

/// Largest note read: 16 signatures of 5 kB in base64 are 107 kB, which leaves 24 kB of text.
pub const NOTE_MAX_BYTES: usize = 128 * 1024;

/// Most signatures in a note; `signed-note` asks for at least 16.
pub const NOTE_MAX_SIGNATURES: usize = 16;

#[cfg(test)]
mod tests;
