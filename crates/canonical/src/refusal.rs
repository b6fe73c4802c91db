//! Why something was refused, where a reader of code asks for no more than the code, and a person for no
//! more than the words.

use std::error::Error;

/// A refusal: a stable code, a sentence for a person, and the error behind it where one is.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct Refusal {
    code: &'static str,
    words: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    /// A refusal that has no other error behind it.
    #[must_use]
    pub fn new(code: &'static str, words: impl Into<String>) -> Self {
        let (words, source) = (words.into(), None);
        Self {
            code,
            words,
            source,
        }
    }

    /// The same refusal, with what led to it.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = Some(source.into());
        Self { source, ..self }
    }

    /// The refusal of a whole, for this one of its part and with its code.
    #[must_use]
    pub fn within(self, words: &str) -> Self {
        Self::new(self.code, words).because(self)
    }

    /// Refuses what does not hold.
    ///
    /// # Errors
    /// The refusal with this code and these words, where `holds` is false.
    pub fn unless<W: Into<String>>(
        holds: bool,
        code: &'static str,
        words: impl FnOnce() -> W,
    ) -> Result<(), Self> {
        if holds {
            return Ok(());
        }
        Err(Self::new(code, words()))
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::Refusal;

    #[test]
    fn a_refusal_keeps_code_words_and_cause() {
        let refused = Refusal::new("x-malformed", "no x").because(std::fmt::Error);
        assert_eq!(
            (refused.code(), &*refused.to_string()),
            ("x-malformed", "no x")
        );
        assert!(refused.source().expect("a cause").is::<std::fmt::Error>());
    }

    #[test]
    fn only_what_does_not_hold_is_refused() {
        assert!(Refusal::unless(true, "code", || "words").is_ok());
        let refused = Refusal::unless(false, "code", || "words").expect_err("refused");
        assert_eq!(refused.code(), "code");
    }
}
