//! What a TPM, or who stands in its place, may answer: everything but the one form is refused.

use std::{
    collections::VecDeque,
    io::{self, Cursor, Read, Write},
};

use super::{
    AkPublic, Bank, MAX_MESSAGE_BYTES, PcrSelection, Started, Tpm, Tpm2Error, attestation_key,
    carry, key, narrowed,
};

/// Gives one scripted answer to each command.
struct Scripted {
    answers: VecDeque<Vec<u8>>,
    current: Cursor<Vec<u8>>,
    /// The most bytes of one read.
    piece: usize,
    commands: Vec<Vec<u8>>,
}

impl Scripted {
    fn of(answers: &[Vec<u8>]) -> Self {
        Self {
            answers: answers.to_vec().into(),
            current: Cursor::default(),
            piece: usize::MAX,
            commands: Vec::new(),
        }
    }
}

impl Read for Scripted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.min(out.len());
        self.current.read(&mut out[..count])
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.commands.push(bytes.to_vec());
        self.current = Cursor::new(self.answers.pop_front().unwrap_or_default());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn answer(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap();
    [
        &tag.to_be_bytes()[..],
        &size.to_be_bytes(),
        &code.to_be_bytes(),
        body,
    ]
    .concat()
}

fn plain(body: &[u8]) -> Vec<u8> {
    answer(0x8001, 0, body)
}

fn authorized(parameters: &[u8]) -> Vec<u8> {
    let size = u32::try_from(parameters.len()).unwrap();
    let body = [&size.to_be_bytes()[..], parameters, &[0, 0, 1, 0, 0]].concat();
    answer(0x8002, 0, &body)
}

fn started(answers: &[Vec<u8>]) -> Result<Started, Tpm2Error> {
    Tpm::new(Scripted::of(answers)).startup()
}

#[test]
fn an_answer_in_pieces_is_one_answer() {
    let mut scripted = Scripted::of(&[plain(&[])]);
    scripted.piece = 1;
    assert_eq!(Tpm::new(scripted).startup().unwrap(), Started::Now);
}

#[test]
fn a_tpm_that_asks_for_it_is_asked_again() {
    let retry = answer(0x8001, 0x922, &[]);
    let mut tpm = Tpm::new(Scripted::of(&[retry.clone(), retry, plain(&[])]));
    assert_eq!(tpm.startup().unwrap(), Started::Now);
    assert_eq!(tpm.transport.stream.commands.len(), 3);
}

#[test]
fn answers_of_another_form_are_refused() {
    let mut short = plain(&[]);
    short[5] = 9;
    let mut endless = plain(&[]);
    endless[2..6].copy_from_slice(&u32::try_from(MAX_MESSAGE_BYTES + 1).unwrap().to_be_bytes());
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("nothing", vec![], "tpm-closed"),
        ("half a header", plain(&[])[..5].to_vec(), "tpm-closed"),
        ("a size below the header", short, "tpm-answer-field"),
        ("a size above the cap", endless, "tpm-answer-field"),
        (
            "more than announced",
            [plain(&[]), vec![0]].concat(),
            "tpm-answer-trailing-bytes",
        ),
        (
            "parameters that Startup has not",
            plain(&[0]),
            "tpm-answer-trailing-bytes",
        ),
        (
            "a refusal with a body",
            answer(0x8001, 0x101, &[0]),
            "tpm-answer-field",
        ),
        (
            "the tag of another command",
            answer(0x8002, 0, &[]),
            "tpm-answer-field",
        ),
    ];
    for (what, bytes, code) in cases {
        assert_eq!(started(&[bytes]).unwrap_err().code(), code, "{what}");
    }
    let refused = started(&[answer(0x8001, 0x101, &[])]);
    assert!(matches!(
        refused,
        Err(Tpm2Error::Refused {
            command: 0x144,
            code: 0x101
        })
    ));
}

/// `TPMT_PUBLIC` of the generator point of P-256.
fn public() -> Vec<u8> {
    let point = p256::AffinePoint::GENERATOR;
    let sec1 = p256::PublicKey::from_affine(point).unwrap().to_sec1_bytes();
    let mut bytes = key::template();
    bytes.truncate(bytes.len() - 4);
    for coordinate in [&sec1[1..33], &sec1[33..]] {
        bytes.extend_from_slice(&[0, 32]);
        bytes.extend_from_slice(coordinate);
    }
    bytes
}

fn created(public: &[u8], name: &[u8]) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let size = u16::try_from(bytes.len()).unwrap();
        [&size.to_be_bytes()[..], bytes].concat()
    };
    let parameters = [
        sized(public),
        sized(&[1; 55]),
        sized(&[2; 32]),
        vec![0x80, 0x21, 0x40, 0, 0, 0x0b],
        sized(&[3; 32]),
        sized(name),
    ]
    .concat();
    let authorized = authorized(&parameters);
    let body = [&[0x80, 0, 0, 1][..], &authorized[10..]].concat();
    answer(0x8002, 0, &body)
}

#[test]
fn the_key_of_the_template_is_accepted_and_every_other_refused() {
    let good = public();
    let name = AkPublic::from_tpmt_public(&good).unwrap().name();
    let attempt = |public: &[u8], name: &[u8]| {
        let answers = [plain(&[]), created(public, name), plain(&[]), plain(&[])];
        attestation_key(Scripted::of(&answers))
    };
    assert_eq!(attempt(&good, &name).unwrap().tpmt_public(), good);
    let code = |public: &[u8]| attempt(public, &name).unwrap_err().code();
    assert_eq!(
        attempt(&good, &name[1..]).unwrap_err().code(),
        "tpm-key-unexpected"
    );
    for byte in 0..key::template().len() - 4 {
        let mut changed = good.clone();
        changed[byte] ^= 1;
        assert_eq!(code(&changed), "tpm-key-unexpected", "byte {byte}");
    }
    let mut off_curve = good.clone();
    *off_curve.last_mut().unwrap() ^= 1;
    assert_eq!(code(&off_curve), "tpm-key-unexpected");
    assert_eq!(code(&good[..good.len() - 1]), "tpm-answer-truncated");
    let longer = [&good[..], &[0]].concat();
    assert_eq!(code(&longer), "tpm-answer-trailing-bytes");
}

#[test]
fn a_quote_over_other_data_is_refused() {
    let attest = |magic: u32, kind: u16, extra: &[u8]| {
        let size = u16::try_from(extra.len()).unwrap();
        [
            &magic.to_be_bytes()[..],
            &kind.to_be_bytes(),
            &[0, 0],
            &size.to_be_bytes(),
            extra,
        ]
        .concat()
    };
    key::read_attest(&attest(0xff54_4347, 0x8018, &[7; 32]), &[7; 32]).unwrap();
    for (what, bytes) in [
        ("made outside", attest(0xff54_4348, 0x8018, &[7; 32])),
        ("a certification", attest(0xff54_4347, 0x8017, &[7; 32])),
        ("other data", attest(0xff54_4347, 0x8018, &[8; 32])),
        ("no data", attest(0xff54_4347, 0x8018, &[])),
    ] {
        let refused = key::read_attest(&bytes, &[7; 32]).unwrap_err();
        assert_eq!(refused.code(), "tpm-quote-unexpected", "{what}");
    }
}

#[test]
fn a_register_that_was_not_asked_for_is_not_the_answer() {
    let value = |algorithm: u8, select: [u8; 3], bytes: usize| {
        let size = u16::try_from(bytes).unwrap();
        let head = [0, 0, 0, 9, 0, 0, 0, 1, 0, algorithm, 3];
        [
            &head[..],
            &select,
            &[0, 0, 0, 1],
            &size.to_be_bytes(),
            &vec![5; bytes],
        ]
        .concat()
    };
    let read = |body: &[u8]| Tpm::new(Scripted::of(&[plain(body)])).read_register(Bank::Sha384, 15);
    assert_eq!(read(&value(0x0c, [0, 0x80, 0], 48)).unwrap(), [5; 48]);
    for (what, body) in [
        ("another bank", value(0x0b, [0, 0x80, 0], 48)),
        ("another register", value(0x0c, [0, 0x40, 0], 48)),
        ("another length", value(0x0c, [0, 0x80, 0], 32)),
    ] {
        assert_eq!(
            read(&body).unwrap_err().code(),
            "tpm-register-missing",
            "{what}"
        );
    }
    let many = [0, 0, 0, 9, 0, 0, 0, 17];
    assert_eq!(read(&many).unwrap_err().code(), "tpm-answer-field");
}

#[test]
fn a_tpm_without_random_bytes_is_an_error() {
    let mut out = [0; 8];
    let none = Tpm::new(Scripted::of(&[plain(&[0, 0])])).random(&mut out);
    assert_eq!(none.unwrap_err().code(), "tpm-random-short");
    let many = Tpm::new(Scripted::of(&[plain(&[&[0, 9][..], &[1; 9]].concat())])).random(&mut out);
    assert_eq!(many.unwrap_err().code(), "tpm-random-short");
}

#[test]
fn what_is_ours_to_get_right_is_not_sent() {
    let mut tpm = Tpm::new(Scripted::of(&[]));
    let refused = tpm.extend(15, &[(Bank::Sha384, vec![0; 32])]).unwrap_err();
    assert_eq!(refused.code(), "tpm-digest-length");
    let loaded = super::LoadedKey {
        handle: super::Handle(0x8000_0001),
        public: AkPublic::from_tpmt_public(&public()).unwrap(),
    };
    let selection = PcrSelection::new(Bank::Sha384, &[15]);
    let refused = tpm.quote(&loaded, &selection, &[0; 33]).unwrap_err();
    assert_eq!(refused.code(), "tpm-qualifying-too-long");
    assert!(tpm.transport.stream.commands.is_empty());
}

/// A machine that says its commands and hears the answers.
struct Asker {
    says: Cursor<Vec<u8>>,
    hears: Vec<u8>,
}

impl Read for Asker {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.says.read(out)
    }
}

impl Write for Asker {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hears.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `TPM2_GetCapability(TPM_CAP_PCRS)` and what a TPM with a sha1, a sha256 and a sha384 bank says to it.
fn banks() -> (Vec<u8>, Vec<u8>) {
    let question = [0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1];
    let says = [
        &[0, 0, 0, 0, 5, 0, 0, 0, 3][..],
        &[0, 4, 3, 0, 0, 0],
        &[0, 0xb, 3, 0, 0, 0],
        &[0, 0xc, 3, 0xff, 0xff, 0xff],
    ];
    (answer(0x8001, 0x17a, &question), plain(&says.concat()))
}

#[test]
fn a_tpm_whose_commands_are_carried_has_one_bank_and_everything_else() {
    let (question, said) = banks();
    let alone = plain(&[0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0xc, 3, 0xff, 0xff, 0xff]);
    let mut asker = Asker {
        says: Cursor::new([question.clone(), answer(0x8001, 0x144, &[0, 0])].concat()),
        hears: Vec::new(),
    };
    let refusal = answer(0x8001, 0x101, &[]);
    let mut tpm = Scripted::of(&[said, refusal.clone()]);
    carry(&mut asker, &mut tpm, Bank::Sha384).unwrap();
    assert_eq!(tpm.commands, [question, answer(0x8001, 0x144, &[0, 0])]);
    assert_eq!(asker.hears, [alone, refusal].concat());
}

#[test]
fn only_the_plain_question_for_banks_is_answered_differently() {
    let (question, said) = banks();
    let mut with_sessions = question.clone();
    with_sessions[1] = 2;
    let mut of_algorithms = question.clone();
    of_algorithms[13] = 0;
    for command in [&with_sessions[..], &of_algorithms, &question[..11]] {
        let stays = narrowed(command, said.clone(), Bank::Sha384).unwrap();
        assert_eq!(stays, said);
    }
    let refusal = answer(0x8001, 0x101, &[]);
    let stays = narrowed(&question, refusal.clone(), Bank::Sha384).unwrap();
    assert_eq!(stays, refusal);
    for length in 0..said.len() {
        let refused = narrowed(&question, said[..length].to_vec(), Bank::Sha384);
        assert_eq!(refused.unwrap_err().code(), "tpm-answer-truncated");
    }
}

#[test]
fn a_message_whose_size_none_has_is_not_carried() {
    let mut endless = plain(&[]);
    endless[2] = 1;
    let cases = [
        (endless, "tpm-answer-field"),
        (plain(&[])[..9].to_vec(), "tpm-answer-truncated"),
        (plain(&[0])[..10].to_vec(), "tpm-closed"),
    ];
    for (says, code) in cases {
        let mut asker = Asker {
            says: Cursor::new(says),
            hears: Vec::new(),
        };
        let mut tpm = Scripted::of(&[]);
        let refused = carry(&mut asker, &mut tpm, Bank::Sha384).unwrap_err();
        assert_eq!(refused.code(), code);
        assert!(tpm.commands.is_empty());
    }
}
