//! The ids of a scanner's rules by number, so that what a session knows of a finding is small and wholly overwritten.

use zeroize::DefaultIsZeroes;

use super::OVER_BUDGET;

/// A rule's place among those of its scanner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleNumber(u32);

impl DefaultIsZeroes for RuleNumber {}

/// The ids of a scanner's rules. Scanners that are made of one policy number them alike.
#[derive(Debug)]
pub(super) struct RuleNames(Vec<String>);

impl RuleNumber {
    /// Of texts that were not read to their end, which no rule of a policy is about.
    pub(super) const OVER_BUDGET: Self = Self(0);
}

impl RuleNames {
    /// The next number, for the rule of this id.
    pub(super) fn add(&mut self, id: &str) -> RuleNumber {
        let number = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push(id.to_owned());
        RuleNumber(number)
    }

    /// The id of a rule that was given this number.
    pub(super) fn name(&self, number: RuleNumber) -> &str {
        self.0
            .get(number.0 as usize)
            .map_or(OVER_BUDGET, String::as_str)
    }
}

impl Default for RuleNames {
    fn default() -> Self {
        Self(vec![OVER_BUDGET.to_owned()])
    }
}
