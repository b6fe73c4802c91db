//! What one session's parts share: the journal, the access decision, the counters, and the one place
//! where its end is decided. The first end that is given stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proofroom_authz::Access;
use proofroom_egress::EgressPolicy;
use proofroom_record::{
    event::{Attempt, Observation, SessionEnd},
    room_api::{self, Assignment, Progress, ProgressKind, RunRecorded},
    statement::SessionResult,
};
use tokio::{
    sync::{OwnedRwLockReadGuard, RwLock, watch},
    time::timeout,
};

use crate::{
    channel::Channel,
    egress::authority::Authority,
    git::Git,
    journal::{Journal, JournalError},
    observe::{Files, Observer, Programs},
    process::OutputBudget,
    resolver::Resolver,
    spawn::Spawner,
    told::{News, Told},
    tree::Tree,
};

/// How long actions may take to come to their outcome once the session has ended.
const SETTLING: Duration = Duration::from_secs(10);
/// The most different requests to nothing that one session writes down, and how long each may be.
pub(crate) const MAX_ASTRAY: usize = 64;
const MAX_MALFORMED: u64 = 64;
const MAX_ASTRAY_CHARACTERS: usize = 300;

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
    /// What may leave the room.
    pub egress: EgressPolicy,
    /// Who vouches in the room for hosts of single requests, where there are any.
    pub authority: Option<Authority>,
    /// Who answers for names in the room, where anything is allowed.
    pub resolver: Option<Arc<Resolver>>,
    /// Attempts to go outside so far.
    pub attempts: AtomicU64,
    /// The workspace's files.
    pub tree: Tree,
    /// Where the workspace is.
    pub root: PathBuf,
    /// Starts commands.
    pub spawner: Arc<dyn Spawner>,
    /// The workspace's git.
    pub git: Git,
    /// Programs started so far.
    pub programs: Arc<Programs>,
    /// Model runs so far, by their place in the session: they may end in another order.
    pub runs: Mutex<BTreeMap<u64, RunRecorded>>,
    /// What was delivered.
    pub result: Mutex<Option<SessionResult>>,
    /// Tool calls so far.
    pub steps: AtomicU64,
    /// Tokens so far.
    pub tokens: AtomicU64,
    /// Requests for what the room does not offer, each written down once.
    pub astray: Told,
    /// Bytes that were no request, so far.
    pub malformed: AtomicU64,
    /// What commands may still write.
    pub output: Arc<OutputBudget>,
    /// The number of the next order of the host's.
    pub next_order: AtomicU64,
    /// Limits that the host said were reached.
    pub limits_reached: Mutex<BTreeSet<String>>,
    /// Held, shared, by every action from its intent to its outcome.
    pub actions: Arc<RwLock<()>>,
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

    /// A place among the actions that the session's end waits for. After the end there is none, and
    /// this waits for ever.
    pub async fn action(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.actions).read_owned().await
    }

    /// Waits until every action has its outcome; none begins afterwards. When one takes too long,
    /// the chain ends here, and the session has no record from inside.
    pub async fn settle(&self) {
        match timeout(SETTLING, Arc::clone(&self.actions).write_owned()).await {
            // Kept for ever: this is what keeps further actions from beginning.
            Ok(none_left) => std::mem::forget(none_left),
            Err(_) => {
                self.journal.abandon().await;
                self.finish(SessionEnd::Interrupted);
            }
        }
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

    /// Notes a request of the agent's for something that the room does not offer. Which and how many
    /// is for the agent to choose, so they are bounded.
    pub fn astray(&self, method: &http::Method, target: &str) {
        let target = format!("http {method} {target}");
        let target: String = target.chars().take(MAX_ASTRAY_CHARACTERS).collect();
        let more = "further requests for what is not offered are not written";
        self.blocked(&self.astray, target, more);
    }

    /// Notes a blocked attempt at the network if it is news; `more` says that others are not noted.
    pub fn blocked(&self, told: &Told, target: String, more: &str) -> News {
        let news = told.hear(&target);
        match news {
            News::Fresh => {
                let attempt = Attempt::Network { target };
                self.journal
                    .note(Observation::Blocked { attempt, times: 1 });
            }
            News::TooMany => self.journal.note(Observation::LimitReached {
                resource: "events".to_owned(),
                detail: more.to_owned(),
            }),
            News::Old => {}
        }
        news
    }

    /// Remembers that the host said so.
    pub fn remember_limit(&self, resource: &str) {
        let mut reached = self
            .limits_reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        reached.insert(resource.to_owned());
    }

    /// Whether the host said that this limit was reached.
    pub fn was_reached(&self, resource: &str) -> bool {
        self.limits_reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(resource)
    }

    /// Notes bytes of the agent's that were no request, a bounded number of times.
    pub fn malformed(&self, target: &str) {
        let before = self.malformed.fetch_add(1, Ordering::Relaxed);
        match before.cmp(&MAX_MALFORMED) {
            std::cmp::Ordering::Less => self.journal.note(Observation::Blocked {
                attempt: Attempt::Network {
                    target: target.to_owned(),
                },
                times: 1,
            }),
            std::cmp::Ordering::Equal => self.journal.note(Observation::LimitReached {
                resource: "events".to_owned(),
                detail: "further bytes that are no request are not written".to_owned(),
            }),
            std::cmp::Ordering::Greater => {}
        }
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

    /// The session's label after its last model run.
    pub fn high_water(&self) -> String {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.last_key_value()
            .map_or_else(|| "none".to_owned(), |(_, run)| run.label.clone())
    }
}
