//! The checks on runtime events: what the room was given to boot with and what it was told to do.

use proofroom_canonical::json;
use proofroom_evidence::{
    ASSIGNMENT_EVENT, AssignmentEvent, BOOT_CONFIG_EVENT, MAX_RUNTIME_CONTENT_BYTES, RoomEvidence,
    RuntimeEvent,
};
use serde_json::Value;

use super::Work;
use crate::{ReferenceManifest, RoomCheckName as Name, RoomCode, RoomOutcome, reference::Hash384};

type Refusal = (RoomCode, String);

/// What the register of runtime events must hold.
pub(super) fn replay(evidence: &RoomEvidence) -> [u8; 48] {
    let digests = evidence
        .runtime
        .iter()
        .map(|event| Hash384::from_bytes(event.sha384()));
    let register = digests.fold(Hash384::ZERO, |register, digest| register.extended(&digest));
    *register.as_bytes()
}

/// Judges the events; a pass counts only when `replayed` passed.
pub(super) fn check(work: &mut Work<'_>, evidence: &RoomEvidence, replayed: &[Name]) {
    let boot = boot_config(&evidence.runtime, work.trust.policy.reference());
    work.made
        .set_if_proved(Name::RuntimeBootConfig, replayed, boot.into());
    match assignment(&evidence.runtime) {
        Ok(event) => {
            let agrees = agrees(work, &event);
            work.made
                .set_if_proved(Name::RuntimeAssignment, replayed, agrees);
            let told = event.nonce == work.expected.nonce;
            let nonce = RoomOutcome::when(
                told,
                RoomCode::NonceMismatch,
                || "the room was told another nonce than this session's",
            );
            work.made
                .set_if_proved(Name::Nonce, &[Name::RuntimeAssignment], nonce);
        }
        Err(outcome) => work.made.set(Name::RuntimeAssignment, outcome),
    }
}

fn boot_config(events: &[RuntimeEvent], reference: &ReferenceManifest) -> Result<(), Refusal> {
    let refused = |code, words: &str| (code, words.to_owned());
    let first = events
        .first()
        .filter(|event| event.name == BOOT_CONFIG_EVENT);
    let event = first.ok_or_else(|| {
        let words = "the first runtime event is not a boot configuration";
        refused(RoomCode::BootConfigMissing, words)
    })?;
    let config = json::parse_value(event.content.as_bytes(), MAX_RUNTIME_CONTENT_BYTES);
    let config = config.map_err(|_| {
        let words = "the boot configuration is not strict JSON";
        refused(RoomCode::BootConfigMalformed, words)
    })?;
    let shape = &reference.contents().shape;
    let (vcpus, memory) = (shape.vcpus, shape.memory_mib);
    let number = |path: &str| config.pointer(path).and_then(Value::as_u64);
    let shape = (number("/shape/vcpus"), number("/shape/memory_mib"));
    if shape != (Some(vcpus.into()), Some(memory.into())) {
        let words = format!(
            "the machine does not have the {vcpus} processors and {memory} MiB of the reference values"
        );
        return Err((RoomCode::BootConfigShape, words));
    }
    let layers = config.pointer("/layers").and_then(Value::as_array);
    let layers = layers.ok_or_else(|| {
        let words = "the boot configuration has no list of layers";
        refused(RoomCode::BootConfigMalformed, words)
    })?;
    check_layers(layers, reference)
}

/// The layers are those of the reference, each once and in its order.
fn check_layers(layers: &[Value], reference: &ReferenceManifest) -> Result<(), Refusal> {
    let text = |layer: &Value, member: &str| {
        let value = layer.get(member).and_then(Value::as_str).unwrap_or("");
        value.to_owned()
    };
    let found = layers.iter();
    let found: Vec<Layer> = found
        .map(|layer| (text(layer, "name"), text(layer, "root")))
        .collect();
    let wanted = reference.contents().layers.iter();
    let wanted: Vec<Layer> = wanted
        .map(|layer| (layer.name.clone(), layer.root.to_string()))
        .collect();
    layer_problem(&found, &wanted).map_or(Ok(()), Err)
}

/// Name and root.
type Layer = (String, String);

fn layer_problem(found: &[Layer], wanted: &[Layer]) -> Option<Refusal> {
    if found == wanted {
        return None;
    }
    let count =
        |layers: &[Layer], layer: &Layer| layers.iter().filter(|other| *other == layer).count();
    if let Some((_, root)) = found.iter().find(|layer| !wanted.contains(layer)) {
        let shown: String = root.chars().take(64).collect();
        let words = format!("layer with root `{shown}` is not one of the reference");
        return Some((RoomCode::BootConfigLayer, words));
    }
    if let Some((name, _)) = wanted.iter().find(|l| count(found, l) < count(wanted, l)) {
        let words = format!("layer `{name}` of the reference is missing");
        return Some((RoomCode::BootConfigLayerMissing, words));
    }
    if let Some((name, _)) = found.iter().find(|l| count(found, l) > count(wanted, l)) {
        let words = format!("layer `{name}` is there more often than in the reference");
        return Some((RoomCode::BootConfigLayerExtra, words));
    }
    let words = "the layers are those of the reference in another order".to_owned();
    Some((RoomCode::BootConfigLayerOrder, words))
}

/// The one assignment event, at its place.
fn assignment(events: &[RuntimeEvent]) -> Result<AssignmentEvent, RoomOutcome> {
    let count = |name: &str| events.iter().filter(|event| event.name == name).count();
    let second = events.get(1).filter(|event| event.name == ASSIGNMENT_EVENT);
    let only = count(ASSIGNMENT_EVENT) == 1 && count(BOOT_CONFIG_EVENT) == 1;
    let event = second.filter(|_| only).ok_or_else(|| {
        let words =
            "the second runtime event is not the one assignment of the one boot configuration";
        RoomOutcome::fail(RoomCode::AssignmentMissing, words)
    })?;
    AssignmentEvent::parse(&event.content)
        .map_err(|error| RoomOutcome::fail(RoomCode::AssignmentMalformed, error.to_string()))
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
    differs.map_or(RoomOutcome::Pass, |what| {
        let words = format!("the room measured another {what} than the session's");
        RoomOutcome::fail(RoomCode::AssignmentMismatch, words)
    })
}
