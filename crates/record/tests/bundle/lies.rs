//! Bundles whose signers lie: every signature and receipt is good, only the claims disagree. Each
//! lie with the check that must refuse it, its code, and the exit code.

use proofroom_canonical::{Digest, IsolationLevel, SessionId};
use proofroom_evidence::EvidenceType;
use proofroom_record::{
    bundle::{BundleParts, HeadSignature, RoomReference, archive},
    event::{Action, EventBody, Outcome, RunStatus, SessionEnd},
    ladder::write_bundle,
    predicate::{read_unverified, seal},
    statement::{Assurance, EarlierAttempt, ModelRun, RoomEvidenceClaim, Signer},
};

use crate::{
    first_problem,
    fixture::{self, Fixture, RoomKind, assemble, at, room},
    good_files,
    mutations::{Wanted, refused},
    verify,
};

fn attested(runs: &mut [ModelRun], change: impl Fn(&mut Assurance)) {
    change(&mut runs[1].upstream.as_mut().unwrap().assurance);
}

/// Says that the second run's request was sent before to the upstream that then served it, which was busy.
fn sent_before(runs: &mut [ModelRun], change: impl Fn(&mut EarlierAttempt)) {
    let run = &mut runs[1];
    let upstream = run.upstream.clone().unwrap();
    let mut earlier = EarlierAttempt {
        answered: upstream.sent,
        forwarded: run.request.forwarded.unwrap(),
        http_status: 429,
        upstream,
    };
    change(&mut earlier);
    run.earlier.push(earlier);
}

fn other_session() -> SessionId {
    SessionId::from_random([9; 16])
}

fn lie(change: impl FnOnce(&mut Fixture)) -> Fixture {
    let mut fixture = Fixture::default();
    change(&mut fixture);
    fixture
}

/// Changes before signing: every signature and receipt is good, only the claims disagree.
pub(crate) fn lies() -> Vec<(&'static str, Fixture, Wanted)> {
    let mut all = session_lies();
    all.extend(run_lies());
    all.extend(other_lies());
    all
}

fn session_lies() -> Vec<(&'static str, Fixture, Wanted)> {
    let complete = |code| ("completeness", code, 10);
    let session = |change: fn(&mut proofroom_record::statement::AgentSession)| {
        lie(|f| f.session = Box::new(change))
    };
    vec![
        (
            "event count",
            session(|s| s.events.count += 1),
            complete("event-count"),
        ),
        (
            "event head",
            session(|s| s.events.head = Digest::of("x")),
            complete("event-head"),
        ),
        (
            "count by type",
            session(|s| {
                s.events.by_type.remove("observed");
            }),
            complete("event-types"),
        ),
        (
            "stopped attempts hidden",
            session(|s| s.events.stopped = 0),
            complete("stopped-count"),
        ),
        (
            "a run not cited",
            session(|s| {
                s.model_runs.pop();
            }),
            complete("runs-not-as-cited"),
        ),
        (
            "a run cited twice",
            session(|s| s.model_runs.push(s.model_runs[0].clone())),
            complete("runs-not-as-cited"),
        ),
        (
            "status of a run",
            session(|s| s.model_runs[2].status = RunStatus::Complete),
            complete("runs-not-as-cited"),
        ),
        (
            "another end",
            session(|s| s.end = SessionEnd::AgentFailed),
            complete("session-end-differs"),
        ),
        (
            "result hidden",
            session(|s| s.result = None),
            complete("result-differs"),
        ),
        (
            "lower high-water mark",
            session(|s| s.high_water = "public".into()),
            complete("high-water"),
        ),
        (
            "another binding",
            session(|s| s.binding = Digest::of("x")),
            ("binding", "binding-session-record", 10),
        ),
        (
            "another agent",
            session(|s| s.agent = "other".into()),
            ("binding", "binding-session-record", 10),
        ),
        (
            "another identity",
            session(|s| s.spiffe_id = "spiffe://x/gateway".into()),
            ("binding", "binding-session-record", 10),
        ),
        (
            "ends before it begins",
            session(|s| s.started = at(500)),
            ("times", "time-order", 10),
        ),
        (
            "hardware without a quote",
            lie(|f| {
                f.session = Box::new(|s| s.isolation = IsolationLevel::Hardware);
                f.destruction = Box::new(|d| d.isolation = IsolationLevel::Hardware);
            }),
            ("presentation", "page-differs", 10),
        ),
    ]
}

fn run_lies() -> Vec<(&'static str, Fixture, Wanted)> {
    let runs = |change: fn(&mut Vec<ModelRun>)| lie(|f| f.runs = Box::new(change));
    let evidence = |code| ("evidence", code, 10);
    vec![
        (
            "gap in the runs",
            runs(|r| r[1].sequence = 5),
            ("completeness", "run-sequence", 10),
        ),
        (
            "run of another session",
            runs(|r| r[1].session = other_session()),
            ("binding", "binding-model-run", 10),
        ),
        (
            "run of another binding",
            runs(|r| r[1].session_binding = Digest::of("x")),
            ("binding", "binding-model-run", 10),
        ),
        (
            "run of another caller",
            runs(|r| r[1].caller = "x".into()),
            ("binding", "binding-model-run", 10),
        ),
        (
            "run under another policy",
            runs(|r| r[1].classification.policy = Digest::of("x")),
            ("policies", "policy-of-run-differs", 10),
        ),
        (
            "run routed under another policy",
            runs(|r| r[1].routing.policy = Digest::of("x")),
            ("policies", "policy-of-run-differs", 10),
        ),
        (
            "high-water mark falls",
            runs(|r| r[2].classification.high_water_before = "public".into()),
            ("completeness", "high-water", 10),
        ),
        (
            "run long before the session",
            runs(|r| r[0].started = at(-500)),
            ("times", "time-order", 10),
        ),
        (
            "connection with another key",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested { tls_spki, .. } = a {
                        *tls_spki = Digest::of("x");
                    }
                })
            }),
            evidence("evidence-key-differs"),
        ),
        (
            "evidence about another model than was asked for",
            runs(|r| r[1].upstream.as_mut().unwrap().model = Some("another-model".into())),
            evidence("evidence-model-differs"),
        ),
        (
            "busy upstream with another key",
            runs(|r| {
                sent_before(r, |earlier| {
                    if let Assurance::Attested { tls_spki, .. } = &mut earlier.upstream.assurance {
                        *tls_spki = Digest::of("x");
                    }
                });
            }),
            evidence("evidence-key-differs"),
        ),
        (
            "busy after the next was sent",
            runs(|r| {
                sent_before(r, |earlier| {
                    earlier.answered = earlier.answered.after_seconds(1)
                })
            }),
            ("times", "time-order", 10),
        ),
        (
            "another appraisal policy",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested { policy, .. } = a {
                        *policy = Digest::of("x");
                    }
                })
            }),
            evidence("evidence-policy-differs"),
        ),
        (
            "simulated, and does not say so",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested {
                        appraisal_policy, ..
                    } = a
                    {
                        *appraisal_policy = "production".into();
                    }
                })
            }),
            evidence("evidence-policy-name"),
        ),
        (
            "appraisal stretched",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested { expires, .. } = a {
                        *expires = at(90_000_000);
                    }
                })
            }),
            evidence("evidence-expired"),
        ),
        (
            "used before it was appraised",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested { appraised, .. } = a {
                        *appraised = at(45);
                    }
                })
            }),
            evidence("evidence-expired"),
        ),
    ]
}

fn other_lies() -> Vec<(&'static str, Fixture, Wanted)> {
    let events = |change: fn(&mut Vec<EventBody>)| lie(|f| f.events = Box::new(change));
    let complete = |code| ("completeness", code, 10);
    vec![
        (
            "event 0 with another commit",
            events(|e| {
                if let EventBody::SessionOpened { commit, .. } = &mut e[0] {
                    *commit = "x".into();
                }
            }),
            ("binding", "binding-event-0", 10),
        ),
        (
            "outcome with another tier",
            events(|e| {
                if let EventBody::Outcome {
                    result: Outcome::ModelRun { tier, .. },
                    ..
                } = &mut e[5]
                {
                    *tier = None;
                }
            }),
            complete("outcome-differs"),
        ),
        (
            "intent of another request",
            events(|e| {
                if let EventBody::Intent {
                    action: Action::ModelRun { request, .. },
                } = &mut e[4]
                {
                    *request = Digest::of("x");
                }
            }),
            complete("intent-differs"),
        ),
        (
            "run cited by two events",
            events(|e| {
                let again = e[5].clone();
                if let (
                    EventBody::Outcome { result, .. },
                    EventBody::Outcome { result: first, .. },
                ) = (&mut e[7], again)
                {
                    *result = first;
                }
            }),
            complete("outcome-without-run"),
        ),
        (
            "run cited by no event",
            events(|e| {
                if let EventBody::Outcome { result, .. } = &mut e[5] {
                    *result = Outcome::Failed {
                        code: "x".into(),
                        reason: "x".into(),
                    };
                }
            }),
            complete("run-without-outcome"),
        ),
        (
            "binding for another purpose",
            lie(|f| f.binding = Box::new(|b| b.purpose = "x".into())),
            ("binding", "binding-purpose", 10),
        ),
        (
            "binding of another key",
            lie(|f| f.binding = Box::new(|b| b.session_key = Digest::of("x"))),
            ("binding", "binding-certificate", 10),
        ),
        (
            "destruction of another session",
            lie(|f| f.destruction = Box::new(|d| d.session_record = Digest::of("x"))),
            ("destruction", "destruction-of-another", 10),
        ),
        (
            "destruction of another room",
            lie(|f| f.destruction = Box::new(|d| d.isolation = IsolationLevel::Vm)),
            ("destruction", "destruction-isolation", 10),
        ),
        (
            "destroyed before it ended",
            lie(|f| {
                f.destruction = Box::new(|d| {
                    d.at = at(10);
                    d.observed.iter_mut().for_each(|fact| fact.at = at(10));
                });
            }),
            ("times", "time-order", 10),
        ),
        (
            "destroyed in the future",
            lie(|f| f.destruction = Box::new(|d| d.at = at(200_000))),
            ("times", "time-in-future", 10),
        ),
        (
            "gateway certificate for a session",
            lie(|f| f.gateway_path = "session/ses_07070707070707070707070707070707/agent/x"),
            ("key-chain", "certificate-role", 10),
        ),
        (
            "gateway certificate for nobody",
            lie(|f| f.gateway_path = "console"),
            ("key-chain", "certificate-spiffe", 10),
        ),
        (
            "certificate of another session",
            lie(|f| f.session_path = format!("session/{}/agent/builtin", other_session())),
            ("key-chain", "certificate-role", 10),
        ),
        (
            "certificate of another agent",
            lie(|f| f.session_path = format!("session/{}/agent/other", fixture::session_id())),
            ("binding", "binding-certificate", 10),
        ),
        (
            "certificates that had expired",
            lie(|f| f.valid_until = (2026, 11, 20)),
            ("key-chain", "certificate-not-valid-at", 10),
        ),
    ]
}

#[test]
fn signed_lies_are_refused_by_the_check_that_they_concern() {
    let pages = good_files();
    for (what, fixture, wanted) in lies() {
        refused(what, &assemble(&fixture.parts(), &pages), wanted);
    }
}

#[test]
fn what_could_not_be_checked_is_incomplete_and_not_accepted() {
    let missing = |change: fn(&mut Fixture), drop: fn(&mut BundleParts), check| {
        let mut parts = lie(change).parts();
        drop(&mut parts);
        let bytes = proofroom_record::ladder::write_bundle(&parts).unwrap();
        refused(check, &bytes, (check, "-", 11));
    };
    missing(|_| {}, |parts| parts.destruction = None, "destruction");
    let hardware: fn(&mut Fixture) = |f| {
        f.session = Box::new(|s| s.isolation = IsolationLevel::Hardware);
        f.destruction = Box::new(|d| d.isolation = IsolationLevel::Hardware);
    };
    missing(hardware, |_| {}, "room-evidence");
}

#[test]
fn an_interrupted_session_needs_the_rooms_own_signature_over_its_last_event() {
    let fixture = Fixture {
        signer: Signer::Gateway,
        ..Fixture::default()
    };
    let parts = fixture.parts();
    let pages = good_files();
    let with = |head_signature| {
        assemble(
            &BundleParts {
                head_signature,
                ..parts.clone()
            },
            &pages,
        )
    };
    let chain = |code| ("event-chain", code, 10);
    refused(
        "missing",
        &with(HeadSignature::InSessionRecord),
        chain("head-signature-missing"),
    );
    let garbage = HeadSignature::Separate(b"AAAA\n".to_vec());
    refused("garbage", &with(garbage), chain("head-signature-malformed"));
    let head = proofroom_record::head::EventHead {
        seq: 0,
        digest: Digest::of("x"),
    };
    let other = HeadSignature::Separate((head.sign(&fixture::session_key()) + "\n").into_bytes());
    refused("another head", &with(other), chain("head-bad-signature"));
}

#[test]
fn the_writer_refuses_what_the_reader_would_reject() {
    let parts = lie(|f| f.session = Box::new(|s| s.events.stopped = 0)).parts();
    let refused = proofroom_record::ladder::write_bundle(&parts).unwrap_err();
    assert_eq!(refused.code(), "stopped-count");
}

fn vm(change: fn(&mut Fixture)) -> Fixture {
    let mut fixture = Fixture {
        room: RoomKind::Vm,
        ..Fixture::default()
    };
    change(&mut fixture);
    fixture
}

/// Signed lies of a session whose room was a virtual machine.
fn room_lies() -> Vec<(&'static str, Fixture, Wanted)> {
    vec![
        (
            "a virtual machine that shows nothing",
            vm(|f| {
                f.session = Box::new(|s| {
                    s.room_evidence.start = room::none();
                    s.room_evidence.end = room::none();
                });
            }),
            ("evidence", "evidence-not-cited", 10),
        ),
        (
            "evidence of the start alone",
            vm(|f| f.session = Box::new(|s| s.room_evidence.end = room::none())),
            ("evidence", "evidence-not-cited", 10),
        ),
        (
            "evidence of the end in the place of that of the start",
            vm(|f| {
                f.session = Box::new(|s| s.room_evidence.start = s.room_evidence.end.clone());
            }),
            ("evidence", "evidence-not-cited", 10),
        ),
        (
            "start and end exchanged",
            vm(|f| {
                f.session = Box::new(|s| {
                    std::mem::swap(&mut s.room_evidence.start, &mut s.room_evidence.end);
                });
            }),
            ("room-evidence", "moment-mismatch", 10),
        ),
        (
            "evidence by another policy than the session's",
            vm(|f| {
                f.session = Box::new(|s| {
                    if let RoomEvidenceClaim::Attested { policy, .. } = &mut s.room_evidence.start {
                        *policy = Digest::of("another");
                    }
                });
            }),
            ("room-evidence", "room-evidence-policy-differs", 10),
        ),
        (
            "a software TPM called hardware",
            vm(|f| {
                f.session = Box::new(|s| {
                    s.isolation = IsolationLevel::Hardware;
                    if let RoomEvidenceClaim::Attested { evidence_type, .. } =
                        &mut s.room_evidence.start
                    {
                        *evidence_type = EvidenceType::Tdx;
                    }
                });
            }),
            ("room-evidence", "room-evidence-type-differs", 10),
        ),
        (
            "a virtual machine called hardware",
            vm(|f| f.session = Box::new(|s| s.isolation = IsolationLevel::Hardware)),
            ("isolation", "isolation-not-shown", 10),
        ),
        (
            "a session record of another last event than the room attested",
            vm(|f| f.session = Box::new(|s| s.events.count += 1)),
            ("completeness", "event-count", 10),
        ),
    ]
}

#[test]
fn signed_lies_about_a_room_are_refused_by_the_check_that_they_concern() {
    let good = proofroom_record::ladder::write_bundle(&vm(|_| {}).parts()).unwrap();
    let pages = archive::read(&good).unwrap();
    for (what, fixture, wanted) in room_lies() {
        refused(what, &assemble(&fixture.parts(), &pages), wanted);
    }
}

fn td(change: fn(&mut Fixture)) -> Fixture {
    let mut fixture = Fixture {
        room: RoomKind::SimulatedTd,
        ..Fixture::default()
    };
    change(&mut fixture);
    fixture
}

fn rename(claim: &mut RoomEvidenceClaim, name: &str) {
    if let RoomEvidenceClaim::Attested {
        appraisal_policy, ..
    } = claim
    {
        name.clone_into(appraisal_policy);
    }
}

/// Signed lies of a session whose room was a simulated trust domain.
fn simulated_lies() -> Vec<(&'static str, Fixture, Wanted)> {
    vec![
        (
            "a simulated room called hardware",
            td(|f| f.session = Box::new(|s| s.isolation = IsolationLevel::Hardware)),
            ("isolation", "isolation-not-shown", 10),
        ),
        (
            "a simulated room called a virtual machine",
            td(|f| f.session = Box::new(|s| s.isolation = IsolationLevel::Vm)),
            ("isolation", "isolation-not-shown", 10),
        ),
        (
            "the simulated policy called another, and the room hardware",
            td(|f| {
                f.session = Box::new(|s| {
                    s.isolation = IsolationLevel::Hardware;
                    rename(&mut s.room_evidence.start, "room-tdx");
                    rename(&mut s.room_evidence.end, "room-tdx");
                });
            }),
            ("room-evidence", "room-evidence-policy-differs", 10),
        ),
        (
            "the simulated policy called another at the end alone",
            td(|f| f.session = Box::new(|s| rename(&mut s.room_evidence.end, "room-tdx"))),
            ("room-evidence-end", "room-evidence-policy-differs", 10),
        ),
        (
            "a simulated trust domain called a software TPM",
            td(|f| {
                f.session = Box::new(|s| {
                    for claim in [&mut s.room_evidence.start, &mut s.room_evidence.end] {
                        if let RoomEvidenceClaim::Attested { evidence_type, .. } = claim {
                            *evidence_type = EvidenceType::Tpm2;
                        }
                    }
                });
            }),
            ("room-evidence", "room-evidence-type-differs", 10),
        ),
        (
            "start and end of a trust domain exchanged",
            td(|f| {
                f.session = Box::new(|s| {
                    std::mem::swap(&mut s.room_evidence.start, &mut s.room_evidence.end);
                });
            }),
            ("room-evidence", "moment-mismatch", 10),
        ),
        (
            "evidence of the start of a trust domain alone",
            td(|f| f.session = Box::new(|s| s.room_evidence.end = room::none())),
            ("evidence", "evidence-not-cited", 10),
        ),
        (
            "another agent in the record than the trust domain measured",
            td(|f| {
                f.binding = Box::new(|b| {
                    b.spiffe_id = b.spiffe_id.replace("builtin", "other");
                });
                f.session_path = f.session_path.replace("builtin", "other");
                f.session = Box::new(|s| s.agent = "other".into());
                f.events = Box::new(|events| {
                    if let Some(EventBody::SessionOpened { agent, .. }) = events.first_mut() {
                        "other".clone_into(agent);
                    }
                });
            }),
            ("room-evidence", "assignment-mismatch", 10),
        ),
    ]
}

#[test]
fn signed_lies_about_a_simulated_trust_domain_are_refused_by_the_check_that_they_concern() {
    let good = proofroom_record::ladder::write_bundle(&td(|_| {}).parts()).unwrap();
    let pages = archive::read(&good).unwrap();
    for (what, fixture, wanted) in simulated_lies() {
        refused(what, &assemble(&fixture.parts(), &pages), wanted);
    }
}

#[test]
fn other_collateral_beside_a_trust_domains_evidence_is_not_cited_or_refused() {
    let good = proofroom_record::ladder::write_bundle(&td(|_| {}).parts()).unwrap();
    let pages = archive::read(&good).unwrap();
    let is_room = |document: &Vec<u8>| proofroom_evidence::RoomDocument::parse(document).is_ok();
    let with = |change: &dyn Fn(&mut proofroom_evidence::Collateral)| {
        let mut parts = td(|_| {}).parts();
        let rooms = parts
            .evidence
            .iter_mut()
            .filter(|document| is_room(document));
        for document in rooms {
            let parsed = proofroom_evidence::RoomDocument::parse(document).unwrap();
            let text = parsed.evidence().to_text().unwrap();
            let mut endorsements = parsed.endorsements().clone();
            if let proofroom_evidence::RoomEndorsements::Tdx(collateral) = &mut endorsements {
                change(collateral);
            }
            let written = proofroom_evidence::RoomDocument::write(&text, &endorsements);
            *document = written.unwrap();
        }
        parts.evidence.sort_by_key(|document| Digest::of(document));
        assemble(&parts, &pages)
    };
    let edited = with(&|collateral| {
        collateral.tcb_info = collateral.tcb_info.replace("UpToDate", "OutOfDate");
    });
    refused(
        "edited TCB info",
        &edited,
        ("room-evidence", "tcb-info-signature", 10),
    );
    let without = with(&|collateral| collateral.pck_crl.clear());
    refused(
        "no revocation list",
        &without,
        ("room-evidence", "crl-invalid", 10),
    );
}

#[test]
fn what_lacks_from_a_room_that_attested_is_refused() {
    let good = proofroom_record::ladder::write_bundle(&vm(|_| {}).parts()).unwrap();
    let pages = archive::read(&good).unwrap();
    let without = |change: &dyn Fn(&mut BundleParts), wanted| {
        let mut parts = vm(|_| {}).parts();
        change(&mut parts);
        refused("a part that lacks", &assemble(&parts, &pages), wanted);
    };
    let is_room = |document: &Vec<u8>| proofroom_evidence::RoomDocument::parse(document).is_ok();
    without(
        &|parts| parts.evidence.retain(|document| !is_room(document)),
        ("room-evidence", "room-evidence-missing", 10),
    );
    without(
        &|parts| parts.trust.room_reference = RoomReference::NotUsed,
        ("room-evidence", "room-reference-missing", 10),
    );
    without(
        &|parts| parts.trust.room_reference = RoomReference::Manifest(b"{}".to_vec()),
        ("room-evidence", "room-reference-not-pinned", 10),
    );
    // The same evidence with another certificate beside it: nobody cites a second document.
    without(
        &|parts| {
            let document = parts.evidence.iter().find(|document| is_room(document));
            let document = proofroom_evidence::RoomDocument::parse(document.unwrap()).unwrap();
            let text = document.evidence().to_text().unwrap();
            let endorsements = proofroom_evidence::RoomEndorsements::Tpm2 {
                ak_certificate: "another".to_owned(),
            };
            let second = proofroom_evidence::RoomDocument::write(&text, &endorsements).unwrap();
            parts.evidence.push(second);
        },
        ("evidence", "evidence-not-cited", 10),
    );
}

#[test]
fn a_level_that_needs_evidence_and_has_none_is_incomplete() {
    let fixture = lie(|f| f.session = Box::new(|s| s.isolation = IsolationLevel::Vm));
    let bytes = proofroom_record::ladder::write_bundle(&fixture.parts()).unwrap();
    refused("a bare vm", &bytes, ("room-evidence", "-", 11));
}

#[test]
fn a_run_that_was_sent_before_is_accepted_and_says_so() {
    let fixture = lie(|f| f.runs = Box::new(|runs| sent_before(runs, |_| ())));
    let bytes = write_bundle(&fixture.parts()).unwrap();
    let report = verify(&bytes);
    assert_eq!(first_problem(&report), ("none", "accepted"));
    let files = archive::read(&bytes).unwrap();
    let page = String::from_utf8_lossy(&files["report.html"]);
    assert!(
        page.contains("sent before to tee-upstream, which answered 429"),
        "{page}"
    );
}

#[test]
fn a_run_that_contradicts_itself_is_not_signed() {
    let parts = Fixture::default().parts();
    let run =
        |place: usize| read_unverified::<ModelRun>(&parts.model_runs[place].envelope).unwrap();
    let mut served = [run(0), run(1), run(2)];
    sent_before(&mut served, |_| ());
    let earlier = served[1].earlier.clone();
    let mut refused = run(2);
    refused.earlier.clone_from(&earlier);
    let mut failed = run(1);
    failed.earlier = earlier;
    failed.earlier[0].http_status = 500;
    for run in [refused, failed] {
        let error = seal(&run, &fixture::gateway_key()).unwrap_err();
        assert_eq!(error.code(), "record-contradiction");
    }
    seal(&served[1], &fixture::gateway_key()).unwrap();
}
