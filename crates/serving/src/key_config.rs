//! The key that requests are sealed to, as Oblivious HTTP writes it (RFC 9458, section 3.1): one key, one suite.

use proofroom_canonical::{Digest, Hex};

/// Bytes of a key configuration.
pub const KEY_CONFIG_BYTES: usize = 41;
/// The one key of an enclave has this number.
pub const KEY_ID: u8 = 0;
/// DHKEM(X25519, HKDF-SHA256); four bytes of algorithms; HKDF-SHA256 with ChaCha20-Poly1305 (RFC 9180, section 7).
const BEFORE_KEY: [u8; 3] = [KEY_ID, 0x00, 0x20];
const AFTER_KEY: [u8; 6] = [0x00, 0x04, 0x00, 0x01, 0x00, 0x03];

/// A public key of the one suite that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    public_key: [u8; 32],
}

impl KeyConfig {
    /// Of an X25519 public key.
    #[must_use]
    pub const fn new(public_key: [u8; 32]) -> Self {
        Self { public_key }
    }

    /// Reads a configuration; `None` of another key number or suite.
    #[must_use]
    pub fn parse(bytes: &[u8; KEY_CONFIG_BYTES]) -> Option<Self> {
        let rest = bytes.strip_prefix(&BEFORE_KEY)?;
        let (public_key, rest) = rest.split_first_chunk()?;
        (rest == AFTER_KEY).then_some(Self::new(*public_key))
    }

    /// The X25519 public key.
    #[must_use]
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// The configuration's bytes in hex, as statements have it.
    #[must_use]
    pub fn to_hex(&self) -> Hex<KEY_CONFIG_BYTES> {
        let mut bytes = [0; KEY_CONFIG_BYTES];
        let parts = [&BEFORE_KEY[..], &self.public_key, &AFTER_KEY].concat();
        for (place, byte) in bytes.iter_mut().zip(parts) {
            *place = byte;
        }
        Hex::from_bytes(bytes)
    }

    /// SHA-256 of the configuration's bytes, by which requests and records name it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_hex().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{KEY_CONFIG_BYTES, KeyConfig};

    #[test]
    fn a_configuration_survives_its_bytes_and_no_other_suite_is_one() {
        let config = KeyConfig::new([7; 32]);
        let bytes = *config.to_hex().as_bytes();
        assert_eq!(KeyConfig::parse(&bytes), Some(config));
        for place in (0..3).chain(35..KEY_CONFIG_BYTES) {
            let mut other = bytes;
            other[place] ^= 1;
            assert_eq!(KeyConfig::parse(&other), None, "{place}");
        }
    }
}
