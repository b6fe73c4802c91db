//! Cases of `upstream-tdx`: one accepted document, and for every way to break it the check and code
//! that must refuse it.

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{EvidenceDocument, Measurement};
use proofroom_testkit::tee::{
    DEMO_SEED, GOOD_ATTRIBUTES, Plan, QuoteLayout, Revoked, SimulatedTee, TcbAnswer,
};
use proofroom_verifier::{PRODUCTION_UPSTREAM, SIMULATED_UPSTREAM};

use super::Case;
use crate::{
    Answer, Verdict,
    vector::{Kit, RawRequest},
};

mod bytes;
mod kit;
mod plans;

const STAGE: &str = "upstream-tdx";
const SIMULATED: &str = "simulated";
const PRODUCTION: &str = "production";
const TOLERANT: &str = "tolerant";
const NONCE: Nonce = Nonce::from_random([0x5a; 32]);
/// 2026-11-23T12:00:00Z.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_435_200);
const MADE: &str = "made: the simulated platform of the published demonstration seed";

/// Policies of this stage, by file name.
pub(super) fn policies() -> Vec<(String, String)> {
    let tolerate = "\n[[tcb.tolerate]]\nstatus = \"SWHardeningNeeded\"\n\
                    until = \"2026-12-31T00:00:00.000Z\"\nreason = \"conformance vectors\"\n";
    [
        (SIMULATED, SIMULATED_UPSTREAM.to_owned()),
        (PRODUCTION, PRODUCTION_UPSTREAM.to_owned()),
        (TOLERANT, format!("{SIMULATED_UPSTREAM}{tolerate}")),
        (
            "tolerance-ended",
            format!(
                "{SIMULATED_UPSTREAM}{}",
                tolerate.replace("2026-12-31", "2026-11-01")
            ),
        ),
        ("refuses-advisory", refusing_advisory(tolerate)),
        (
            "production-older-evaluation",
            PRODUCTION_UPSTREAM.replace(
                "min_evaluation_data_number = 17",
                "min_evaluation_data_number = 1",
            ),
        ),
        (
            "later-evaluation",
            SIMULATED_UPSTREAM.replace(
                "min_evaluation_data_number = 20",
                "min_evaluation_data_number = 21",
            ),
        ),
        (
            "other-model",
            SIMULATED_UPSTREAM
                .replace("models = [\"*\"]", "models = [\"glm-4*\"]")
                .replace("model = \"any-model\"", "model = \"glm-4.5\""),
        ),
        ("machine-listed", listing(&PPID, &FMSPC)),
        ("machine-not-listed", listing(&[7; 16], &FMSPC)),
        ("family-not-listed", listing(&PPID, &[7; 6])),
    ]
    .into_iter()
    .map(|(name, text)| (format!("policies/{name}.toml"), text))
    .collect()
}

/// PPID and FMSPC of the simulated platform: the former is the first half of its seed.
const PPID: [u8; 16] = *DEMO_SEED.first_chunk().unwrap();
const FMSPC: [u8; 6] = [0x51, 0x4d, 0, 0, 0, 0];

/// The simulated policy for the listed machines alone.
fn listing(ppid: &[u8; 16], fmspc: &[u8; 6]) -> String {
    let (ppid, fmspc) = (hex::encode(ppid), hex::encode(fmspc));
    format!("{SIMULATED_UPSTREAM}\n[machines]\nppids = [\"{ppid}\"]\nfmspcs = [\"{fmspc}\"]\n")
}

fn refusing_advisory(tolerate: &str) -> String {
    let refused = "refuse_advisories = [\"SIMULATED-SA-00001\"]";
    SIMULATED_UPSTREAM.replace("refuse_advisories = []", refused) + tolerate
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = plans::cases();
    cases.extend(bytes::cases());
    cases.extend(kit::cases());
    cases.extend(bytes::later_cases());
    cases.extend(plans::later_cases());
    cases
}

/// What a case is called and about.
struct About {
    name: &'static str,
    title: &'static str,
    clause: &'static str,
    change: &'static str,
}

const fn about(
    name: &'static str,
    title: &'static str,
    clause: &'static str,
    change: &'static str,
) -> About {
    About {
        name,
        title,
        clause,
        change,
    }
}

/// What must come of it.
#[derive(Clone, Copy)]
enum Expect {
    Accept(&'static str),
    Incomplete(&'static str),
    /// By a check that comes before the platform is known to be good.
    Reject(&'static str, &'static str),
    /// By a later check: the platform itself is in order, with this status.
    RejectGood(&'static str, &'static str, &'static str),
}

impl Expect {
    fn answer(self, document: &[u8]) -> Answer {
        let (verdict, failure, tcb) = match self {
            Self::Accept(tcb) => (Verdict::Accept, None, Some(tcb)),
            Self::Incomplete(tcb) => (Verdict::Incomplete, None, Some(tcb)),
            Self::Reject(check, code) => (Verdict::Reject, Some((check, code)), None),
            Self::RejectGood(check, code, tcb) => (Verdict::Reject, Some((check, code)), Some(tcb)),
        };
        Answer {
            verdict,
            check: failure.map(|(check, _)| check.to_owned()),
            code: failure.map(|(_, code)| code.to_owned()),
            identity: identity(document),
            tcb: tcb.map(str::to_owned),
        }
    }
}

/// SHA-256 over header and body of the document's quote, if it has a readable one.
fn identity(document: &[u8]) -> Option<String> {
    let document = EvidenceDocument::parse(document).ok()?;
    let quote = document.quote().ok()?;
    Some(quote.identity().to_string())
}

fn case(
    about: &About,
    policy: &str,
    nonce: Option<Nonce>,
    document: Vec<u8>,
    expect: Expect,
) -> Case {
    Case {
        stage: STAGE,
        name: about.name.to_owned(),
        title: about.title.to_owned(),
        clauses: vec![about.clause.to_owned()],
        provenance: if about.change.is_empty() {
            MADE.to_owned()
        } else {
            format!("{MADE}; {}", about.change)
        },
        request: RawRequest::UpstreamTdx {
            at: NOW,
            nonce,
            policy: format!("../policies/{policy}.toml"),
            document: Some("document.json".to_owned()),
            kit: None,
        },
        expected: expect.answer(&document),
        files: vec![("document.json", document)],
    }
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW.unix_seconds() + seconds)
}

fn honest(tee: &SimulatedTee) -> Plan {
    tee.plan(NONCE, Digest::of("tls key"), "glm-5", NOW)
}
