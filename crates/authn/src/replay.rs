//! Which proofs were used. As bounded as it is: what does not fit is refused, and nothing that could come again
//! is forgotten.

use std::collections::{BTreeMap, HashMap, HashSet};

use proofroom_canonical::Digest;

use crate::{jwk::Thumbprint, nonce::Epoch};

/// The most proofs that are remembered of one nonce: 60 s of some 4,000 requests in a second, in 16 MiB.
pub(crate) const MAX_PROOFS: usize = 262_144;
/// The most of them of one holder, however many keys they have, so that nobody takes every place.
pub(crate) const MAX_PROOFS_OF_HOLDER: usize = 32_768;

/// Proofs that were used, as long as their nonces are taken.
#[derive(Debug, Default)]
pub(crate) struct UsedProofs {
    by_nonce: BTreeMap<u64, Used>,
}

#[derive(Debug, Default)]
struct Used {
    proofs: HashSet<Digest>,
    of_holder: HashMap<Digest, usize>,
}

/// Why a proof is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    Used,
    Full,
}

impl UsedProofs {
    /// Takes note of a proof of `holder` by `key` of this `jti`, whose nonce is of `epoch`.
    pub(crate) fn take(
        &mut self,
        holder: Digest,
        (key, jti): (Thumbprint, &str),
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
        let of_holder = used.of_holder.entry(holder).or_default();
        if used.proofs.len() >= MAX_PROOFS || *of_holder >= MAX_PROOFS_OF_HOLDER {
            return Err(Unusable::Full);
        }
        *of_holder = of_holder.saturating_add(1);
        used.proofs.insert(proof);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proofroom_canonical::Digest;
    use serde_json::json;

    use super::{MAX_PROOFS_OF_HOLDER, Unusable, UsedProofs};
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
        let (ada, eve) = (Digest::of("ada"), Digest::of("eve"));
        // one holder's keys share their places
        for number in 0..MAX_PROOFS_OF_HOLDER {
            let proof = (key(u8::from(number % 2 == 0)), number.to_string());
            assert_eq!(used.take(ada, (proof.0, &proof.1), first, first), Ok(()));
        }
        for of_key in [0, 1, 2] {
            assert_eq!(
                used.take(ada, (key(of_key), "one more"), first, first),
                Err(Unusable::Full)
            );
        }
        assert_eq!(
            used.take(ada, (key(1), "0"), first, second),
            Err(Unusable::Used)
        );
        // another holder has theirs, and so has the same one with a later nonce
        assert_eq!(used.take(eve, (key(2), "0"), first, first), Ok(()));
        assert_eq!(used.take(ada, (key(1), "0"), second, second), Ok(()));
        assert_eq!(
            used.take(ada, (key(1), "0"), second, epoch(2)),
            Err(Unusable::Used)
        );
        assert_eq!(used.by_nonce.len(), 1, "what is over is forgotten");
    }
}
