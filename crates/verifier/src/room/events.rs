//! The checks on runtime events: what the room was given to boot with and what it was told to do.

use proofroom_canonical::json;
use proofroom_evidence::{
    ASSIGNMENT_EVENT, AssignmentEvent, BOOT_CONFIG_EVENT, MAX_RUNTIME_CONTENT_BYTES, RoomEvidence,
    RuntimeEvent,
};
use serde_json::Value;

use super::{Work, tpm2::extended};
use crate::{ReferenceManifest, RoomCause, RoomCheckName as Name, RoomOutcome};

/// What the register of runtime events must hold.
pub(super) fn replay(evidence: &RoomEvidence) -> [u8; 48] {
    evidence.runtime.iter().fold([0; 48], |register, event| {
        extended(register, event.sha384())
    })
}

/// Judges the events; a pass counts only when `replayed` passed.
pub(super) fn check(work: &mut Work<'_>, evidence: &RoomEvidence, replayed: &[Name]) {
    let boot = boot_config(&evidence.runtime, work.trust.policy.reference());
    work.set_if_proved(Name::RuntimeBootConfig, replayed, boot);
    match assignment(&evidence.runtime) {
        Ok(event) => {
            let agrees = agrees(work, &event);
            work.set_if_proved(Name::RuntimeAssignment, replayed, agrees);
            let nonce = if event.nonce == work.expected.nonce {
                RoomOutcome::Pass
            } else {
                let words = "the room was told another nonce than this session's";
                RoomOutcome::fail(RoomCause::NonceMismatch, words)
            };
            work.set_if_proved(Name::Nonce, &[Name::RuntimeAssignment], nonce);
        }
        Err(outcome) => work.set(Name::RuntimeAssignment, outcome),
    }
}

fn boot_config(events: &[RuntimeEvent], reference: &ReferenceManifest) -> RoomOutcome {
    let Some(event) = events
        .first()
        .filter(|event| event.name == BOOT_CONFIG_EVENT)
    else {
        return RoomOutcome::fail(
            RoomCause::BootConfigMissing,
            "the first runtime event is not a boot configuration",
        );
    };
    let Ok(config) = json::parse_value(event.content.as_bytes(), MAX_RUNTIME_CONTENT_BYTES) else {
        return RoomOutcome::fail(
            RoomCause::BootConfigMalformed,
            "the boot configuration is not strict JSON",
        );
    };
    let shape = &reference.contents().shape;
    let number = |path: &str| config.pointer(path).and_then(Value::as_u64);
    if number("/shape/vcpus") != Some(shape.vcpus.into())
        || number("/shape/memory_mib") != Some(shape.memory_mib.into())
    {
        let words = format!(
            "the machine does not have the {} processors and {} MiB of the reference values",
            shape.vcpus, shape.memory_mib
        );
        return RoomOutcome::fail(RoomCause::BootConfigShape, words);
    }
    layers(&config, reference)
}

fn layers(config: &Value, reference: &ReferenceManifest) -> RoomOutcome {
    let Some(layers) = config.pointer("/layers").and_then(Value::as_array) else {
        return RoomOutcome::fail(
            RoomCause::BootConfigMalformed,
            "the boot configuration has no list of layers",
        );
    };
    for layer in layers {
        let root = layer.get("root").and_then(Value::as_str).unwrap_or("");
        let known = &reference.contents().layers;
        if !known.iter().any(|layer| layer.root.to_string() == root) {
            let shown: String = root.chars().take(64).collect();
            let words = format!("layer with root `{shown}` is not one of the reference");
            return RoomOutcome::fail(RoomCause::BootConfigLayer, words);
        }
    }
    RoomOutcome::Pass
}

/// The one assignment event, at its place.
fn assignment(events: &[RuntimeEvent]) -> Result<AssignmentEvent, RoomOutcome> {
    let count = |name: &str| events.iter().filter(|event| event.name == name).count();
    let event = events
        .get(1)
        .filter(|event| event.name == ASSIGNMENT_EVENT)
        .filter(|_| count(ASSIGNMENT_EVENT) == 1 && count(BOOT_CONFIG_EVENT) == 1)
        .ok_or_else(|| {
            RoomOutcome::fail(
                RoomCause::AssignmentMissing,
                "the second runtime event is not the one assignment of the one boot configuration",
            )
        })?;
    AssignmentEvent::parse(&event.content)
        .map_err(|error| RoomOutcome::fail(RoomCause::AssignmentMalformed, error.to_string()))
}

fn agrees(work: &Work<'_>, event: &AssignmentEvent) -> RoomOutcome {
    let expected = work.expected;
    let differs = [
        ("session", event.session != expected.session),
        ("agent", event.agent != expected.agent),
        ("commit", event.commit != expected.commit),
        ("policies", event.policies != expected.policies),
    ]
    .into_iter()
    .find_map(|(what, differs)| differs.then_some(what));
    match differs {
        None => RoomOutcome::Pass,
        Some(what) => RoomOutcome::fail(
            RoomCause::AssignmentMismatch,
            format!("the room measured another {what} than the session's"),
        ),
    }
}
