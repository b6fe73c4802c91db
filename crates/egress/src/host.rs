//! Host names: letters, digits and hyphens in labels, lower case, nothing else. An IP address in any
//! spelling is not one. Patterns are compared label by label, never as text.

use std::fmt;

/// The most characters that a name may have.
const MAX_NAME: usize = 253;
/// The most characters that a label may have.
const MAX_LABEL: usize = 63;
/// The most characters of a refused name that are repeated in words.
const MAX_SHOWN: usize = 100;

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Something else than letters, digits, hyphens and dots, or a label of the wrong length.
    #[error("`{0}` is no host name of letters, digits and hyphens")]
    Malformed(String),
    /// An IP address, in whatever spelling.
    #[error("`{0}` is an IP address; only names are allowed")]
    IpLiteral(String),
}

/// A host name in its one spelling: lower case, no dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// Reads a name. Upper case and one dot at the end are other spellings of the same name.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.contains([':', '[', ']']) && looks_like_an_address(name) {
            return Err(NameError::IpLiteral(shown(text)));
        }
        let well_formed = name.len() <= MAX_NAME && name.split('.').all(is_label);
        if !well_formed {
            return Err(NameError::Malformed(shown(text)));
        }
        let name = name.to_ascii_lowercase();
        if ends_in_a_number(&name) {
            return Err(NameError::IpLiteral(shown(text)));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    fn count(&self) -> usize {
        self.labels().count()
    }

    /// Whether the name has a dot, so that a search domain is out of the question.
    #[must_use]
    pub fn is_qualified(&self) -> bool {
        self.0.contains('.')
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text as words may repeat it: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .take(MAX_SHOWN)
        .flat_map(char::escape_debug)
        .collect()
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether a resolver might take the name for an IPv4 address: `127.1`, `2130706433`, `0x7f.0.0.1`.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    last.bytes().all(|byte| byte.is_ascii_digit()) || last.strip_prefix("0x").is_some_and(hex)
}

fn looks_like_an_address(name: &str) -> bool {
    name.trim_matches(['[', ']'])
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || b":.%".contains(&byte))
}

/// Which names a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This name alone.
    Exactly(HostName),
    /// `*.suffix`: one label more than the suffix.
    OneLabelBelow(HostName),
    /// `**.suffix`: one label or several more than the suffix.
    AnythingBelow(HostName),
}

impl HostPattern {
    /// Reads a pattern: a name, `*.name` or `**.name`, where the name has two labels at least.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let below = |suffix: &str| {
            let suffix = HostName::parse(suffix)?;
            if suffix.count() < 2 {
                return Err(NameError::Malformed(shown(text)));
            }
            Ok(suffix)
        };
        if let Some(suffix) = text.strip_prefix("**.") {
            return below(suffix).map(Self::AnythingBelow);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            return below(suffix).map(Self::OneLabelBelow);
        }
        HostName::parse(text).map(Self::Exactly)
    }

    /// Whether the pattern covers `host`.
    #[must_use]
    pub fn covers(&self, host: &HostName) -> bool {
        let more = |suffix: &HostName| {
            let ends = suffix
                .labels()
                .rev()
                .zip(host.labels().rev())
                .all(|(one, other)| one == other);
            host.count()
                .checked_sub(suffix.count())
                .filter(|_| ends)
                .unwrap_or(0)
        };
        match self {
            Self::Exactly(name) => name == host,
            Self::OneLabelBelow(suffix) => more(suffix) == 1,
            Self::AnythingBelow(suffix) => more(suffix) >= 1,
        }
    }

    /// The one name that it covers; none for a pattern of several.
    #[must_use]
    pub const fn only(&self) -> Option<&HostName> {
        match self {
            Self::Exactly(name) => Some(name),
            Self::OneLabelBelow(_) | Self::AnythingBelow(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
