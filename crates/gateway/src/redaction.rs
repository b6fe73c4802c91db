//! Requests whose findings are replaced by placeholders before they leave for a tier that proves
//! nothing. All or nothing: unless the changed request, read and classified again as if it had just
//! arrived, has none of these findings left, it is not used, and the request goes by its own label. The same for
//! each format that it would be translated into: where it is not exact, no upstream is asked in that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use proofroom_canonical::{Digest, Sensitive};
use proofroom_classify::{Classification, Label};
use proofroom_llm::{Api, Placeholder, RequestFacts, replace_values, translate::Translation};
use proofroom_record::statement::{RedactionResult, ReplacedCount};

use crate::{ambient::Entropy, prompt::Prompt};

/// The most different values that are replaced in one request.
const MAX_VALUES: usize = 256;
/// A shorter value could be part of anything.
const MIN_VALUE_BYTES: usize = 5;
const MAX_VALUE_BYTES: usize = 64 * 1024;
/// The most different values of one session.
const MAX_NAMES: usize = 16 * 1024;
/// 96 bits: nobody who did not see a name makes it up.
const NAME_BYTES: usize = 12;

/// A request without what was found in it.
pub(crate) struct Redacted {
    pub(crate) prompt: Prompt,
    pub(crate) facts: RequestFacts,
    /// Label of what is left.
    pub(crate) label: Label,
    pub(crate) placeholders: Vec<Placeholder>,
    /// In which APIs it has none of the values.
    exact: Vec<Api>,
    replaced: Vec<ReplacedCount>,
}

/// The session's placeholders: one for each value, the same as long as the session lasts. Values are
/// kept as digests alone.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<BTreeMap<Digest, String>>);

impl Names {
    /// The name for `value`; none where there are too many or no randomness.
    fn of(&self, value: &str, entropy: &dyn Entropy) -> Option<String> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = Digest::of(value);
        if let Some(name) = names.get(&digest) {
            return Some(name.clone());
        }
        if names.len() >= MAX_NAMES {
            return None;
        }
        let mut bytes = [0; NAME_BYTES];
        entropy.fill(&mut bytes).ok()?;
        let name = name(&bytes);
        names.insert(digest, name.clone());
        Some(name)
    }
}

/// Letters alone, two for a byte: nothing that a detector of numbers, tokens or addresses could take
/// for its own, and a word that detectors of credentials know as none.
fn name(bytes: &[u8]) -> String {
    let letter = |nibble: u8| char::from(b'a'.saturating_add(nibble));
    let letters = bytes
        .iter()
        .flat_map(|byte| [letter(byte >> 4), letter(byte & 15)]);
    std::iter::once("REDACTED_".to_owned())
        .chain(letters.map(String::from))
        .collect()
}

/// What of a request is to be replaced, by value with its rules.
pub(crate) struct Values {
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Drop for Values {
    fn drop(&mut self) {
        for (value, _) in std::mem::take(&mut self.values) {
            drop(Sensitive::new(value));
        }
    }
}

impl Values {
    /// The values of the findings of rules for which `replaces` holds; nothing where there are none, or
    /// where one of them lies outside of the body, may go on in the next text, or cannot be told from
    /// other text.
    pub(crate) fn of(
        facts: &RequestFacts,
        found: &Classification,
        replaces: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let mut values = Self {
            values: BTreeMap::new(),
        };
        for finding in found.findings.iter().filter(|found| replaces(&found.rule)) {
            let segment = facts.segments.get(finding.segment)?;
            let text = segment.text.expose();
            // what ends here may be the beginning of what goes on in the next text of the same author
            let next = facts.segments.get(finding.segment.saturating_add(1));
            let goes_on = next.is_some_and(|next| next.origin == segment.origin);
            if goes_on && finding.span.end == text.len() {
                return None;
            }
            let value = text.get(finding.span.clone())?;
            let fits = (MIN_VALUE_BYTES..=MAX_VALUE_BYTES).contains(&value.len());
            if !fits || value.contains("REDACTED_") {
                return None;
            }
            let rules = values.values.entry(value.to_owned()).or_default();
            rules.insert(finding.rule.clone());
        }
        (1..=MAX_VALUES)
            .contains(&values.values.len())
            .then_some(values)
    }

    fn placeholders(&self, names: &Names, entropy: &dyn Entropy) -> Option<Vec<Placeholder>> {
        let named = self.values.keys().map(|value| {
            Some(Placeholder {
                name: names.of(value, entropy)?,
                value: Sensitive::new(value.clone()),
            })
        });
        named.collect()
    }

    fn counts(&self) -> Vec<ReplacedCount> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for rule in self.values.values().flatten() {
            let count = counts.entry(rule).or_default();
            *count = count.saturating_add(1);
        }
        let counted = counts.into_iter().map(|(rule, values)| ReplacedCount {
            rule: rule.to_owned(),
            values,
        });
        counted.collect()
    }
}

/// `prompt` with the values replaced, as `read` reads and classifies it; nothing where any finding of
/// a rule for which `replaces` holds is left, or where it cannot be read. It is exact in each of the `translations`
/// of which the same is true.
pub(crate) fn redact(
    values: &Values,
    (names, entropy): (&Names, &dyn Entropy),
    (prompt, facts): (&Prompt, &RequestFacts),
    translations: &[Translation],
    replaces: impl Fn(&str) -> bool,
    read: impl Fn(Api, &[u8]) -> Option<(RequestFacts, Classification)>,
) -> Option<Redacted> {
    let placeholders = values.placeholders(names, entropy)?;
    let body = std::str::from_utf8(prompt.as_slice()).ok()?;
    let mut changed = replace_values(body, &facts.model_span, &placeholders).ok()?;
    let cleared = |api, body: &[u8]| {
        let (facts, left) = read(api, body)?;
        let found = left.findings.iter().any(|finding| replaces(&finding.rule));
        (!found).then_some((facts, left))
    };
    let (facts, left) = cleared(facts.api, changed.as_bytes())?;
    let translated = translations.iter().filter(|translation| {
        let said = translation.request(changed.as_bytes(), &facts.model).ok();
        let there = said.and_then(|said| cleared(translation.upstream(), &said));
        there.is_some_and(|(_, there)| there.label <= left.label)
    });
    let exact = std::iter::once(facts.api)
        .chain(translated.map(|translation| translation.upstream()))
        .collect();
    Some(Redacted {
        exact,
        prompt: Prompt::new(std::mem::take(&mut *changed).into_bytes()),
        facts,
        label: left.label,
        placeholders,
        replaced: values.counts(),
    })
}

impl Redacted {
    /// Whether none of the values is in it where an upstream is asked in `api`.
    pub(crate) fn is_exact_in(&self, api: Api) -> bool {
        self.exact.contains(&api)
    }

    /// What the record says, before the answer.
    pub(crate) fn result(&self, label: &str, high_water_after: &str) -> RedactionResult {
        RedactionResult {
            label: label.to_owned(),
            high_water_after: high_water_after.to_owned(),
            replaced: self.replaced.clone(),
            restored: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Names, name};
    use crate::ambient::{Entropy, NoEntropy, SystemEntropy};

    /// Gives nothing.
    struct Dry;

    impl Entropy for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), NoEntropy> {
            Err(NoEntropy)
        }
    }

    #[test]
    fn a_value_keeps_its_name_and_names_are_its_own() {
        let names = Names::default();
        let of = |value| names.of(value, &SystemEntropy).unwrap();
        assert_eq!(of("a value"), of("a value"));
        assert_ne!(of("a value"), of("another"));
        assert_ne!(
            of("a value"),
            Names::default().of("a value", &SystemEntropy).unwrap()
        );
        assert_eq!(names.of("a third", &Dry), None);
        assert_eq!(name(&[0x0f, 0xa5]), "REDACTED_apkf");
    }
}
