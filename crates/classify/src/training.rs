//! What the value scorer is trained on: each value of a text that stands beside a name which says
//! credential, as features. For `cargo xtask train-scorer`; a classification needs none of it.

use crate::detect;

/// What is known of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureName {
    /// Its name in the table of weights.
    pub name: &'static str,
    /// What it says for a credential.
    pub says: &'static str,
}

/// A value that the scorer may be asked about, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// A value of 0 to 64 for each of [`features`].
    pub features: Vec<i32>,
    /// Whether the hand-written rules take it for a credential.
    pub judged: bool,
}

/// All features, in the order in which [`Candidate`] has them.
#[must_use]
pub fn features() -> Vec<FeatureName> {
    let name = |feature: &detect::Feature| FeatureName {
        name: feature.name,
        says: feature.says,
    };
    detect::FEATURES.iter().map(name).collect()
}

/// Every candidate of `text`, in order. Other readings of the text (escapes, encodings) are not looked at.
#[must_use]
pub fn candidates(text: &str) -> Vec<Candidate> {
    detect::candidates(text)
}
