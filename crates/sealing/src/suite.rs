//! The one suite, and what is derived in it: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.

use std::convert::Infallible;

use hkdf::Hkdf;
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _,
    aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305},
    danger::streaming_enc::{
        AeadKey, AeadNonce, ExporterSecret, create_receiver_context, create_sender_context,
    },
    kdf::HkdfSha256,
    kem::X25519HkdfSha256,
    setup_receiver, setup_sender_with_rng,
};
use proofroom_serving::{KEY_ID, KeyConfig};
use rand_core::{TryCryptoRng, TryRng};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::SealError;

pub(crate) type Sender = AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;
pub(crate) type Receiver = AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;

/// Key identifier, KEM, KDF and AEAD, before an encapsulated key (RFC 9458, section 4.3).
pub(crate) const HEADER: [u8; 7] = [KEY_ID, 0x00, 0x20, 0x00, 0x01, 0x00, 0x03];
/// Bytes of an encapsulated key.
pub(crate) const ENCAPSULATED: usize = 32;
/// Bytes of an answer's nonce: the longer of the AEAD's key and nonce (RFC 9458, section 4.4).
pub(crate) const ANSWER_NONCE: usize = 32;

const REQUEST_INFO: &[u8] = b"message/bhttp chunked request\0";
const ANSWER_LABEL: &[u8] = b"message/bhttp chunked response";

/// An enclave's key pair. The private half is in memory alone, and overwritten when it is dropped.
pub struct KeyPair {
    private: <X25519HkdfSha256 as hpke::Kem>::PrivateKey,
    config: KeyConfig,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyPair").field(&self.config).finish()
    }
}

impl KeyPair {
    /// The pair that follows from 32 bytes that nobody else knows (RFC 9180, section 7.1.3).
    #[must_use]
    pub fn from_random(random: &[u8; 32]) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(random);
        Self {
            private,
            config: KeyConfig::new(public.to_bytes().into()),
        }
    }

    /// What the statement says of it.
    #[must_use]
    pub const fn config(&self) -> KeyConfig {
        self.config
    }

    /// The context of a request with this encapsulated key.
    pub(crate) fn receive(
        &self,
        encapsulated: &[u8],
    ) -> Result<(Receiver, AnswerSecret), SealError> {
        let key = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(encapsulated)
            .map_err(|_| SealError::ChunkRefused)?;
        let context: Receiver = setup_receiver(&OpModeR::Base, &self.private, &key, &info())
            .map_err(|_| SealError::ChunkRefused)?;
        let mut secret = AnswerSecret::for_key(key.to_bytes().into());
        context
            .export(ANSWER_LABEL, &mut *secret.secret)
            .map_err(|_| SealError::ChunkRefused)?;
        Ok((context, secret))
    }
}

/// A context to send in, the encapsulated key that begins the message, and the secret of its answer.
pub(crate) fn send(
    to: &KeyConfig,
    random: &[u8; 32],
) -> Result<(Sender, [u8; ENCAPSULATED], AnswerSecret), SealError> {
    let unsealable = |_| SealError::Unsealable;
    let public = <X25519HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(to.public_key())
        .map_err(unsealable)?;
    let mut given = Given(Zeroizing::new(*random));
    let (key, context): (_, Sender) =
        setup_sender_with_rng(&OpModeS::Base, &public, &info(), &mut given).map_err(unsealable)?;
    let encapsulated = key.to_bytes().into();
    let mut secret = AnswerSecret::for_key(encapsulated);
    context
        .export(ANSWER_LABEL, &mut *secret.secret)
        .map_err(unsealable)?;
    Ok((context, encapsulated, secret))
}

fn info() -> Vec<u8> {
    [REQUEST_INFO, &HEADER].concat()
}

/// What the one answer to a request is sealed with. Both ends of the request have it, and nobody else.
pub struct AnswerSecret {
    secret: Zeroizing<[u8; 32]>,
    encapsulated: [u8; ENCAPSULATED],
}

impl std::fmt::Debug for AnswerSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnswerSecret")
    }
}

impl AnswerSecret {
    fn for_key(encapsulated: [u8; ENCAPSULATED]) -> Self {
        Self {
            secret: Zeroizing::default(),
            encapsulated,
        }
    }

    pub(crate) fn sender(self, nonce: &[u8; ANSWER_NONCE]) -> Result<Sender, SealError> {
        let (key, base) = self.keys(nonce)?;
        Ok(create_sender_context(&key, base, ExporterSecret::default()))
    }

    pub(crate) fn receiver(self, nonce: &[u8; ANSWER_NONCE]) -> Result<Receiver, SealError> {
        let (key, base) = self.keys(nonce)?;
        Ok(create_receiver_context(
            &key,
            base,
            ExporterSecret::default(),
        ))
    }

    /// RFC 9458, section 4.4. The context adds the counter to the nonce as the draft demands of chunks.
    fn keys(
        &self,
        nonce: &[u8; ANSWER_NONCE],
    ) -> Result<(AeadKey<ChaCha20Poly1305>, AeadNonce<ChaCha20Poly1305>), SealError> {
        let salt = [&self.encapsulated[..], nonce].concat();
        let derived = Hkdf::<Sha256>::new(Some(&salt), &*self.secret);
        let mut key = AeadKey::default();
        let mut base = AeadNonce::default();
        derived
            .expand(b"key", key.0.as_mut_slice())
            .and_then(|()| derived.expand(b"nonce", base.0.as_mut_slice()))
            .map_err(|_| SealError::Unsealable)?;
        Ok((key, base))
    }
}

/// Gives the bytes that it was made with. One key pair is all that is made of them.
struct Given(Zeroizing<[u8; 32]>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for (place, byte) in to.iter_mut().zip(&*self.0) {
            *place = *byte;
        }
        Ok(())
    }
}

impl TryCryptoRng for Given {}
