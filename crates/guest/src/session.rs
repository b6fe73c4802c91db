//! What one session's parts share: the journal, the access decision, the counters, and the one place
//! where its end is decided. The first end that is given stands.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use proofroom_authz::Access;
use proofroom_record::{
    event::{Observation, SessionEnd},
    room_api::{self, Assignment, Progress, ProgressKind},
    statement::{ModelRunReference, SessionResult},
};
use tokio::sync::watch;

use crate::{
    channel::Channel,
    git::Git,
    journal::{Journal, JournalError},
    observe::{Files, Observer, Programs},
    redact::Redactor,
    spawn::Spawner,
    tree::Tree,
};

/// A session at work.
#[derive(Debug)]
pub struct Session {
    /// What the room was told to do.
    pub assignment: Assignment,
    /// The channel to the host.
    pub channel: Channel,
    /// The event chain.
    pub journal: Arc<Journal>,
    /// What the agent may do.
    pub access: Access,
    /// The workspace's files.
    pub tree: Tree,
    /// Where the workspace is.
    pub root: PathBuf,
    /// Starts commands.
    pub spawner: Arc<dyn Spawner>,
    /// The workspace's git.
    pub git: Git,
    /// Which arguments are not written down.
    pub redactor: Redactor,
    /// Programs started so far.
    pub programs: Arc<Programs>,
    /// Model runs that have ended, in the order in which they did.
    pub runs: Mutex<Vec<ConcludedRun>>,
    /// What was delivered.
    pub result: Mutex<Option<SessionResult>>,
    /// Tool calls so far.
    pub steps: AtomicU64,
    /// Tokens so far.
    pub tokens: AtomicU64,
    /// The session's end, once there is one.
    pub end: watch::Sender<Option<SessionEnd>>,
}

impl Session {
    /// Ends the session; when it has an end already, that one stands.
    pub fn finish(&self, end: SessionEnd) {
        self.end.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(end);
            }
            first
        });
    }

    /// Ends the session as cancelled, also when its work was done already: an interrupt counts
    /// until the last event. Every other end stands.
    pub fn cancel(&self) {
        self.end.send_if_modified(|current| {
            let counts = matches!(current, None | Some(SessionEnd::Completed));
            if counts {
                *current = Some(SessionEnd::Cancelled);
            }
            counts
        });
    }

    /// Waits until the session is cancelled, perhaps for ever.
    pub async fn until_cancelled(&self) {
        let mut end = self.end.subscribe();
        let cancelled = |end: &Option<SessionEnd>| *end == Some(SessionEnd::Cancelled);
        if end.wait_for(cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The end, once there is one.
    pub fn ended(&self) -> Option<SessionEnd> {
        *self.end.borrow()
    }

    /// Waits for the end.
    pub async fn until_ended(&self) -> SessionEnd {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => (*end).unwrap_or(SessionEnd::Interrupted),
            Err(_) => SessionEnd::Interrupted,
        }
    }

    /// Ends the session because the chain took no event; hands the error on.
    pub fn lost(&self, error: JournalError) -> JournalError {
        self.finish(SessionEnd::Interrupted);
        error
    }

    /// Counts one tool call.
    ///
    /// # Errors
    /// The limit's name, when it is reached; the session is over then.
    pub fn step(&self) -> Result<(), &'static str> {
        let before = self.steps.fetch_add(1, Ordering::Relaxed);
        if before >= self.assignment.limits.steps {
            self.limit(
                "steps",
                format!("{} tool calls", self.assignment.limits.steps),
            );
            return Err("steps");
        }
        Ok(())
    }

    /// Counts tokens; ends the session at the limit.
    pub fn spend(&self, tokens: u64) {
        let before = self.tokens.fetch_add(tokens, Ordering::Relaxed);
        let limit = self.assignment.limits.tokens;
        if before <= limit && before.saturating_add(tokens) > limit {
            self.limit("tokens", format!("{limit} tokens"));
        }
    }

    /// Notes a reached limit and ends the session.
    pub fn limit(&self, resource: &str, detail: String) {
        if self.ended().is_none() {
            self.journal.note(Observation::LimitReached {
                resource: resource.to_owned(),
                detail,
            });
        }
        self.finish(SessionEnd::LimitReached);
    }

    /// A watch for one command.
    pub fn observer(&self, files: Files) -> Arc<Observer> {
        Arc::new(Observer::new(
            Arc::clone(&self.journal),
            self.root.clone(),
            self.assignment
                .commands
                .readable
                .iter()
                .map(PathBuf::from)
                .collect(),
            self.redactor,
            Arc::clone(&self.programs),
            files,
        ))
    }

    /// Tells the person at the terminal. Nothing depends on whether it arrives.
    pub async fn progress(&self, kind: ProgressKind, text: String) {
        let Ok(body) = proofroom_canonical::json::to_bytes(&Progress { kind, text }) else {
            return;
        };
        drop(self.channel.tell(room_api::PROGRESS, body.into()).await);
    }

    /// Notes the end of a model run.
    pub fn concluded(&self, run: ConcludedRun) {
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(run);
    }

    /// The model runs in the gateway's order, and the session's label after the last of them.
    pub fn model_runs(&self) -> (Vec<ModelRunReference>, String) {
        let mut runs = self
            .runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        runs.sort_by_key(|run| run.sequence);
        let label = runs.last().map_or("none", |run| run.label.as_str());
        let label = label.to_owned();
        (runs.into_iter().map(|run| run.reference).collect(), label)
    }
}

/// A model run that has ended.
#[derive(Clone, Debug)]
pub struct ConcludedRun {
    /// Its place in the session, as the gateway gave it.
    pub sequence: Option<u64>,
    /// How the session record cites it.
    pub reference: ModelRunReference,
    /// The session's label when it was routed.
    pub label: String,
}
