//! DSSE envelopes (Dead Simple Signing Envelope, protocol v1) with ECDSA P-256 and SHA-256. The
//! payload is kept as the signed bytes and never re-serialised. Pure: no I/O, no randomness.

#![forbid(unsafe_code)]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::{
    ecdsa::{
        DerSignature, SigningKey, VerifyingKey,
        signature::{Signer, Verifier as _},
    },
    pkcs8::EncodePublicKey as _,
};
use proofroom_canonical::{
    Digest, Refusal,
    json::{self, JsonError},
};
use serde::{Deserialize, Serialize};

/// The payload type of every record: an in-toto Statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The most bytes that an envelope may have.
pub const MAX_ENVELOPE_BYTES: usize = 4 * 1024 * 1024;

/// An envelope as it lies in a file: one payload, one signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// Standard base64 of the signed bytes.
    pub payload: String,
    /// [`PAYLOAD_TYPE`].
    pub payload_type: String,
    /// Exactly one.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// [`key_id`] of the signing key.
    pub keyid: String,
    /// Standard base64 of the DER-encoded ECDSA signature.
    pub sig: String,
}

/// A payload whose signature was verified. Only [`Envelope::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPayload(Vec<u8>);

impl VerifiedPayload {
    /// The signed bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// DSSE's pre-authentication encoding: the bytes that are signed.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// The id by which envelopes name a key: SHA-256 of its SubjectPublicKeyInfo (DER), in hex.
#[must_use]
pub fn key_id(key: &VerifyingKey) -> String {
    spki_digest(key).to_hex()
}

/// SHA-256 of a key's SubjectPublicKeyInfo (DER).
#[must_use]
pub fn spki_digest(key: &VerifyingKey) -> Digest {
    // Encoding a P-256 public key into a growing buffer has no way to fail.
    key.to_public_key_der()
        .map_or(Digest::of([]), |der| Digest::of(der.as_bytes()))
}

/// Holds an ECDSA P-256 key and signs with it.
pub trait EnvelopeSigner {
    /// [`key_id`] of its key.
    fn key_id(&self) -> String;

    /// The DER-encoded signature over the SHA-256 of `message`.
    ///
    /// # Errors
    /// [`not_signed`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Refusal>;
}

/// What a signer says that did not sign.
#[must_use]
pub fn not_signed() -> Refusal {
    Refusal::new("envelope-not-signed", "the signing key gives no signature")
}

fn malformed(error: JsonError) -> Refusal {
    Refusal::new("envelope-malformed", "not a DSSE envelope").because(error)
}

/// Deterministic ECDSA (RFC 6979).
impl EnvelopeSigner for SigningKey {
    fn key_id(&self) -> String {
        key_id(self.verifying_key())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let signature: DerSignature = Signer::try_sign(self, message).map_err(|_| not_signed())?;
        Ok(signature.as_bytes().to_vec())
    }
}

impl Envelope {
    /// Signs `payload` with `key` (deterministic ECDSA, RFC 6979).
    #[must_use]
    pub fn sign(payload: &[u8], key: &SigningKey) -> Self {
        let message = pre_authentication_encoding(PAYLOAD_TYPE, payload);
        let signature: DerSignature = Signer::sign(key, &message);
        Self::of(payload, key_id(key.verifying_key()), signature.as_bytes())
    }

    /// Lets `signer` sign `payload`.
    ///
    /// # Errors
    /// [`not_signed`].
    pub fn sign_with(payload: &[u8], signer: &impl EnvelopeSigner) -> Result<Self, Refusal> {
        let signature = signer.sign(&pre_authentication_encoding(PAYLOAD_TYPE, payload))?;
        Ok(Self::of(payload, signer.key_id(), &signature))
    }

    /// Lets `signer` sign `payload`, and gives the envelope's file: what [`Self::to_bytes`] gives of
    /// [`Self::sign_with`], written in one piece. Base64 needs no escapes.
    ///
    /// # Errors
    /// [`not_signed`].
    pub fn sign_to_bytes(payload: &[u8], signer: &impl EnvelopeSigner) -> Result<Vec<u8>, Refusal> {
        let signature = signer.sign(&pre_authentication_encoding(PAYLOAD_TYPE, payload))?;
        let key_id = json::to_bytes(&signer.key_id()).map_err(malformed)?;
        let encoded = payload.len().saturating_add(signature.len()) / 3 * 4;
        let around = 128_usize.saturating_add(key_id.len());
        let mut file = String::with_capacity(encoded.saturating_add(around));
        file.push_str(r#"{"payload":""#);
        STANDARD.encode_string(payload, &mut file);
        file.push_str(r#"","payloadType":""#);
        file.push_str(PAYLOAD_TYPE);
        file.push_str(r#"","signatures":[{"keyid":"#);
        file.push_str(&String::from_utf8_lossy(&key_id));
        file.push_str(r#","sig":""#);
        STANDARD.encode_string(&signature, &mut file);
        file.push_str(r#""}]}"#);
        Ok(file.into_bytes())
    }

    fn of(payload: &[u8], keyid: String, signature: &[u8]) -> Self {
        Self {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid,
                sig: STANDARD.encode(signature),
            }],
        }
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// `envelope-malformed`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        json::parse(bytes, MAX_ENVELOPE_BYTES).map_err(malformed)
    }

    /// The envelope's file: compact JSON. Its SHA-256 is the record's digest.
    ///
    /// # Errors
    /// None in practice: every field is a string.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        json::to_bytes(self).map_err(malformed)
    }

    /// The payload, not yet verified: for finding out which key should have signed it.
    ///
    /// # Errors
    /// `envelope-payload-type` or `envelope-base64`.
    pub fn unverified_payload(&self) -> Result<Vec<u8>, Refusal> {
        let found = &self.payload_type;
        Refusal::unless(found == PAYLOAD_TYPE, "envelope-payload-type", || {
            format!("payload type is `{found}`, not `{PAYLOAD_TYPE}`")
        })?;
        decode("payload", &self.payload)
    }

    /// Proves that the holder of `key` signed the payload.
    ///
    /// # Errors
    /// A refusal whose code begins with `envelope-`.
    pub fn verify(&self, key: &VerifyingKey) -> Result<VerifiedPayload, Refusal> {
        let payload = self.unverified_payload()?;
        let [signature] = self.signatures.as_slice() else {
            let count = self.signatures.len();
            let words = format!("envelope carries {count} signatures, not one");
            return Err(Refusal::new("envelope-signature-count", words));
        };
        let (found, wanted) = (&signature.keyid, key_id(key));
        Refusal::unless(*found == wanted, "envelope-wrong-key", || {
            format!("signed by key `{found}`, not by `{wanted}`")
        })?;
        let der = decode("sig", &signature.sig)?;
        let message = pre_authentication_encoding(&self.payload_type, &payload);
        let signature = DerSignature::from_bytes(&der);
        let holds = signature.is_ok_and(|signature| key.verify(&message, &signature).is_ok());
        Refusal::unless(
            holds,
            "envelope-bad-signature",
            || "signature does not verify",
        )?;
        Ok(VerifiedPayload(payload))
    }
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|_| {
        let words = format!("field `{field}` is not standard base64");
        Refusal::new("envelope-base64", words)
    })
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;

    use super::{Envelope, EnvelopeSigner, pre_authentication_encoding};

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_slice(&[byte; 32]).unwrap()
    }

    #[test]
    fn the_encoding_is_the_one_of_the_specification() {
        let bytes = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            bytes,
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_signed_payload_comes_back_as_it_was() {
        let envelope = Envelope::sign(b"{}", &key(1));
        let read = Envelope::parse(&envelope.to_bytes().unwrap()).unwrap();
        let payload = read.verify(key(1).verifying_key()).unwrap();
        assert_eq!(payload.as_bytes(), b"{}");
    }

    /// With an id that has to be escaped.
    struct Odd(SigningKey);

    impl EnvelopeSigner for Odd {
        fn key_id(&self) -> String {
            "\"\u{1}é".to_owned()
        }

        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, super::Refusal> {
            EnvelopeSigner::sign(&self.0, message)
        }
    }

    #[test]
    fn the_file_in_one_piece_is_that_of_the_envelope() {
        for length in [0, 1, 2, 3, 100, 3_000, 5_000] {
            let payload = vec![0xfb; length];
            let file = Envelope::sign_to_bytes(&payload, &key(1)).unwrap();
            let envelope = Envelope::sign(&payload, &key(1));
            assert_eq!(file, envelope.to_bytes().unwrap(), "{length}");
            assert_eq!(file.capacity() / 1024, file.len() / 1024, "grew: {length}");
            let file = Envelope::sign_to_bytes(&payload, &Odd(key(1))).unwrap();
            let envelope = Envelope::sign_with(&payload, &Odd(key(1))).unwrap();
            assert_eq!(file, envelope.to_bytes().unwrap(), "{length}");
        }
    }

    #[test]
    fn another_key_and_another_payload_are_refused() {
        let envelope = Envelope::sign(b"{}", &key(1));
        let refused = envelope.verify(key(2).verifying_key()).unwrap_err();
        assert_eq!(refused.code(), "envelope-wrong-key");
        let mut changed = envelope;
        changed.payload = "W10=".to_owned();
        let refused = changed.verify(key(1).verifying_key()).unwrap_err();
        assert_eq!(refused.code(), "envelope-bad-signature");
    }
}
