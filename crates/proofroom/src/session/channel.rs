//! While a room lives: its channel is served until it closes its session, somebody stops it, or its
//! time is up. Whatever happens here, the session's end is written afterwards.

use std::{io, sync::Arc, time::Duration};

use proofroom_room::Room;
use tokio::{
    net::UnixStream,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};

use super::GRACE;
use crate::{progress::Progress, service::SessionService};

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

/// Serves the room until its end; a first interrupt asks it to close, a second ends it.
pub(super) async fn serve(
    room: &Room,
    service: &Arc<SessionService>,
    channel: UnixStream,
    limit: Duration,
    interrupts: &mut Interrupts,
    progress: &Progress,
) {
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
        deadline = Instant::now() + GRACE;
        if room.ask_to_close().is_err() {
            return;
        }
    }
}
