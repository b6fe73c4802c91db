//! While a room lives: its channel is served until it closes its session, somebody stops it, or its
//! time is up. Whatever happens here, the session's end is written afterwards.

use std::{io, sync::Arc, time::Duration};

use proofroom_room::Room;
use tokio::{
    net::UnixStream,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};

use super::{
    GRACE,
    living::{Living, Order, Ordered, Orders, refused},
};
use crate::{
    control::{Answer, EndHow, Phase},
    progress::Progress,
    service::SessionService,
};

/// How often a room that was asked to close is asked again: a supervisor that has only just started
/// does not hear the first time.
const ASK_AGAIN: Duration = Duration::from_millis(250);

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
    } = outside;
    let mut served = std::pin::pin!(Arc::clone(service).serve(channel));
    let mut deadline = Instant::now() + limit;
    let mut asked = false;
    loop {
        tokio::select! {
            ended = &mut served => {
                if let Err(error) = ended {
                    progress.note(&format!("the room's channel broke: {error}"));
                }
                return;
            }
            () = interrupts.next() => {
                if asked {
                    progress.note("the room is ended at once");
                    return;
                }
                progress.note("the session is asked to close; interrupt again to end it at once");
            }
            ordered = orders.next() => match obey(ordered, asked, progress) {
                Obeyed::Asked => {}
                Obeyed::AtOnce => return,
                Obeyed::Nothing => continue,
            },
            () = sleep_until(deadline) => {
                if asked {
                    progress.note("the room did not close in time and is ended");
                    return;
                }
                progress.note("the session's time is up");
            }
            () = sleep(ASK_AGAIN), if asked => {
                if room.ask_to_close().is_err() {
                    return;
                }
                continue;
            }
        }
        asked = true;
        living.enter(Phase::Ending);
        deadline = Instant::now() + GRACE;
        if room.ask_to_close().is_err() {
            return;
        }
    }
}

/// What an order means for the loop that serves the room.
enum Obeyed {
    /// The room is to be asked to close.
    Asked,
    /// The room is to be ended.
    AtOnce,
    /// Nothing.
    Nothing,
}

fn obey(ordered: Ordered, asked: bool, progress: &Progress) -> Obeyed {
    let who = format!("{} (uid {})", ordered.by.name, ordered.by.uid);
    match ordered.order {
        Order::End(EndHow::AtOnce) => {
            progress.note(&format!("{who} ends the room at once"));
            say(ordered.answer, "the room is ended at once");
            Obeyed::AtOnce
        }
        Order::End(EndHow::Asked) if asked => {
            let words = "it was asked to close already; `--now` ends it at once";
            drop(ordered.answer.send(refused("session-ending", words)));
            Obeyed::Nothing
        }
        Order::End(EndHow::Asked) => {
            progress.note(&format!("{who} asks the session to close"));
            say(ordered.answer, "the session is asked to close");
            Obeyed::Asked
        }
    }
}

/// Whoever asked may be gone already.
fn say(answer: oneshot::Sender<Answer>, message: &str) {
    let message = message.to_owned();
    drop(answer.send(Answer::Done { message }));
}
