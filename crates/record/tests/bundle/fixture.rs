//! Makes complete bundles from fixed seeds, without a room: honest ones, and ones whose signers lie.
//! Every hook runs before signing, so that what it changes is properly signed and logged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    dead_code,
    reason = "test data, shared by tests and benches: a failure to make it is a failure of the test"
)]

use p256::{
    ecdsa::SigningKey,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
};
use proofroom_canonical::{
    Digest, EvidenceLevel, IsolationLevel, Nonce, RunId, SessionId, Timestamp,
};
use proofroom_evidence::Moment;
use proofroom_record::{
    bundle::{
        BundleParts, Files, HeadSignature, LoggedRecord, MANIFEST, PolicyFiles, RoomReference,
        TrustMaterial, archive, manifest,
    },
    chain::EventChain,
    dsse::spki_digest,
    event::{Action, Attempt, EventBody, LineRange, Observation, Outcome, RunStatus, SessionEnd},
    head::EventHead,
    policy_version::{NO_SESSION, PolicyVersion, VersionedPolicies},
    predicate::{Predicate, seal},
    statement::{
        AgentSession, Assurance, BINDING_PURPOSE, Binding, ClassificationResult, Closing,
        Destruction, EventSummary, Failure, FindingCount, LogMode, ModelRequest, ModelResponse,
        ModelRun, ModelRunReference, ModelSource, ObservedFact, PolicyDigests, RejectedUpstream,
        RoomEvidenceClaims, RoutingResult, SessionResult, Signer, TokenCount, UpstreamFacts,
    },
};
use proofroom_testkit::tee::SimulatedTee;
use proofroom_tlog::{
    Checkpoint, KeyName, LeafHash, LeafIndex, LogProof, MemoryTree, NoteSigner, RecordLeaf,
    prove_inclusion, tree_root,
};
use proofroom_verifier::NO_ROOM_EVIDENCE;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};

#[path = "room.rs"]
pub(crate) mod room;

pub(crate) const APPRAISAL: &str =
    include_str!("../../../verifier/policies/simulated-upstream.toml");

/// When the session began: 2026-11-23T10:00:00Z.
pub(crate) const STARTED: i64 = 1_795_428_000;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(STARTED + seconds)
}

pub(crate) fn session_id() -> SessionId {
    SessionId::from_random([7; 16])
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 32]).unwrap()
}

pub(crate) fn session_key() -> SigningKey {
    key(1)
}

pub(crate) fn gateway_key() -> SigningKey {
    key(2)
}

/// What a session ran in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoomKind {
    /// A process room: shows nothing.
    Process,
    /// A virtual machine with a software TPM.
    Vm,
    /// A trust domain of the simulated TEE.
    SimulatedTd,
}

type Hook<T> = Box<dyn Fn(&mut T)>;

/// What to build, and what to change before it is signed.
pub(crate) struct Fixture {
    pub(crate) signer: Signer,
    pub(crate) attested: bool,
    /// What the session ran in.
    pub(crate) room: RoomKind,
    pub(crate) fillers: u64,
    pub(crate) session_path: String,
    pub(crate) gateway_path: &'static str,
    pub(crate) valid_until: (i32, u8, u8),
    pub(crate) ca_key: u8,
    pub(crate) binding: Hook<Binding>,
    pub(crate) runs: Hook<Vec<ModelRun>>,
    pub(crate) events: Hook<Vec<EventBody>>,
    pub(crate) session: Hook<AgentSession>,
    pub(crate) destruction: Hook<Destruction>,
    /// The entry of the policy history that was in force, if the deployment keeps one.
    pub(crate) version: Option<Hook<PolicyVersion>>,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            signer: Signer::Session,
            attested: true,
            room: RoomKind::Process,
            fillers: 0,
            session_path: format!("session/{}/agent/builtin", session_id()),
            gateway_path: "gateway",
            valid_until: (2026, 12, 1),
            ca_key: 3,
            binding: Box::new(|_| {}),
            runs: Box::new(|_| {}),
            events: Box::new(|_| {}),
            session: Box::new(|_| {}),
            destruction: Box::new(|_| {}),
            version: None,
        }
    }
}

impl Fixture {
    pub(crate) fn parts(&self) -> BundleParts {
        let mut policies = policy_files();
        if let Some(policy) = room::policy(self.room) {
            policies.room_appraisal = policy.into_bytes();
        }
        let mut binding = binding(&policies);
        let version = self.version.as_ref().map(|change| {
            let mut version = policy_version(&binding);
            change(&mut version);
            seal(&version, &gateway_key()).unwrap()
        });
        binding.policies.version = version.as_ref().map(|sealed| sealed.digest);
        (self.binding)(&mut binding);
        let binding_bytes = serde_json::to_vec(&binding).unwrap();
        let digest = Digest::of(&binding_bytes);
        let evidence = evidence();
        let mut runs = model_runs(digest, &binding, &evidence, self.attested);
        (self.runs)(&mut runs);
        let sealed: Vec<_> = runs
            .iter()
            .map(|run| seal(run, &gateway_key()).unwrap())
            .collect();
        let digests: Vec<Digest> = sealed.iter().map(|record| record.digest).collect();

        let mut bodies = event_bodies(&binding, &runs, &digests, self.fillers);
        if self.signer == Signer::Gateway {
            bodies.truncate(bodies.len() - 3);
        }
        (self.events)(&mut bodies);
        let (events, summary) = chain(digest, bodies);

        let mut session = session_record(&binding, digest, &runs, &digests, summary.clone());
        if self.signer == Signer::Gateway {
            session.signer = Signer::Gateway;
            session.end = SessionEnd::Interrupted;
            session.result = None;
        }
        let mut documents = Vec::new();
        if self.room != RoomKind::Process {
            session.isolation = room::level(self.room);
            let (_, ca) = self.ca();
            let start = room::evidence(self.room, &binding, Moment::Start, &binding_bytes);
            documents.push(room::document(&binding, &start, &ca));
            session.room_evidence.start = room::claim(&binding, &start);
            if self.signer == Signer::Session {
                let closing = Closing::of(session.session, digest, &summary);
                let closing = serde_json::to_vec(&closing).unwrap();
                let end = room::evidence(self.room, &binding, Moment::End, &closing);
                documents.push(room::document(&binding, &end, &ca));
                session.room_evidence.end = room::claim(&binding, &end);
            }
        }
        if self.attested {
            documents.push(evidence);
        }
        documents.sort_by_key(|document| Digest::of(document));
        (self.session)(&mut session);
        let isolation = session.isolation;
        let signer = match self.signer {
            Signer::Session => session_key(),
            Signer::Gateway => gateway_key(),
        };
        let sealed_session = seal(&session, &signer).unwrap();
        let mut destruction = destruction_record(sealed_session.digest);
        destruction.isolation = isolation;
        (self.destruction)(&mut destruction);
        let sealed_destruction = seal(&destruction, &gateway_key()).unwrap();

        let leaf = |kind, digest| {
            RecordLeaf {
                kind,
                session: session_id(),
                digest,
            }
            .to_bytes()
        };
        let mut leaves = vec![b"an earlier session".to_vec(), b"and another".to_vec()];
        leaves.extend(digests.iter().map(|digest| leaf(ModelRun::LEAF, *digest)));
        leaves.push(leaf(AgentSession::LEAF, sealed_session.digest));
        leaves.push(leaf(Destruction::LEAF, sealed_destruction.digest));
        leaves.extend(version.as_ref().map(|sealed| {
            let leaf = RecordLeaf {
                kind: PolicyVersion::LEAF,
                session: NO_SESSION,
                digest: sealed.digest,
            };
            leaf.to_bytes()
        }));
        let (checkpoint, mut proofs) = log(&leaves);
        let mut logged = |envelope: &[u8]| LoggedRecord {
            envelope: envelope.to_vec(),
            proof: proofs.remove(0),
        };
        let model_runs = sealed.iter().map(|record| logged(&record.bytes)).collect();
        let session = logged(&sealed_session.bytes);
        let destruction = Some(logged(&sealed_destruction.bytes));
        let mut trust = self.trust(policies);
        trust.policy_version = version.map(|sealed| logged(&sealed.bytes));
        let head = EventHead {
            seq: summary.count - 1,
            digest: summary.head,
        };
        BundleParts {
            binding: binding_bytes,
            events,
            head_signature: match self.signer {
                Signer::Session => HeadSignature::InSessionRecord,
                Signer::Gateway => {
                    HeadSignature::Separate((head.sign(&session_key()) + "\n").into_bytes())
                }
            },
            model_runs,
            session,
            destruction,
            checkpoint,
            evidence: documents,
            trust,
        }
    }

    /// The deployment's CA certificate, and what issues under it.
    pub(crate) fn ca(&self) -> (String, Issuer<'static, KeyPair>) {
        let mut ca = CertificateParams::default();
        ca.distinguished_name
            .push(rcgen::DnType::CommonName, "Proofroom deployment CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (ca.not_before, ca.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2036, 1, 1));
        let ca_pem = ca.self_signed(&pair(&key(self.ca_key))).unwrap().pem();
        (ca_pem, Issuer::new(ca, pair(&key(self.ca_key))))
    }

    fn trust(&self, policies: PolicyFiles) -> TrustMaterial {
        let (ca_pem, issuer) = self.ca();
        let issue = |path: &str, key: &SigningKey| {
            let mut leaf = CertificateParams::default();
            let id = format!("spiffe://proofroom.test/{path}");
            leaf.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
            leaf.is_ca = IsCa::ExplicitNoCa;
            leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            leaf.use_authority_key_identifier_extension = true;
            let (year, month, day) = self.valid_until;
            leaf.not_before = date_time_ymd(2026, 11, 1);
            leaf.not_after = date_time_ymd(year, month, day);
            leaf.signed_by(&pair(key), &issuer)
                .unwrap()
                .pem()
                .into_bytes()
        };
        TrustMaterial {
            ca: ca_pem.into_bytes(),
            gateway: issue(self.gateway_path, &gateway_key()),
            session: issue(&self.session_path, &session_key()),
            log_key: format!("{}\n", log_signer().verifier_key()).into_bytes(),
            policies,
            policy_version: None,
            room_reference: match self.room {
                RoomKind::Process => RoomReference::NotUsed,
                RoomKind::Vm | RoomKind::SimulatedTd => room::reference(),
            },
        }
    }
}

/// The bundle of `parts` with these pages, whatever they prove: what a liar would assemble.
pub(crate) fn assemble(parts: &BundleParts, pages: &Files) -> Vec<u8> {
    let mut files = parts.to_files();
    for page in ["VERIFY.md", "report.html"] {
        files.insert(page.to_owned(), pages[page].clone());
    }
    seal_files(files)
}

/// The bundle of `files` with a fresh manifest.
pub(crate) fn seal_files(mut files: Files) -> Vec<u8> {
    files.insert(MANIFEST.to_owned(), manifest(&files));
    archive::write(&files).unwrap()
}

fn pair(key: &SigningKey) -> KeyPair {
    KeyPair::try_from(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
}

pub(crate) fn log_signer() -> NoteSigner {
    NoteSigner::from_seed(KeyName::parse("proofroom.test/log").unwrap(), &[9; 32]).unwrap()
}

/// A signed checkpoint over `leaves`, and the receipts of all but the first two.
pub(crate) fn log(leaves: &[Vec<u8>]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut tree = MemoryTree::new();
    for leaf in leaves {
        tree.append(LeafHash::of(leaf));
    }
    let signer = log_signer();
    let root = tree_root(&tree, tree.size()).unwrap();
    let checkpoint = Checkpoint::new(signer.verifier_key().name(), tree.size(), root);
    let note = signer.sign(checkpoint.to_string()).unwrap();
    let receipts = (2..leaves.len() as u64).map(|index| {
        let index = LeafIndex::new(index);
        let path = prove_inclusion(&tree, index, tree.size()).unwrap();
        LogProof::new(index, path, note.clone())
            .unwrap()
            .to_string()
            .into_bytes()
    });
    (note.to_string().into_bytes(), receipts.collect())
}

fn policy_files() -> PolicyFiles {
    PolicyFiles {
        access: b"permit(principal, action, resource);\n".to_vec(),
        classification: b"levels = [\"public\"]\n".to_vec(),
        routing: b"# routing\n".to_vec(),
        room: b"# room\n".to_vec(),
        appraisal: APPRAISAL.as_bytes().to_vec(),
        egress: b"# egress\n".to_vec(),
        room_appraisal: NO_ROOM_EVIDENCE.as_bytes().to_vec(),
        providers: std::collections::BTreeMap::new(),
    }
}

fn binding(policies: &PolicyFiles) -> Binding {
    Binding {
        purpose: BINDING_PURPOSE.to_owned(),
        session: session_id(),
        nonce: Nonce::from_random([4; 32]),
        spiffe_id: format!(
            "spiffe://proofroom.test/session/{}/agent/builtin",
            session_id()
        ),
        commit: "c0".repeat(20),
        task: Digest::of("fix the parser"),
        policies: PolicyDigests {
            access: Digest::of(&policies.access),
            classification: Digest::of(&policies.classification),
            routing: Digest::of(&policies.routing),
            room: Digest::of(&policies.room),
            appraisal: Digest::of(&policies.appraisal),
            egress: Digest::of(&policies.egress),
            room_appraisal: Digest::of(&policies.room_appraisal),
            version: None,
            providers: std::collections::BTreeMap::new(),
        },
        session_key: spki_digest(session_key().verifying_key()),
    }
}

fn policy_version(binding: &Binding) -> PolicyVersion {
    let public = gateway_key();
    let public = public.verifying_key();
    let public = public.to_public_key_pem(LineEnding::LF).unwrap();
    PolicyVersion {
        number: 1,
        previous: Some(Digest::of("the version before")),
        policies: VersionedPolicies::of(&binding.policies),
        author: "security@acme.example".into(),
        reason: "a new customer".into(),
        signed: at(-60),
        in_force_from: at(-30),
        signer: public.clone(),
        successor: public,
        blinding: Nonce::from_random([8; 32]),
    }
}

fn upstream_spki() -> Digest {
    Digest::of("the upstream's TLS key")
}

pub(crate) fn evidence() -> Vec<u8> {
    let nonce = Nonce::from_random([5; 32]);
    SimulatedTee::demo().evidence_document(nonce, upstream_spki(), "any-model", at(10))
}

fn model_runs(digest: Digest, binding: &Binding, evidence: &[u8], attested: bool) -> Vec<ModelRun> {
    let contract = Assurance::ContractOnly {
        contract: "ZDR-2026-17".into(),
    };
    let proved = Assurance::Attested {
        evidence: Digest::of(evidence),
        appraisal_policy: "simulated-upstream".into(),
        policy: binding.policies.appraisal,
        tls_spki: upstream_spki(),
        appraised: at(10),
        expires: at(300),
        provider: None,
    };
    let second = if attested {
        ("tee", proved)
    } else {
        ("standard", contract.clone())
    };
    vec![
        served(
            0,
            digest,
            binding,
            ("standard", contract),
            ["public", "internal"],
        ),
        served(1, digest, binding, second, ["internal", "restricted"]),
        refused(2, digest, binding),
    ]
}

fn served(
    sequence: u64,
    digest: Digest,
    binding: &Binding,
    (tier, assurance): (&str, Assurance),
    [before, after]: [&str; 2],
) -> ModelRun {
    let name = format!("{tier}-upstream");
    let seconds = 20 + 20 * i64::try_from(sequence).unwrap();
    ModelRun {
        log: LogMode::Strict,
        run: run_id(sequence),
        session: binding.session,
        sequence,
        session_binding: digest,
        caller: binding.spiffe_id.clone(),
        client: None,
        request: ModelRequest {
            endpoint: "/v1/chat/completions".into(),
            model: "any-model".into(),
            stream: true,
            received: Digest::of(format!("request {sequence}")),
            received_bytes: 400,
            forwarded: Some(Digest::of("forwarded")),
        },
        classification: ClassificationResult {
            label: after.into(),
            high_water_before: before.into(),
            high_water_after: after.into(),
            findings: vec![FindingCount {
                rule: "aws-key".into(),
                reason: "secret".into(),
                label: after.into(),
                count: 1,
                commitments: vec![Digest::of("a commitment")],
            }],
            policy: binding.policies.classification,
            commitment_key: Some(Digest::of("a key")),
            redaction: None,
        },
        routing: RoutingResult {
            rule: "by-label".into(),
            policy: binding.policies.routing,
            tier: Some(tier.into()),
            upstream: Some(name.clone()),
            rejected: vec![RejectedUpstream {
                upstream: "other".into(),
                code: "model-not-served".into(),
            }],
            inputs: None,
        },
        shadow: None,
        upstream: Some(UpstreamFacts {
            name,
            model: Some("any-model".into()),
            source: ModelSource::Cassette,
            assurance,
            retention: "in-memory".into(),
            region: "eu".into(),
            sent: at(seconds + 1),
        }),
        earlier: Vec::new(),
        response: Some(ModelResponse {
            answered_by: None,
            http_status: 200,
            digest: Digest::of(format!("answer {sequence}")),
            bytes: 900,
            tokens: Some(TokenCount {
                input: 100,
                output: 50,
            }),
            receipt: None,
        }),
        translated: None,
        status: RunStatus::Complete,
        failure: None,
        started: at(seconds),
        finished: at(seconds + 5),
        blinding: Nonce::from_random([6; 32]),
    }
}

fn refused(sequence: u64, digest: Digest, binding: &Binding) -> ModelRun {
    let contract = Assurance::ContractOnly {
        contract: String::new(),
    };
    let mut run = served(
        sequence,
        digest,
        binding,
        ("none", contract),
        ["restricted", "restricted"],
    );
    run.request.forwarded = None;
    run.routing.tier = None;
    run.routing.upstream = None;
    run.upstream = None;
    run.response = None;
    run.status = RunStatus::Refused;
    run.failure = Some(Failure {
        code: "no-upstream".into(),
        reason: "no upstream may see <restricted>".into(),
    });
    run
}

pub(crate) fn run_id(sequence: u64) -> RunId {
    RunId::from_random([u8::try_from(sequence).unwrap() + 1; 16])
}

fn event_bodies(
    binding: &Binding,
    runs: &[ModelRun],
    records: &[Digest],
    fillers: u64,
) -> Vec<EventBody> {
    let mut bodies = vec![
        EventBody::SessionOpened {
            agent: "builtin".into(),
            commit: binding.commit.clone(),
            task: binding.task,
            session_key: binding.session_key,
        },
        intent(Action::ReadFile {
            path: "../secret\u{1b}[2J<b>".into(),
            lines: None,
        }),
        outcome(
            1,
            Outcome::Denied {
                code: "outside-workspace".into(),
                reason: "`..` leaves the workspace".into(),
            },
        ),
        EventBody::Observed {
            observation: Observation::Blocked {
                attempt: Attempt::Network {
                    target: "udp 8.8.8.8:53".into(),
                },
                times: 2,
            },
        },
    ];
    for _ in 0..fillers {
        let of = bodies.len() as u64;
        bodies.push(intent(Action::ReadFile {
            path: "src/main.rs".into(),
            lines: None,
        }));
        let lines = LineRange { first: 1, last: 80 };
        bodies.push(outcome(
            of,
            Outcome::Read {
                digest: Digest::of("file"),
                lines,
                bytes: 2000,
            },
        ));
    }
    for (run, record) in runs.iter().zip(records) {
        let of = bodies.len() as u64;
        bodies.push(intent(Action::ModelRun {
            endpoint: run.request.endpoint.clone(),
            request: run.request.received,
        }));
        bodies.push(outcome(
            of,
            Outcome::ModelRun {
                run: run.run,
                record: *record,
                tier: run.routing.tier.clone(),
                label: run.classification.high_water_after.clone(),
                run_status: run.status,
            },
        ));
    }
    let of = bodies.len() as u64;
    bodies.push(intent(Action::Deliver {
        commit: "d1".repeat(20),
    }));
    bodies.push(outcome(
        of,
        Outcome::Delivered {
            reference: "refs/heads/proofroom/fix".into(),
            commit: "d1".repeat(20),
        },
    ));
    bodies.push(EventBody::SessionClosed {
        end: SessionEnd::Completed,
    });
    bodies
}

pub(crate) fn intent(action: Action) -> EventBody {
    EventBody::Intent { action }
}

pub(crate) fn outcome(of: u64, result: Outcome) -> EventBody {
    EventBody::Outcome { of, result }
}

pub(crate) fn chain(binding: Digest, bodies: Vec<EventBody>) -> (Vec<u8>, EventSummary) {
    let mut chain = EventChain::new(session_id(), binding);
    let mut file = Vec::new();
    for (body, seconds) in bodies.into_iter().zip(1..) {
        let line = chain
            .append(at(seconds.min(100)), EvidenceLevel::E3, body)
            .unwrap();
        file.extend_from_slice(&line.bytes);
        file.push(b'\n');
    }
    (file, chain.summary())
}

fn session_record(
    binding: &Binding,
    digest: Digest,
    runs: &[ModelRun],
    records: &[Digest],
    events: EventSummary,
) -> AgentSession {
    AgentSession {
        session: binding.session,
        spiffe_id: binding.spiffe_id.clone(),
        agent: "builtin".into(),
        isolation: IsolationLevel::Process,
        mechanisms: vec!["user-namespace".into(), "seccomp".into()],
        not_proven: vec!["that the host ran this program and no other".into()],
        binding: digest,
        room_evidence: RoomEvidenceClaims {
            start: room::none(),
            end: room::none(),
        },
        events,
        model_runs: (runs.iter().zip(records))
            .map(|(run, record)| ModelRunReference {
                run: run.run,
                record: *record,
                status: run.status,
            })
            .collect(),
        high_water: "restricted".into(),
        result: Some(SessionResult {
            reference: "refs/heads/proofroom/fix".into(),
            commit: "d1".repeat(20),
            tree: "e2".repeat(20),
        }),
        end: SessionEnd::Completed,
        started: at(0),
        ended: at(120),
        signer: Signer::Session,
        blinding: Nonce::from_random([8; 32]),
    }
}

fn destruction_record(session_record: Digest) -> Destruction {
    Destruction {
        session: session_id(),
        isolation: IsolationLevel::Process,
        session_record,
        observed: vec![
            ObservedFact {
                fact: "pid-namespace-ended".into(),
                at: at(120),
                detail: "process 4711".into(),
            },
            ObservedFact {
                fact: "host-ids-unused".into(),
                at: at(121),
                detail: String::new(),
            },
        ],
        not_proven: vec!["that no copy of the memory was made before".into()],
        at: at(121),
        blinding: Nonce::from_random([9; 32]),
    }
}
