//! The end of a session, whatever ended it: the channel falls silent, the room is destroyed, and
//! what remains is a session record, a destruction record, receipts and a bundle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use proofroom_canonical::{Digest, IsolationLevel, Nonce, SessionId, Timestamp, json};
use proofroom_record::{
    bundle::{BundleParts, HeadSignature, LoggedRecord, RoomReference, TrustMaterial},
    chain::{ChainEnd, VerifiedChain, verify_chain},
    event::{EventBody, Outcome, SessionEnd},
    ladder::write_bundle,
    predicate::{read_unverified, seal},
    room_api::SignedEvent,
    statement::{
        AgentSession, Assurance, Binding, Destruction, ModelRun, ModelRunReference, ObservedFact,
        RoomEvidenceClaim, RoomEvidenceClaims, Signer,
    },
};
use proofroom_room::Observed;
use proofroom_tlog::{LeafIndex, LeafKind};

use super::{DONE, evidence_path, leftovers};
use crate::{
    files, journal,
    keys::{DeploymentKeys, random},
    log::LogAccess,
    policies,
    service::{Closed, room},
    shelf::{Receipted, Shelf},
};

/// A session whose room is gone, and what is needed to close it.
pub(super) struct Ended<'a> {
    pub(super) session: SessionId,
    pub(super) dir: &'a Path,
    pub(super) keys: &'a DeploymentKeys,
    pub(super) shelf: &'a Shelf,
    pub(super) isolation: IsolationLevel,
    pub(super) mechanisms: Vec<String>,
    pub(super) now: Timestamp,
}

impl Ended<'_> {
    /// Writes the session record in place of a room that could not: from what was durable, signed
    /// by the gateway, and saying so.
    pub(super) async fn close_for_the_room(&self) -> anyhow::Result<Closed> {
        let binding_bytes = fs::read(self.dir.join("binding.json"))
            .context("the session has no binding statement")?;
        let binding: Binding = json::parse(&binding_bytes, 1 << 20)?;
        let chain = self.chain(&binding_bytes)?;
        let events = chain.summary();
        let last = chain.events().last().context("the session has no events")?;
        let first = chain
            .events()
            .first()
            .context("the session has no events")?;
        let runs = self.model_runs()?;
        let ended = runs
            .iter()
            .map(|(run, _)| run.finished)
            .fold(last.time, Ord::max);
        let record = AgentSession {
            session: self.session,
            spiffe_id: binding.spiffe_id.clone(),
            agent: agent_of(&binding.spiffe_id),
            isolation: self.isolation,
            mechanisms: self.mechanisms.clone(),
            not_proven: vec![
                self.isolation.not_proven().to_owned(),
                "the room was lost before it closed its session: events after the last durable one are unknown".to_owned(),
            ],
            binding: Digest::of(&binding_bytes),
            room_evidence: self.room_evidence()?,
            model_runs: runs
                .iter()
                .map(|(run, record)| ModelRunReference {
                    run: run.run,
                    record: *record,
                    status: run.status,
                })
                .collect(),
            high_water: runs
                .last()
                .map_or_else(|| "unknown".to_owned(), |(run, _)| run.classification.high_water_after.clone()),
            result: delivered(&chain)
                .then(|| super::saved_result(self.dir))
                .transpose()?,
            end: SessionEnd::Interrupted,
            started: first.time,
            ended,
            events,
            signer: Signer::Gateway,
            blinding: Nonce::from_random(random()?),
        };
        let sealed = seal(&record, self.keys.gateway())?;
        let digest = self
            .shelf
            .keep(LeafKind::AgentSession, "session", sealed.bytes)
            .await?;
        Ok(Closed { record, digest })
    }

    /// What a room that was lost had shown.
    fn room_evidence(&self) -> anyhow::Result<RoomEvidenceClaims> {
        Ok(RoomEvidenceClaims {
            start: room::saved_start(self.dir)?,
            end: RoomEvidenceClaim::None {
                reason: "the room was lost before it could show its end".to_owned(),
            },
        })
    }

    /// Writes what was observed of the room's end.
    pub(super) async fn record_destruction(
        &self,
        session_record: Digest,
        observed: &[Observed],
    ) -> anyhow::Result<()> {
        let facts = observed.iter().map(|seen| ObservedFact {
            fact: seen.fact.as_str().to_owned(),
            at: seen.at,
            detail: seen.detail.clone(),
        });
        let observed: Vec<ObservedFact> = facts.collect();
        // A clock that was set back meanwhile must not make the record contradict itself.
        let at = observed.iter().fold(self.now, |at, fact| at.max(fact.at));
        let record = Destruction {
            session: self.session,
            isolation: self.isolation,
            session_record,
            observed,
            not_proven: vec![
                "that the host kept no copy of the room's memory: at this isolation level its operator could have read it".to_owned(),
                "that released memory was overwritten before its next use: the kernel clears pages when it hands them out again".to_owned(),
            ],
            at,
            blinding: Nonce::from_random(random()?),
        };
        let sealed = seal(&record, self.keys.gateway())?;
        self.shelf
            .keep(LeafKind::Destruction, "destruction", sealed.bytes)
            .await?;
        Ok(())
    }

    /// Unlinks what only the running session needed, whoever made it.
    pub(super) fn unlink_unneeded(&self) -> anyhow::Result<Vec<Observed>> {
        leftovers::unlink(self.dir)
            .with_context(|| format!("cannot tidy up `{}`", self.dir.display()))
    }

    /// A session record that the room's process still wrote before it died.
    pub(super) fn closed_already(&self) -> anyhow::Result<Option<Closed>> {
        let Some(path) = self.shelf.file(LeafKind::AgentSession) else {
            return Ok(None);
        };
        let bytes = fs::read(path)?;
        Ok(Some(Closed {
            record: read_unverified(&bytes)?,
            digest: Digest::of(&bytes),
        }))
    }

    /// Writes the bundle to the state directory and, when asked, to a second place; returns where
    /// it is and its bytes.
    pub(super) async fn bundle(
        &self,
        log: &LogAccess,
        signer: Signer,
        own: &Path,
        out: Option<&Path>,
    ) -> anyhow::Result<(PathBuf, Vec<u8>)> {
        let version = policies::read_saved_version(&self.dir.join("policies"))
            .context("the policy version of the session is gone")?;
        let beside = version.as_ref().map(|(_, leaf)| *leaf);
        let receipted = self.shelf.receipts(beside).await?;
        let parts = self.bundle_parts(receipted, version, log, signer)?;
        let bytes = write_bundle(&parts)?;
        let path = write_out(own, out, &bytes)?;
        files::replace(&self.dir.join(DONE), b"")?;
        Ok((path, bytes))
    }

    fn bundle_parts(
        &self,
        receipted: Receipted,
        version: Option<(Vec<u8>, LeafIndex)>,
        log: &LogAccess,
        signer: Signer,
    ) -> anyhow::Result<BundleParts> {
        let events = journal::read(&self.dir.join("journal.jsonl"))?;
        let head_signature = match (signer, events.last()) {
            (Signer::Gateway, Some(last)) => {
                HeadSignature::Separate(format!("{}\n", last.sig).into_bytes())
            }
            (Signer::Session, _) | (Signer::Gateway, None) => HeadSignature::InSessionRecord,
        };
        let pem = |bytes: &[u8]| -> anyhow::Result<Vec<u8>> {
            Ok(proofroom_record::certificate::canonical_pem(bytes)?.into_bytes())
        };
        let session: AgentSession = read_unverified(&receipted.session.envelope)?;
        let evidence = self.cited_evidence(&receipted.model_runs, &session)?;
        let room_reference = match session.room_evidence.start {
            RoomEvidenceClaim::Attested { .. } => RoomReference::Manifest(
                fs::read(self.dir.join("policies").join(policies::ROOM_REFERENCE))
                    .context("the reference values of the room are gone")?,
            ),
            RoomEvidenceClaim::None { .. } => RoomReference::NotUsed,
        };
        Ok(BundleParts {
            binding: fs::read(self.dir.join("binding.json"))?,
            events: lines(&events),
            head_signature,
            model_runs: receipted.model_runs,
            session: receipted.session,
            destruction: receipted.destruction,
            checkpoint: receipted.checkpoint,
            evidence,
            trust: TrustMaterial {
                ca: pem(self.keys.ca_pem().as_bytes())?,
                gateway: pem(self.keys.gateway_pem().as_bytes())?,
                session: pem(&fs::read(self.dir.join("session.pem"))?)?,
                log_key: log.verifier_key().as_bytes().to_vec(),
                policies: policies::read_saved(&self.dir.join("policies"))?,
                policy_version: match (version, receipted.beside) {
                    (Some((envelope, _)), Some(proof)) => Some(LoggedRecord { envelope, proof }),
                    _ => None,
                },
                room_reference,
            },
        })
    }

    /// The evidence documents that the model runs and the session record cite, each once.
    fn cited_evidence(
        &self,
        runs: &[LoggedRecord],
        session: &AgentSession,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut cited = BTreeSet::new();
        for run in runs {
            let run = read_unverified::<ModelRun>(&run.envelope)?;
            for upstream in run.sent_to() {
                if let Assurance::Attested { evidence, .. } = &upstream.assurance {
                    cited.insert(*evidence);
                }
            }
        }
        let claims = [&session.room_evidence.start, &session.room_evidence.end];
        let mut documents = BTreeMap::new();
        for claim in claims {
            let document = room::kept_document(self.dir, claim)?;
            documents.extend(document.map(|document| (Digest::of(&document), document)));
        }
        for digest in cited {
            let path = evidence_path(self.dir, digest);
            let document =
                fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            documents.insert(digest, document);
        }
        Ok(documents.into_values().collect())
    }

    fn chain(&self, binding: &[u8]) -> anyhow::Result<VerifiedChain> {
        let events = journal::read(&self.dir.join("journal.jsonl"))?;
        Ok(verify_chain(
            &lines(&events),
            self.session,
            Digest::of(binding),
            ChainEnd::Interrupted,
        )?)
    }

    fn model_runs(&self) -> anyhow::Result<Vec<(ModelRun, Digest)>> {
        let mut runs = Vec::new();
        for entry in fs::read_dir(self.shelf.dir())? {
            let path = entry?.path();
            let is_run = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().ends_with("-model-run.dsse.json"));
            if is_run {
                let bytes = fs::read(&path)?;
                runs.push((read_unverified::<ModelRun>(&bytes)?, Digest::of(&bytes)));
            }
        }
        runs.sort_by_key(|(run, _)| run.sequence);
        Ok(runs)
    }
}

/// Whether the events say that commits were delivered.
fn delivered(chain: &VerifiedChain) -> bool {
    chain.events().iter().any(|event| {
        matches!(
            event.body,
            EventBody::Outcome {
                result: Outcome::Delivered { .. },
                ..
            }
        )
    })
}

/// Writes the bundle to the state directory and, when asked, to a second place.
fn write_out(own: &Path, out: Option<&Path>, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    files::replace(own, bytes).with_context(|| format!("cannot write `{}`", own.display()))?;
    let Some(out) = out else {
        return Ok(own.to_owned());
    };
    fs::write(out, bytes).with_context(|| {
        format!(
            "cannot write `{}`; the bundle is at `{}`",
            out.display(),
            own.display()
        )
    })?;
    Ok(out.to_owned())
}

fn lines(events: &[SignedEvent]) -> Vec<u8> {
    events
        .iter()
        .flat_map(|event| [event.event.as_bytes(), b"\n"])
        .flatten()
        .copied()
        .collect()
}

/// `spiffe://<trust domain>/session/<id>/agent/<name>`
fn agent_of(spiffe_id: &str) -> String {
    spiffe_id
        .rsplit_once('/')
        .map_or("", |(_, name)| name)
        .to_owned()
}
