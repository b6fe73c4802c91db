//! Logistic regression with a quadratic penalty, by gradient descent: fixed steps in a fixed order.

/// A value whose kind is known.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) secret: bool,
    /// What the hand-written rules say.
    pub(super) judged: bool,
    pub(super) features: Vec<i32>,
}

/// Weights in units of 1/1024, one for each feature; nothing where there are no samples.
pub(super) fn fit(samples: &[Sample]) -> Vec<i32> {
    let Some(first) = samples.first() else {
        return Vec::new();
    };
    let mut weights = vec![0.0_f64; first.features.len()];
    let all = samples.iter().fold(0.0, |all, _| all + 1.0);
    for _ in 0..STEPS {
        let mut slopes = vec![0.0_f64; weights.len()];
        for sample in samples {
            let off = sigmoid(dot(&sample.features, &weights)) - f64::from(u8::from(sample.secret));
            for (slope, feature) in slopes.iter_mut().zip(&sample.features) {
                *slope += off * unit(*feature);
            }
        }
        // the first feature is the same for every value: nothing pulls it to zero
        let pulls = [0.0].into_iter().chain(std::iter::repeat(PENALTY));
        for ((weight, slope), pull) in weights.iter_mut().zip(slopes).zip(pulls) {
            *weight -= RATE * (slope + pull * *weight) / all;
        }
    }
    weights.into_iter().map(rounded).collect()
}

/// How likely these weights take the features for those of a credential.
pub(super) fn chance(features: &[i32], weights: &[i32]) -> f64 {
    let weights: Vec<f64> = weights
        .iter()
        .map(|w| f64::from(*w) / WEIGHT_UNIT)
        .collect();
    sigmoid(dot(features, &weights))
}

fn dot(features: &[i32], weights: &[f64]) -> f64 {
    let parts = features.iter().zip(weights);
    parts.fold(0.0, |sum, (feature, weight)| sum + unit(*feature) * weight)
}

fn unit(feature: i32) -> f64 {
    f64::from(feature) / FEATURE_UNIT
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a penalised weight is far below 2^21"
)]
fn rounded(weight: f64) -> i32 {
    (weight * WEIGHT_UNIT).round() as i32
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x.clamp(-30.0, 30.0)))
}

/// e^x by its series, after 10 halvings: additions and multiplications alone, which IEEE 754 rounds alike
/// everywhere.
fn exp(x: f64) -> f64 {
    let small = x / 1_024.0;
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..12_u8 {
        term = term * small / f64::from(n);
        sum += term;
    }
    (0..10).fold(sum, |power, _| power * power)
}

const STEPS: usize = 6_000;
const RATE: f64 = 1.5;
const PENALTY: f64 = 1.0;
const FEATURE_UNIT: f64 = 64.0;
const WEIGHT_UNIT: f64 = 1_024.0;

#[cfg(test)]
mod tests {
    use super::{Sample, chance, exp, fit};

    fn sample(secret: bool, features: [i32; 3]) -> Sample {
        Sample {
            secret,
            judged: false,
            features: features.to_vec(),
        }
    }

    fn data() -> Vec<Sample> {
        let secret = (0..20).map(|n| sample(true, [64, 40 + n, n % 7]));
        let open = (0..30).map(|n| sample(false, [64, n, n % 5]));
        secret.chain(open).collect()
    }

    #[test]
    fn the_same_data_gives_the_same_weights_and_they_tell_the_kinds_apart() {
        let weights = fit(&data());
        assert_eq!(weights, fit(&data()));
        assert_eq!(weights, [-2059, 3483, 76]);
        assert!(chance(&[64, 60, 0], &weights) > 0.7);
        assert!(chance(&[64, 5, 0], &weights) < 0.2);
        assert!(fit(&[]).is_empty());
    }

    #[test]
    fn the_series_is_the_exponential() {
        for x in [-30.0, -2.5, 0.0, 0.1, 1.0, 20.0_f64] {
            let relative = exp(x) / x.exp() - 1.0;
            assert!(relative.abs() < 1e-11, "{x}: {relative}");
        }
    }
}
