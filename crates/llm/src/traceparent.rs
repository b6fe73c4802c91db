//! The `traceparent` header of a client: which trace a request belongs to, by W3C Trace Context. Only the one
//! form that version 00 has is read; `tracestate` and baggage are free text and not read at all.

use std::fmt;

use proofroom_canonical::Hex;

/// The bytes of a `traceparent` of version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
pub const TRACEPARENT_BYTES: usize = 55;

/// The trace that a client says its request belongs to, and its own place there. Numbers alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: Hex<16>,
    span: Hex<8>,
    flags: Hex<1>,
}

impl TraceParent {
    /// Reads a header's value (W3C Trace Context section 3.2): version 00, lower-case digits, neither id
    /// all zeroes. Anything else is no `traceparent`.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() != TRACEPARENT_BYTES {
            return None;
        }
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.strip_prefix("00-")?.splitn(3, '-');
        let trace = parts.next()?.parse().ok()?;
        let span = parts.next()?.parse().ok()?;
        let flags = parts.next()?.parse().ok()?;
        let named = trace != Hex::ZERO && span != Hex::ZERO;
        named.then_some(Self { trace, span, flags })
    }

    /// The trace's id.
    #[must_use]
    pub const fn trace(self) -> [u8; 16] {
        *self.trace.as_bytes()
    }

    /// The id of the client's span.
    #[must_use]
    pub const fn span(self) -> [u8; 8] {
        *self.span.as_bytes()
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{}", self.trace, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::TraceParent;

    /// The example of W3C Trace Context section 3.2.4.
    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn one_form_is_read_and_written_back() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert_eq!(parent.trace()[..2], [0x0a, 0xf7]);
        assert_eq!(parent.span()[6..], [0x33, 0x31]);
    }

    #[test]
    fn whatever_else_a_client_writes_is_no_traceparent() {
        let zero_trace = GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32));
        let zero_span = GOOD.replace("b7ad6b7169203331", &"0".repeat(16));
        for bad in [
            "",
            GOOD.strip_suffix('1').unwrap(),
            &format!("{GOOD}-"),
            &format!("{GOOD} "),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00-", "01-", 1),
            &GOOD.replacen("00-", "ff-", 1),
            &GOOD.replacen('-', "_", 2),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace("0af", "+af"),
            &zero_trace,
            &zero_span,
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\u{e9}01",
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
