//! The room's own resolver (RFC 1035): no question ever leaves the room. A name that some rule is
//! about gets the proxy's address; every other name does not exist.

use crate::{
    address::PROXY,
    host::{HostName, shown},
};

/// The most bytes that a question may have.
pub const MAX_QUERY_BYTES: usize = 512;

const HEADER: usize = 12;
const A: u16 = 1;
const IN: u16 = 1;
/// A pointer to the name in the question, which begins behind the header.
const NAME_OF_THE_QUESTION: [u8; 2] = [0xc0, 12];
/// Seconds for which an answer may be kept: none, the policy may be another for the next room.
const TTL: [u8; 4] = [0; 4];

/// Why bytes are no question that gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// More than [`MAX_QUERY_BYTES`].
    #[error("a DNS question of more than 512 bytes")]
    TooLarge,
    /// Not one question of class IN, or lengths that do not fit.
    #[error("a malformed DNS question")]
    Malformed,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A name that some rule is about.
    Known(HostName),
    /// Another name, or none, as words may repeat it.
    Unknown(String),
}

/// An answer with what it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message.
    pub bytes: Vec<u8>,
    /// What was asked for.
    pub asked: Asked,
}

/// Answers one question by what `knows` says of its name.
///
/// # Errors
/// [`DnsError`]: there is nothing to answer then.
pub fn reply(message: &[u8], knows: impl Fn(&HostName) -> bool) -> Result<Reply, DnsError> {
    if message.len() > MAX_QUERY_BYTES {
        return Err(DnsError::TooLarge);
    }
    let [id0, id1, flags, _, 0, 1, 0, 0, 0, 0, _, _, ref rest @ ..] = *message else {
        return Err(DnsError::Malformed);
    };
    // A query, of the standard kind, not cut short.
    if flags & 0b1111_1010 != 0 {
        return Err(DnsError::Malformed);
    }
    let (labels, after) = name(rest)?;
    let [kind0, kind1, class0, class1, ..] = *after else {
        return Err(DnsError::Malformed);
    };
    let class = u16::from_be_bytes([class0, class1]);
    let length = rest.len().saturating_sub(after.len()).saturating_add(4);
    let question = rest.get(..length).ok_or(DnsError::Malformed)?;
    if class != IN {
        return Err(DnsError::Malformed);
    }
    let known = host(&labels).filter(|name| knows(name));
    let address = known.is_some() && u16::from_be_bytes([kind0, kind1]) == A;
    let no_such_name = if known.is_some() { 0 } else { 3 };
    let mut bytes = Vec::with_capacity(HEADER + question.len() + 16);
    // Response, recursion desired as asked; recursion available, and the code.
    bytes.extend([id0, id1, 0x80 | (flags & 1), 0x80 | no_such_name]);
    bytes.extend([0, 1, 0, u8::from(address), 0, 0, 0, 0]);
    bytes.extend(question);
    if address {
        bytes.extend(NAME_OF_THE_QUESTION);
        bytes.extend(A.to_be_bytes());
        bytes.extend(IN.to_be_bytes());
        bytes.extend(TTL);
        bytes.extend([0, 4]);
        bytes.extend(PROXY.octets());
    }
    let asked = known.map_or_else(
        || {
            let texts = labels.iter().map(|label| String::from_utf8_lossy(label));
            Asked::Unknown(shown(&texts.collect::<Vec<_>>().join(".")))
        },
        Asked::Known,
    );
    Ok(Reply { bytes, asked })
}

/// The labels of an uncompressed name, and what follows it.
fn name(bytes: &[u8]) -> Result<(Vec<&[u8]>, &[u8]), DnsError> {
    let mut labels = Vec::new();
    let mut rest = bytes;
    loop {
        let (length, after) = rest.split_first().ok_or(DnsError::Malformed)?;
        let length = usize::from(*length);
        if length == 0 {
            return Ok((labels, after));
        }
        if length > 63 || bytes.len().saturating_sub(after.len()) > 255 {
            return Err(DnsError::Malformed);
        }
        let (label, after) = after.split_at_checked(length).ok_or(DnsError::Malformed)?;
        labels.push(label);
        rest = after;
    }
}

/// The labels as a host name. A dot within a label is no separator.
fn host(labels: &[&[u8]]) -> Option<HostName> {
    let texts: Option<Vec<&str>> = labels
        .iter()
        .map(|label| {
            str::from_utf8(label)
                .ok()
                .filter(|text| !text.contains('.'))
        })
        .collect();
    HostName::parse(&texts?.join(".")).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::{Asked, DnsError, reply};
    use crate::host::HostName;

    fn query(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(*label);
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    fn good(name: &HostName) -> bool {
        name.as_str() == "good.com"
    }

    #[test]
    fn a_known_name_leads_to_the_proxy() {
        let question = query(&[b"GOOD", b"com"], 1);
        let found = reply(&question, good).unwrap();
        assert_eq!(
            found.asked,
            Asked::Known(HostName::parse("good.com").unwrap())
        );
        let mut wanted = vec![0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        wanted.extend(&question[12..]);
        wanted.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
        assert_eq!(found.bytes, wanted);
        let six = reply(&query(&[b"good", b"com"], 28), good).unwrap();
        assert_eq!(
            six.bytes[2..8],
            [0x81, 0x80, 0, 1, 0, 0],
            "no address of that kind"
        );
    }

    #[test]
    fn every_other_name_does_not_exist() {
        for labels in [
            &[&b"evil"[..], b"com"][..],
            &[b"data-in-a-name", b"good", b"com"],
            &[b"good", b"com", b"evil"],
            &[b"good.com"],
            &[b"good\0", b"com"],
            &[b"\xffood", b"com"],
            &[],
        ] {
            let found = reply(&query(labels, 1), good).unwrap();
            assert!(matches!(found.asked, Asked::Unknown(_)), "{labels:?}");
            assert_eq!(found.bytes[2..8], [0x81, 0x83, 0, 1, 0, 0], "{labels:?}");
        }
        let txt = reply(&query(&[b"evil", b"com"], 16), good).unwrap();
        assert_eq!(txt.bytes[3] & 15, 3);
    }

    #[test]
    fn an_extension_carries_nothing_anywhere() {
        let mut question = query(&[b"good", b"com"], 1);
        question[11] = 1;
        question.extend([
            0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 8, 0, 8, 0, 4, 0xde, 0xad, 0xbe, 0xef,
        ]);
        let found = reply(&question, good).unwrap();
        assert!(!found.bytes.windows(2).any(|pair| pair == [0xde, 0xad]));
    }

    #[test]
    fn what_is_no_single_question_gets_no_answer() {
        let fine = query(&[b"good", b"com"], 1);
        let with = |at: usize, byte: u8| {
            let mut changed = fine.clone();
            changed[at] = byte;
            reply(&changed, good).unwrap_err()
        };
        assert_eq!(with(2, 0x81), DnsError::Malformed, "an answer");
        assert_eq!(with(2, 0x28), DnsError::Malformed, "an update");
        assert_eq!(with(5, 2), DnsError::Malformed, "two questions");
        assert_eq!(with(7, 1), DnsError::Malformed, "an answer section");
        assert_eq!(with(12, 0xc0), DnsError::Malformed, "a pointer");
        assert_eq!(
            with(fine.len() - 1, 3),
            DnsError::Malformed,
            "another class"
        );
        for end in 0..fine.len() {
            assert_eq!(reply(&fine[..end], good), Err(DnsError::Malformed), "{end}");
        }
        assert_eq!(reply(&[0; 513], good), Err(DnsError::TooLarge));
        let long = query(&[&[b'a'; 63][..]; 5], 1);
        assert_eq!(reply(&long, good), Err(DnsError::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), at in 0usize..30, byte in any::<u8>()) {
            prop_assert!(reply(&bytes, good).map_or(true, |found| found.bytes.len() < 1024));
            let mut changed = query(&[b"good", b"com"], 1);
            if let Some(place) = changed.get_mut(at) {
                *place = byte;
            }
            prop_assert!(reply(&changed, good).map_or(true, |found| found.bytes.len() < 1024));
        }
    }
}
