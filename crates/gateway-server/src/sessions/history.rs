//! Sessions as the record files show them after a restart: how far each came, which of its runs
//! have no record, and what was spent. A start goes on from the history that it finds beside the index,
//! and adds the lines that came after it (docs/adr/0038-records-beyond-memory.md).

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    gate::{account_of_session, names},
    held::HolderId,
    limits::{Spending, Spent},
    prices::Prices,
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

/// What a line says that a start has to know. Whoever writes a line knows it; of a line that was
/// written before it is read ([`Event::of`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A session began.
    Session(Box<GatewaySession>),
    /// A run is about to be.
    Intent(Intent),
    /// A run has its record.
    Run(Recorded),
    /// A session was accounted for.
    Account(Accounted),
}

/// Of a run's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) run: RunId,
    pub(crate) sequence: u64,
    pub(crate) high_water: String,
    pub(crate) tier: Option<String>,
    /// Nothing where it was sent nowhere.
    pub(crate) spending: Option<Spending>,
    pub(crate) at: Timestamp,
}

/// Of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accounted {
    pub(crate) key: String,
    pub(crate) occasion: AccountOccasion,
    pub(crate) high_water: String,
}

/// A session that did not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Past {
    pub(crate) statement: GatewaySession,
    pub(crate) binding: Digest,
    pub(crate) next: u64,
    /// Every label that the session's mark had. Which is the highest is for the policy in force to say.
    labels: BTreeSet<String>,
    pub(crate) counts: Counts,
    pub(crate) last: Timestamp,
    /// Whether anything came after its last account.
    pub(crate) unaccounted: bool,
}

/// How a key's last session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Over {
    session: SessionId,
    /// Its label, where the mark goes on.
    label: Option<String>,
}

/// Everything that the record files say about sessions. As large as there are sessions that go on, and keys,
/// users and teams that ever paid; not as there are records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    sessions: BTreeMap<SessionId, Past>,
    ended: BTreeMap<HolderId, Over>,
    spent: BTreeMap<String, Spent>,
}

/// A history under the policy in force.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// Sessions that go on, one for each holder, with its mark.
    pub(crate) open: Vec<(HolderId, Past, Label)>,
    /// Earlier sessions of the same holders, each with its mark, which a crash left without an end; and the one that
    /// goes on.
    pub(crate) superseded: Vec<(Past, Label, SessionId)>,
    pub(crate) ended: HashMap<HolderId, Ended>,
}

impl Event {
    /// What a line says; nothing where it does not say it as this version does.
    pub(crate) fn of(line: &Line<'_>, prices: &Prices) -> Option<Self> {
        Some(match line.kind {
            Kind::Session => Self::Session(Box::new(json::parse(line.body, MAX_NOTE_BYTES).ok()?)),
            Kind::Intent => Self::Intent(json::parse(line.body, MAX_NOTE_BYTES).ok()?),
            Kind::Record(LeafKind::ModelRun) => {
                Self::of_run(&read_unverified(line.body).ok()?, prices)
            }
            Kind::Record(_) => Self::of_account(&read_unverified(line.body).ok()?),
        })
    }

    fn of_run(run: &ModelRun, prices: &Prices) -> Self {
        Self::Run(Recorded {
            run: run.run,
            sequence: run.sequence,
            high_water: run.classification.high_water_after.clone(),
            tier: run.routing.tier.clone(),
            spending: prices.of_recorded(run),
            at: run.finished,
        })
    }

    pub(super) fn of_account(account: &GatewayAccount) -> Self {
        Self::Account(Accounted {
            key: account.client.key.clone(),
            occasion: account.occasion,
            high_water: account.high_water.clone(),
        })
    }
}

impl History {
    /// Takes note of a line of `session`, whose body has this digest.
    pub(crate) fn see(&mut self, session: SessionId, digest: Digest, event: Event) {
        match event {
            Event::Session(statement) => self.session(session, digest, *statement),
            Event::Intent(intent) => {
                if let Some(past) = self.sessions.get_mut(&session) {
                    past.begin(intent.sequence, &intent.label, intent.at);
                }
            }
            Event::Run(run) => self.run(session, &run),
            Event::Account(account) => self.account(session, account),
        }
    }

    /// What was spent under each name. The history has it no more.
    pub(crate) fn take_spent(&mut self) -> BTreeMap<String, Spent> {
        std::mem::take(&mut self.spent)
    }

    /// Everything was seen: sessions by their keys, and marks as `levels` orders them.
    pub(crate) fn resume(self, levels: &Levels) -> Resumed {
        let mut sessions: BTreeMap<HolderId, Vec<(Past, Label)>> = BTreeMap::new();
        for past in self.sessions.into_values() {
            if let Some(holder) = key_of(&past.statement) {
                let mark = past.mark(levels);
                sessions.entry(holder).or_default().push((past, mark));
            }
        }
        let (mut open, mut superseded) = (Vec::new(), Vec::new());
        for (holder, mut of_holder) in sessions {
            of_holder.sort_by_key(|(past, _)| past.age());
            let highest = of_holder.iter().map(|(_, mark)| *mark).max();
            let Some(((latest, _), highest)) = of_holder.pop().zip(highest) else {
                continue;
            };
            let goes_on = latest.statement.session;
            let others = of_holder.into_iter();
            superseded.extend(others.map(|(past, mark)| (past, mark, goes_on)));
            open.push((holder, latest, highest));
        }
        let ended = self.ended.into_iter().map(|(key, over)| {
            let ended = Ended {
                session: over.session,
                mark: over.label.map(|name| label(levels, &name)),
            };
            (key, ended)
        });
        Resumed {
            open,
            superseded,
            ended: ended.collect(),
        }
    }

    fn session(&mut self, session: SessionId, binding: Digest, statement: GatewaySession) {
        let carried = key_of(&statement)
            .and_then(|key| self.ended.get(&key))
            .and_then(|over| over.label.clone());
        if let Some(spent) = (statement.previous)
            .and_then(|previous| self.spent.remove(&account_of_session(previous)))
        {
            let account = account_of_session(session);
            self.spent.entry(account).or_default().absorb(spent);
        }
        let past = Past {
            binding,
            next: 0,
            labels: carried.into_iter().collect(),
            counts: Counts::default(),
            last: statement.opened,
            unaccounted: true,
            statement,
        };
        self.sessions.insert(session, past);
    }

    fn run(&mut self, session: SessionId, run: &Recorded) {
        let Some(past) = self.sessions.get_mut(&session) else {
            return;
        };
        past.begin(run.sequence, &run.high_water, run.at);
        past.counts.missing.remove(&run.sequence);
        past.counts.record(run.tier.as_deref());
        let Some(spending) = run.spending else { return };
        for name in names(&past.statement.client, session) {
            self.spent.entry(name).or_default().add(spending, run.at);
        }
    }

    fn account(&mut self, session: SessionId, account: Accounted) {
        let holder: Option<HolderId> = account.key.parse().ok();
        let label = match account.occasion {
            AccountOccasion::Recovered | AccountOccasion::Stopped => {
                if let Some(past) = self.sessions.get_mut(&session) {
                    past.unaccounted = false;
                }
                return;
            }
            AccountOccasion::Idle => None,
            AccountOccasion::KeyEnded => Some(account.high_water),
        };
        self.sessions.remove(&session);
        let Some(holder) = holder else { return };
        match &label {
            None => drop(self.spent.remove(&account_of_session(session))),
            Some(label) => self.carry_on(session, holder, label),
        }
        self.ended.insert(holder, Over { session, label });
    }

    /// What goes on after `session`, where its holder has another already: its mark and what was spent in it.
    fn carry_on(&mut self, session: SessionId, holder: HolderId, label: &str) {
        let others = self.sessions.iter_mut();
        let others = others.filter(|(_, past)| key_of(&past.statement) == Some(holder));
        let Some((other, past)) = others.max_by_key(|(_, past)| past.age()) else {
            return;
        };
        past.labels.insert(label.to_owned());
        if let Some(spent) = self.spent.remove(&account_of_session(session)) {
            let account = account_of_session(*other);
            self.spent.entry(account).or_default().absorb(spent);
        }
    }
}

impl Past {
    /// A run took its place. Whatever has no record is missing until one is seen.
    fn begin(&mut self, sequence: u64, label: &str, at: Timestamp) {
        while self.next <= sequence && self.next < u64::MAX {
            self.counts.missing.insert(self.next);
            self.next = self.next.saturating_add(1);
        }
        if !self.labels.contains(label) {
            self.labels.insert(label.to_owned());
        }
        self.last = self.last.max(at);
        self.unaccounted = true;
    }

    /// What orders sessions of one holder.
    const fn age(&self) -> (Timestamp, SessionId) {
        (self.statement.opened, self.statement.session)
    }

    fn mark(&self, levels: &Levels) -> Label {
        let labels = self.labels.iter().map(|name| label(levels, name));
        labels.fold(levels.lowest(), Ord::max)
    }
}

/// A label that the policy does not know any more counts as the highest: nobody can tell.
fn label(levels: &Levels, name: &str) -> Label {
    levels.label(name).unwrap_or_else(|| levels.highest())
}

fn key_of(statement: &GatewaySession) -> Option<HolderId> {
    statement.client.key.parse().ok()
}
