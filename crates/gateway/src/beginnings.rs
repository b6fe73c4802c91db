//! The digest of a request's bytes, taken as they arrive, and on the way the digests of its beginnings:
//! by these a session knows again what it has classified, without another look at the bytes.

use proofroom_canonical::{Digest, Hasher};

/// A digest in the making.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    hasher: Hasher,
    bytes: u64,
    digests: Vec<Digest>,
}

/// SHA-256 of the first 16 KiB, 32 KiB and so on of a request.
#[derive(Debug, Default)]
pub(crate) struct Beginnings(Vec<Digest>);

impl Arriving {
    /// Adds `bytes` to what has arrived.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while let Some((step, rest)) = bytes.split_at_checked(self.to_next()) {
            self.hasher.update(step);
            self.bytes = self.bytes.saturating_add(step.len() as u64);
            self.digests.push(self.hasher.clone().finish());
            bytes = rest;
        }
        self.hasher.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
    }

    /// Bytes from here to where the next beginning ends.
    fn to_next(&self) -> usize {
        let into = self.bytes % STEP as u64;
        usize::try_from(into).map_or(STEP, |into| STEP.saturating_sub(into))
    }

    /// How many bytes have arrived.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all bytes, and those of the beginnings.
    pub(crate) fn finish(self) -> (Digest, Beginnings) {
        (self.hasher.finish(), Beginnings(self.digests))
    }
}

impl Beginnings {
    /// The digest of a beginning that holds the first `bytes` bytes.
    pub(crate) fn holding(&self, bytes: usize) -> Option<Digest> {
        let steps = bytes.div_ceil(STEP);
        self.0.get(steps.max(1).saturating_sub(1)).copied()
    }
}

/// Few enough that to end a digest so often costs little (0.1 us each), enough that little of a
/// conversation is beyond the last.
const STEP: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use proofroom_canonical::Digest;

    use super::{Arriving, STEP};

    #[test]
    fn each_beginning_has_its_digest_however_the_bytes_arrive() {
        let body: Vec<u8> = (0..251).cycle().take(5 * STEP + 77).collect();
        for piece in [1, 1_000, STEP - 1, STEP, STEP + 1, body.len()] {
            let mut arriving = Arriving::default();
            body.chunks(piece).for_each(|piece| arriving.update(piece));
            assert_eq!(arriving.bytes(), body.len() as u64);
            let (digest, beginnings) = arriving.finish();
            assert_eq!(digest, Digest::of(&body));
            for (bytes, steps) in [(0, 1), (1, 1), (STEP, 1), (STEP + 1, 2), (5 * STEP, 5)] {
                let beginning = Digest::of(&body[..steps * STEP]);
                assert_eq!(beginnings.holding(bytes), Some(beginning), "{bytes}");
            }
            assert_eq!(beginnings.holding(5 * STEP + 1), None);
        }
    }

    #[test]
    fn a_short_request_has_no_beginning() {
        let mut arriving = Arriving::default();
        arriving.update(&[0; STEP - 1]);
        assert_eq!(arriving.finish().1.holding(0), None);
    }
}
