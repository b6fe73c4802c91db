//! The room's channel: bytes between a virtio port and the socket that the supervisor holds. The
//! end of one side becomes the end of the other, and nothing is kept in between.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
};

/// One virtio buffer; vsock hosts that hang on larger writes take this as well.
const PIECE: usize = 32 * 1024;

/// Pumps in both directions on threads of their own until either side ends.
pub(crate) fn pump(port: &File, room: &UnixStream) -> io::Result<()> {
    let (mut from_host, mut to_host) = (port.try_clone()?, port.try_clone()?);
    let (mut from_room, mut to_room) = (room.try_clone()?, room.try_clone()?);
    thread::Builder::new()
        .name("from-host".to_owned())
        .spawn(move || {
            copy(&mut from_host, &mut to_room);
            drop(to_room.shutdown(Shutdown::Both));
        })?;
    thread::Builder::new()
        .name("to-host".to_owned())
        .spawn(move || {
            copy(&mut from_room, &mut to_host);
            drop(from_room.shutdown(Shutdown::Both));
        })?;
    Ok(())
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let Some(read) = piece.get(..read) else {
            return;
        };
        if to.write_all(read).is_err() {
            return;
        }
    }
}
