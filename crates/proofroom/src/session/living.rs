//! A living session as other commands see it: its control socket is answered beside the room's
//! channel, and what they ask for reaches the loop that serves the room.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use proofroom_canonical::{IsolationLevel, SessionId, Timestamp};
use proofroom_record::room_api::{Person, ReportKind};
use proofroom_room::{Meter, Room};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    control::{
        self, Answer, Ask, EndHow, LivingState, MAX_LINE_BYTES, Phase, RoomUsage, line, parse_ask,
    },
    service::SessionService,
};

/// How long a question may take to arrive.
const QUESTION_TIME: Duration = Duration::from_secs(10);
/// The most questions that wait for the serving loop.
const MAX_WAITING: usize = 16;

/// What somebody wants of the loop that serves the room.
#[derive(Debug)]
pub(super) enum Order {
    /// To end the session.
    End(EndHow),
    /// To stop the room in memory.
    Pause,
    /// To let it go on.
    Resume,
}

/// An order with who gave it and where its answer goes.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) order: Order,
    pub(super) by: Person,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Orders from other commands. It never ends: when nobody listens any more, nothing comes.
#[derive(Debug)]
pub(super) struct Orders(mpsc::Receiver<Ordered>);

impl Orders {
    pub(super) async fn next(&mut self) -> Ordered {
        match self.0.recv().await {
            Some(ordered) => ordered,
            None => std::future::pending().await,
        }
    }
}

/// A living session's own view of itself.
pub(super) struct Living {
    session: SessionId,
    agent: String,
    isolation: IsolationLevel,
    started: Timestamp,
    meter: Meter,
    service: Arc<SessionService>,
    phase: AtomicU8,
    orders: mpsc::Sender<Ordered>,
}

/// The control socket, answered until the value is dropped.
#[derive(Debug)]
pub(super) struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Living {
    pub(super) fn new(
        session: SessionId,
        room: &Room,
        service: &Arc<SessionService>,
        started: Timestamp,
    ) -> (Arc<Self>, Orders) {
        let (orders, incoming) = mpsc::channel(MAX_WAITING);
        let living = Self {
            session,
            agent: service.agent().to_owned(),
            isolation: room.isolation(),
            started,
            meter: room.meter(),
            service: Arc::clone(service),
            phase: AtomicU8::new(phase_number(Phase::Running)),
            orders,
        };
        (Arc::new(living), Orders(incoming))
    }

    /// Says what the session is doing from now on.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase_number(phase), Ordering::Relaxed);
    }

    /// What the session is doing.
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Running,
            1 => Phase::Paused,
            _ => Phase::Ending,
        }
    }

    /// Answers the control socket of the session's folder from now on.
    pub(super) fn listen(self: &Arc<Self>, dir: &Path) -> std::io::Result<Listening> {
        let listener = UnixListener::from_std(control::listen(dir)?)?;
        let living = Arc::clone(self);
        Ok(Listening(tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    drop(tokio::spawn(converse(Arc::clone(&living), stream)));
                } else {
                    // Too many open files: it does not help to ask again at once.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        })))
    }

    async fn state(&self) -> Answer {
        let meter = self.meter.clone();
        let read = tokio::task::spawn_blocking(move || meter.read());
        let usage = read.await.unwrap_or_default();
        Answer::State(Box::new(LivingState {
            session: self.session,
            agent: self.agent.clone(),
            isolation: self.isolation,
            state: self.phase(),
            started: self.started,
            pid: std::process::id(),
            events: self.service.events_durable().await,
            usage: RoomUsage {
                processes: usage.processes,
                memory_bytes: usage.memory_bytes,
                cpu_millis: usage.cpu_millis,
            },
        }))
    }

    async fn order(&self, order: Order, by: Person) -> Answer {
        let (answer, answered) = oneshot::channel();
        let ordered = Ordered { order, by, answer };
        if self.orders.send(ordered).await.is_err() {
            return ending();
        }
        answered.await.unwrap_or_else(|_| ending())
    }
}

const fn phase_number(phase: Phase) -> u8 {
    match phase {
        Phase::Running => 0,
        Phase::Paused => 1,
        Phase::Ending => 2,
    }
}

fn ending() -> Answer {
    refused("session-ending", "the session is ending already")
}

pub(super) fn refused(code: &str, message: &str) -> Answer {
    Answer::Refused {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// One connection: one question, its answers. What goes wrong in it is the asker's loss.
async fn converse(living: Arc<Living>, mut stream: UnixStream) {
    let Ok(peer) = stream.peer_cred() else {
        return;
    };
    if peer.uid() != rustix::process::geteuid().as_raw() {
        return;
    }
    let by = Person {
        uid: peer.uid(),
        name: user_name(peer.uid()),
    };
    let Ok(Some(ask)) = timeout(QUESTION_TIME, question(&mut stream)).await else {
        return;
    };
    let answer = match ask {
        Ok(Ask::Execute { argv }) => return execute(&living, argv, by, &mut stream).await,
        Ok(Ask::State) => living.state().await,
        Ok(Ask::End { how }) => living.order(Order::End(how), by).await,
        Ok(Ask::Pause) => living.order(Order::Pause, by).await,
        Ok(Ask::Resume) => living.order(Order::Resume, by).await,
        Err(why) => refused("ask-malformed", &why),
    };
    drop(stream.write_all(&line(&answer)).await);
}

/// A command in the living room: its output as it comes, then how it ended.
async fn execute(living: &Living, argv: Vec<String>, by: Person, stream: &mut UnixStream) {
    let refusal = match living.phase() {
        Phase::Running => None,
        Phase::Paused => Some(refused("session-paused", "its room is paused")),
        Phase::Ending => Some(ending()),
    };
    if let Some(refusal) = refusal {
        drop(stream.write_all(&line(&refusal)).await);
        return;
    }
    let mut reports = living.service.execute(argv, by);
    while let Some(report) = reports.recv().await {
        let (answer, last) = match report {
            ReportKind::Output { stream, data } => (Answer::Output { stream, data }, false),
            ReportKind::Ended { exit } => (Answer::Exited { exit }, true),
            ReportKind::Refused { code, message } => (Answer::Refused { code, message }, true),
        };
        if stream.write_all(&line(&answer)).await.is_err() || last {
            return;
        }
    }
    drop(stream.write_all(&line(&ending())).await);
}

async fn question(stream: &mut UnixStream) -> Option<Result<Ask, String>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(stream).take(most);
    reader.read_until(b'\n', &mut bytes).await.ok()?;
    let text = bytes.strip_suffix(b"\n")?;
    Some(parse_ask(text).map_err(|error| crate::causes::chain(&error)))
}

/// The name of a user of this machine; the number where there is none.
pub(crate) fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}
