//! While a room lives: its channel is served until it closes its session, somebody stops it, or its
//! time is up. Whatever happens here, the session's end is written afterwards.

use std::{sync::Arc, time::Duration};

use proofroom_room::Room;
use tokio::{
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

use super::GRACE;
use crate::{progress::Progress, service::SessionService};

/// Serves the room until its end; a first interrupt asks it to close, a second ends it.
pub(super) async fn serve(
    room: &Room,
    service: &Arc<SessionService>,
    channel: UnixStream,
    limit: Duration,
    progress: &Progress,
) {
    let mut served = std::pin::pin!(Arc::clone(service).serve(channel));
    let mut deadline = Instant::now() + limit;
    let mut told = 0_u32;
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        progress.note("signals cannot be received; the session was not started");
        return;
    };
    loop {
        tokio::select! {
            ended = &mut served => {
                if let Err(error) = ended {
                    progress.note(&format!("the room's channel broke: {error}"));
                }
                return;
            }
            _ = interrupt.recv() => told += 1,
            _ = terminate.recv() => told += 1,
            () = sleep_until(deadline) => {
                if told > 0 {
                    progress.note("the room did not close in time and is ended");
                    return;
                }
                progress.note("the session's time is up");
                told = 1;
            }
        }
        if told > 1 {
            progress.note("the room is ended at once");
            return;
        }
        progress.note("the session is asked to close; interrupt again to end it at once");
        deadline = Instant::now() + GRACE;
        if room.ask_to_close().is_err() {
            return;
        }
    }
}
