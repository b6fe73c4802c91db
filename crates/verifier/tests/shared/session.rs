//! A session whose room is appraised, as the tests on rooms of every type see it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Nonce, SessionId, Timestamp};
use proofroom_evidence::{AssignmentEvent, Moment, RuntimeEvent};
use proofroom_verifier::{
    RoomAppraisal, RoomCheckName as Name, RoomExpectation, Verdict, reference::Hash256,
};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);
pub(crate) const NONCE: Nonce = Nonce::from_random([7; 32]);
pub(crate) const STATEMENT: &str = r#"{"purpose":"proofroom.session-binding.v1"}"#;

pub(crate) fn session() -> SessionId {
    SessionId::from_random([5; 16])
}

pub(crate) fn boot_config(root: &str) -> String {
    format!(
        r#"{{"shape":{{"vcpus":1,"memory_mib":1024}},"layers":[{{"name":"git","root":"{root}"}}]}}"#
    )
}

pub(crate) fn assignment() -> AssignmentEvent {
    AssignmentEvent {
        session: session(),
        nonce: NONCE,
        repository: "acme".to_owned(),
        commit: "ab".repeat(20),
        agent: "builtin".to_owned(),
        policies: BTreeMap::from([("access".to_owned(), Digest::of("access"))]),
    }
}

pub(crate) fn runtime(name: &str, content: String) -> RuntimeEvent {
    RuntimeEvent::new(name, content).unwrap()
}

pub(crate) fn good_runtime() -> Vec<RuntimeEvent> {
    let root = Hash256::of(b"root").to_string();
    vec![
        runtime("boot-config", boot_config(&root)),
        runtime("assignment", assignment().to_text().unwrap()),
    ]
}

pub(crate) fn expectation() -> RoomExpectation {
    RoomExpectation {
        moment: Moment::Start,
        statement: STATEMENT.as_bytes().to_vec(),
        session: session(),
        nonce: NONCE,
        agent: "builtin".to_owned(),
        commit: "ab".repeat(20),
        policies: assignment().policies,
    }
}

#[track_caller]
pub(crate) fn fails(appraisal: &RoomAppraisal, name: Name, code: &str) {
    let (check, cause, words) = appraisal.first_failure().expect("it must be refused");
    assert_eq!((check, cause.as_str()), (name, code), "{words}");
    assert_eq!(appraisal.verdict(), Verdict::Reject);
    assert!(appraisal.clone().into_verified().is_err());
}
