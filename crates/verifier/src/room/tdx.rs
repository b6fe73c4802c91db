//! The checks on a TD quote of a room: the platform as with an upstream, then what booted, what was
//! measured since, and what the host promised. A pass counts only when the quote's signature was
//! proved, and for events when they add up to a quoted register.

use proofroom_evidence::{
    BOOT_CONFIG_EVENT, Collateral, Measurement, Quote, Register, RoomDocument, RoomEndorsements,
    RoomEvidence, TdClaims,
};
use sha2::{Digest as _, Sha384};

use super::{
    Work,
    boot_log::{self, BootLog},
    events, statement,
};
use crate::{
    CauseCode, Outcome, RoomCheckName as Name, RoomCode, RoomOutcome,
    platform::{self, Quoted},
    reference::{Hash384, ReferenceEvent, TdxReference},
    room_policy::TdxRule,
};

/// RTMR0 to RTMR2 as a CC event log numbers them; 0 is MRTD, 4 is RTMR3.
const BOOT_REGISTERS: [u32; 3] = [1, 2, 3];
const RUNTIME_REGISTER: u32 = 4;
const REFERENCES: [Name; 3] = [
    Name::ReferenceRtmr0,
    Name::ReferenceRtmr1,
    Name::ReferenceRtmr2,
];

const SIGNED: &[Name] = &[Name::QuoteSignature];
const REPLAYED: &[Name] = &[Name::QuoteSignature, Name::RuntimeReplay];

pub(super) fn check(work: &mut Work<'_>, document: &RoomDocument) {
    let policy = work.trust.policy.policy();
    let (Some(rule), RoomEndorsements::Tdx(collateral)) = (policy.tdx(), document.endorsements())
    else {
        return;
    };
    let evidence = document.evidence();
    let outcome = statement(work, evidence);
    work.made.set(Name::Statement, outcome);
    let log = work.made.read(Name::BootLog, read_log(evidence));
    let quote = Quote::parse(&evidence.quote).map_err(|error| {
        let outcome = Outcome::malformed(CauseCode::QuoteMalformed, &error);
        RoomOutcome::of_platform(outcome)
    });
    if let Some(quote) = work.made.read(Name::QuoteParse, quote) {
        vendor(work, rule, evidence, &quote, collateral);
        let claims = quote.claims();
        of_td(work, rule, evidence, claims);
        replay(work, evidence, log.as_ref(), claims);
        references(work, rule, log.as_ref(), claims);
    }
    events::check(work, evidence, REPLAYED);
}

/// The checks that are an upstream's as well.
fn vendor(
    work: &mut Work<'_>,
    rule: &TdxRule,
    evidence: &RoomEvidence,
    quote: &Quote,
    collateral: &Collateral,
) {
    let quoted = Quoted {
        quote,
        bytes: &evidence.quote,
        collateral,
    };
    let found = platform::judge(quoted, &rule.platform, work.now);
    work.tcb = found.tcb;
    for check in found.made.into_checks() {
        if let Some(name) = Name::of_platform(check.name) {
            work.made.set(name, RoomOutcome::of_platform(check.outcome));
        }
    }
    let outcome = platform::placeholders(quote.claims(), &[]);
    let outcome = RoomOutcome::of_platform(outcome);
    work.made
        .set_if_proved(Name::PlaceholderRegisters, SIGNED, outcome);
}

/// What the quote says of the TD itself.
fn of_td(work: &mut Work<'_>, rule: &TdxRule, evidence: &RoomEvidence, claims: &TdClaims) {
    // a module that the policy does not list is judged by the vendor's TCB info
    let module = &[Name::QuoteSignature, Name::TcbStatus];
    work.made
        .set_if_proved(Name::MrSeam, module, mr_seam(rule, claims));
    let judged = [
        (Name::ReportData, report_data(evidence, claims)),
        (Name::MrConfigId, mr_config_id(evidence, claims)),
        (Name::MrOwner, mr_owner(claims)),
    ];
    work.made.set_all_if_proved(SIGNED, judged);
}

fn mr_seam(rule: &TdxRule, claims: &TdClaims) -> RoomOutcome {
    let found = &claims.mr_seam;
    RoomOutcome::when(rule.mr_seam.fits(found), RoomCode::MrSeamMismatch, || {
        format!("the TDX module measures {found}, which the policy does not list")
    })
}

fn report_data(evidence: &RoomEvidence, claims: &TdClaims) -> RoomOutcome {
    let bound = claims.report_data == *evidence.bound_report_data().as_bytes();
    RoomOutcome::when(
        bound,
        RoomCode::ReportDataMismatch,
        || "the quote's report data is not the SHA-512 of the statement",
    )
}

/// The host puts SHA-384 of the exact text that it gives to the first process into MRCONFIGID, before
/// the TD starts; the first process measures the text that it was given.
fn mr_config_id(evidence: &RoomEvidence, claims: &TdClaims) -> RoomOutcome {
    let first = evidence.runtime.first();
    let config = first.filter(|event| event.name == BOOT_CONFIG_EVENT);
    let digest = config.map(|event| <[u8; 48]>::from(Sha384::digest(&event.content)));
    let promised = digest.as_ref() == Some(claims.mr_config_id.as_bytes());
    RoomOutcome::when(
        promised,
        RoomCode::MrConfigIdMismatch,
        || "MRCONFIGID is not the SHA-384 of the boot configuration that the room measured",
    )
}

fn mr_owner(claims: &TdClaims) -> RoomOutcome {
    let unset = |register: &Measurement| register.repeated_byte() == Some(0);
    let both = unset(&claims.mr_owner) && unset(&claims.mr_owner_config);
    RoomOutcome::when(
        both,
        RoomCode::MrOwnerSet,
        || "MROWNER or MROWNERCONFIG is set, which hosts of rooms leave zero",
    )
}

/// A CC event log that extends the registers of a boot alone.
fn read_log(evidence: &RoomEvidence) -> Result<BootLog, RoomOutcome> {
    let log = BootLog::read(&evidence.boot_log, RUNTIME_REGISTER, "RTMR3")?;
    let other = log.registers.keys().find(|r| !BOOT_REGISTERS.contains(r));
    if let Some(other) = other {
        let words = format!("the boot log extends register {other}, which a boot does not");
        return Err(RoomOutcome::fail(RoomCode::BootLogMalformed, words));
    }
    Ok(log)
}

/// Whether the logs add up to the quoted registers.
fn replay(work: &mut Work<'_>, evidence: &RoomEvidence, log: Option<&BootLog>, claims: &TdClaims) {
    if let Some(log) = log {
        let differs = (0..)
            .zip(BOOT_REGISTERS)
            .zip(&claims.rtmr)
            .find(|((_, register), quoted)| log.register(*register) != *quoted.as_bytes());
        let outcome = differs.map_or(RoomOutcome::Pass, |((number, _), _): ((u8, _), _)| {
            let words = format!("the boot log does not add up to the quoted RTMR{number}");
            RoomOutcome::fail(RoomCode::BootLogMismatch, words)
        });
        work.made
            .set_if_proved(Name::BootLogReplay, SIGNED, outcome);
    }
    let quoted = claims.register(Register::Rtmr3);
    let adds_up = events::replay(evidence) == *quoted.as_bytes();
    let outcome = RoomOutcome::when(
        adds_up,
        RoomCode::RuntimeEventsMismatch,
        || "the runtime events do not add up to the quoted RTMR3",
    );
    work.made
        .set_if_proved(Name::RuntimeReplay, SIGNED, outcome);
}

/// What a boot must leave in the registers.
struct Wanted<'a> {
    mrtd: [u8; 48],
    rtmr: [[u8; 48]; 3],
    /// The events behind it; none of a boot that never took place.
    events: &'a [ReferenceEvent],
}

impl<'a> Wanted<'a> {
    /// The values of the policy's simulated boot, or those of the manifest.
    fn of(rule: &TdxRule, manifest: &'a TdxReference) -> Result<Self, RoomOutcome> {
        if let Some(simulated) = &rule.simulated {
            return Ok(Self {
                mrtd: *simulated.mr_td.as_bytes(),
                rtmr: simulated.rtmr.map(|register| *register.as_bytes()),
                events: &[],
            });
        }
        match manifest {
            TdxReference::Computed {
                mrtd,
                rtmr0,
                rtmr1,
                rtmr2,
                events,
            } => Ok(Self {
                mrtd: *mrtd.as_bytes(),
                rtmr: [rtmr0, rtmr1, rtmr2].map(|register| *Hash384::as_bytes(register)),
                events,
            }),
            TdxReference::NotComputed { reason } => {
                let words = format!("the manifest has no registers of a TD: {reason}");
                Err(RoomOutcome::fail(RoomCode::ReferenceNotComputed, words))
            }
        }
    }
}

fn references(work: &mut Work<'_>, rule: &TdxRule, log: Option<&BootLog>, claims: &TdClaims) {
    let manifest = &work.trust.policy.reference().contents().tdx;
    let wanted = match Wanted::of(rule, manifest) {
        Ok(wanted) => wanted,
        Err(outcome) => {
            for name in [&[Name::ReferenceMrTd][..], &REFERENCES].concat() {
                work.made.set(name, outcome.clone());
            }
            return;
        }
    };
    let outcome = compared(claims.mr_td, &wanted.mrtd, || {
        "MRTD does not have its reference value".to_owned()
    });
    work.made
        .set_if_proved(Name::ReferenceMrTd, SIGNED, outcome);
    let registers = claims.rtmr.into_iter().zip(&wanted.rtmr);
    for ((number, name), (quoted, value)) in (0..).zip(REFERENCES).zip(registers) {
        let outcome = compared(quoted, value, || difference(number, &wanted, log));
        work.made.set_if_proved(name, SIGNED, outcome);
    }
}

fn compared(quoted: Measurement, wanted: &[u8; 48], words: impl Fn() -> String) -> RoomOutcome {
    RoomOutcome::when(
        quoted.as_bytes() == wanted,
        RoomCode::ReferenceMismatch,
        words,
    )
}

/// The first event of an RTMR that is not the one that the reference has there.
fn difference(number: u8, wanted: &Wanted<'_>, log: Option<&BootLog>) -> String {
    let label = format!("RTMR{number}");
    let events = wanted.events.iter();
    let mut events = events.filter(|event| event.rtmr == Some(number)).peekable();
    match log {
        Some(log) if events.peek().is_some() => {
            boot_log::difference(&label, log, u32::from(number) + 1, events)
        }
        _ => format!("{label} does not have its reference value"),
    }
}
