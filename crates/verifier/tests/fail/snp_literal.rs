//! A struct literal of a verified SNP guest.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::Measurement;
use proofroom_verifier::{Assurance, SnpFacts, VerifiedSnp};

fn forge(platform: SnpFacts) -> VerifiedSnp {
    VerifiedSnp {
        platform,
        report: Digest::of(""),
        measurement: Measurement::from_bytes([1; 48]),
        report_data: [0; 64],
        expires: Timestamp::from_unix_seconds(0),
        policy_name: String::new(),
        policy_digest: Digest::of(""),
        assurance: Assurance::Hardware,
    }
}

fn main() {
    let _ = forge;
}
