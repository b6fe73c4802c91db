//! The server's nonces (RFC 9449 section 8): a number of the process's time and a MAC of it under a key that the
//! process made when it started. A proof from before a start names a nonce that no later process knows.

use std::time::Duration;

use ring::hmac;
use zeroize::Zeroizing;

use crate::jws::{decode, encode};

/// How long one nonce is handed out. It is taken for as long again.
pub const NONCE_SECONDS: u64 = 60;
const TAG_BYTES: usize = 32;

/// A span of [`NONCE_SECONDS`] since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

impl Epoch {
    pub(crate) const fn at(uptime: Duration) -> Self {
        Self(uptime.as_secs() / NONCE_SECONDS)
    }

    pub(crate) const fn numbered(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// Whether nonces of `self` are taken in `now`.
    pub(crate) const fn is_taken_in(self, now: Self) -> bool {
        self.0 == now.0 || self.0.saturating_add(1) == now.0
    }
}

/// Makes and knows the nonces of one process. Time is counted from the process's start by a clock that nobody sets.
pub struct Nonces(hmac::Key);

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces(<redacted>)")
    }
}

impl Nonces {
    /// Of 32 random bytes that no process had before.
    #[must_use]
    pub fn of(random: &Zeroizing<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, random.as_slice()))
    }

    /// The nonce to hand out.
    #[must_use]
    pub fn at(&self, uptime: Duration) -> String {
        let number = Epoch::at(uptime).0.to_be_bytes();
        let tag = hmac::sign(&self.0, &number);
        encode([number.as_slice(), tag.as_ref()].concat())
    }

    /// When `nonce` was handed out, if it was by this process and is still taken.
    pub(crate) fn epoch_of(&self, nonce: &str, uptime: Duration) -> Option<Epoch> {
        let bytes = decode(nonce).ok()?;
        let (number, tag) = bytes.split_first_chunk::<8>()?;
        if tag.len() != TAG_BYTES || hmac::verify(&self.0, number, tag).is_err() {
            return None;
        }
        let epoch = Epoch(u64::from_be_bytes(*number));
        epoch.is_taken_in(Epoch::at(uptime)).then_some(epoch)
    }
}
