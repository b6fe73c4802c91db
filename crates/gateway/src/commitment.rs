//! Commitments to what was found in a request: a record shows later that a certain value was among its
//! findings, to whoever knows the value and the run's key, and nothing to anybody else. A value is often
//! short enough to be guessed, so a digest with a salt in the record would not do: the key is the deployment's
//! and in no record (`docs/adr/0045-commitments-to-findings.md`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use proofroom_canonical::{Digest, Nonce};
use proofroom_classify::{Classification, Segment, finds_values};
use ring::hmac::{HMAC_SHA256, Key, sign};
use zeroize::Zeroizing;

/// The most different values of one rule that a record commits to.
pub const MAX_COMMITMENTS: usize = 64;

/// What a deployment derives the keys of its runs from: 256 random bits.
pub struct CommitmentKey(Zeroizing<[u8; 32]>);

/// The key of one run's commitments. It opens them and those of no other run.
pub struct RunKey(Zeroizing<[u8; 32]>);

/// Commitments by rule.
pub(crate) type Commitments = BTreeMap<String, BTreeSet<Digest>>;

impl CommitmentKey {
    /// `bytes` must be random.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Names the key in records, and says nothing about it.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::from_bytes(*mac(&self.0, &[b"proofroom.commitment-key-id.v1"]))
    }

    /// To the values that built-in detectors found, under the key of the run with this `blinding`: no key is derived
    /// where they found none.
    pub(crate) fn commit_to(
        &self,
        blinding: &Nonce,
        found: &Classification,
        segments: &[Segment<'_>],
    ) -> Commitments {
        let mut rules = found.findings.iter().map(|finding| &finding.rule);
        if !rules.any(|rule| finds_values(rule)) {
            return Commitments::new();
        }
        self.of_run(blinding).commit_to(found, segments)
    }

    /// The key of the run whose record has this `blinding`.
    #[must_use]
    pub fn of_run(&self, blinding: &Nonce) -> RunKey {
        let parts: [&[u8]; 2] = [b"proofroom.commitment-run.v1", blinding.as_bytes()];
        RunKey(mac(&self.0, &parts))
    }
}

impl RunKey {
    /// A key that somebody revealed.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key itself, to reveal it: whoever has it can try values against this one record.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The commitment to `value` as a finding of `rule`.
    #[must_use]
    pub fn commit(&self, rule: &str, value: &str) -> Digest {
        let parts: [&[u8]; 3] = [
            b"proofroom.commitment-value.v1",
            rule.as_bytes(),
            value.as_bytes(),
        ];
        Digest::from_bytes(*mac(&self.0, &parts))
    }

    /// To the different values that built-in detectors found, the first [`MAX_COMMITMENTS`] of each rule. A
    /// value is the text at the finding's place.
    fn commit_to(&self, found: &Classification, segments: &[Segment<'_>]) -> Commitments {
        let mut all = Commitments::new();
        let values = found
            .findings
            .iter()
            .filter(|finding| finds_values(&finding.rule));
        for finding in values {
            let text = segments.get(finding.segment).map(|segment| segment.text);
            let value = text.and_then(|text| text.get(finding.span.clone()));
            let of_rule = all.entry(finding.rule.clone()).or_default();
            if let Some(value) = value.filter(|value| !value.is_empty())
                && of_rule.len() < MAX_COMMITMENTS
            {
                of_rule.insert(self.commit(&finding.rule, value));
            }
        }
        all
    }
}

/// HMAC-SHA-256 over the parts, each after its length.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut message = Zeroizing::new(Vec::new());
    for part in parts {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(*part);
    }
    let tag = sign(&Key::new(HMAC_SHA256, key), &message);
    let mut bytes = Zeroizing::new([0; 32]);
    bytes
        .iter_mut()
        .zip(tag.as_ref())
        .for_each(|(to, from)| *to = *from);
    bytes
}

impl fmt::Debug for CommitmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommitmentKey").field(&self.id()).finish()
    }
}

impl fmt::Debug for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proofroom_canonical::{Digest, Nonce};

    use super::{CommitmentKey, RunKey};

    fn run(key: u8, blinding: u8) -> RunKey {
        CommitmentKey::new([key; 32]).of_run(&Nonce::from_random([blinding; 32]))
    }

    #[test]
    fn a_commitment_opens_with_the_right_key_rule_and_value_alone() {
        let commitment = run(1, 1).commit("rule", "value");
        assert_eq!(run(1, 1).commit("rule", "value"), commitment);
        for (key, rule, value) in [
            (run(2, 1), "rule", "value"),
            (run(1, 2), "rule", "value"),
            (run(1, 1), "rul", "evalue"),
            (run(1, 1), "rulev", "alue"),
            (run(1, 1), "rule", "valu"),
            (run(1, 1), "other", "value"),
        ] {
            assert_ne!(key.commit(rule, value), commitment, "{rule} {value}");
        }
        let revealed = RunKey::new(*run(1, 1).expose());
        assert_eq!(revealed.commit("rule", "value"), commitment);
    }

    #[test]
    fn an_id_names_the_key_and_nothing_prints_it() {
        let key = CommitmentKey::new([7; 32]);
        assert_eq!(key.id(), CommitmentKey::new([7; 32]).id());
        assert_ne!(key.id(), CommitmentKey::new([8; 32]).id());
        assert_ne!(key.id(), Digest::of([7; 32]));
        let shown = format!("{key:?} {:?}", run(7, 1));
        assert!(
            !shown.contains("07070707") && !shown.contains("7, 7"),
            "{shown}"
        );
    }

    /// HMAC-SHA-256 under 32 times 1, computed by Python's `hmac` over the parts with their lengths.
    #[test]
    fn the_derivation_is_what_the_specification_says() {
        let commitment = run(1, 2).commit("json-web-token", "abc");
        assert_eq!(
            commitment.to_hex(),
            "618923fd6098395058927d0ba485c026e8eff56ace9b22bc7ef8f8ffabe57a9b"
        );
        assert_eq!(
            CommitmentKey::new([1; 32]).id().to_hex(),
            "3ad9f61b670b070990b78681feb3fa2439fa9bc0c81ff4977b4ee2b62adf6735"
        );
    }
}
