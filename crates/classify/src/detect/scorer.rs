//! A linear scorer of values that stand beside a name which says credential: what the hand-written rules of
//! `value.rs` doubt. Weights are trained (`cargo xtask train-scorer`); features are whole numbers, so that
//! the same value has the same score on every machine.

mod feature;
mod weights;

use std::sync::{LazyLock, OnceLock};

use super::value::NameKind;
pub(crate) use feature::{FEATURES, Feature};

/// One value of each feature, 64 for what is wholly so.
pub(crate) type Vector = [i32; FEATURES.len()];

/// A value with what stands around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) kind: NameKind,
    pub(super) value: &'a str,
    /// What stands before the value on its line, the name with it.
    pub(super) before: &'a str,
    /// Lines around it.
    pub(super) around: &'a str,
    pub(super) quoted: bool,
}

/// How sure the scorer is that a value is a credential, as log-odds in units of 2^-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Score(i64);

/// From how sure on a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Least(Score);

impl Least {
    /// At least so many chances in a hundred, from 50 to 99.
    pub(crate) fn percent(percent: u32) -> Option<Self> {
        if !(50..100).contains(&percent) {
            return None;
        }
        let odds = f64::from(percent) / f64::from(100 - percent);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the logarithm of odds below 100, times 65,536"
        )]
        let score = (odds.ln() * 65_536.0).round() as i64;
        Some(Self(Score(score)))
    }

    pub(crate) fn is_reached_by(self, score: Score) -> bool {
        score >= self.0
    }
}

/// The value of each feature.
pub(super) fn features(place: &Place<'_>) -> Vector {
    FEATURES.map(|feature| (feature.of)(place))
}

/// The score of these features.
pub(super) fn score(vector: &Vector) -> Score {
    let parts = vector.iter().zip(weights::WEIGHTS);
    Score(
        parts
            .map(|(feature, (_, weight))| weigh(*feature, weight))
            .sum(),
    )
}

/// Units of 1/64 times units of 1/1024.
fn weigh(feature: i32, weight: i32) -> i64 {
    i64::from(feature) * i64::from(weight)
}

/// The two features that spoke most for a credential, in words, for a person. The words are those of
/// [`FEATURES`] and never of the value.
pub(super) fn because(vector: &Vector) -> &'static str {
    let mut parts: Vec<(i64, usize)> = (0..)
        .zip(vector.iter().zip(weights::WEIGHTS))
        .map(|(index, (feature, (_, weight)))| (weigh(*feature, weight), index))
        .filter(|(part, index)| *part > 0 && *index != BIAS)
        .collect();
    parts.sort_by_key(|(part, index)| (std::cmp::Reverse(*part), *index));
    let mut best = parts.into_iter().map(|(_, index)| index);
    let (first, second) = (best.next().unwrap_or(BIAS), best.next().unwrap_or(BIAS));
    let place = first * FEATURES.len() + second;
    let slot = REASONS.get(place);
    slot.map_or(REASON, |slot| slot.get_or_init(|| reason(first, second)))
}

fn reason(first: usize, second: usize) -> String {
    let said = |index: usize| {
        let feature = FEATURES.get(index).filter(|_| index != BIAS);
        feature.map(|feature| feature.says)
    };
    let said: Vec<&str> = [first, second].into_iter().filter_map(said).collect();
    format!("{REASON}, most of all because {}", said.join(" and "))
}

/// What every such finding says.
pub(super) const REASON: &str =
    "trained weights take a value beside a name that says credential for one";

/// Place of the feature that is the same for every value.
const BIAS: usize = 0;

/// A text for each pair of features, made when it is first said.
static REASONS: LazyLock<Vec<OnceLock<String>>> = LazyLock::new(|| {
    let pairs = FEATURES.len() * FEATURES.len();
    (0..pairs).map(|_| OnceLock::new()).collect()
});

#[cfg(test)]
mod tests;
