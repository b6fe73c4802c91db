//! What a session does about the evidence of its attested upstreams: it is asked for ahead of traffic, what was accepted
//! is kept beside the session that relied on it, and the person who watches is told when something changes.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proofroom_canonical::Digest;
use proofroom_gateway::{EvidenceNotKept, EvidenceSink, Gateway, RunEvent, RunObserver};
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
    progress: Arc<Progress>,
    /// What was told last of each upstream: why it is closed, or nothing where it is verified.
    told: Mutex<BTreeMap<String, Option<&'static str>>>,
    /// Whether the last document could not be kept, of which is told once.
    full: AtomicBool,
}

impl EvidenceKeeper {
    pub(super) fn new(dir: PathBuf, progress: Arc<Progress>) -> Self {
        Self {
            dir,
            progress,
            told: Mutex::default(),
            full: AtomicBool::new(false),
        }
    }

    /// Tells `words` unless the same was told of the upstream last: what is renewed or tried again ahead of traffic
    /// is no news.
    fn tell(&self, upstream: &str, closed: Option<&'static str>, words: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(upstream.to_owned(), closed) != Some(closed) {
            self.progress.note(words);
        }
    }

    fn write(&self, evidence: Digest, document: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(self.dir.join("evidence"))?;
        files::replace(&evidence_path(&self.dir, evidence), document)
    }
}

impl EvidenceSink for EvidenceKeeper {
    fn keep(&self, evidence: Digest, document: &[u8]) -> Result<(), EvidenceNotKept> {
        let written = self.write(evidence, document);
        let was_full = self.full.swap(written.is_err(), Ordering::Relaxed);
        written.map_err(|error| {
            if !was_full {
                let words = "an upstream's evidence cannot be kept, so that nothing is sent there";
                self.progress.note(&format!("{words}: {error}"));
            }
            EvidenceNotKept
        })
    }
}

impl RunObserver for EvidenceKeeper {
    fn observe(&self, event: &RunEvent) {
        match event {
            RunEvent::UpstreamVerified {
                upstream, policy, ..
            } => {
                let words = format!(
                    "upstream {upstream} verified under the policy {policy}, before anything was sent"
                );
                self.tell(upstream, None, &words);
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
            RunEvent::SentAgain { .. }
            | RunEvent::UpstreamRests { .. }
            | RunEvent::UpstreamBack { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        path::Path,
        sync::{Arc, Mutex},
    };

    use proofroom_canonical::Digest;
    use proofroom_gateway::{EvidenceNotKept, EvidenceSink as _};

    use super::EvidenceKeeper;
    use crate::{
        progress::{Format, Progress},
        session::evidence_path,
    };

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<u8>>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn keep(dir: &Path) -> (Result<(), EvidenceNotKept>, String) {
        let told = Told::default();
        let progress = Progress::new(Format::Human, Box::new(told.clone()));
        let keeper = EvidenceKeeper::new(dir.to_owned(), Arc::new(progress));
        let kept = keeper.keep(Digest::of("evidence"), b"evidence");
        let words = String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
        (kept, words)
    }

    #[test]
    fn evidence_lies_in_the_sessions_folder_or_is_said_not_to_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(keep(dir.path()), (Ok(()), String::new()));
        let path = evidence_path(dir.path(), Digest::of("evidence"));
        assert_eq!(std::fs::read(path).unwrap(), b"evidence");
        // a folder that cannot be made, as on a full disk
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let (kept, words) = keep(&file);
        assert_eq!(kept, Err(EvidenceNotKept));
        assert!(words.contains("cannot be kept"), "{words}");
    }
}
