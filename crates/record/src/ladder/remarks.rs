//! The words that go with every verdict: what must be said aloud, and what is not proven.

use proofroom_evidence::EvidenceType;

use super::{Anchor, Anchors, Check, Outcome, Requirement};
use crate::{
    facts::BundleFacts,
    statement::{Assurance, RoomEvidenceClaim, UpstreamFacts},
};

const SIMULATED: &str =
    "SIMULATED: attestation evidence was signed with test keys and proves nothing about hardware";
const CASSETTE: &str = "CASSETTE: model answers were recorded ones, played back; no model computed them in this session";
const INTERRUPTED: &str = "INTERRUPTED: the room was lost, and the gateway closed the record from what was durable; events after the last one shown may be missing";

pub(super) fn remarks(facts: &BundleFacts) -> Vec<String> {
    let said = facts.said_aloud([SIMULATED, CASSETTE, INTERRUPTED]);
    said.into_iter().map(str::to_owned).collect()
}

pub(super) fn not_proven(
    facts: Option<&BundleFacts>,
    anchors: &Anchors,
    checks: &[Check],
) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    match facts {
        None => words.push("anything that the records claim: they could not be read".to_owned()),
        Some(facts) => say_facts(&mut words, facts),
    }
    if anchors.ca == Anchor::FromBundle || anchors.log_key == Anchor::FromBundle {
        words.push(
            "whose deployment this is: keys came from the bundle itself, and whoever made the bundle could have made them too"
                .to_owned(),
        );
    }
    let advisory = |check: &&Check| check.requirement == Requirement::Advisory;
    for check in checks.iter().filter(advisory) {
        let always_said = ["witnesses", "trusted-time"].contains(&check.name);
        match &check.outcome {
            Outcome::NotEvaluated { reason } if always_said => words.push(reason.clone()),
            Outcome::Fail(failure) => words.push(format!("`{}`: {}", check.name, failure.cause)),
            _ => {}
        }
    }
    words
}

fn say_facts(words: &mut Vec<String>, facts: &BundleFacts) {
    words.push(facts.session.isolation.not_proven().to_owned());
    if let RoomEvidenceClaim::Attested {
        evidence_type: EvidenceType::Tpm2,
        ..
    } = facts.session.room_evidence.start
    {
        words.push(
            "anything about the room against its host: the evidence was signed by a software TPM that the host runs"
                .to_owned(),
        );
    }
    let gone = facts.destruction.iter();
    let destruction = gone.flat_map(|record| &record.not_proven);
    for text in facts.session.not_proven.iter().chain(destruction) {
        if !words.contains(text) {
            words.push(text.clone());
        }
    }
    let by_contract =
        |upstream: &UpstreamFacts| matches!(upstream.assurance, Assurance::ContractOnly { .. });
    let runs = facts.runs.iter().map(|(_, run)| run);
    let contract_only = runs.filter(|run| run.sent_to().any(by_contract)).count();
    if contract_only > 0 {
        words.push(format!(
            "what the upstream did with {contract_only} model runs: a contract stands behind it, no hardware proof"
        ));
    }
}
