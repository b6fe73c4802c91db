//! The ladder: offline verification of a bundle as a list of named checks, from its bytes up to what
//! its records claim. Needs no network, no account and nobody's word; takes the time as an argument.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_verifier::RoomAppraisal;

use crate::{
    bundle::{Bundle, BundleError, BundleParts, HeadSignature},
    chain::{ChainError, VerifiedChain, verify_chain},
    event::SessionEnd,
    facts::BundleFacts,
    head::EventHead,
    predicate::VerifiedRecord,
    render,
    statement::{Binding, Signer},
};

pub mod binding;
mod check;
pub mod completeness;
mod evidence;
mod log;
mod presentation;
mod remarks;
mod room;
mod seam;
mod signatures;
mod version;

pub use check::{Blame, Check, Failure, Outcome, Requirement, Verdict};
pub use presentation::{WriteError, write_bundle};

use binding::Isolation;
use check::Rungs;
pub(crate) use signatures::Records;

/// Where one trust anchor comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// From the bundle's own `trust/`: shows that the bundle agrees with itself, not whose it is.
    FromBundle,
    /// From the auditor: the file's bytes.
    Pinned(Vec<u8>),
}

impl Anchor {
    fn bytes<'a>(&'a self, own: &'a [u8]) -> &'a [u8] {
        match self {
            Self::FromBundle => own,
            Self::Pinned(bytes) => bytes,
        }
    }
}

/// What an auditor trusts before looking at a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchors {
    /// The deployment's CA certificate, PEM.
    pub ca: Anchor,
    /// The log's verifier key, one line.
    pub log_key: Anchor,
    /// The appraisal policy for attested upstreams.
    pub appraisal_policy: Anchor,
    /// The appraisal policy for rooms.
    pub room_appraisal_policy: Anchor,
    /// The reference values of the room's image; the policy must pin them, whoever brings them.
    pub room_reference: Anchor,
}

impl Anchors {
    /// Everything from the bundle itself.
    #[must_use]
    pub const fn from_bundle() -> Self {
        Self {
            ca: Anchor::FromBundle,
            log_key: Anchor::FromBundle,
            appraisal_policy: Anchor::FromBundle,
            room_appraisal_policy: Anchor::FromBundle,
            room_reference: Anchor::FromBundle,
        }
    }
}

/// The result of verifying a bundle.
#[derive(Clone, Debug)]
pub struct Report {
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// What they fold to.
    pub verdict: Verdict,
    /// What the bundle says; absent when its records are not signed as they must be.
    pub facts: Option<BundleFacts>,
    /// Words that must be shown with every verdict: simulated, cassette, interrupted.
    pub remarks: Vec<String>,
    /// What an accepted bundle still does not prove. Never empty.
    pub not_proven: Vec<String>,
    /// The appraisals of the room's evidence, each with all its checks: at its start, at its end.
    pub room: Vec<RoomAppraisal>,
}

/// Verifies a bundle. Never fails: what is wrong with the bundle is in the report.
#[must_use]
pub fn verify_bundle(bytes: &[u8], anchors: &Anchors, now: Timestamp) -> Report {
    let mut rungs = Rungs::default();
    let opened = rungs.require("bytes", || match Bundle::read(bytes) {
        Ok(bundle) => Ok((format!("{} bytes, none of them free", bytes.len()), bundle)),
        Err(error) => Err(bytes_failure(&error)),
    });
    let Some(bundle) = opened else {
        return finish(rungs, None, anchors);
    };
    rungs.require("manifest", || {
        if bundle.manifest == bundle.expected_manifest {
            return Ok(("every file has the digest listed".to_owned(), ()));
        }
        let cause = "MANIFEST.sha256 is not the list of the bundle's files";
        Err(Failure::refused("manifest-differs", cause))
    });
    let facts = climb(&mut rungs, &bundle.parts, anchors, now);
    presentation::check(&mut rungs, &bundle, facts.as_ref());
    finish(rungs, facts, anchors)
}

fn bytes_failure(error: &BundleError) -> Failure {
    Failure::at("", error.code(), error).blamed(Blame::Malformed)
}

fn finish(rungs: Rungs, facts: Option<BundleFacts>, anchors: &Anchors) -> Report {
    let (checks, room) = (rungs.checks, rungs.room);
    Report {
        verdict: Verdict::of(&checks),
        remarks: facts.as_ref().map(remarks::remarks).unwrap_or_default(),
        not_proven: remarks::not_proven(facts.as_ref(), anchors, &checks),
        checks,
        facts,
        room,
    }
}

/// Everything between the container and the pages: what depends on records alone.
fn climb(
    rungs: &mut Rungs,
    parts: &BundleParts,
    anchors: &Anchors,
    now: Timestamp,
) -> Option<BundleFacts> {
    check_anchors(rungs, parts, anchors);
    let records = rungs.require("signature", || signatures::verify_records(parts));
    let binding = binding::parse(&parts.binding);
    let keys = match (&records, &binding) {
        (Some(records), Ok(binding)) => rungs.require("key-chain", || {
            let ca = anchors.ca.bytes(&parts.trust.ca);
            signatures::verify_key_chain(ca, records, binding)
        }),
        (Some(_), Err(_)) => blocked(rungs, "key-chain", "binding"),
        _ => blocked(rungs, "key-chain", "signature"),
    };
    check_log(rungs, parts, anchors, records.as_ref());
    check_time(rungs, records.as_ref(), now);
    let chain = check_chain(rungs, parts, records.as_ref());
    check_binding(
        rungs,
        parts,
        &binding,
        records.as_ref(),
        keys.as_ref(),
        chain.as_ref(),
    );
    let by = if records.is_none() {
        "signature"
    } else {
        "binding"
    };
    let (Some(records), Ok(binding)) = (records, binding) else {
        for name in [
            "completeness",
            "policies",
            "evidence",
            "room-evidence",
            "room-evidence-end",
            "destruction",
            "isolation",
        ] {
            rungs.blocked(name, by);
        }
        return None;
    };
    match &chain {
        Some(chain) => {
            rungs.require("completeness", || completeness::verify(&records, chain));
        }
        None => rungs.blocked("completeness", "event-chain"),
    }
    rungs.require("policies", || {
        binding::verify_policies(parts, &binding, &records)
    });
    check_evidence(rungs, parts, anchors, &binding, &records, now);
    room::check(rungs, parts, anchors, &binding, &records);
    check_room(rungs, &records);
    chain.map(|chain| BundleFacts::new(parts, binding, &records, &chain))
}

fn blocked<T>(rungs: &mut Rungs, name: &'static str, by: &str) -> Option<T> {
    rungs.blocked(name, by);
    None
}

fn check_anchors(rungs: &mut Rungs, parts: &BundleParts, anchors: &Anchors) {
    let trust = &parts.trust;
    let (ca, log_key) = (&anchors.ca, &anchors.log_key);
    let pins = [
        ("CA", "ca-differs", ca, &trust.ca),
        ("log key", "log-key-differs", log_key, &trust.log_key),
    ];
    let loose: Vec<&str> = (pins.iter())
        .filter(|(_, _, anchor, _)| **anchor == Anchor::FromBundle)
        .map(|(name, ..)| *name)
        .collect();
    let differing = pins
        .iter()
        .find(|(_, _, anchor, own)| anchor.bytes(own) != own.as_slice());
    if let Some((name, code, ..)) = differing {
        let cause = format!("the bundle's {name} is not the pinned one");
        rungs.refuse("trust-anchors", Failure::refused(code, cause));
    } else if loose.is_empty() {
        rungs.pass("trust-anchors", "CA and log key are the pinned ones");
    } else {
        let reason = format!(
            "{} taken from the bundle itself; pin with --ca and --log-key",
            loose.join(" and ")
        );
        rungs.not_evaluated("trust-anchors", Requirement::Advisory, reason);
    }
}

fn check_log(rungs: &mut Rungs, parts: &BundleParts, anchors: &Anchors, records: Option<&Records>) {
    let log_key = anchors.log_key.bytes(&parts.trust.log_key);
    let checkpoint = rungs.require("checkpoint", || log::verify_checkpoint(log_key, parts));
    let (Some(checkpoint), Some(records)) = (checkpoint, records) else {
        let by = if records.is_none() {
            "signature"
        } else {
            "checkpoint"
        };
        rungs.blocked("inclusion", by);
        rungs.blocked("consistency", by);
        return witnesses(rungs);
    };
    let session = records.session.predicate().session;
    let notes = rungs.require("inclusion", || {
        log::verify_inclusion(&checkpoint, session, parts, records)
    });
    match notes {
        Some(notes) => {
            rungs.require("consistency", || {
                log::verify_consistency(&checkpoint, &notes)
            });
        }
        None => rungs.blocked("consistency", "inclusion"),
    }
    witnesses(rungs);
}

fn witnesses(rungs: &mut Rungs) {
    let reason = "no witnesses are configured: a log that shows others another history would not be noticed here";
    rungs.not_evaluated("witnesses", Requirement::Advisory, reason);
}

fn check_time(rungs: &mut Rungs, records: Option<&Records>, now: Timestamp) {
    match records {
        Some(records) => {
            rungs.require("times", || completeness::verify_times(records, now));
        }
        None => rungs.blocked("times", "signature"),
    }
    let reason =
        "no time-stamp token and no witness: all times are those of the deployment's own clocks";
    rungs.not_evaluated("trusted-time", Requirement::Advisory, reason);
}

fn check_chain(
    rungs: &mut Rungs,
    parts: &BundleParts,
    records: Option<&Records>,
) -> Option<VerifiedChain> {
    let Some(records) = records else {
        return blocked(rungs, "event-chain", "signature");
    };
    rungs.require("event-chain", || {
        let session = records.session.predicate();
        let chain = verify_chain(
            &parts.events,
            session.session,
            Digest::of(&parts.binding),
            completeness::wanted_end(session.signer),
        )
        .map_err(|error| chain_failure(&error))?;
        check_head(parts, records, &chain)?;
        Ok((
            format!(
                "{} events, each naming the one before it",
                chain.events().len()
            ),
            chain,
        ))
    })
}

fn chain_failure(error: &ChainError) -> Failure {
    let failure = Failure::at("events.jsonl", error.code(), error);
    match error {
        ChainError::UnsupportedVersion { .. } => failure.blamed(Blame::Unsupported),
        _ => failure,
    }
}

/// Who vouches for the last event: the session key does, in its record or by itself.
fn check_head(
    parts: &BundleParts,
    records: &Records,
    chain: &VerifiedChain,
) -> Result<(), Failure> {
    match (records.session.predicate().signer, &parts.head_signature) {
        (Signer::Session, HeadSignature::InSessionRecord) => Ok(()),
        (Signer::Gateway, HeadSignature::Separate(file)) => {
            let malformed = || {
                Failure::refused(
                    "head-signature-malformed",
                    "events.head.sig: not one line of text",
                )
            };
            let line = file
                .strip_suffix(b"\n")
                .and_then(|line| std::str::from_utf8(line).ok());
            let summary = chain.summary();
            let head = EventHead {
                seq: summary.count.saturating_sub(1),
                digest: summary.head,
            };
            head.verify(
                line.ok_or_else(malformed)?,
                records.session_certificate.key(),
            )
            .map_err(|error| Failure::at("events.head.sig", error.code(), &error))
        }
        (Signer::Session, HeadSignature::Separate(_)) => Err(Failure::refused(
            "head-signature-unexpected",
            "events.head.sig: the session record is signed by the session key and covers the head",
        )),
        (Signer::Gateway, HeadSignature::InSessionRecord) => Err(Failure::refused(
            "head-signature-missing",
            "the gateway signed for the session, and no events.head.sig shows that the room wrote these events",
        )),
    }
}

fn check_binding(
    rungs: &mut Rungs,
    parts: &BundleParts,
    binding: &Result<Binding, Failure>,
    records: Option<&Records>,
    keys: Option<&signatures::Keys>,
    chain: Option<&VerifiedChain>,
) {
    match (binding, records, keys, chain) {
        (Err(failure), ..) => rungs.refuse("binding", failure.clone()),
        (Ok(binding), Some(records), Some(keys), Some(chain)) => {
            rungs.require("binding", || {
                binding::verify_certificate_name(binding, &keys.session.spiffe_id().to_string())?;
                binding::verify(parts, binding, records, chain)
            });
        }
        (Ok(_), None, ..) => rungs.blocked("binding", "signature"),
        (Ok(_), _, None, _) => rungs.blocked("binding", "key-chain"),
        (Ok(_), ..) => rungs.blocked("binding", "event-chain"),
    }
}

fn check_evidence(
    rungs: &mut Rungs,
    parts: &BundleParts,
    anchors: &Anchors,
    binding: &Binding,
    records: &Records,
    now: Timestamp,
) {
    if !evidence::is_used(records) {
        match evidence::check_cited(parts, records) {
            Ok(()) => rungs.not_evaluated(
                "evidence",
                Requirement::Advisory,
                "no model run used an attested upstream",
            ),
            Err(failure) => rungs.refuse("evidence", failure),
        }
        return;
    }
    let policy = anchors
        .appraisal_policy
        .bytes(&parts.trust.policies.appraisal);
    let at_use = rungs.require("evidence", || {
        evidence::verify_at_use(parts, binding, records, policy)
    });
    match at_use {
        Some(()) => {
            rungs.make("evidence-now", Requirement::Advisory, || {
                evidence::verify_now(parts, records, policy, now)
            });
        }
        None => rungs.not_evaluated(
            "evidence-now",
            Requirement::Advisory,
            "`evidence` did not pass",
        ),
    }
}

fn check_room(rungs: &mut Rungs, records: &Records) {
    match &records.destruction {
        Some(destruction) => {
            rungs.require("destruction", || {
                binding::verify_destruction(&records.session, destruction)
            });
        }
        None => rungs.not_evaluated(
            "destruction",
            Requirement::Required,
            "the bundle holds no destruction record: nobody states that the room is gone",
        ),
    }
    match binding::appraise_isolation(records.session.predicate()) {
        Ok(found) => rungs.pass("isolation", found),
        Err(Isolation::Refuted(failure)) => rungs.refuse("isolation", failure),
        Err(Isolation::Unshown(reason)) => {
            rungs.not_evaluated("isolation", Requirement::Required, reason);
        }
    }
}

/// The words for a session's end.
pub(crate) const fn end_words(end: SessionEnd) -> &'static str {
    match end {
        SessionEnd::Completed => "completed",
        SessionEnd::AgentFailed => "the agent failed",
        SessionEnd::LimitReached => "a limit ended it",
        SessionEnd::Cancelled => "a person stopped it",
        SessionEnd::Interrupted => "interrupted: the room was lost",
        SessionEnd::Refused => "refused",
    }
}
