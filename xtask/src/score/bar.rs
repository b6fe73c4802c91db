//! A bar that a score must reach.

use std::str::FromStr;

use super::tally::Score;

/// `name=share`: a least recall, or a most share of false positives.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    name: String,
    share: f64,
}

impl FromStr for Bar {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, share) = text.split_once('=').ok_or("a bar is `name=share`")?;
        let share: f64 = share
            .parse()
            .map_err(|_| format!("`{share}` is no number"))?;
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("`{share}` must be a share from 0 to 1"));
        }
        Ok(Self {
            name: name.to_owned(),
            share,
        })
    }
}

impl Bar {
    /// Why the bar is missed. A figure that the file cannot give misses it too.
    pub(super) fn missed(&self, score: &Score) -> Option<String> {
        let Self { name, share } = self;
        let (figure, holds): (Option<f64>, fn(f64, f64) -> bool) = match name.as_str() {
            "fp" => (score.false_positive_rate(), |is, most| is <= most),
            "restricted-fp" => (score.restricted_false_positive_rate(), |is, most| {
                is <= most
            }),
            "found" => (score.found(), |is, least| is >= least),
            label => (score.recall(label), |is, least| is >= least),
        };
        match figure {
            None => Some(format!("`{name}`: the file has no such record")),
            Some(is) if !holds(is, *share) => Some(format!("`{name}` is {is:.4}, the bar {share}")),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tally::Score, Bar};

    #[test]
    fn a_figure_that_is_not_there_misses_its_bar() {
        for text in ["secret=0.1", "fp=1.0", "restricted-fp=1.0", "found=0"] {
            let bar: Bar = text.parse().unwrap();
            assert!(bar.missed(&Score::default()).is_some(), "{text}");
        }
        for wrong in ["secret", "secret=x", "secret=2"] {
            assert!(wrong.parse::<Bar>().is_err(), "{wrong}");
        }
    }
}
