//! The command layer against a real software TPM. Where `swtpm` is not installed the tests say so
//! and prove nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "tests"
)]

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use p256::{
    ecdsa::{Signature, VerifyingKey, signature::Verifier as _},
    pkcs8::DecodePublicKey as _,
};
use proofroom_attester::{
    MAX_BOOT_LOG_BYTES, QUOTED_PCRS, RUNTIME_PCR, Tpm2Attester,
    tpm2::{self, Bank, PcrSelection, Started, Tpm, Tpm2Error},
};
use proofroom_evidence::{EvidenceType, Moment, RoomEvidence};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tempfile::TempDir;

/// A software TPM that serves one connection and ends with it.
struct Running {
    child: Child,
    stream: UnixStream,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends by itself when its connection does; a test that failed may leave it waiting.
        let _ = self.stream.shutdown(Shutdown::Both);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn manufactured(banks: &str) -> Option<TempDir> {
    let state = tempfile::tempdir().unwrap();
    let made = Command::new("swtpm_setup")
        .args(["--tpm2", "--pcr-banks", banks, "--tpmstate"])
        .arg(state.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match made {
        Ok(status) => {
            assert!(status.success(), "swtpm_setup: {status}");
            Some(state)
        }
        Err(error) => {
            eprintln!("SKIPPED: `swtpm_setup` cannot be run here: {error}");
            None
        }
    }
}

fn start(state: &Path) -> Running {
    let socket = state.join("server.sock");
    let _ = std::fs::remove_file(&socket);
    let child = Command::new("swtpm")
        .args([
            "socket",
            "--tpm2",
            "--terminate",
            "--flags",
            "not-need-init",
        ])
        .arg("--tpmstate")
        .arg(format!("dir={}", state.display()))
        .arg("--server")
        .arg(format!("type=unixio,path={}", socket.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "swtpm does not listen: {error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    Running { child, stream }
}

#[test]
fn one_tpm_makes_one_attestation_key_and_another_tpm_another() {
    let Some(state) = manufactured("sha256,sha384") else {
        return;
    };
    let other = manufactured("sha256,sha384").unwrap();
    let key = |state: &Path| tpm2::attestation_key(&start(state).stream).unwrap();
    let first = key(state.path());
    assert_eq!(first, key(state.path()), "after a restart");

    let running = start(state.path());
    let mut tpm = Tpm::new(&running.stream);
    assert_eq!(tpm.startup().unwrap(), Started::Now);
    assert_eq!(tpm.startup().unwrap(), Started::Before);
    let loaded = tpm.create_attestation_key().unwrap();
    assert_eq!(loaded.public(), &first, "in the running TPM");
    let again = tpm.create_attestation_key().unwrap();
    assert_eq!(again.public(), &first, "twice at once");
    assert_ne!(key(other.path()), first);
}

#[test]
fn keys_that_are_flushed_leave_their_slots() {
    let Some(state) = manufactured("sha256,sha384") else {
        return;
    };
    let running = start(state.path());
    let mut tpm = Tpm::new(&running.stream);
    tpm.startup().unwrap();
    for _ in 0..8 {
        let key = tpm.create_attestation_key().unwrap();
        tpm.flush(key).unwrap();
    }
    let kept: Vec<_> = (0..8).map(|_| tpm.create_attestation_key()).collect();
    let refused = kept.into_iter().find_map(Result::err).unwrap();
    // TPM_RC_OBJECT_MEMORY: the loop above would have met it without the flush.
    assert!(matches!(refused, Tpm2Error::Refused { code: 0x902, .. }));
}

#[test]
fn a_quote_is_signed_by_the_key_over_the_registers_and_the_qualifying_data() {
    let Some(state) = manufactured("sha256,sha384") else {
        return;
    };
    let running = start(state.path());
    let mut tpm = Tpm::new(&running.stream);
    tpm.startup().unwrap();
    assert_eq!(tpm.active_banks().unwrap(), [Bank::Sha256, Bank::Sha384]);

    let event = b"an event";
    let digests = [Bank::Sha256, Bank::Sha384].map(|bank| (bank, bank.digest(event)));
    tpm.extend(15, &digests).unwrap();
    for bank in [Bank::Sha256, Bank::Sha384] {
        let mut extended = vec![0; bank.digest_bytes()];
        extended.extend(bank.digest(event));
        assert_eq!(
            tpm.read_register(bank, 15).unwrap(),
            bank.digest(&extended),
            "{bank}"
        );
    }

    let key = tpm.create_attestation_key().unwrap();
    let selected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15];
    let quoted = tpm
        .quote(&key, &PcrSelection::new(Bank::Sha384, &selected), &[7; 32])
        .unwrap();
    let mut registers = Vec::new();
    for pcr in selected {
        registers.extend(tpm.read_register(Bank::Sha384, pcr).unwrap());
    }
    // TPMS_ATTEST of a quote ends with the selection and the digest of the selected registers, which
    // is made with the hash of the signing scheme.
    let digest = Bank::Sha256.digest(&registers);
    assert!(quoted.attest.ends_with(&digest));

    let r_and_s = p1363(&quoted.signature);
    let verifying = VerifyingKey::from_public_key_der(key.public().spki_der()).unwrap();
    verifying
        .verify(&quoted.attest, &Signature::from_slice(&r_and_s).unwrap())
        .unwrap();
    let mut changed = quoted.attest.clone();
    changed[60] ^= 1;
    assert!(
        verifying
            .verify(&changed, &Signature::from_slice(&r_and_s).unwrap())
            .is_err()
    );
}

#[test]
fn room_evidence_holds_the_events_that_the_runtime_register_replays() {
    let Some(state) = manufactured("sha256,sha384") else {
        return;
    };
    let log = state.path().join("boot-log");
    std::fs::write(&log, b"a boot log").unwrap();
    let running = start(state.path());
    let mut attester = Tpm2Attester::start(&running.stream, log.clone()).unwrap();
    let key = attester.key().clone();
    let events = [("boot-config", r#"{"layers":[]}"#), ("assignment", "{}")];
    for (name, content) in events {
        attester.measure(name, content).unwrap();
    }
    let refused = attester.measure("Two\nlines", "").unwrap_err();
    assert_eq!(refused.code(), "room-evidence-member");
    let text = attester
        .attest(Moment::Start, r#"{"a":"statement"}"#)
        .unwrap();

    let evidence = RoomEvidence::parse(&text).unwrap();
    assert_eq!(evidence.kind, EvidenceType::Tpm2);
    assert_eq!(evidence.moment, Moment::Start);
    assert_eq!(evidence.key, key.tpmt_public());
    assert_eq!(evidence.boot_log, b"a boot log");
    let names: Vec<_> = evidence.runtime.iter().map(|event| &event.name).collect();
    assert_eq!(names, ["boot-config", "assignment"]);

    let mut replayed = vec![0; 48];
    for (name, content) in events {
        let event = format!("proofroom.runtime-event.v1\n{name}\n{content}");
        replayed.extend(Sha384::digest(event));
        replayed = Sha384::digest(&replayed).to_vec();
    }
    drop(attester);
    let mut tpm = Tpm::new(&running.stream);
    assert_eq!(
        tpm.read_register(Bank::Sha384, RUNTIME_PCR).unwrap(),
        replayed
    );

    // The quote: signed, over the statement, over the registers.
    let verifying = VerifyingKey::from_public_key_der(key.spki_der()).unwrap();
    let signature = Signature::from_slice(&p1363(&evidence.signature)).unwrap();
    verifying.verify(&evidence.quote, &signature).unwrap();
    let bound = Sha256::digest(Sha512::digest(br#"{"a":"statement"}"#));
    assert!(evidence.quote.windows(32).any(|bytes| bytes == &bound[..]));
    let mut registers = Vec::new();
    for pcr in QUOTED_PCRS {
        registers.extend(tpm.read_register(Bank::Sha384, pcr).unwrap());
    }
    assert!(evidence.quote.ends_with(&Sha256::digest(&registers)));
}

#[test]
fn a_room_without_a_sha384_bank_or_a_boot_log_does_not_attest() {
    let Some(state) = manufactured("sha256") else {
        return;
    };
    let running = start(state.path());
    let refused = Tpm2Attester::start(&running.stream, "/".into()).unwrap_err();
    assert_eq!(refused.code(), "tpm-register-missing");

    let state = manufactured("sha256,sha384").unwrap();
    let running = start(state.path());
    let log = state.path().join("boot-log");
    let mut attester = Tpm2Attester::start(&running.stream, log.clone()).unwrap();
    let refused = attester.attest(Moment::End, "{}").unwrap_err();
    assert_eq!(refused.code(), "attester-file");
    std::fs::write(&log, vec![0; MAX_BOOT_LOG_BYTES + 1]).unwrap();
    let refused = attester.attest(Moment::End, "{}").unwrap_err();
    assert_eq!(refused.code(), "attester-file-too-large");
}

/// The two numbers of a `TPMT_SIGNATURE`, each in 32 bytes.
fn p1363(signature: &[u8]) -> Vec<u8> {
    let mut rest = &signature[4..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let (size, after) = rest.split_first_chunk::<2>().unwrap();
        let (number, after) = after.split_at(usize::from(u16::from_be_bytes(*size)));
        out.extend(vec![0; 32 - number.len()]);
        out.extend_from_slice(number);
        rest = after;
    }
    out
}

#[test]
fn random_bytes_differ() {
    let Some(state) = manufactured("sha256,sha384") else {
        return;
    };
    let running = start(state.path());
    let mut tpm = Tpm::new(&running.stream);
    tpm.startup().unwrap();
    let (mut first, mut second) = ([0; 100], [0; 100]);
    tpm.random(&mut first).unwrap();
    tpm.random(&mut second).unwrap();
    assert_ne!(first, second);
    assert!(first.chunks(20).all(|piece| piece != [0; 20]));
}

#[test]
fn an_inactive_bank_has_no_register_and_one_that_we_cannot_extend_is_refused() {
    let Some(state) = manufactured("sha256") else {
        return;
    };
    let running = start(state.path());
    let mut tpm = Tpm::new(&running.stream);
    tpm.startup().unwrap();
    assert_eq!(tpm.active_banks().unwrap(), [Bank::Sha256]);
    let refused = tpm.read_register(Bank::Sha384, 15).unwrap_err();
    assert_eq!(refused.code(), "tpm-register-missing");

    let weak = manufactured("sha1,sha384").unwrap();
    let running = start(weak.path());
    let mut tpm = Tpm::new(&running.stream);
    tpm.startup().unwrap();
    let refused = tpm.active_banks().unwrap_err();
    assert_eq!(refused.code(), "tpm-bank-unsupported");
}

#[test]
fn a_tpm_that_was_never_set_up_has_the_allocated_banks_alone_from_its_next_start_on() {
    if manufactured("sha256").is_none() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let running = start(state.path());
    let mut tpm = Tpm::new(&running.stream);
    tpm.startup().unwrap();
    let before = tpm.active_banks();
    tpm.allocate_banks(&[Bank::Sha384]).unwrap();
    tpm.shutdown().unwrap();
    drop(running);

    let running = start(state.path());
    let mut tpm = Tpm::new(&running.stream);
    tpm.startup().unwrap();
    let after = tpm.active_banks().unwrap();
    assert_eq!(after, [Bank::Sha384], "it had {before:?} before");
}

#[test]
fn a_tpm_that_was_not_started_refuses_and_says_why() {
    let Some(state) = manufactured("sha256,sha384") else {
        return;
    };
    let running = start(state.path());
    let refused = Tpm::new(&running.stream).create_attestation_key();
    // TPM_RC_INITIALIZE.
    assert!(matches!(
        refused,
        Err(Tpm2Error::Refused { code: 0x100, .. })
    ));
}

#[test]
fn a_tpm_that_ends_is_closed_and_not_an_empty_answer() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let served = thread::spawn(move || {
        let mut command = [0; 12];
        theirs.read_exact(&mut command).unwrap();
        theirs.write_all(&[0x80, 0x01, 0, 0]).unwrap();
        command
    });
    let refused = Tpm::new(&ours).startup().unwrap_err();
    assert_eq!(refused.code(), "tpm-closed");
    assert_eq!(
        served.join().unwrap(),
        [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0]
    );
}

#[test]
fn our_digests_are_those_of_the_banks() {
    assert_eq!(Bank::Sha384.digest(b"abc"), Sha384::digest(b"abc")[..]);
    for bank in [Bank::Sha256, Bank::Sha384] {
        assert_eq!(bank.digest(b"abc").len(), bank.digest_bytes());
    }
}
