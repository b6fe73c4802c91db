//! A TPM as one that has a single bank: for the host that carries a machine's commands to its software
//! TPM. Firmware computes a digest for every bank that a TPM could have, whether or not it is in use, and
//! asks for them by `TPM2_GetCapability(TPM_CAP_PCRS)` (edk2, `Tcg2Pei`).

use std::io::{Read, Write};

use super::{
    Bank, MAX_MESSAGE_BYTES, Tpm2Error, bank,
    command::{self, TAG_NO_SESSIONS},
    transport::{HEADER_BYTES, header},
    wire::Reader,
};

/// Carries commands from `asker` to `tpm` and the answers back, until the asker is gone; what the TPM
/// says of its banks is [`narrowed`] to `bank`.
///
/// # Errors
/// `tpm-answer-field` for a message whose announced size none has, `tpm-closed` when one ends early,
/// `tpm-io`, and as of [`narrowed`].
pub fn carry(
    mut asker: impl Read + Write,
    mut tpm: impl Read + Write,
    bank: Bank,
) -> Result<(), Tpm2Error> {
    while let Some(command) = message(&mut asker)? {
        write(&mut tpm, &command)?;
        let answer = message(&mut tpm)?.ok_or(Tpm2Error::Closed)?;
        write(&mut asker, &narrowed(&command, answer, bank)?)?;
    }
    Ok(())
}

/// `answer` to `command` as of a TPM without any bank but `bank`. Only the plain question for banks is
/// answered differently: one with sessions has an answer that they authenticate, which stays.
///
/// # Errors
/// `tpm-answer-truncated`, `tpm-answer-field` or `tpm-answer-trailing-bytes` for an answer that says
/// nothing of banks.
pub fn narrowed(command: &[u8], answer: Vec<u8>, bank: Bank) -> Result<Vec<u8>, Tpm2Error> {
    if !asks_for_banks(command).unwrap_or(false) || header(&answer)?.code != 0 {
        return Ok(answer);
    }
    let (kept, said) = answer.split_at(HEADER_BYTES.min(answer.len()));
    let mut said = Reader::new(said);
    let more = said.u8("moreData")?;
    let capability = said.u32("capability")?;
    let selections = bank::read_selections(&mut said)?;
    said.end("TPM2_GetCapability")?;
    let mut body = vec![more];
    body.extend(capability.to_be_bytes());
    body.extend(bank::of_bank(&selections, bank));
    let mut narrow = kept.to_vec();
    let size = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    if let Some(field) = narrow.get_mut(2..6) {
        field.copy_from_slice(&size.to_be_bytes());
    }
    narrow.extend(body);
    Ok(narrow)
}

/// Whether this is `TPM2_GetCapability(TPM_CAP_PCRS)` without sessions; an error for half a command.
fn asks_for_banks(command: &[u8]) -> Result<bool, Tpm2Error> {
    let mut reader = Reader::new(command);
    let tag = reader.u16("tag")?;
    reader.u32("commandSize")?;
    let code = reader.u32("commandCode")?;
    let plain = tag == TAG_NO_SESSIONS && code == command::GET_CAPABILITY;
    Ok(plain && reader.u32("capability")? == command::CAP_PCRS)
}

/// One command or answer; nothing at the stream's end.
fn message(stream: &mut impl Read) -> Result<Option<Vec<u8>>, Tpm2Error> {
    let mut message = Vec::with_capacity(HEADER_BYTES);
    read(stream, &mut message, HEADER_BYTES)?;
    if message.is_empty() {
        return Ok(None);
    }
    let size = announced(&message)?;
    read(stream, &mut message, size)?;
    if message.len() < size {
        return Err(Tpm2Error::Closed);
    }
    Ok(Some(message))
}

/// How long the message is whose header this is.
fn announced(message: &[u8]) -> Result<usize, Tpm2Error> {
    let value = header(message)?.size;
    let size = usize::try_from(value).ok();
    size.filter(|size| (HEADER_BYTES..=MAX_MESSAGE_BYTES).contains(size))
        .ok_or(Tpm2Error::Field {
            field: "size",
            value,
        })
}

/// Until the message has `size` bytes, or the stream ends.
fn read(stream: &mut impl Read, message: &mut Vec<u8>, size: usize) -> Result<(), Tpm2Error> {
    let missing = size.saturating_sub(message.len());
    let missing = u64::try_from(missing).unwrap_or(0);
    stream
        .take(missing)
        .read_to_end(message)
        .map(drop)
        .map_err(Tpm2Error::Read)
}

fn write(stream: &mut impl Write, message: &[u8]) -> Result<(), Tpm2Error> {
    stream
        .write_all(message)
        .and_then(|()| stream.flush())
        .map_err(Tpm2Error::Write)
}
