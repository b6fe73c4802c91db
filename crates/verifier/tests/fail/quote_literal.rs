//! A struct literal of a verified quote.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_verifier::{Assurance, VerifiedQuote};

fn main() {
    let _ = VerifiedQuote {
        quote: Digest::of(""),
        report_data: [0; 64],
        expires: Timestamp::from_unix_seconds(0),
        policy_name: String::new(),
        policy_digest: Digest::of(""),
        assurance: Assurance::Hardware,
    };
}
