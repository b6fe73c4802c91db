//! Between QEMU and its software TPM. QEMU opens the TPM's data channel itself: it makes a pair of sockets
//! and hands one of them over on the control channel (QEMU, docs/specs/tpm.rst, `CMD_SET_DATAFD`). Here
//! that one is kept and another goes to the TPM, so that commands pass through this process and the TPM
//! can be one that has a single bank. Whatever QEMU says, it reaches nothing but its own TPM.

use std::{
    io::{self, IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    thread,
};

use proofroom_attester::tpm2::{Bank, carry};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, recvmsg, sendmsg, sockopt,
};

use crate::{RoomError, error::On as _};

/// The most bytes of one control message: QEMU's longest, a piece of saved state, is not sent here.
const MAX_CONTROL_BYTES: usize = 4096;

/// Carries control messages between the two, and commands of the machine to a TPM that has `bank` alone,
/// until one of them ends; then the other one hears it. The threads end with them.
pub(super) fn between(qemu: UnixStream, tpm: UnixStream, bank: Bank) -> Result<(), RoomError> {
    let place = Path::new("a TPM's control channel");
    let (mut hears, mut says) = (
        qemu.try_clone().on("copy", place)?,
        tpm.try_clone().on("copy", place)?,
    );
    named("tpm-control", move || {
        // What breaks here is the machine's loss: it has no TPM any more, and its session no evidence.
        let mut data = None;
        drop(control(&qemu, &tpm, bank, &mut data));
        hang_up(&qemu, &tpm);
        // Whoever else holds the other end of the machine's data channel, nobody is served there any more.
        drop(data.map(|data| data.shutdown(Shutdown::Both)));
    })?;
    named("tpm-answers", move || {
        drop(io::copy(&mut says, &mut hears));
        hang_up(&hears, &says);
    })
}

fn named(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), RoomError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread
        .map(drop)
        .on("start", Path::new("a thread for a TPM"))
}

fn hang_up(qemu: &UnixStream, tpm: &UnixStream) {
    for side in [qemu, tpm] {
        // Who is gone already cannot be hung up on.
        drop(side.shutdown(Shutdown::Both));
    }
}

/// QEMU's control messages, the first descriptor among them exchanged; there is one data channel, which is
/// noted in `data`.
fn control(
    qemu: &UnixStream,
    mut tpm: &UnixStream,
    bank: Bank,
    data: &mut Option<UnixStream>,
) -> io::Result<()> {
    loop {
        let (words, descriptor) = receive(qemu)?;
        match descriptor {
            None if words.is_empty() => return Ok(()),
            None => tpm.write_all(&words)?,
            Some(_) if data.is_some() => return Err(io::ErrorKind::InvalidData.into()),
            Some(descriptor) => {
                let asker = stream(descriptor)?;
                *data = Some(asker.try_clone()?);
                send_with(tpm, &words, splice(asker, bank)?.as_fd())?;
            }
        }
    }
}

/// What QEMU handed over, if it is a socket. This process may write where QEMU may not: nothing else is written to.
fn stream(handed: OwnedFd) -> io::Result<UnixStream> {
    let stream = sockopt::socket_domain(&handed)? == AddressFamily::UNIX
        && sockopt::socket_type(&handed)? == SocketType::STREAM;
    match stream {
        true => Ok(handed.into()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Serves QEMU's data channel, and returns the TPM's end of another one.
fn splice(asker: UnixStream, bank: Bank) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    let thread = thread::Builder::new().name("tpm-commands".to_owned());
    thread.spawn(move || {
        drop(carry(&asker, &ours, bank));
        hang_up(&asker, &ours);
    })?;
    Ok(theirs.into())
}

/// The next message, and the descriptor beside it.
fn receive(from: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut words = vec![0; MAX_CONTROL_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut words)];
    let got = recvmsg(from, &mut into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let descriptor = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut received) => received.next(),
        _ => None,
    });
    words.truncate(got.bytes);
    Ok((words, descriptor))
}

fn send_with(to: &UnixStream, words: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = sendmsg(to, &[IoSlice::new(words)], &mut beside, SendFlags::NOSIGNAL)?;
    // The descriptor went with what was sent.
    let mut to = to;
    to.write_all(words.get(sent..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, Write as _},
        os::{fd::AsFd as _, unix::net::UnixStream},
        time::Duration,
    };

    use proofroom_attester::tpm2::Bank;

    use super::{between, receive, send_with};

    /// `CMD_SET_DATAFD`.
    const SET_DATA: [u8; 4] = [0, 0, 0, 16];
    /// `TPM2_GetCapability(TPM_CAP_PCRS)` of one bank.
    const QUESTION: [u8; 22] = [
        0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1,
    ];

    /// QEMU's and the TPM's ends of a control channel with this process between them.
    fn control_channel() -> (UnixStream, UnixStream) {
        let (qemu, ours) = UnixStream::pair().unwrap();
        let (tpm, theirs) = UnixStream::pair().unwrap();
        for end in [&qemu, &tpm] {
            end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        between(ours, theirs, Bank::Sha384).unwrap();
        (qemu, tpm)
    }

    fn hears(mut stream: &UnixStream, words: &[u8]) {
        let mut heard = vec![0; words.len()];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard, words);
    }

    fn is_hung_up(mut stream: &UnixStream) {
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn control_messages_pass_and_commands_reach_a_tpm_of_one_bank() {
        let (mut qemu, mut tpm) = control_channel();
        qemu.write_all(b"init").unwrap();
        hears(&tpm, b"init");
        let (mut asks, data) = UnixStream::pair().unwrap();
        send_with(&qemu, &SET_DATA, data.as_fd()).unwrap();
        drop(data);
        let (words, answers) = receive(&tpm).unwrap();
        assert_eq!(words, SET_DATA);
        let mut answers = UnixStream::from(answers.unwrap());
        tpm.write_all(&[0; 4]).unwrap();
        hears(&qemu, &[0; 4]);
        asks.write_all(&QUESTION).unwrap();
        hears(&answers, &QUESTION);
        let header = [0x80, 1, 0, 0, 0, 31, 0, 0, 0, 0, 0, 0, 0, 0, 5];
        let banks = [0, 0, 0, 2, 0, 4, 3, 0, 0, 0, 0, 0xc, 3, 1, 1, 1];
        answers.write_all(&[&header[..], &banks].concat()).unwrap();
        let header = [0x80, 1, 0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 5];
        hears(&asks, &header);
        hears(&asks, &[0, 0, 0, 1, 0, 0xc, 3, 1, 1, 1]);
        // A machine that is gone is heard of at once, on both channels.
        drop((asks, qemu));
        is_hung_up(&answers);
        is_hung_up(&tpm);
    }

    #[test]
    fn a_data_channel_whose_other_end_somebody_keeps_ends_with_the_machine() {
        let (qemu, tpm) = control_channel();
        let (kept, data) = UnixStream::pair().unwrap();
        kept.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        send_with(&qemu, &SET_DATA, data.as_fd()).unwrap();
        let answers = UnixStream::from(receive(&tpm).unwrap().1.unwrap());
        answers
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        drop((qemu, data));
        is_hung_up(&answers);
        is_hung_up(&kept);
    }

    #[test]
    fn a_tpm_that_is_gone_is_heard_of() {
        let (qemu, tpm) = control_channel();
        drop(tpm);
        is_hung_up(&qemu);
    }

    #[test]
    fn nothing_but_one_socket_is_taken_for_the_data_channel() {
        let (qemu, tpm) = control_channel();
        let file = File::open("/dev/null").unwrap();
        send_with(&qemu, &SET_DATA, file.as_fd()).unwrap();
        is_hung_up(&qemu);
        is_hung_up(&tpm);

        let (qemu, tpm) = control_channel();
        for _ in 0..2 {
            let (_asks, data) = UnixStream::pair().unwrap();
            send_with(&qemu, &SET_DATA, data.as_fd()).unwrap();
        }
        assert!(receive(&tpm).unwrap().1.is_some());
        is_hung_up(&tpm);
        is_hung_up(&qemu);
    }
}
