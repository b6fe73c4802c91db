//! `VERIFY.md`: how a stranger checks the bundle with public tools and none of our code. The
//! commands are in `verify_md/template.md`; only identifiers and numbers are filled in.

use crate::facts::BundleFacts;

/// The page's format, named in its first line.
pub const VERIFY_MD_FORMAT: &str = "proofroom-verify-md.v1";

const TEMPLATE: &str = include_str!("verify_md/template.md");

/// Renders the page.
#[must_use]
pub fn verify_md(facts: &BundleFacts) -> String {
    let ended = facts.session.ended.unix_seconds().to_string();
    let gone = facts.destruction.as_ref();
    let gone = gone.map_or(facts.session.ended, |record| record.at);
    TEMPLATE
        .replace("@FORMAT@", VERIFY_MD_FORMAT)
        .replace("@SESSION@", &facts.session.session.to_string())
        .replace("@ENDED@", &ended)
        .replace("@GONE@", &gone.unix_seconds().to_string())
        .replace("@SIGNER@", facts.session.signer.as_str())
}
