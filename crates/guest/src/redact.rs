//! Credentials in command arguments: which arguments are not written down. A small list of shapes;
//! the classification policy's own detectors are wired in through [`Redactor::with`].

/// What takes the place of an argument.
pub const REDACTED: &str = "[redacted]";

/// Says whether a text holds a credential.
pub type Detector = fn(&str) -> Redact;

/// What becomes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redact {
    /// It is written as it is.
    Keep,
    /// [`REDACTED`] is written in its place.
    Replace,
}

/// Decides which arguments are written down.
#[derive(Clone, Copy, Debug)]
pub struct Redactor(Detector);

impl Default for Redactor {
    fn default() -> Self {
        Self(well_known_shapes)
    }
}

impl Redactor {
    /// Decides by `detector`, and by the well-known shapes.
    #[must_use]
    pub const fn with(detector: Detector) -> Self {
        Self(detector)
    }

    /// The arguments as they are written down.
    #[must_use]
    pub fn argv(self, argv: &[String]) -> Vec<String> {
        let kept = |text: &String| {
            let replace = [well_known_shapes(text), (self.0)(text)].contains(&Redact::Replace);
            if replace {
                REDACTED.to_owned()
            } else {
                text.clone()
            }
        };
        argv.iter().map(kept).collect()
    }
}

fn well_known_shapes(text: &str) -> Redact {
    const MARKS: [&str; 16] = [
        "AKIA",
        "ASIA",
        "ghp_",
        "gho_",
        "ghs_",
        "github_pat_",
        "glpat-",
        "sk-",
        "xoxb-",
        "xoxp-",
        "-----BEGIN",
        "password=",
        "token=",
        "secret=",
        "api_key=",
        "Bearer ",
    ];
    let lower = text.to_lowercase();
    let found = MARKS
        .iter()
        .any(|mark| text.contains(mark) || lower.contains(&mark.to_lowercase()));
    if found { Redact::Replace } else { Redact::Keep }
}

#[cfg(test)]
mod tests {
    use super::{REDACTED, Redactor};

    #[test]
    fn an_argument_with_a_credential_is_not_written() {
        let argv = ["curl", "-H", "Authorization: Bearer abc", "x"].map(str::to_owned);
        let kept = Redactor::default().argv(&argv);
        assert_eq!(kept, ["curl", "-H", REDACTED, "x"]);
    }
}
