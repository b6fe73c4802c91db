//! The attest socket: the supervisor's way to the machine's TPM or TDX module. Whoever else in the
//! machine calls is turned away by its user id, which the kernel says.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
};

use proofroom_attester::{AttestError, Attester};
use proofroom_record::{
    attest_api::{
        AttestAnswer, AttestRequest, Attested, FrameError, Measured, frame, frame_length,
        read_frame,
    },
    room_api::ErrorDetail,
};
use rustix::net::sockopt::socket_peercred;

use crate::{InitError, error::On as _};

/// A listening socket that nobody but this process's user may use yet.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, InitError> {
    let listener = UnixListener::bind(path).on("bind", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).on("protect", path)?;
    Ok(listener)
}

/// Gives the socket to the user `supervisor`, and to nobody else.
pub(crate) fn hand_over(path: &Path, supervisor: u32) -> Result<(), InitError> {
    chown(path, Some(supervisor), Some(supervisor)).on("give away", path)
}

/// Serves the socket on a thread of its own, one connection after the other: there is one TPM.
pub(crate) fn serve(
    listener: UnixListener,
    supervisor: u32,
    mut attester: Attester,
) -> io::Result<()> {
    thread::Builder::new()
        .name("attest".to_owned())
        .spawn(move || {
            for connection in listener.incoming().flatten() {
                let peer = socket_peercred(&connection).map(|peer| peer.uid.as_raw());
                if peer == Ok(supervisor) {
                    // A connection that breaks is the caller's loss.
                    drop(answer_all(connection, &mut attester));
                }
            }
        })
        .map(drop)
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

fn answer_all(mut connection: UnixStream, attester: &mut Attester) -> Result<(), ConnectionError> {
    loop {
        let mut header = [0; 4];
        if connection.read_exact(&mut header).is_err() {
            return Ok(());
        }
        let mut body = vec![0; frame_length(header)?];
        connection.read_exact(&mut body)?;
        let answer = match read_frame(&body)? {
            AttestRequest::Measure { name, content } => {
                let measured = attester.measure(&name, &content);
                frame(&answer(measured.map(|()| Measured {})))?
            }
            AttestRequest::Attest { moment, statement } => {
                let evidence = attester.attest(moment, &statement);
                frame(&answer(evidence.map(|evidence| Attested { evidence })))?
            }
        };
        connection.write_all(&answer)?;
    }
}

fn answer<T>(done: Result<T, AttestError>) -> AttestAnswer<T> {
    match done {
        Ok(done) => AttestAnswer::Ok(done),
        Err(error) => AttestAnswer::Error(ErrorDetail {
            code: error.code().to_owned(),
            message: crate::start::chain(&error),
        }),
    }
}
