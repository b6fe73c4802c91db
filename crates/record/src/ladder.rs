//! The ladder: offline verification of a bundle as a list of named checks, from its bytes up to what
//! its records claim. Needs no network, no account and nobody's word; takes the time as an argument.

use proofroom_canonical::{Digest, Refusal, Timestamp};
use proofroom_verifier::RoomAppraisal;

use crate::{
    bundle::{Bundle, BundleParts, HeadSignature, ProviderFiles},
    chain::{self, VerifiedChain, verify_chain},
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
mod provider;
mod remarks;
mod room;
mod seam;
mod signatures;
mod version;

pub use check::{Blame, Check, Failure, Outcome, Requirement, Verdict};
pub use evidence::UpstreamEvidence;
pub use presentation::{WriteError, write_bundle};

use binding::Isolation;
use check::{Made, Proved, Rungs};
pub(crate) use signatures::Records;

/// Where one trust anchor comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor<T = Vec<u8>> {
    /// From the bundle's own `trust/`: shows that the bundle agrees with itself, not whose it is.
    FromBundle,
    /// From the auditor: the file's bytes.
    Pinned(T),
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
    /// The policies for providers in their own formats, by the file names that the session had.
    pub provider_policies: Anchor<ProviderFiles>,
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
            provider_policies: Anchor::FromBundle,
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
    /// What stood behind each run on an attested upstream, as it was judged again here; empty unless every run's
    /// evidence was accepted.
    pub upstreams: Vec<UpstreamEvidence>,
}

/// Verifies a bundle. Never fails: what is wrong with the bundle is in the report.
#[must_use]
pub fn verify_bundle(bytes: &[u8], anchors: &Anchors, now: Timestamp) -> Report {
    let mut rungs = Rungs::default();
    let opened = rungs.require("bytes", || match Bundle::read(bytes) {
        Ok(bundle) => Ok((format!("{} bytes, none of them free", bytes.len()), bundle)),
        Err(error) => Err(Failure::at("", error.code(), &error).blamed(Blame::Malformed)),
    });
    let Proved::Yes(bundle) = opened else {
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

fn finish(rungs: Rungs, facts: Option<BundleFacts>, anchors: &Anchors) -> Report {
    let (checks, room, upstreams) = (rungs.checks, rungs.room, rungs.upstreams);
    Report {
        verdict: Verdict::of(&checks),
        remarks: facts.as_ref().map(remarks::remarks).unwrap_or_default(),
        not_proven: remarks::not_proven(facts.as_ref(), anchors, &checks),
        checks,
        facts,
        room,
        upstreams,
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
    let signed = rungs.require("signature", || signatures::verify_records(parts));
    let (records, read) = (signed.as_ref(), binding::parse(&parts.binding));
    let binding = match &read {
        Ok(binding) => Proved::Yes(binding),
        Err(_) => Proved::Not("binding"),
    };
    let told = records.and(binding);
    let keys = rungs.after("key-chain", told, |(records, binding)| {
        let ca = anchors.ca.bytes(&parts.trust.ca);
        signatures::verify_key_chain(ca, records, binding)
    });
    check_log(rungs, parts, anchors, records);
    check_time(rungs, records, now);
    let chained = check_chain(rungs, parts, records);
    let chain = chained.as_ref();
    match &read {
        Err(failure) => rungs.refuse("binding", failure.clone()),
        Ok(binding) => {
            let needed = records.and(keys.as_ref()).and(chain);
            rungs.after("binding", needed, |((records, keys), chain)| {
                binding::verify_certificate_name(binding, &keys.session.spiffe_id().to_string())?;
                binding::verify(parts, binding, records, chain)
            });
        }
    }
    rungs.after("completeness", told.and(chain), |((records, _), chain)| {
        completeness::verify(records, chain)
    });
    rungs.after("policies", told, |(records, binding)| {
        binding::verify_policies(parts, binding, records)
    });
    match told {
        Proved::Yes((records, binding)) => {
            check_evidence(rungs, parts, anchors, binding, records, now);
            room::check(rungs, parts, anchors, binding, records);
            check_room(rungs, records);
        }
        Proved::Not(by) => {
            for name in AFTER_RECORDS {
                rungs.blocked(name, by);
            }
        }
    }
    match told.and(chain) {
        Proved::Yes(((records, binding), chain)) => {
            Some(BundleFacts::new(parts, binding.clone(), records, chain))
        }
        Proved::Not(_) => None,
    }
}

/// What is asked of records and binding that can be read, after `policies`.
const AFTER_RECORDS: [&str; 5] = [
    "evidence",
    "room-evidence",
    "room-evidence-end",
    "destruction",
    "isolation",
];

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

fn check_log(rungs: &mut Rungs, parts: &BundleParts, anchors: &Anchors, records: Proved<&Records>) {
    let log_key = anchors.log_key.bytes(&parts.trust.log_key);
    let checkpoint = rungs.require("checkpoint", || log::verify_checkpoint(log_key, parts));
    let checkpoint = checkpoint.as_ref();
    let needed = records.and(checkpoint);
    let notes = rungs.after("inclusion", needed, |(records, checkpoint)| {
        log::verify_inclusion(checkpoint, parts, records)
    });
    let needed = notes.as_ref().and(checkpoint);
    rungs.after("consistency", needed, |(notes, checkpoint)| {
        log::verify_consistency(checkpoint, notes)
    });
    let reason = "no witnesses are configured: a log that shows others another history would not be noticed here";
    rungs.not_evaluated("witnesses", Requirement::Advisory, reason);
}

fn check_time(rungs: &mut Rungs, records: Proved<&Records>, now: Timestamp) {
    rungs.after("times", records, |records| {
        completeness::verify_times(records, now)
    });
    let reason =
        "no time-stamp token and no witness: all times are those of the deployment's own clocks";
    rungs.not_evaluated("trusted-time", Requirement::Advisory, reason);
}

fn check_chain(
    rungs: &mut Rungs,
    parts: &BundleParts,
    records: Proved<&Records>,
) -> Proved<VerifiedChain> {
    rungs.after("event-chain", records, |records| {
        let session = records.session.predicate();
        let binding = Digest::of(&parts.binding);
        let end = completeness::wanted_end(session.signer);
        let chain = verify_chain(&parts.events, session.session, binding, end)
            .map_err(|error| chain_failure(&error))?;
        check_head(parts, records, &chain)?;
        let count = chain.events().len();
        let found = format!("{count} events, each naming the one before it");
        Ok((found, chain))
    })
}

fn chain_failure(error: &Refusal) -> Failure {
    let failure = Failure::at("events.jsonl", error.code(), error);
    match error.code() {
        chain::UNSUPPORTED_VERSION => failure.blamed(Blame::Unsupported),
        _ => failure,
    }
}

/// Who vouches for the last event: the session key does, in its record or by itself.
fn check_head(
    parts: &BundleParts,
    records: &Records,
    chain: &VerifiedChain,
) -> Result<(), Failure> {
    let refuse = |code, words: &str| Err(Failure::refused(code, words));
    match (records.session.predicate().signer, &parts.head_signature) {
        (Signer::Session, HeadSignature::InSessionRecord) => Ok(()),
        (Signer::Gateway, HeadSignature::Separate(file)) => {
            let place = "events.head.sig";
            let line = one_line(file, place, "head-signature-malformed")?;
            let summary = chain.summary();
            let head = EventHead {
                seq: summary.count.saturating_sub(1),
                digest: summary.head,
            };
            head.verify(line, records.session_certificate.key())
                .map_err(|error| Failure::at(place, error.code(), &error))
        }
        (Signer::Session, HeadSignature::Separate(_)) => refuse(
            "head-signature-unexpected",
            "events.head.sig: the session record is signed by the session key and covers the head",
        ),
        (Signer::Gateway, HeadSignature::InSessionRecord) => refuse(
            "head-signature-missing",
            "the gateway signed for the session, and no events.head.sig shows that the room wrote these events",
        ),
    }
}

/// The one line that a file of the bundle must be.
fn one_line<'a>(file: &'a [u8], place: &str, code: &'static str) -> Result<&'a str, Failure> {
    file.strip_suffix(b"\n")
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or_else(|| Failure::refused(code, format!("{place}: not one line of text")))
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
        let reason = "no model run used an attested upstream";
        return match evidence::check_cited(parts, records) {
            Ok(()) => rungs.not_evaluated("evidence", Requirement::Advisory, reason),
            Err(failure) => rungs.refuse("evidence", failure),
        };
    }
    let judge = evidence::Judge::new(parts, binding, anchors);
    let at_use = rungs.require("evidence", || judge.verify_at_use(records));
    let Proved::Yes(upstreams) = at_use else {
        let reason = "`evidence` did not pass";
        return rungs.not_evaluated("evidence-now", Requirement::Advisory, reason);
    };
    rungs.upstreams = upstreams;
    let made = judge.verify_now(records, now);
    rungs.made("evidence-now", Requirement::Advisory, made);
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
