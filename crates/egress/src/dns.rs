//! A question to the room's resolver, and its answer (RFC 1035, RFC 7766). Messages are taken apart and
//! put together by the `domain` crate; which of them are questions at all is decided here.

use std::net::Ipv4Addr;

use domain::{
    base::{
        Message, MessageBuilder, Ttl,
        iana::{Class, Opcode, Rcode, Rtype},
        message_builder::AnswerBuilder,
        name::ToLabelIter as _,
    },
    rdata::A,
};

use crate::host::HostName;

/// The most bytes of a question that comes as a datagram (RFC 1035, section 4.2.1).
pub const MAX_DATAGRAM: usize = 512;
/// The most bytes of a question that comes over a connection.
pub const MAX_MESSAGE: usize = 4096;
/// How long programs may keep an address: it stands for its name until the session ends.
const SECONDS: u32 = 300;
/// Bytes of a message's head, and of a question behind its name.
const HEAD: usize = 12;
const BEHIND_NAME: usize = 4;

/// One question that can be answered.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    message: Message<&'a [u8]>,
    asked: Asked,
    name: String,
    host: Option<HostName>,
}

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its IPv4 addresses.
    Address,
    /// Anything else.
    Other,
}

/// What the resolver knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The name is there, and this is its address.
    Address(Ipv4Addr),
    /// The name is there; what is asked about it is not.
    Nothing,
    /// There is no such name.
    NoName,
    /// There is no address left for it.
    Failure,
}

/// What is no question that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// Said to nobody: less than a head, or an answer itself.
    Silence,
    /// To be sent back as it is.
    Refusal(Vec<u8>),
}

impl<'a> Question<'a> {
    /// Reads a message of at most `most` bytes: one question of class `IN` with an uncompressed name,
    /// nothing else but an `OPT` record (RFC 6891), nothing behind it.
    ///
    /// # Errors
    /// [`Unanswerable`].
    pub fn parse(bytes: &'a [u8], most: usize) -> Result<Self, Unanswerable> {
        let message = Message::from_octets(bytes).map_err(|_| Unanswerable::Silence)?;
        let header = message.header();
        if header.qr() {
            return Err(Unanswerable::Silence);
        }
        let refusal = |code| Unanswerable::Refusal(refusal(&message, code));
        if header.opcode() != Opcode::QUERY {
            return Err(refusal(Rcode::NOTIMP));
        }
        if bytes.len() > most || header.tc() || header.aa() {
            return Err(refusal(Rcode::FORMERR));
        }
        let found = sole_question(message).ok_or_else(|| refusal(Rcode::FORMERR))?;
        let (asked, class, name) = found;
        if class != Class::IN {
            return Err(refusal(Rcode::REFUSED));
        }
        Ok(Self {
            message,
            asked,
            host: HostName::parse(&name).ok(),
            name,
        })
    }

    /// What is asked.
    #[must_use]
    pub const fn asked(&self) -> Asked {
        self.asked
    }

    /// The name as an event may show it: printable ASCII, other bytes as `\ddd`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, where it is a host's.
    #[must_use]
    pub const fn host(&self) -> Option<&HostName> {
        self.host.as_ref()
    }

    /// The answer as a message, which repeats the question as it was asked.
    #[must_use]
    pub fn answer(&self, known: Known) -> Vec<u8> {
        let code = match known {
            Known::Address(_) | Known::Nothing => Rcode::NOERROR,
            Known::NoName => Rcode::NXDOMAIN,
            Known::Failure => Rcode::SERVFAIL,
        };
        let Ok(mut answer) = MessageBuilder::new_vec().start_answer(&self.message, code) else {
            return refusal(&self.message, Rcode::SERVFAIL);
        };
        if let (Known::Address(address), Some(Ok(question))) =
            (known, self.message.question().next())
        {
            let ttl = Ttl::from_secs(SECONDS);
            let record = (question.into_qname(), Class::IN, ttl, A::new(address));
            if answer.push(record).is_err() {
                return refusal(&self.message, Rcode::SERVFAIL);
            }
        }
        finished(answer)
    }
}

/// Type, class and name of the one question, if that is what the message holds.
fn sole_question(message: Message<&[u8]>) -> Option<(Asked, Class, String)> {
    let counts = message.header_counts();
    if (counts.qdcount(), counts.ancount(), counts.nscount()) != (1, 0, 0) || counts.arcount() > 1 {
        return None;
    }
    let mut questions = message.question();
    let question = questions.next()?.ok()?;
    let name = question.qname();
    // What a compressed name takes is less than its length.
    if questions.pos() != HEAD + usize::from(name.compose_len()) + BEHIND_NAME {
        return None;
    }
    let mut records = message.additional().ok()?;
    for record in records.by_ref() {
        if record.ok()?.rtype() != Rtype::OPT {
            return None;
        }
    }
    let asked = match question.qtype() {
        Rtype::A => Asked::Address,
        _ => Asked::Other,
    };
    let whole = records.pos() == message.as_slice().len();
    let shown = if name.is_root() {
        ".".to_owned()
    } else {
        name.to_string()
    };
    whole.then(|| (asked, question.qclass(), shown))
}

/// A head alone, with the code that says why.
fn refusal(message: &Message<&[u8]>, code: Rcode) -> Vec<u8> {
    let mut refusal = MessageBuilder::new_vec().answer();
    let header = refusal.header_mut();
    header.set_id(message.header().id());
    header.set_qr(true);
    header.set_opcode(message.header().opcode());
    header.set_rd(message.header().rd());
    header.set_rcode(code);
    finished(refusal)
}

/// Says that names are looked up here for whoever asks: without it, resolvers look for another server.
fn finished(mut answer: AnswerBuilder<Vec<u8>>) -> Vec<u8> {
    answer.header_mut().set_ra(true);
    answer.finish()
}

#[cfg(test)]
mod tests;
