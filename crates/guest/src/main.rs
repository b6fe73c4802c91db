//! `proofroom-guest`: the first process of a room. Run as `proofroom-guest launch|confine` it is one
//! of the confinement's stages; run without arguments it is the supervisor, with the channel as
//! descriptor 3; and as `/init` of a virtual machine it is that machine's first process.

use std::{
    io::Write as _,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
    sync::Arc,
};

use proofroom_guest::{
    confined::Confined,
    supervisor::{Places, SupervisorError, supervise},
};
use proofroom_record::event::SessionEnd;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let called = std::env::args_os().next();
    if called.is_some_and(|name| name == "/init") && std::process::id() == 1 {
        return proofroom_init::main();
    }
    if let Some(code) = proofroom_confine::stages::main(std::env::args_os().skip(1)) {
        return code;
    }
    // Before the key exists: nobody reads this process's memory, and it leaves no core.
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        return failed("dumpable", "the supervisor cannot be made non-dumpable");
    }
    let Some(channel) = channel() else {
        return failed("no-channel", "descriptor 3 is not the channel's socket");
    };
    match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let ended = runtime.block_on(session(channel));
            // Threads that still wait for a command must not hold the room open.
            runtime.shutdown_background();
            ended
        }
        Err(error) => failed("runtime", &error.to_string()),
    }
}

async fn session(channel: UnixStream) -> ExitCode {
    let places = Places::of_a_room();
    let spawner = match Confined::new(&places.socket) {
        Ok(spawner) => Arc::new(spawner),
        Err(error) => return failed(&error.code, &error.reason),
    };
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return failed("signals", "SIGTERM cannot be received");
    };
    let cancelled = async move {
        terminate.recv().await;
    };
    match supervise(channel, spawner, places, cancelled).await {
        Ok((SessionEnd::Completed, _)) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => failed(error.code(), &chain(&error)),
    }
}

fn chain(error: &SupervisorError) -> String {
    let mut words = error.to_string();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(source) = next {
        words.push_str(": ");
        words.push_str(&source.to_string());
        next = source.source();
    }
    words
}

fn failed(code: &str, message: &str) -> ExitCode {
    // Nobody may be listening on standard error; the exit code says it too.
    drop(writeln!(
        std::io::stderr(),
        "proofroom-guest: {code}: {message}"
    ));
    ExitCode::from(70)
}

#[expect(
    unsafe_code,
    reason = "an inherited descriptor has no safe way into an owner"
)]
fn channel() -> Option<UnixStream> {
    // SAFETY: called once, before any other thread exists and before anything was opened; when
    // descriptor 3 is open at all, the host passed it to this process as the channel, and nothing
    // else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(proofroom_confine::CHANNEL_FD) };
    if rustix::net::sockopt::socket_type(&fd).ok() != Some(rustix::net::SocketType::STREAM) {
        // Closing what is not ours could close somebody else's file.
        std::mem::forget(fd);
        return None;
    }
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(UnixStream::from(fd))
}
