//! Which proofs were used. As bounded as it is: what does not fit is refused, and nothing that could come again
//! is forgotten.

use std::collections::{BTreeMap, HashMap, HashSet};

use proofroom_canonical::Digest;

use crate::{jwk::Thumbprint, nonce::Epoch};

/// The most proofs that are remembered of one nonce: 60 s of some 4,000 requests in a second, in 16 MiB.
pub(crate) const MAX_PROOFS: usize = 262_144;
/// The most of them by one key, so that one client does not take every place.
pub(crate) const MAX_PROOFS_OF_KEY: usize = 32_768;

/// Proofs that were used, as long as their nonces are taken.
#[derive(Debug, Default)]
pub(crate) struct UsedProofs {
    by_nonce: BTreeMap<u64, Used>,
}

#[derive(Debug, Default)]
struct Used {
    proofs: HashSet<Digest>,
    of_key: HashMap<Thumbprint, usize>,
}

/// Why a proof is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    Used,
    Full,
}

impl UsedProofs {
    /// Takes note of a proof by `key` of this `jti`, whose nonce is of `epoch`.
    pub(crate) fn take(
        &mut self,
        key: Thumbprint,
        jti: &str,
        epoch: Epoch,
        now: Epoch,
    ) -> Result<(), Unusable> {
        // a nonce that is not taken any more needs no memory of its proofs
        self.by_nonce
            .retain(|number, _| Epoch::numbered(*number).is_taken_in(now));
        let used = self.by_nonce.entry(epoch.number()).or_default();
        let proof = Digest::of(format!("{key}\n{jti}"));
        if used.proofs.contains(&proof) {
            return Err(Unusable::Used);
        }
        let of_key = used.of_key.entry(key).or_default();
        if used.proofs.len() >= MAX_PROOFS || *of_key >= MAX_PROOFS_OF_KEY {
            return Err(Unusable::Full);
        }
        *of_key = of_key.saturating_add(1);
        used.proofs.insert(proof);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{MAX_PROOFS_OF_KEY, Unusable, UsedProofs};
    use crate::{PublicKey, Thumbprint, nonce::Epoch};

    fn key(first: u8) -> Thumbprint {
        let x = crate::jws::encode([first; 32]);
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        PublicKey::from_jwk(jwk.as_object().unwrap())
            .unwrap()
            .thumbprint()
    }

    #[test]
    fn what_is_full_refuses_and_forgets_nothing_until_its_nonce_is_over() {
        let mut used = UsedProofs::default();
        let epoch = |minutes: u64| Epoch::at(Duration::from_secs(60 * minutes));
        let (first, second) = (epoch(0), epoch(1));
        for number in 0..MAX_PROOFS_OF_KEY {
            assert_eq!(used.take(key(1), &number.to_string(), first, first), Ok(()));
        }
        assert_eq!(
            used.take(key(1), "one more", first, first),
            Err(Unusable::Full)
        );
        assert_eq!(used.take(key(1), "0", first, second), Err(Unusable::Used));
        // another client has its places, and so has the same one with a later nonce
        assert_eq!(used.take(key(2), "0", first, first), Ok(()));
        assert_eq!(used.take(key(1), "0", second, second), Ok(()));
        assert_eq!(
            used.take(key(1), "0", second, epoch(2)),
            Err(Unusable::Used)
        );
        assert_eq!(used.by_nonce.len(), 1, "what is over is forgotten");
    }
}
