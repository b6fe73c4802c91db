//! Bundles: everything that an auditor needs about one session, in one deterministic file. This
//! module knows which files there are and where; what they prove is [`crate::ladder`]'s business.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Refusal};

pub mod archive;

pub use archive::Files;

/// Name of the list of digests.
pub const MANIFEST: &str = "MANIFEST.sha256";
/// Name of the page with commands for a stranger.
pub const VERIFY_MD: &str = "VERIFY.md";
/// Name of the page for a person.
pub const REPORT_HTML: &str = "report.html";
/// Name of the reference values of the room.
pub const ROOM_REFERENCE: &str = "trust/room-reference.json";

/// Below which name the policies for providers lie.
pub const PROVIDER_POLICIES: &str = "trust/policies/providers/";

/// Name of the entry of the policy history, without its endings.
pub const POLICY_VERSION: &str = "policy-version";

/// A record with its receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRecord {
    /// The DSSE envelope's file.
    pub envelope: Vec<u8>,
    /// The C2SP tlog-proof file.
    pub proof: Vec<u8>,
}

/// What the bundle offers for checking its signatures. An auditor pins the CA and the log key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustMaterial {
    /// The deployment's CA certificate, PEM.
    pub ca: Vec<u8>,
    /// The gateway's certificate, PEM.
    pub gateway: Vec<u8>,
    /// The session's certificate, PEM.
    pub session: Vec<u8>,
    /// The log's verifier key (C2SP signed-note), one line.
    pub log_key: Vec<u8>,
    /// The policies that were in force.
    pub policies: PolicyFiles,
    /// The entry of the deployment's policy history that was in force, if it keeps one.
    pub policy_version: Option<LoggedRecord>,
    /// The reference values that the room's evidence was judged by.
    pub room_reference: RoomReference,
}

/// The reference values of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomReference {
    /// The room showed no evidence, so there is nothing to judge.
    NotUsed,
    /// File `trust/room-reference.json`: the manifest that the room appraisal policy pins.
    Manifest(Vec<u8>),
}

/// The policy files, byte for byte as they were in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFiles {
    /// `access.cedar`.
    pub access: Vec<u8>,
    /// `classification.toml`.
    pub classification: Vec<u8>,
    /// `routing.toml`.
    pub routing: Vec<u8>,
    /// `room.toml`.
    pub room: Vec<u8>,
    /// `appraisal.toml`.
    pub appraisal: Vec<u8>,
    /// `egress.toml`.
    pub egress: Vec<u8>,
    /// `room-appraisal.toml`.
    pub room_appraisal: Vec<u8>,
    /// The policies for providers in their own formats, and the policies that these rest on, by file name.
    pub providers: ProviderFiles,
}

/// Policies for providers, and the policies that these rest on, by file name.
pub type ProviderFiles = BTreeMap<String, Vec<u8>>;

/// The session key's signature over the last durable event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadSignature {
    /// The session record is signed by the session key and covers the head itself.
    InSessionRecord,
    /// File `events.head.sig`: base64 of the DER signature and a newline. For interrupted sessions.
    Separate(Vec<u8>),
}

/// Everything in a bundle except what is derived from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleParts {
    /// The binding statement's bytes.
    pub binding: Vec<u8>,
    /// `events.jsonl`.
    pub events: Vec<u8>,
    /// Who vouches for the last event.
    pub head_signature: HeadSignature,
    /// Model-run records by sequence number.
    pub model_runs: Vec<LoggedRecord>,
    /// The session record.
    pub session: LoggedRecord,
    /// The destruction record; absent when the room's end was not observed, which the ladder says.
    pub destruction: Option<LoggedRecord>,
    /// The checkpoint that all receipts lead to.
    pub checkpoint: Vec<u8>,
    /// Evidence documents of attested upstreams and of the room, each once, in any order.
    pub evidence: Vec<Vec<u8>>,
    /// Keys, certificates and policies.
    pub trust: TrustMaterial,
}

/// A bundle taken apart. Nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What records, log and trust material it holds.
    pub parts: BundleParts,
    /// `MANIFEST.sha256`.
    pub manifest: Vec<u8>,
    /// The manifest that follows from the other files.
    pub expected_manifest: Vec<u8>,
    /// `VERIFY.md`.
    pub verify_md: Vec<u8>,
    /// `report.html`.
    pub report_html: Vec<u8>,
}

impl Bundle {
    /// Reads a bundle: one encoding, known files only, none missing.
    ///
    /// # Errors
    /// A refusal whose code begins with `archive-` or `bundle-`.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut files = archive::read(bytes)?;
        let expected_manifest = manifest(&files);
        let bundle = Self {
            manifest: take(&mut files, MANIFEST)?,
            expected_manifest,
            verify_md: take(&mut files, VERIFY_MD)?,
            report_html: take(&mut files, REPORT_HTML)?,
            parts: BundleParts::take_from(&mut files)?,
        };
        match files.into_keys().next() {
            Some(name) => Err(unknown(&name)),
            None => Ok(bundle),
        }
    }
}

impl BundleParts {
    /// The files of these parts, without manifest, `VERIFY.md` and report.
    #[must_use]
    pub fn to_files(&self) -> Files {
        let mut files = Files::new();
        let mut put = |name: &str, bytes: &[u8]| {
            files.insert(name.to_owned(), bytes.to_vec());
        };
        put("binding.json", &self.binding);
        put("events.jsonl", &self.events);
        if let HeadSignature::Separate(signature) = &self.head_signature {
            put("events.head.sig", signature);
        }
        put("log/checkpoint", &self.checkpoint);
        let mut put_record = |name: &str, record: &LoggedRecord| {
            put(&envelope_name(name), &record.envelope);
            put(&proof_name(name), &record.proof);
        };
        for (number, record) in self.model_runs.iter().enumerate() {
            put_record(&model_run_name(number), record);
        }
        put_record("session", &self.session);
        if let Some(record) = &self.destruction {
            put_record("destruction", record);
        }
        if let Some(record) = &self.trust.policy_version {
            put_record(POLICY_VERSION, record);
        }
        for document in &self.evidence {
            put(&evidence_name(Digest::of(document)), document);
        }
        for (name, bytes) in self.trust.files() {
            put(name, bytes);
        }
        for (name, bytes) in &self.trust.policies.providers {
            put(&format!("{PROVIDER_POLICIES}{name}"), bytes);
        }
        if let RoomReference::Manifest(bytes) = &self.trust.room_reference {
            put(ROOM_REFERENCE, bytes);
        }
        files
    }

    fn take_from(files: &mut Files) -> Result<Self, Refusal> {
        let mut model_runs = Vec::new();
        while files.contains_key(&envelope_name(&model_run_name(model_runs.len()))) {
            model_runs.push(take_record(files, &model_run_name(model_runs.len()))?);
        }
        let head_signature = (files.remove("events.head.sig"))
            .map_or(HeadSignature::InSessionRecord, HeadSignature::Separate);
        Ok(Self {
            binding: take(files, "binding.json")?,
            events: take(files, "events.jsonl")?,
            head_signature,
            model_runs,
            session: take_record(files, "session")?,
            destruction: take_optional(files, "destruction")?,
            checkpoint: take(files, "log/checkpoint")?,
            evidence: take_evidence(files)?,
            trust: TrustMaterial::take_from(files)?,
        })
    }
}

/// A policy's file in a bundle.
pub(crate) struct PolicyFile<'a> {
    /// As a sentence calls it.
    pub(crate) title: &'static str,
    /// Its name in the bundle.
    pub(crate) path: &'static str,
    pub(crate) bytes: &'a [u8],
}

impl PolicyFiles {
    /// Every file, in the order of [`PolicyDigests::each`](crate::statement::PolicyDigests::each).
    pub(crate) fn each(&self) -> [PolicyFile<'_>; 7] {
        #[rustfmt::skip]
        let files = [
            ("access policy", "trust/policies/access.cedar", &self.access),
            ("classification policy", "trust/policies/classification.toml", &self.classification),
            ("routing policy", "trust/policies/routing.toml", &self.routing),
            ("room policy", "trust/policies/room.toml", &self.room),
            ("appraisal policy", "trust/policies/appraisal.toml", &self.appraisal),
            ("egress policy", "trust/policies/egress.toml", &self.egress),
            ("room appraisal policy", "trust/policies/room-appraisal.toml", &self.room_appraisal),
        ];
        files.map(|(title, path, bytes)| PolicyFile { title, path, bytes })
    }
}

impl TrustMaterial {
    fn files(&self) -> Vec<(&'static str, &[u8])> {
        let mut files: Vec<(_, &[u8])> = vec![
            ("trust/ca.pem", &self.ca),
            ("trust/gateway.pem", &self.gateway),
            ("trust/session.pem", &self.session),
            ("trust/log.vkey", &self.log_key),
        ];
        let policies = self.policies.each();
        files.extend(policies.map(|policy| (policy.path, policy.bytes)));
        files
    }

    fn take_from(files: &mut Files) -> Result<Self, Refusal> {
        let room_reference =
            (files.remove(ROOM_REFERENCE)).map_or(RoomReference::NotUsed, RoomReference::Manifest);
        let policy_version = take_optional(files, POLICY_VERSION)?;
        let providers = take_below(files, PROVIDER_POLICIES);
        let mut trust = |name: &str| take(files, &format!("trust/{name}"));
        Ok(Self {
            ca: trust("ca.pem")?,
            gateway: trust("gateway.pem")?,
            session: trust("session.pem")?,
            log_key: trust("log.vkey")?,
            policies: PolicyFiles {
                access: trust("policies/access.cedar")?,
                classification: trust("policies/classification.toml")?,
                routing: trust("policies/routing.toml")?,
                room: trust("policies/room.toml")?,
                appraisal: trust("policies/appraisal.toml")?,
                egress: trust("policies/egress.toml")?,
                room_appraisal: trust("policies/room-appraisal.toml")?,
                providers,
            },
            policy_version,
            room_reference,
        })
    }
}

/// `MANIFEST.sha256` of `files`: one line per other file, sorted, as `sha256sum` writes them.
#[must_use]
pub fn manifest(files: &Files) -> Vec<u8> {
    let others = files.iter().filter(|(name, _)| *name != MANIFEST);
    let line =
        |(name, bytes): (&String, &Vec<u8>)| format!("{}  {name}\n", Digest::of(bytes).to_hex());
    others.map(line).collect::<String>().into_bytes()
}

/// `0000-model-run`, … : a model-run record's file name without its endings.
#[must_use]
pub fn model_run_name(number: usize) -> String {
    format!("{number:04}-model-run")
}

/// Name in the bundle of a record's envelope.
#[must_use]
pub fn envelope_name(record: &str) -> String {
    format!("records/{record}.dsse.json")
}

/// Name in the bundle of a record's receipt.
#[must_use]
pub fn proof_name(record: &str) -> String {
    format!("records/{record}.tlog-proof")
}

/// Name in the bundle of an evidence document.
#[must_use]
pub fn evidence_name(digest: Digest) -> String {
    format!("evidence/{}.json", digest.to_hex())
}

fn take(files: &mut Files, name: &str) -> Result<Vec<u8>, Refusal> {
    let words = || format!("bundle has no file `{name}`");
    let held = files.remove(name);
    held.ok_or_else(|| Refusal::new("bundle-missing-file", words()))
}

fn unknown(name: &str) -> Refusal {
    let words = format!("bundle has the unknown file `{name}`");
    Refusal::new("bundle-unknown-file", words)
}

fn take_record(files: &mut Files, name: &str) -> Result<LoggedRecord, Refusal> {
    let envelope = take(files, &envelope_name(name))?;
    Ok(LoggedRecord {
        envelope,
        proof: take(files, &proof_name(name))?,
    })
}

fn take_optional(files: &mut Files, name: &str) -> Result<Option<LoggedRecord>, Refusal> {
    let held = files.contains_key(&envelope_name(name));
    held.then(|| take_record(files, name)).transpose()
}

/// Every file in `folder`, which ends in a slash, by its name below it.
fn take_below(files: &mut Files, folder: &str) -> Files {
    let mut below = Files::new();
    for (name, bytes) in std::mem::take(files) {
        match name.strip_prefix(folder) {
            Some(inner) => below.insert(inner.to_owned(), bytes),
            None => files.insert(name, bytes),
        };
    }
    below
}

fn take_evidence(files: &mut Files) -> Result<Vec<Vec<u8>>, Refusal> {
    let held = take_below(files, "evidence/").into_iter();
    let documents = held.map(|(name, document)| {
        let name = format!("evidence/{name}");
        match name == evidence_name(Digest::of(&document)) {
            true => Ok(document),
            false => Err(unknown(&name)),
        }
    });
    documents.collect()
}
