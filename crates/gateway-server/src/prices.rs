//! What models cost: a file with whole millionths of a unit of money for a million tokens.

use std::fmt;

use globset::{Glob, GlobMatcher};
use proofroom_gateway::Finished;
use proofroom_record::statement::ModelRun;
use serde::Deserialize;

use crate::limits::Spending;

/// The most bytes that a price file may have.
const MAX_PRICE_BYTES: usize = 1024 * 1024;

/// Why a price file cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the price file cannot be used: {0}")]
pub struct PriceProblem(String);

impl PriceProblem {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "prices-unusable"
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    version: u32,
    #[serde(default)]
    price: Vec<RawPrice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    upstream: String,
    model: String,
    input_micros_per_million: u64,
    output_micros_per_million: u64,
}

/// Prices in the order of their file; the first that fits counts.
#[derive(Clone, Default)]
pub struct Prices(Vec<Price>);

#[derive(Clone)]
struct Price {
    upstream: GlobMatcher,
    model: GlobMatcher,
    input: u64,
    output: u64,
}

impl fmt::Debug for Prices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prices").field(&self.0.len()).finish()
    }
}

/// A token is about four bytes of text: what an upstream that counted none is taken to have used.
pub(crate) const BYTES_PER_TOKEN: u64 = 4;

/// What a run used, as far as it is known.
struct Used<'a> {
    upstream: &'a str,
    model: &'a str,
    received_bytes: u64,
    answered_bytes: u64,
    tokens: Option<(u64, u64)>,
}

impl Prices {
    /// What a run spent that ended just now; nothing where it was sent nowhere.
    pub(crate) fn of_ended(&self, run: &Finished) -> Option<Spending> {
        let used = Used {
            upstream: run.upstream.as_deref()?,
            model: &run.model,
            received_bytes: run.received_bytes,
            answered_bytes: run.answered_bytes,
            tokens: run.tokens.map(|tokens| (tokens.input, tokens.output)),
        };
        Some(self.spending(&used))
    }

    /// What a recorded run spent; nothing where it was sent nowhere.
    pub(crate) fn of_recorded(&self, run: &ModelRun) -> Option<Spending> {
        let response = run.response.as_ref();
        let tokens = response.and_then(|response| response.tokens);
        let used = Used {
            upstream: &run.upstream.as_ref()?.name,
            model: &run.request.model,
            received_bytes: run.request.received_bytes,
            answered_bytes: response.map_or(0, |response| response.bytes),
            tokens: tokens.map(|tokens| (tokens.input, tokens.output)),
        };
        Some(self.spending(&used))
    }

    fn spending(&self, used: &Used<'_>) -> Spending {
        let (input, output) = used.tokens.unwrap_or((
            used.received_bytes / BYTES_PER_TOKEN,
            used.answered_bytes / BYTES_PER_TOKEN,
        ));
        Spending {
            tokens: input.saturating_add(output),
            micros: self.cost(used.upstream, used.model, input, output),
        }
    }

    /// Reads a price file.
    ///
    /// # Errors
    /// [`PriceProblem`].
    pub fn parse(text: &str) -> Result<Self, PriceProblem> {
        if text.len() > MAX_PRICE_BYTES {
            return Err(PriceProblem(format!("more than {MAX_PRICE_BYTES} bytes")));
        }
        let raw: RawFile = toml::from_str(text)
            .map_err(|error| PriceProblem(error.message().replace('\n', " ")))?;
        if raw.version != 1 {
            return Err(PriceProblem(format!("version {} is not 1", raw.version)));
        }
        let prices = raw.price.into_iter().map(|raw| {
            Ok(Price {
                upstream: glob(&raw.upstream)?,
                model: glob(&raw.model)?,
                input: raw.input_micros_per_million,
                output: raw.output_micros_per_million,
            })
        });
        prices.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the price of `model` at `upstream` is known.
    pub(crate) fn know(&self, upstream: &str, model: &str) -> bool {
        self.find(upstream, model).is_some()
    }

    /// What these tokens cost, rounded up; nothing where no price is known.
    pub(crate) fn cost(&self, upstream: &str, model: &str, input: u64, output: u64) -> u64 {
        let Some(price) = self.find(upstream, model) else {
            return 0;
        };
        let exact = u128::from(input)
            .saturating_mul(price.input.into())
            .saturating_add(u128::from(output).saturating_mul(price.output.into()));
        u64::try_from(exact.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    fn find(&self, upstream: &str, model: &str) -> Option<&Price> {
        self.0
            .iter()
            .find(|price| price.upstream.is_match(upstream) && price.model.is_match(model))
    }
}

fn glob(text: &str) -> Result<GlobMatcher, PriceProblem> {
    let glob = Glob::new(text).map_err(|error| PriceProblem(error.to_string()))?;
    Ok(glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::Prices;

    const FILE: &str = "version = 1\n[[price]]\nupstream = \"openai\"\nmodel = \"big-*\"\n\
        input_micros_per_million = 1250000\noutput_micros_per_million = 10000000\n";

    #[test]
    fn the_first_price_that_fits_counts_and_fractions_are_rounded_up() {
        let prices = Prices::parse(FILE).unwrap();
        assert!(prices.know("openai", "big-1") && !prices.know("other", "big-1"));
        assert_eq!(
            prices.cost("openai", "big-1", 1_000_000, 100_000),
            2_250_000
        );
        assert_eq!(prices.cost("openai", "big-1", 1, 0), 2);
        assert_eq!(prices.cost("openai", "big-1", u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(prices.cost("other", "big-1", 1, 1), 0);
    }

    #[test]
    fn what_is_not_known_refuses_the_file() {
        for (from, to) in [
            ("= 1\n", "= 2\n"),
            ("price", "cost"),
            ("1250000", "1.5"),
            ("big-*", "["),
        ] {
            let refused = Prices::parse(&FILE.replacen(from, to, 1)).unwrap_err();
            assert_eq!(refused.code(), "prices-unusable", "{from}");
        }
    }
}
