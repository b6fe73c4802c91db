//! What a policy is for: one file, one purpose. A policy of one judges nothing of another.

use serde::Deserialize;

use super::{Problems, SIMULATED};

/// The `purpose` of a policy file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    /// Rooms of sessions.
    ProductionSession,
    /// Upstreams, and bare quotes.
    ProductionUpstream,
    /// Either, of the simulated TEE. No policy of another purpose accepts simulated evidence.
    Simulated,
}

impl Purpose {
    /// Adds a problem where a policy called `name` has this purpose and `wanted` is needed, or where its
    /// name says `simulated` and its purpose does not, or the other way round.
    pub(crate) fn check(self, wanted: Self, name: &str, problems: &mut Problems<'_>) {
        if self != wanted && self != Self::Simulated {
            let words = "`purpose` is another: this policy is read as one for what it is not for";
            problems.add("policy-purpose", words);
        } else if (self == Self::Simulated) != name.contains(SIMULATED) {
            let words = "`purpose = \"simulated\"` and `simulated` in the name go together";
            problems.add("policy-purpose", words);
        }
    }
}
