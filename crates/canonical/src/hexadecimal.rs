//! Lower-case hexadecimal, in which every digest, identifier and register is written.

/// The bytes of exactly `2N` lower-case hex digits.
#[must_use]
pub fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::lower_hex;

    #[test]
    fn one_spelling_of_the_right_length_is_read() {
        assert_eq!(lower_hex("00ff"), Some([0, 255]));
        for bad in ["", "00", "00fF", "00ff0", "00ff00", "0xff", "00 f"] {
            assert_eq!(lower_hex::<2>(bad), None, "{bad}");
        }
    }
}
