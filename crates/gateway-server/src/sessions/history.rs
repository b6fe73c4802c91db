//! Sessions as the record files show them after a restart: how far each came, and which of its runs
//! have no record.

use std::collections::HashMap;

use proofroom_canonical::{Digest, RunId, SessionId, Timestamp, json};
use proofroom_classify::{Label, Levels};
use proofroom_record::{
    gateway::{AccountOccasion, GatewayAccount, GatewaySession},
    predicate::read_unverified,
    statement::ModelRun,
};
use proofroom_tlog::LeafKind;
use serde::{Deserialize, Serialize};

use super::{Counts, Ended};
use crate::{
    keys::KeyId,
    store::{Kind, Line},
};

/// The most bytes of a note that is no record.
const MAX_NOTE_BYTES: usize = 64 * 1024;

/// A run that is about to be: durable before anything of its prompt leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intent {
    pub(crate) run: RunId,
    pub(crate) sequence: u64,
    /// The session's label with it.
    pub(crate) label: String,
    pub(crate) received: Digest,
    pub(crate) at: Timestamp,
}

/// A session that did not end.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) statement: GatewaySession,
    pub(crate) binding: Digest,
    pub(crate) next: u64,
    pub(crate) mark: Label,
    pub(crate) counts: Counts,
    pub(crate) last: Timestamp,
    /// Whether anything came after its last account.
    pub(crate) unaccounted: bool,
}

/// Everything that the record files say about sessions.
#[derive(Debug)]
pub(crate) struct History {
    levels: Levels,
    sessions: HashMap<SessionId, Past>,
    pub(crate) open: HashMap<KeyId, Past>,
    pub(crate) ended: HashMap<KeyId, Ended>,
}

impl History {
    pub(crate) fn new(levels: Levels) -> Self {
        Self {
            levels,
            sessions: HashMap::new(),
            open: HashMap::new(),
            ended: HashMap::new(),
        }
    }

    /// Takes note of a line; returns the run that it records, if it records one.
    pub(crate) fn see(&mut self, line: &Line<'_>) -> Option<ModelRun> {
        match line.kind {
            Kind::Session => self.session(line),
            Kind::Intent => self.intent(line),
            Kind::Record(LeafKind::ModelRun) => return self.run(line),
            Kind::Record(_) => self.account(line),
        }
        None
    }

    /// Everything was seen: sorts sessions by their keys.
    pub(crate) fn finish(mut self) -> Self {
        for past in std::mem::take(&mut self.sessions).into_values() {
            if let Some(key) = key_of(&past.statement) {
                self.open.insert(key, past);
            }
        }
        self
    }

    fn session(&mut self, line: &Line<'_>) {
        let Ok(statement) = json::parse::<GatewaySession>(line.body, MAX_NOTE_BYTES) else {
            return;
        };
        let carried = key_of(&statement)
            .and_then(|key| self.ended.get(&key))
            .and_then(|ended| ended.mark);
        let past = Past {
            binding: line.digest,
            next: 0,
            mark: carried.unwrap_or_else(|| self.levels.lowest()),
            counts: Counts::default(),
            last: statement.opened,
            unaccounted: true,
            statement,
        };
        self.sessions.insert(line.session, past);
    }

    fn intent(&mut self, line: &Line<'_>) {
        let Ok(intent) = json::parse::<Intent>(line.body, MAX_NOTE_BYTES) else {
            return;
        };
        let mark = self.label(&intent.label);
        if let Some(past) = self.sessions.get_mut(&line.session) {
            past.begin(intent.sequence, mark, intent.at);
        }
    }

    fn run(&mut self, line: &Line<'_>) -> Option<ModelRun> {
        let run = read_unverified::<ModelRun>(line.body).ok()?;
        let mark = self.label(&run.classification.high_water_after);
        if let Some(past) = self.sessions.get_mut(&line.session) {
            past.begin(run.sequence, mark, run.finished);
            past.counts.missing.remove(&run.sequence);
            past.counts.record(run.routing.tier.as_deref());
        }
        Some(run)
    }

    fn account(&mut self, line: &Line<'_>) {
        let Ok(account) = read_unverified::<GatewayAccount>(line.body) else {
            return;
        };
        let mark = match account.occasion {
            AccountOccasion::Recovered | AccountOccasion::Stopped => {
                if let Some(past) = self.sessions.get_mut(&line.session) {
                    past.unaccounted = false;
                }
                return;
            }
            AccountOccasion::Idle => None,
            AccountOccasion::KeyEnded => Some(self.label(&account.high_water)),
        };
        self.sessions.remove(&line.session);
        if let Ok(key) = account.client.key.parse() {
            let session = line.session;
            self.ended.insert(key, Ended { session, mark });
        }
    }

    /// A label that the policy does not know any more counts as the highest: nobody can tell.
    fn label(&self, name: &str) -> Label {
        let known = self.levels.label(name);
        known.unwrap_or_else(|| self.levels.highest())
    }
}

impl Past {
    /// A run took its place. Whatever has no record is missing until one is seen.
    fn begin(&mut self, sequence: u64, mark: Label, at: Timestamp) {
        while self.next <= sequence && self.next < u64::MAX {
            self.counts.missing.insert(self.next);
            self.next = self.next.saturating_add(1);
        }
        self.mark = self.mark.max(mark);
        self.last = self.last.max(at);
        self.unaccounted = true;
    }
}

fn key_of(statement: &GatewaySession) -> Option<KeyId> {
    statement.client.key.parse().ok()
}
