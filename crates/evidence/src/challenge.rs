//! What a machine is asked to attest when nothing but its state is in question.

use proofroom_canonical::Nonce;

use crate::ReportData;

/// The purpose of a challenge's statement. A quote over another protocol's text answers no challenge.
pub const CHALLENGE_PURPOSE: &str = "proofroom.challenge.v1";

/// The statement that evidence binds which answers a relying party's nonce and says nothing else:
/// `{"purpose":"proofroom.challenge.v1","nonce":"<64 hex>"}`. It follows from the nonce, so that nobody
/// has to be told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge(Nonce);

impl Challenge {
    /// The challenge with this nonce.
    #[must_use]
    pub const fn new(nonce: Nonce) -> Self {
        Self(nonce)
    }

    /// The statement's one spelling.
    #[must_use]
    pub fn statement(&self) -> String {
        let nonce = self.0;
        format!(r#"{{"purpose":"{CHALLENGE_PURPOSE}","nonce":"{nonce}"}}"#)
    }

    /// The report data that binds it.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        ReportData::of_statement(self.statement().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha512};

    use super::{Challenge, Nonce};

    #[test]
    fn the_report_data_is_that_of_the_documented_text() {
        let challenge = Challenge::new(Nonce::from_random([0xab; 32]));
        let nonce = "ab".repeat(32);
        let text = format!("{{\"purpose\":\"proofroom.challenge.v1\",\"nonce\":\"{nonce}\"}}");
        assert_eq!(challenge.statement(), text);
        let expected: [u8; 64] = Sha512::digest(text.as_bytes()).into();
        assert_eq!(challenge.report_data().as_bytes(), &expected);
    }
}
