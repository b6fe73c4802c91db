//! Integers of variable length (RFC 9000, section 16).

/// A number at the front of `bytes` and how many bytes it takes; `None` while they are not all there.
pub(crate) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| {
        (value << 8) | u64::from(*byte)
    });
    Some((value, length))
}

/// Appends `value`, below 2^62, in its shortest form.
pub(crate) fn write(out: &mut Vec<u8>, value: usize) {
    let value = value as u64;
    let (mark, length) = match value {
        0..0x40 => (0, 1),
        0x40..0x4000 => (0x40 << 8, 2),
        0x4000..0x4000_0000 => (0x80 << 24, 4),
        _ => (0xc0 << 56, 8),
    };
    let bytes = (value | mark).to_be_bytes();
    out.extend(bytes.iter().skip(8 - length));
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    #[test]
    fn numbers_are_as_rfc_9000_prints_them() {
        for (value, written) in [
            (37, "25"),
            (15_293, "7bbd"),
            (494_878_333, "9d7f3e7d"),
            (151_288_809_941_952_652, "c2197c5eff14e88c"),
        ] {
            let mut out = Vec::new();
            write(&mut out, value);
            let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, written);
            assert_eq!(read(&out), Some((value as u64, out.len())));
            for end in 0..out.len() {
                assert_eq!(read(&out[..end]), None);
            }
        }
        // RFC 9000, appendix A.1: not the shortest form
        assert_eq!(read(&[0x40, 0x25]), Some((37, 2)));
    }
}
