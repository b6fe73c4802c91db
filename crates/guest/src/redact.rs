//! Credentials in command arguments: which arguments are not written down, by a small list of shapes.

use std::sync::LazyLock;

use regex::Regex;

/// What takes the place of an argument.
pub const REDACTED: &str = "[redacted]";

/// What a credential begins with, or stands behind, in whatever case.
const SHAPES: &str = "(?i)AKIA|ASIA|ghp_|gho_|ghs_|github_pat_|glpat-|sk-|xoxb-|xoxp-|-----BEGIN\
    |password=|token=|secret=|api_key=|Bearer ";

/// The arguments as they are written down.
#[must_use]
pub fn arguments(argv: &[String]) -> Vec<String> {
    let written = |text: &String| match holds_credential(text) {
        true => REDACTED.to_owned(),
        false => text.clone(),
    };
    argv.iter().map(written).collect()
}

/// Whether a text looks as if it held a credential. Every start of a program asks this of each of its arguments.
pub(crate) fn holds_credential(text: &str) -> bool {
    static CREDENTIAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(SHAPES).ok());
    CREDENTIAL
        .as_ref()
        .is_none_or(|shapes| shapes.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::{REDACTED, arguments, holds_credential};

    #[test]
    fn an_argument_with_a_credential_is_not_written() {
        let argv = ["curl", "-H", "Authorization: Bearer abc", "x"].map(str::to_owned);
        assert_eq!(arguments(&argv), ["curl", "-H", REDACTED, "x"]);
    }

    #[test]
    fn every_shape_is_found_in_whatever_case_and_nothing_else_is() {
        for shape in [
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
        ] {
            for spelled in [shape.to_owned(), shape.to_uppercase(), shape.to_lowercase()] {
                assert!(holds_credential(&format!("--x={spelled}1")), "{spelled}");
            }
        }
        for plain in [
            "",
            "--edition=2024",
            "password",
            "BEGIN",
            "/usr/bin/cc",
            "bearer",
        ] {
            assert!(!holds_credential(plain), "{plain}");
        }
    }
}
