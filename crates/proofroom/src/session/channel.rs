//! While a room lives: its channel is served until it closes its session, somebody stops it, or its
//! time is up. Whatever happens here, the session's end is written afterwards.

use std::{io, sync::Arc, time::Duration};

use proofroom_canonical::Timestamp;
use proofroom_room::{Pause, Room};
use tokio::{
    net::UnixStream,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{
    GRACE,
    living::{Living, Order, Ordered, Orders, refused},
};
use crate::{
    causes::chain,
    control::{Answer, EndHow, Phase},
    progress::Progress,
    service::{Liveliness, SessionService},
};

/// How often a room that was asked to close is asked again: a supervisor that has only just started
/// does not hear the first time.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// How often it is looked at what the session does and what the kernel did to it.
const LOOK: Duration = Duration::from_secs(1);
/// What a room gets to end by the order that names its limit, before it is asked to close.
const BY_ORDER: Duration = Duration::from_secs(5);

/// Interrupts and requests to terminate, received from the moment this value exists.
#[derive(Debug)]
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Whether one came by now; it is not there for [`Self::next`] any more.
    pub(super) fn came(&mut self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        self.interrupt.poll_recv(&mut context).is_ready()
            || self.terminate.poll_recv(&mut context).is_ready()
    }

    /// Waits for the next one, also for one that came meanwhile.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What tells the serving loop from outside what to do.
pub(super) struct Outside<'a> {
    pub(super) interrupts: &'a mut Interrupts,
    pub(super) orders: &'a mut Orders,
    pub(super) living: &'a Living,
    pub(super) clock: fn() -> Timestamp,
}

/// How far the session is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Not at all.
    No,
    /// The room was told by an order; from this moment on it is asked.
    Told(Instant),
    /// The room is asked to close, again and again.
    Asked,
}

/// What the loop does next.
enum Next {
    GoOn,
    /// The room is destroyed.
    Stop,
}

/// One session's way from its start to its end, as its host sees it.
struct Course<'a> {
    room: &'a Room,
    service: &'a SessionService,
    living: &'a Living,
    progress: &'a Progress,
    clock: fn() -> Timestamp,
    pause: Arc<dyn Pause>,
    /// Since when the room is stopped.
    paused: Option<Timestamp>,
    closing: Closing,
    deadline: Instant,
}

/// Serves the room until its end; a first interrupt or order asks it to close, a second ends it.
pub(super) async fn serve(
    room: &Room,
    service: &Arc<SessionService>,
    channel: UnixStream,
    limit: Duration,
    outside: Outside<'_>,
    progress: &Progress,
) {
    let Outside {
        interrupts,
        orders,
        living,
        clock,
    } = outside;
    let mut served = std::pin::pin!(Arc::clone(service).serve(channel));
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut course = Course {
        room,
        service,
        living,
        progress,
        clock,
        pause: room.pause(),
        paused: None,
        closing: Closing::No,
        deadline: Instant::now() + limit,
    };
    loop {
        let again = match course.closing {
            Closing::No => course.deadline,
            Closing::Told(then) => then,
            Closing::Asked => Instant::now() + ASK_AGAIN,
        };
        let next = tokio::select! {
            ended = &mut served => {
                if let Err(error) = ended {
                    progress.note(&format!("the room's channel broke: {error}"));
                }
                Next::Stop
            }
            () = interrupts.next() => course.interrupted().await,
            ordered = orders.next() => course.ordered(ordered).await,
            () = sleep_until(course.deadline) => course.time_is_up().await,
            _ = look.tick() => course.look(),
            () = sleep_until(again), if course.closing != Closing::No => course.ask().await,
        };
        if matches!(next, Next::Stop) {
            return;
        }
    }
}

impl Course<'_> {
    async fn interrupted(&mut self) -> Next {
        if self.closing != Closing::No {
            self.progress.note("the room is ended at once");
            return Next::Stop;
        }
        self.progress
            .note("the session is asked to close; interrupt again to end it at once");
        self.close().await
    }

    async fn time_is_up(&mut self) -> Next {
        if self.closing != Closing::No {
            self.progress
                .note("the room did not close in time and is ended");
            return Next::Stop;
        }
        self.progress.note("the session's time is up");
        self.close().await
    }

    /// Begins to ask the room to close.
    async fn close(&mut self) -> Next {
        self.living.enter(Phase::Ending);
        self.deadline = Instant::now() + GRACE;
        self.ask().await
    }

    async fn ask(&mut self) -> Next {
        self.closing = Closing::Asked;
        // A stopped room hears nothing.
        if self.go_on().await.is_err() || self.room.ask_to_close().is_err() {
            return Next::Stop;
        }
        Next::GoOn
    }

    fn look(&mut self) -> Next {
        if self.paused.is_some() || self.closing != Closing::No {
            return Next::GoOn;
        }
        if self.service.look() == Liveliness::Idle {
            self.progress
                .note("nothing has happened for as long as it may; the session ends");
            self.service.end_idle();
            self.living.enter(Phase::Ending);
            self.closing = Closing::Told(Instant::now() + BY_ORDER);
            self.deadline = Instant::now() + BY_ORDER + GRACE;
        }
        Next::GoOn
    }

    async fn ordered(&mut self, ordered: Ordered) -> Next {
        let who = format!("{} (uid {})", ordered.by.name, ordered.by.uid);
        let Ordered { order, answer, .. } = ordered;
        match order {
            Order::End(EndHow::AtOnce) => {
                self.progress.note(&format!("{who} ends the room at once"));
                say(answer, done("the room is ended at once"));
                Next::Stop
            }
            _ if self.closing != Closing::No => {
                let words = "it is ending already; `proofroom room end --now` ends it at once";
                say(answer, refused("session-ending", words));
                Next::GoOn
            }
            Order::End(EndHow::Asked) => {
                self.progress
                    .note(&format!("{who} asks the session to close"));
                say(answer, done("the session is asked to close"));
                self.close().await
            }
            Order::Pause => {
                let said = self.stop(&who).await;
                say(answer, said);
                Next::GoOn
            }
            Order::Resume => {
                let said = match (self.paused, self.go_on().await) {
                    (None, _) => refused("session-not-paused", "it is not paused"),
                    (Some(_), Ok(())) => {
                        self.progress.note(&format!("{who} resumes the room"));
                        done("the room goes on")
                    }
                    (Some(_), Err(said)) => said,
                };
                say(answer, said);
                Next::GoOn
            }
        }
    }

    /// Stops the room in memory.
    async fn stop(&mut self, who: &str) -> Answer {
        if self.paused.is_some() {
            return refused("session-paused", "it is paused already");
        }
        let pause = Arc::clone(&self.pause);
        let from = (self.clock)();
        match tokio::task::spawn_blocking(move || pause.pause()).await {
            Ok(Ok(())) => {
                self.paused = Some(from);
                self.living.enter(Phase::Paused);
                let by = self.pause.mechanism();
                self.progress.note(&format!("{who} pauses the room ({by})"));
                done("the room is stopped in memory; `proofroom room resume` lets it go on")
            }
            Ok(Err(error)) => refused(error.code(), &chain(&error)),
            Err(error) => refused("internal", &error.to_string()),
        }
    }

    /// Lets a stopped room go on, and has the pause written down.
    async fn go_on(&mut self) -> Result<(), Answer> {
        let Some(from) = self.paused else {
            return Ok(());
        };
        let pause = Arc::clone(&self.pause);
        match tokio::task::spawn_blocking(move || pause.resume()).await {
            Ok(Ok(())) => {
                self.paused = None;
                self.service.was_paused(from, (self.clock)());
                if self.closing == Closing::No {
                    self.living.enter(Phase::Running);
                }
                Ok(())
            }
            Ok(Err(error)) => Err(refused(error.code(), &chain(&error))),
            Err(error) => Err(refused("internal", &error.to_string())),
        }
    }
}

fn done(message: &str) -> Answer {
    Answer::Done {
        message: message.to_owned(),
    }
}

/// Whoever asked may be gone already.
fn say(to: oneshot::Sender<Answer>, answer: Answer) {
    drop(to.send(answer));
}
