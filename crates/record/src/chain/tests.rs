//! Rules of the event chain, one test per rule and code.

use proofroom_canonical::{Digest, EvidenceLevel, SessionId, Timestamp};

use super::{ChainEnd, EventChain, Refusal, VerifiedChain, verify_chain};
use crate::event::{Action, Attempt, EventBody, Observation, Outcome, SessionEnd};

fn session() -> SessionId {
    SessionId::from_random([1; 16])
}

fn binding() -> Digest {
    Digest::of("binding")
}

fn opened() -> EventBody {
    EventBody::SessionOpened {
        agent: "builtin".into(),
        commit: "c".repeat(40),
        task: Digest::of("task"),
        session_key: Digest::of("key"),
    }
}

fn intent() -> EventBody {
    EventBody::Intent {
        action: Action::List { path: ".".into() },
    }
}

fn denied(of: u64) -> EventBody {
    EventBody::Outcome {
        of,
        result: Outcome::Denied {
            code: "access-policy".into(),
            reason: "no".into(),
        },
    }
}

fn blocked(times: u64) -> EventBody {
    EventBody::Observed {
        observation: Observation::Blocked {
            attempt: Attempt::Syscall {
                name: "ptrace".into(),
            },
            times,
        },
    }
}

fn closed() -> EventBody {
    EventBody::SessionClosed {
        end: SessionEnd::Completed,
    }
}

fn append(chain: &mut EventChain, body: EventBody) -> Result<Vec<u8>, Refusal> {
    let time = Timestamp::from_unix_seconds(1_700_000_000);
    let line = chain.append(time, EvidenceLevel::E3, body)?;
    Ok(line.bytes)
}

fn lines(bodies: Vec<EventBody>) -> Vec<Vec<u8>> {
    let mut chain = EventChain::new(session(), binding());
    let each = bodies.into_iter().map(|body| append(&mut chain, body));
    each.collect::<Result<_, _>>().unwrap()
}

fn good() -> Vec<Vec<u8>> {
    lines(vec![opened(), intent(), blocked(3), denied(1), closed()])
}

fn verify(lines: &[Vec<u8>], end: ChainEnd) -> Result<VerifiedChain, Refusal> {
    let file: Vec<u8> = lines
        .iter()
        .flat_map(|line| [line, &b"\n"[..]].concat())
        .collect();
    verify_chain(&file, session(), binding(), end)
}

fn code(lines: &[Vec<u8>]) -> &'static str {
    verify(lines, ChainEnd::Closed).unwrap_err().code()
}

#[test]
fn a_whole_chain_is_verified_and_counted() {
    let chain = verify(&good(), ChainEnd::Closed).unwrap();
    let summary = chain.summary();
    assert_eq!(summary.count, 5);
    assert_eq!(summary.stopped, 4);
    assert_eq!(summary.head, Digest::of(&good()[4]));
    assert_eq!(summary.by_type["intent"], 1);
    assert_eq!(chain.end(), Some(SessionEnd::Completed));
    assert!(chain.unanswered().is_empty());
}

#[test]
fn dropped_doubled_and_reordered_lines_are_refused() {
    let mut dropped = good();
    dropped.remove(2);
    assert_eq!(code(&dropped), "event-gap");
    let mut doubled = good();
    doubled.insert(2, doubled[2].clone());
    assert_eq!(code(&doubled), "event-duplicate");
    let mut reordered = good();
    reordered.swap(1, 2);
    assert_eq!(code(&reordered), "event-gap");
    assert_eq!(code(&good()[..4]), "chain-truncated");
    assert_eq!(code(&good()[..2]), "intent-without-outcome");
    assert_eq!(code(&[]), "chain-truncated");
}

#[test]
fn a_changed_line_breaks_the_next() {
    let mut changed = good();
    changed[2] = String::from_utf8(changed[2].clone())
        .unwrap()
        .replace("ptrace", "bpf")
        .into();
    assert_eq!(code(&changed), "event-wrong-prev");
}

#[test]
fn another_encoding_of_the_same_event_is_refused() {
    let mut spaced = good();
    spaced[0].push(b' ');
    assert_eq!(code(&spaced), "event-not-canonical");
    let mut garbage = good();
    garbage[0] = b"{}".to_vec();
    assert_eq!(code(&garbage), "event-malformed");
    let later = String::from_utf8(good()[0].clone())
        .unwrap()
        .replace("\"v\":1", "\"v\":2");
    assert_eq!(code(&[later.into()]), "event-version");
}

#[test]
fn another_session_and_another_binding_are_refused() {
    let file: Vec<u8> = good()
        .iter()
        .flat_map(|line| [line, &b"\n"[..]].concat())
        .collect();
    let other = SessionId::from_random([2; 16]);
    let refused = verify_chain(&file, other, binding(), ChainEnd::Closed).unwrap_err();
    assert_eq!(refused.code(), "event-wrong-session");
    let refused = verify_chain(&file, session(), Digest::of("x"), ChainEnd::Closed).unwrap_err();
    assert_eq!(refused.code(), "event-wrong-prev");
    let refused = verify_chain(
        &file[..file.len() - 1],
        session(),
        binding(),
        ChainEnd::Closed,
    );
    assert_eq!(refused.unwrap_err().code(), "chain-truncated");
}

#[test]
fn the_builder_keeps_the_rules_and_stays_usable_after_a_refusal() {
    let mut chain = EventChain::new(session(), binding());
    let mut refuse = |body| {
        let before = chain.head();
        let code = append(&mut chain, body).unwrap_err().code();
        assert_eq!(chain.head(), before);
        code
    };
    assert_eq!(refuse(intent()), "chain-wrong-first");
    append(&mut chain, opened()).unwrap();
    let mut refuse = |body| append(&mut chain, body).unwrap_err().code();
    assert_eq!(refuse(opened()), "chain-opened-again");
    assert_eq!(refuse(denied(0)), "outcome-without-intent");
    append(&mut chain, intent()).unwrap();
    let mut refuse = |body| append(&mut chain, body).unwrap_err().code();
    assert_eq!(refuse(closed()), "intent-without-outcome");
    append(&mut chain, denied(1)).unwrap();
    let mut refuse = |body| append(&mut chain, body).unwrap_err().code();
    assert_eq!(refuse(denied(1)), "second-outcome");
    append(&mut chain, closed()).unwrap();
    let mut refuse = |body| append(&mut chain, body).unwrap_err().code();
    assert_eq!(refuse(blocked(1)), "chain-after-close");
}

#[test]
fn an_interrupted_chain_says_what_was_left_open() {
    let chain = verify(&good()[..3], ChainEnd::Interrupted).unwrap();
    assert_eq!(chain.unanswered(), [1]);
    assert_eq!(chain.end(), None);
}
