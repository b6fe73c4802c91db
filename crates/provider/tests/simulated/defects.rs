//! Every defect with the check and the code that refuses it.

use proofroom_canonical::{Digest, Nonce};
use proofroom_testkit::{
    provider::{PlannedEvent, ProviderKey, ProviderPlan, event},
    tee::{Revoked, TcbAnswer},
};

use crate::world::{appraise, assert_refused, gateway, model, near_policy, plan};

type Defect = fn(&mut ProviderPlan);

/// Defects of quotes, bindings, logs and devices, each with what refuses it.
const DEFECTS: &[(&str, &str, &str, Defect)] = &[
    // quote
    ("a debug TD", "gateway: quote", "td-debug", |p| {
        gateway(p).td.attributes |= 1
    }),
    (
        "a TD that can be migrated",
        "model-0: quote",
        "td-migratable",
        |p| model(p).td.attributes |= 1 << 29,
    ),
    ("SEPT_VE_DISABLE off", "model-0: quote", "td-sept-ve", |p| {
        model(p).td.attributes = 0
    }),
    (
        "a platform out of date",
        "gateway: quote",
        "tcb-status-refused",
        |p| p.platform.tcb = TcbAnswer::OutOfDate,
    ),
    (
        "a revoked platform",
        "gateway: quote",
        "certificate-revoked",
        |p| p.platform.revoked = Revoked::Pck,
    ),
    (
        "collateral of another platform",
        "gateway: quote",
        "fmspc-mismatch",
        |p| p.platform.tcb_fmspc = [1; 6],
    ),
    (
        "the QE identity of SGX",
        "gateway: quote",
        "qe-identity-kind",
        |p| p.platform.qe_identity = "QE",
    ),
    (
        "another firmware under the same deployment",
        "model-0: quote",
        "reference-mismatch",
        |p| {
            model(p).td.mr_td = proofroom_testkit::tee::simulated_measurement("hostile base image");
        },
    ),
    // log
    (
        "an event left out",
        "model-0: event-log",
        "log-replay",
        |p| shown(p, |events| drop(events.remove(8))),
    ),
    (
        "two events in another order",
        "model-0: event-log",
        "log-replay",
        |p| shown(p, |events| events.swap(7, 8)),
    ),
    ("an event twice", "model-0: event-log", "log-replay", |p| {
        shown(p, |events| events.insert(8, events[8].clone()));
    }),
    (
        "a payload that its digest denies",
        "model-0: event-log",
        "log-digest",
        |p| {
            shown(p, |events| events[4].payload = vec![1; 20]);
        },
    ),
    (
        "a digest that its payload denies",
        "model-0: event-log",
        "log-digest",
        |p| {
            shown(p, |events| events[4].digest = [1; 48]);
        },
    ),
    (
        "an event of the firmware edited",
        "gateway: event-log",
        "log-replay",
        |p| {
            let mut events = gateway(p).events.clone();
            events[0].digest = [1; 48];
            gateway(p).shown_events = Some(events);
        },
    ),
    (
        "a second deployment measured",
        "model-0: event-log",
        "log-event-twice",
        |p| {
            model(p).events.insert(7, event("compose-hash", &[1; 32]));
        },
    ),
    (
        "a second deployment measured after the boot",
        "model-0: event-log",
        "log-event-twice",
        |p| {
            model(p).events.push(event("compose-hash", &[1; 32]));
        },
    ),
    (
        "an event after the boot",
        "model-0: event-log",
        "log-event-late",
        |p| {
            model(p).events.push(event("miner-hotkey", b"x"));
        },
    ),
    (
        "a boot that did not end",
        "model-0: event-log",
        "log-event-missing",
        |p| drop(model(p).events.pop()),
    ),
    (
        "more events than are read",
        "gateway: event-log",
        "log-malformed",
        |p| {
            let many = std::iter::repeat_with(|| event("x", b"")).take(600);
            gateway(p).shown_events = Some(many.collect());
        },
    ),
    // what was deployed
    (
        "another deployment shown than measured",
        "model-0: compose",
        "compose-mismatch",
        |p| {
            model(p).shown_compose = Some("{}".to_owned());
        },
    ),
    (
        "another deployment measured",
        "model-0: compose",
        "compose-not-allowed",
        |p| {
            model(p).compose = "{}".to_owned();
            model(p).events[5] = event("compose-hash", Digest::of("{}").as_bytes());
        },
    ),
    (
        "a deployment in MRCONFIGID alone",
        "model-0: compose",
        "compose-mismatch",
        |p| {
            model(p).events[5] = event("compose-hash", &[1; 32]);
        },
    ),
    (
        "another application",
        "gateway: app-id",
        "app-not-allowed",
        |p| {
            gateway(p).events[4] = event("app-id", &[1; 20]);
        },
    ),
    (
        "another image, as one for development",
        "model-0: os-image",
        "os-image-not-allowed",
        |p| {
            model(p).events[9] = event("os-image-hash", &[1; 32]);
        },
    ),
    (
        "keys from another service",
        "model-0: key-provider",
        "key-provider-not-allowed",
        |p| {
            model(p).events[10] = event("key-provider", b"{\"name\":\"local\",\"id\":\"00\"}");
        },
    ),
    // binding
    ("another nonce", "gateway: nonce", "nonce-mismatch", |p| {
        gateway(p).nonce = [1; 32]
    }),
    ("no nonce", "model-0: nonce", "nonce-mismatch", |p| {
        model(p).nonce = [0; 32]
    }),
    (
        "a signing key beside the quote",
        "model-0: signing-key",
        "key-not-in-quote",
        |p| {
            model(p).shown_key = Some(ProviderKey::ethereum("relay"));
        },
    ),
    (
        "the gateway's key beside the quote",
        "gateway: signing-key",
        "key-not-in-quote",
        |p| {
            gateway(p).shown_key = Some(ProviderKey::ed25519("relay"));
        },
    ),
    (
        "the TLS key of a relay",
        "provider: tls-key",
        "tls-key-other",
        |p| {
            gateway(p).tls_spki = Some(Digest::of("another"));
        },
    ),
    (
        "no TLS key",
        "provider: tls-key",
        "tls-key-not-offered",
        |p| gateway(p).tls_spki = None,
    ),
    (
        "a signing key that could hide a TLS key",
        "provider: tls-key",
        "tls-key-unclear",
        |p| {
            gateway(p).key = ProviderKey::ed25519("gateway");
            gateway(p).tls_spki = None;
        },
    ),
    ("another model", "provider: model", "model-other", |p| {
        model(p).model = Some("cheaper".to_owned())
    }),
    ("no model", "provider: model", "model-not-named", |p| {
        model(p).model = None
    }),
    // devices
    (
        "no evidence of GPUs",
        "model-0: gpu",
        "gpu-not-supplied",
        |p| model(p).gpus.clear(),
    ),
    ("one GPU fewer", "model-0: gpu", "gpu-device-count", |p| {
        drop(model(p).gpus.pop())
    }),
    ("one GPU twice", "model-0: gpu", "gpu-device-twice", |p| {
        model(p).gpus[1] = model(p).gpus[0].clone()
    }),
    (
        "one GPU from another report",
        "model-0: gpu",
        "gpu-nonce-mismatch",
        |p| {
            model(p).gpus[1].report.nonce = Nonce::from_random([1; 32]);
        },
    ),
    (
        "GPUs for an old nonce",
        "model-0: gpu",
        "gpu-nonce-mismatch",
        |p| {
            for gpu in &mut model(p).gpus {
                gpu.report.nonce = Nonce::from_random([2; 32]);
            }
        },
    ),
    (
        "a GPU without protection",
        "model-0: gpu",
        "gpu-mode-not-allowed",
        |p| {
            model(p).gpus[0].report.feature = Some(0);
            model(p).gpus[0].report.protected_pcie = None;
        },
    ),
    (
        "a GPU with another BIOS",
        "model-0: gpu",
        "gpu-bios-not-allowed",
        |p| {
            model(p).gpus[0].report.bios = vec![0, 0xcf, 0, 0x96, 3, 0, 0, 0];
        },
    ),
    (
        "a machine more, of which one is wrong",
        "model-1: nonce",
        "nonce-mismatch",
        |p| {
            let mut other = model(p).clone();
            other.nonce = [1; 32];
            p.models.push(other);
        },
    ),
];

/// Changes the log in the report, not what was measured.
fn shown(plan: &mut ProviderPlan, change: impl Fn(&mut Vec<PlannedEvent>)) {
    let mut events = model(plan).events.clone();
    change(&mut events);
    model(plan).shown_events = Some(events);
}

#[test]
fn every_defect_is_refused_by_its_own_check_and_code() {
    let policy = near_policy();
    for (what, check, code, defect) in DEFECTS {
        let mut plan = plan();
        defect(&mut plan);
        assert_refused(what, appraise(&plan, &policy), check, code);
    }
}
