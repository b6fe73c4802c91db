//! The words that go with every verdict: what must be said aloud, and what is not proven.

use proofroom_evidence::EvidenceType;

use super::{Anchor, Anchors, Check, Outcome, Requirement};
use crate::{
    facts::BundleFacts,
    statement::{Assurance, RoomEvidenceClaim, Signer},
};

pub(super) fn remarks(facts: &BundleFacts) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |text: &str| words.push(text.to_owned());
    if facts.has_simulated_evidence() {
        say(
            "SIMULATED: attestation evidence was signed with test keys and proves nothing about hardware",
        );
    }
    if facts.has_cassette() {
        say(
            "CASSETTE: model answers were recorded ones, played back; no model computed them in this session",
        );
    }
    if facts.session.signer == Signer::Gateway {
        say(
            "INTERRUPTED: the room was lost, and the gateway closed the record from what was durable; events after the last one shown may be missing",
        );
    }
    words
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
    for check in checks
        .iter()
        .filter(|check| check.requirement == Requirement::Advisory)
    {
        match &check.outcome {
            Outcome::NotEvaluated { reason }
                if matches!(check.name, "witnesses" | "trusted-time") =>
            {
                words.push(reason.clone());
            }
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
    let destruction = facts
        .destruction
        .iter()
        .flat_map(|record| &record.not_proven);
    for text in facts.session.not_proven.iter().chain(destruction) {
        if !words.contains(text) {
            words.push(text.clone());
        }
    }
    let contract_only = (facts.runs.iter())
        .filter(|(_, run)| {
            matches!(
                run.upstream.as_ref().map(|u| &u.assurance),
                Some(Assurance::ContractOnly { .. })
            )
        })
        .count();
    if contract_only > 0 {
        words.push(format!(
            "what the upstream did with {contract_only} model runs: a contract stands behind it, no hardware proof"
        ));
    }
}
