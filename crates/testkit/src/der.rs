//! DER as the simulated vendors write it: one value at a time, nothing read.

use crate::tee::written;

/// One DER value with a definite length below 65,536.
pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = written(u16::try_from(content.len()));
    let [high, low] = length.to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..=127) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

/// `SEQUENCE` of `members`.
pub(crate) fn sequence(members: &[&[u8]]) -> Vec<u8> {
    der(0x30, &members.concat())
}

/// `OBJECT IDENTIFIER`, from its contents.
pub(crate) fn object_id(content: &[u8]) -> Vec<u8> {
    der(0x06, content)
}

/// `INTEGER`, not negative, from big-endian bytes.
pub(crate) fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = bytes.get(zeros..).unwrap_or_default();
    let mut content = match digits.first() {
        Some(first) if *first < 0x80 => Vec::new(),
        _ => vec![0],
    };
    content.extend_from_slice(digits);
    der(0x02, &content)
}

/// `BIT STRING` of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    let mut content = vec![0];
    content.extend_from_slice(bytes);
    der(0x03, &content)
}
