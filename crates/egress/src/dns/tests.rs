//! Questions made by hand, whole and broken.

use proptest::prelude::{any, prop_assert, proptest};

use super::{Asked, Known, MAX_DATAGRAM, MAX_MESSAGE, Question, Unanswerable};

const A: u16 = 1;
const AAAA: u16 = 28;
const IN: u16 = 1;
const OPT: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];

fn name(labels: &[&[u8]]) -> Vec<u8> {
    let mut name = Vec::new();
    for label in labels {
        name.push(u8::try_from(label.len()).unwrap());
        name.extend_from_slice(label);
    }
    name.push(0);
    name
}

fn message(flags: u16, counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd];
    message.extend(flags.to_be_bytes());
    message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    message.extend(rest.concat());
    message
}

fn behind(kind: u16, class: u16) -> Vec<u8> {
    [kind.to_be_bytes(), class.to_be_bytes()].concat()
}

fn question(labels: &[&[u8]], kind: u16, class: u16) -> Vec<u8> {
    let counts = [1, 0, 0, 0];
    message(0x0100, counts, &[&name(labels), &behind(kind, class)])
}

fn example(kind: u16) -> Vec<u8> {
    question(&[b"Api", b"example", b"org"], kind, IN)
}

fn code(bytes: &[u8], most: usize) -> u8 {
    match Question::parse(bytes, most) {
        Err(Unanswerable::Refusal(refusal)) => {
            assert_eq!((refusal.len(), &refusal[..2]), (12, &bytes[..2]));
            assert_eq!(refusal[2] & 0x80, 0x80, "an answer");
            refusal[3] & 0xf
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_is_answered_as_it_was_asked() {
    let bytes = example(A);
    let question = Question::parse(&bytes, MAX_DATAGRAM).unwrap();
    assert_eq!(question.asked(), Asked::Address);
    assert_eq!(question.name(), "Api.example.org");
    assert_eq!(question.host().unwrap().as_str(), "api.example.org");
    let answer = question.answer(Known::Address([127, 64, 0, 1].into()));
    assert_eq!(
        &answer[..12],
        [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
    );
    assert_eq!(
        &answer[12..bytes.len()],
        &bytes[12..],
        "in its own spelling"
    );
    let tail = [&[0, 1, 0, 1][..], &[0, 0, 1, 44], &[0, 4, 127, 64, 0, 1]].concat();
    assert!(answer.ends_with(&tail), "{answer:x?}");
}

#[test]
fn an_answer_without_an_address_has_none() {
    let bytes = example(AAAA);
    let question = Question::parse(&bytes, MAX_DATAGRAM).unwrap();
    assert_eq!(question.asked(), Asked::Other);
    for (known, code) in [(Known::Nothing, 0), (Known::NoName, 3), (Known::Failure, 2)] {
        let answer = question.answer(known);
        assert_eq!(answer.len(), bytes.len());
        assert_eq!(&answer[2..12], [0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn an_opt_record_is_taken_and_no_other() {
    let with = |record: &[u8]| {
        let counts = [1, 0, 0, 1];
        message(
            0x0120,
            counts,
            &[&name(&[b"a", b"b"]), &behind(A, IN), record],
        )
    };
    assert!(Question::parse(&with(OPT), MAX_DATAGRAM).is_ok());
    let address = [&[0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4][..], &[1, 2, 3, 4]].concat();
    assert_eq!(code(&with(&address), MAX_DATAGRAM), 1);
    let two = message(
        0x0100,
        [1, 0, 0, 2],
        &[&name(&[b"a"]), &behind(A, IN), OPT, OPT],
    );
    assert_eq!(code(&two, MAX_DATAGRAM), 1);
}

#[test]
fn what_is_no_host_name_is_shown_in_print_and_is_nobodys() {
    let long = [b'x'; 63];
    for (labels, shown) in [
        (&[&b"a.b"[..], b"org"][..], "a\\.b.org"),
        (&[&b"a\0\xff"[..], b"org"][..], "a\\000\\255.org"),
        (&[&b"_dns"[..], b"org"][..], "_dns.org"),
        (&[&b"127"[..], b"0", b"0", b"1"][..], "127.0.0.1"),
        (&[][..], "."),
    ] {
        let bytes = question(labels, A, IN);
        let question = Question::parse(&bytes, MAX_DATAGRAM).unwrap();
        assert_eq!((question.name(), question.host()), (shown, None));
    }
    let bytes = question(&[&long[..]; 3], A, IN);
    assert!(Question::parse(&bytes, MAX_DATAGRAM).is_ok());
    assert_eq!(code(&question(&[&long[..]; 4], A, IN), MAX_DATAGRAM), 1);
}

#[test]
fn what_is_no_single_question_of_the_internet_is_refused() {
    let asked = [&name(&[b"a", b"b"])[..], &behind(A, IN)].concat();
    for (flags, counts, rest, expected) in [
        (0x0100, [0, 0, 0, 0], &[][..], 1),
        (0x0100, [2, 0, 0, 0], &[&asked[..], &asked][..], 1),
        (0x0100, [1, 1, 0, 0], &[&asked[..], OPT][..], 1),
        (0x0100, [1, 0, 1, 0], &[&asked[..], OPT][..], 1),
        (0x0100, [1, 0, 0, 0], &[&asked[..], &[0]][..], 1),
        (0x0300, [1, 0, 0, 0], &[&asked[..]][..], 1),
        (0x0500, [1, 0, 0, 0], &[&asked[..]][..], 1),
        (0x2900, [1, 0, 0, 0], &[&asked[..]][..], 4),
        (0x1100, [1, 0, 0, 0], &[&asked[..]][..], 4),
    ] {
        let bytes = message(flags, counts, rest);
        assert_eq!(code(&bytes, MAX_DATAGRAM), expected, "{flags:x} {counts:?}");
    }
    for class in [0, 3, 255] {
        let bytes = question(&[b"a", b"b"], A, class);
        assert_eq!(code(&bytes, MAX_DATAGRAM), 5, "{class}");
    }
}

#[test]
fn a_name_that_points_anywhere_is_refused() {
    for pointer in [
        [0xc0, 0],
        [0xc0, 4],
        [0xc0, 12],
        [0xc0, 14],
        [0xff, 0xff],
        [0x40, 1],
    ] {
        let bytes = message(0x0100, [1, 0, 0, 0], &[&pointer, &behind(A, IN)]);
        assert_eq!(code(&bytes, MAX_DATAGRAM), 1, "{pointer:x?}");
        let bytes = message(0x0100, [1, 0, 0, 0], &[b"\x01a", &pointer, &behind(A, IN)]);
        assert_eq!(code(&bytes, MAX_DATAGRAM), 1, "a label, then {pointer:x?}");
    }
}

#[test]
fn a_question_that_is_cut_anywhere_is_none() {
    let bytes = example(A);
    for length in 0..bytes.len() {
        let expected = length >= 12;
        match Question::parse(&bytes[..length], MAX_DATAGRAM) {
            Err(Unanswerable::Refusal(refusal)) => {
                assert!(expected && refusal[3] & 0xf == 1, "{length}");
            }
            Err(Unanswerable::Silence) => assert!(!expected, "{length}"),
            Ok(_) => panic!("{length} bytes are a question"),
        }
    }
}

#[test]
fn nothing_is_said_to_an_answer_and_nothing_long_is_read() {
    let mut bytes = example(A);
    bytes[2] |= 0x80;
    let silence = Question::parse(&bytes, MAX_DATAGRAM).unwrap_err();
    assert_eq!(silence, Unanswerable::Silence);
    let mut opt = OPT.to_vec();
    let padding = u16::try_from(MAX_DATAGRAM).unwrap();
    opt[9..].copy_from_slice(&(padding + 4).to_be_bytes());
    opt.extend([0, 12]);
    opt.extend(padding.to_be_bytes());
    opt.resize(opt.len() + MAX_DATAGRAM, 0);
    let counts = [1, 0, 0, 1];
    let long = message(0x0100, counts, &[&name(&[b"a"]), &behind(A, IN), &opt]);
    assert_eq!(code(&long, MAX_DATAGRAM), 1);
    assert!(Question::parse(&long, MAX_MESSAGE).is_ok());
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics_and_no_answer_is_long(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        start in 0_usize..2,
    ) {
        let mut whole = if start == 0 { example(A) } else { Vec::new() };
        whole.extend(bytes);
        match Question::parse(&whole, MAX_DATAGRAM) {
            Ok(question) => {
                let answer = question.answer(Known::Address([127, 64, 0, 1].into()));
                // The name twice, at most 255 bytes each.
                prop_assert!(answer.len() <= 12 + 255 + 4 + 255 + 14);
                prop_assert!(question.name().is_ascii());
            }
            Err(Unanswerable::Refusal(refusal)) => prop_assert!(refusal.len() == 12),
            Err(Unanswerable::Silence) => {}
        }
    }
}
