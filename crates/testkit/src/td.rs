//! A room in a simulated trust domain: its boot, its registers, its evidence and the collateral beside
//! it, format-true, so that the production verifier runs on them unchanged. Proves nothing.

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{
    EvidenceType, Measurement, Moment, RoomDocument, RoomEndorsements, RoomEvidence, RuntimeEvent,
};
use sha2::{Digest as _, Sha384};

pub use crate::event_log::{BootEvent, EV_SEPARATOR};
use crate::{
    event_log::{self, LogBank},
    tee::{Plan, SimulatedTd, SimulatedTee, written},
};

/// RTMR0 as a CC event log numbers it.
const FIRST_RTMR: u32 = 1;

/// The boot that every simulated room says it had, and that never took place: one event for each of
/// RTMR0 to RTMR2. `room-simulated.toml` pins what it adds up to.
#[must_use]
pub fn simulated_boot() -> Vec<BootEvent> {
    let event = |rtmr: u32| BootEvent {
        pcr: FIRST_RTMR + rtmr,
        kind: EV_SEPARATOR,
        data: format!("proofroom SIMULATED boot, RTMR{rtmr}").into_bytes(),
    };
    (0..3).map(event).collect()
}

/// The CC event log of `boot`.
#[must_use]
pub fn boot_log(boot: &[BootEvent]) -> Vec<u8> {
    event_log::write(FIRST_RTMR, &[LogBank::Sha384], boot)
}

/// MRCONFIGID for a boot configuration: SHA-384 of its exact text.
#[must_use]
pub fn mr_config_id(boot_config: &[u8]) -> Measurement {
    Measurement::from_bytes(Sha384::digest(boot_config).into())
}

/// A TD that has gone through `boot`, started for the boot configuration of this MRCONFIGID.
#[must_use]
pub fn booted(boot: &[BootEvent], mr_config_id: Measurement) -> SimulatedTd {
    let mut td = SimulatedTd {
        mr_config_id,
        rtmr: [Measurement::from_bytes([0; 48]); 4],
        ..SimulatedTd::default()
    };
    for event in boot {
        let index = event
            .pcr
            .checked_sub(FIRST_RTMR)
            .and_then(|i| usize::try_from(i).ok());
        if let Some(register) = index.and_then(|index| td.rtmr.get_mut(index)) {
            *register = extended(register, &Sha384::digest(&event.data).into());
        }
    }
    td
}

/// A register after one more event.
#[must_use]
pub fn extended(register: &Measurement, digest: &[u8; 48]) -> Measurement {
    let sum = Sha384::new_with_prefix(register.as_bytes())
        .chain_update(digest)
        .finalize();
    Measurement::from_bytes(sum.into())
}

/// A room in a simulated TD. Change fields to make what must be refused.
#[derive(Debug)]
pub struct SimulatedRoom {
    tee: SimulatedTee,
    boot: Vec<BootEvent>,
    runtime: Vec<RuntimeEvent>,
    /// What the quote is over; measuring extends its RTMR3.
    pub td: SimulatedTd,
}

impl SimulatedRoom {
    /// The room that was started for `boot_config`, went through `boot`, and measured nothing yet.
    #[must_use]
    pub fn boot(tee: SimulatedTee, boot_config: &str, boot: Vec<BootEvent>) -> Self {
        Self {
            td: booted(&boot, mr_config_id(boot_config.as_bytes())),
            tee,
            boot,
            runtime: Vec::new(),
        }
    }

    /// Extends a runtime event into RTMR3.
    pub fn measure(&mut self, event: RuntimeEvent) {
        let [.., rtmr3] = &mut self.td.rtmr;
        *rtmr3 = extended(rtmr3, &event.sha384());
        self.runtime.push(event);
    }

    /// Room evidence about `statement`.
    #[must_use]
    pub fn evidence(&self, moment: Moment, statement: &str) -> RoomEvidence {
        let mut evidence = RoomEvidence {
            kind: EvidenceType::Tdx,
            moment,
            statement: statement.to_owned(),
            quote: Vec::new(),
            signature: Vec::new(),
            key: Vec::new(),
            boot_log: boot_log(&self.boot),
            runtime: self.runtime.clone(),
        };
        let report_data = *evidence.bound_report_data().as_bytes();
        evidence.quote = self.tee.quote(&self.td, report_data);
        evidence
    }

    /// What the vendor says about the platform at `now`; change it to make what must be refused.
    #[must_use]
    pub fn plan(&self, now: Timestamp) -> Plan {
        // what a plan says about a statement is no part of collateral
        let unused = Nonce::from_random([0; 32]);
        self.tee
            .plan(unused, Digest::of("no TLS key"), "no-model", now)
    }

    /// The document of `evidence` with the collateral of `plan`.
    #[must_use]
    pub fn document(&self, evidence: &RoomEvidence, plan: &Plan) -> Vec<u8> {
        let collateral = RoomEndorsements::Tdx(Box::new(self.tee.collateral(plan)));
        let text = written(evidence.to_text());
        written(RoomDocument::write(&text, &collateral))
    }
}
