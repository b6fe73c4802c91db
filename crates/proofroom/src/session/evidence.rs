//! What a session does about the evidence of its attested upstreams: it is asked for ahead of traffic, what was accepted
//! is kept beside the session that relied on it, and the person who watches is told when something changes.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use proofroom_canonical::Digest;
use proofroom_gateway::{Gateway, RunEvent, RunObserver};
use tokio::{task::JoinHandle, time::interval};

use super::evidence_path;
use crate::{files, progress::Progress};

/// How often it is looked whether evidence must be renewed.
const LOOK: Duration = Duration::from_secs(1);

/// Verifies upstreams ahead of traffic for as long as the value lives.
#[derive(Debug)]
pub(super) struct Ahead(JoinHandle<()>);

impl Ahead {
    /// Begins at once, within a runtime.
    pub(super) fn of(gateway: Gateway) -> Self {
        Self(tokio::spawn(async move {
            let mut look = interval(LOOK);
            loop {
                look.tick().await;
                gateway.tend();
            }
        }))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps evidence documents, and tells what became of upstreams.
pub(super) struct EvidenceKeeper {
    dir: PathBuf,
    gateway: OnceLock<Gateway>,
    progress: Arc<Progress>,
    /// What was told last of each upstream: why it is closed, or nothing where it is verified.
    told: Mutex<BTreeMap<String, Option<&'static str>>>,
}

impl EvidenceKeeper {
    pub(super) fn new(dir: PathBuf, progress: Arc<Progress>) -> Self {
        Self {
            dir,
            gateway: OnceLock::new(),
            progress,
            told: Mutex::default(),
        }
    }

    /// Whose documents are kept; those of the first only.
    pub(super) fn watch(&self, gateway: Gateway) {
        drop(self.gateway.set(gateway));
    }

    /// Tells `words` unless the same was told of the upstream last: what is renewed or tried again ahead of traffic
    /// is no news.
    fn tell(&self, upstream: &str, closed: Option<&'static str>, words: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(upstream.to_owned(), closed) != Some(closed) {
            self.progress.note(words);
        }
    }

    fn keep(&self, digest: Digest) -> std::io::Result<()> {
        let Some(bytes) = self
            .gateway
            .get()
            .and_then(|gateway| gateway.evidence(digest))
        else {
            return Ok(());
        };
        std::fs::create_dir_all(self.dir.join("evidence"))?;
        files::replace(&evidence_path(&self.dir, digest), &bytes)
    }
}

impl RunObserver for EvidenceKeeper {
    fn observe(&self, event: &RunEvent) {
        match event {
            RunEvent::UpstreamVerified {
                upstream,
                policy,
                evidence,
            } => {
                let words = format!(
                    "upstream {upstream} verified under the policy {policy}, before anything was sent"
                );
                self.tell(upstream, None, &words);
                if let Err(error) = self.keep(*evidence) {
                    self.progress.note(&format!(
                        "the evidence of {upstream} cannot be kept, so the session will have no bundle: {error}"
                    ));
                }
            }
            RunEvent::UpstreamClosed { upstream, code } => {
                let words = format!("upstream {upstream} is closed ({code})");
                self.tell(upstream, Some(code), &words);
            }
            RunEvent::UpstreamKeyRead { upstream } => self
                .progress
                .note(&format!("the key of upstream {upstream} was read again")),
            RunEvent::GatewayClosed => self
                .progress
                .note("a record could not be kept; the gateway takes no more requests"),
            RunEvent::Routed { .. }
            | RunEvent::Ended { .. }
            | RunEvent::SentAgain { .. }
            | RunEvent::UpstreamRests { .. }
            | RunEvent::UpstreamBack { .. } => {}
        }
    }
}
