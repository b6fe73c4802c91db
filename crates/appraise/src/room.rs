//! Reports on the evidence documents of rooms.

use proofroom_canonical::{Timestamp, json};
use proofroom_evidence::{
    EvidenceType, Moment, Quote, RoomDocument, RoomEndorsements, RoomEvidence,
};
use proofroom_verifier::{
    PinnedRoomPolicy, QuoteExpectation, RoomAppraisal, RoomCheckName, RoomExpectation, RoomTrust,
    appraise_room,
};

use crate::{Answer, Beside, Kind, Policy, Proof, Report, RoomSession, Row, quote};

pub(crate) fn report(
    evidence: &[u8],
    beside: &Beside,
    policy: Option<&Policy>,
    at: Timestamp,
) -> Report {
    let document = RoomDocument::parse(evidence);
    let report = match (policy, &beside.room) {
        (Some(named @ Policy::Room(policy)), Some(session)) => {
            let appraisal = judge(evidence, policy, session, &document, at);
            let report = Report::unproved(Kind::Room, evidence, at, rows(&appraisal))
                .with_facts("", &appraisal);
            let verified = appraisal.into_verified().ok();
            report.under(named.facts(), verified.map(|v| Proof::Room(Box::new(v))))
        }
        (named, _) => {
            let rows = match &document {
                Ok(document) => survey(document, named.is_some(), at),
                Err(error) => vec![Row::new(
                    RoomCheckName::DocumentParse.as_str(),
                    Answer::Fail {
                        code: error.code().to_owned(),
                        words: error.to_string(),
                    },
                )],
            };
            let report = Report::unproved(Kind::Room, evidence, at, rows);
            match named {
                Some(policy) => report.under(policy.facts(), None),
                None => report,
            }
        }
    };
    match document {
        Ok(document) => claimed(report, document.evidence()),
        Err(_) => report,
    }
}

fn judge(
    evidence: &[u8],
    policy: &PinnedRoomPolicy,
    session: &RoomSession,
    document: &Result<RoomDocument, proofroom_evidence::RoomError>,
    at: Timestamp,
) -> RoomAppraisal {
    let moment = match document {
        Ok(document) => document.evidence().moment,
        Err(_) => Moment::Start,
    };
    let statement = match (moment, &session.closing) {
        (Moment::Start, _) => session.binding_bytes.clone(),
        // no closing statement is one that no evidence can be about
        (Moment::End, None) => Vec::new(),
        (Moment::End, Some(closing)) => json::to_bytes(closing).unwrap_or_default(),
    };
    let binding = &session.binding;
    let expected = RoomExpectation {
        moment,
        statement,
        session: binding.session,
        nonce: binding.nonce,
        agent: session.agent.clone(),
        commit: binding.commit.clone(),
        policies: binding.policies.by_name(),
    };
    let trust = RoomTrust {
        policy,
        deployment_ca: &session.deployment_ca,
    };
    appraise_room(evidence, trust, &expected, at)
}

fn rows(appraisal: &RoomAppraisal) -> Vec<Row> {
    let checks = appraisal.checks().iter();
    checks
        .map(|check| Row::of(check.name.as_str(), &check.outcome))
        .collect()
}

/// What can be said of a room whose session or policy nobody has: what its document holds, and for a
/// TD everything about the platform under it.
fn survey(document: &RoomDocument, has_policy: bool, at: Timestamp) -> Vec<Row> {
    let evidence = document.evidence();
    let mut made = vec![Row::new(
        RoomCheckName::DocumentParse.as_str(),
        Answer::Pass,
    )];
    if let RoomEndorsements::Tdx(collateral) = document.endorsements() {
        let bound = QuoteExpectation::ArchiveAudit(*evidence.bound_report_data().as_bytes());
        let (rows, _) = quote::survey(&evidence.quote, Some(collateral), bound, at);
        made.extend(rows.into_iter().map(renamed));
    }
    let names = RoomCheckName::of(evidence.kind).iter();
    names
        .map(|name| {
            let name = name.as_str();
            let found = made.iter().find(|row| row.check == name).cloned();
            found.unwrap_or_else(|| Row::new(name, unmade(evidence.kind, has_policy)))
        })
        .collect()
}

/// Rooms have another word for what their report data binds.
fn renamed(mut row: Row) -> Row {
    match row.check {
        "report-data-binding" => row.check = RoomCheckName::ReportData.as_str(),
        // the nonce of a bare quote is not that of an assignment
        "nonce" => row.check = "",
        _ => {}
    }
    row
}

fn unmade(kind: EvidenceType, has_policy: bool) -> Answer {
    if has_policy {
        return Answer::not_supplied("the session's binding statement");
    }
    match kind {
        EvidenceType::Tdx => Answer::needs_policy(),
        EvidenceType::Tpm2 | EvidenceType::SevSnp => Answer::not_evaluated(
            "needs-policy",
            "who may vouch for the attestation key is a policy's to say",
        ),
    }
}

fn claimed(report: Report, evidence: &RoomEvidence) -> Report {
    let report = report
        .with_fact("type", evidence.kind.as_str())
        .with_fact("moment", evidence.moment.as_str());
    match (evidence.kind, Quote::parse(&evidence.quote)) {
        (EvidenceType::Tdx, Ok(parsed)) => quote::quoted(report, &parsed),
        _ => report,
    }
}
