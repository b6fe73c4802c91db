//! What opens and what does not. The bytes of `FOREIGN_*` were made by the crate `ohttp` 0.8 (with `bhttp` 0.8), which shares no
//! code with this one but what is below HPKE.

use std::sync::Arc;

use proofroom_canonical::Hex;
use proofroom_serving::KeyConfig;

use crate::{
    AnswerOpener, AnswerSealer, KeyPair, MAX_CHUNK_BYTES, OpenedRequest, Piece, RequestHead,
    RequestOpener, SealError, seal_request, varint,
};

const FOREIGN_CONFIG: &str =
    "00002041852320ff367495fa522c94cb83af391e4e89018392725bbf2098dd931bc424000400010003";
const FOREIGN_REQUEST: &str = "000020000100032c4d6be9c15240f4ab8daa00ba983007a4c08063f98e7b56b916da618da60c48249950d2102d5ec766673a\
     6013fdf7ff3482c4879c452f2bb9db3ecc8672f0a76a459b2765405bb097fa790eac100997af20706c44a530695ab26573f3\
     26672644f607717e7fad6ac4e8f8ce152a0f79b222771a830a3f26ed42994a2c1b7073dd0974778b58eb9d43e44298e553fe\
     9e7e2009f170f445508a5c2f8b0e4e9cb2099300f020968463be3241ed642535778fa825";
const FOREIGN_ANSWER: &str = "620c546770ad56aec7e754bd689064f92c5a11b02420e8b41f5f6af11f44c03432837c821328d687187afc9f9a5715391c43\
     7f66609b0d05d5daebe8c069c5b9bf7d35e2fa0c194f344aeff67d5a1a14f9b292161aa0bca7b8d9a6d22c3c25c07a1e27d2\
     4d06e640b9c000ce32e7a78586d00eafae030747eb1e4b";

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn key(number: u8) -> Arc<KeyPair> {
    Arc::new(KeyPair::from_random(&[number; 32]))
}

fn request(to: &KeyConfig, random: u8, content: &[u8]) -> (Vec<u8>, AnswerOpener) {
    let head = RequestHead {
        method: "POST",
        path: "/v1/chat/completions",
    };
    let fields = [("content-type", &b"application/json"[..])];
    seal_request(to, &[random; 32], head, fields.into_iter(), content).unwrap()
}

fn open_request(key: &Arc<KeyPair>, sealed: &[u8]) -> Result<OpenedRequest, SealError> {
    let mut opener = RequestOpener::new(Arc::clone(key), 100_000);
    for part in sealed.chunks(1000) {
        opener.push(part)?;
    }
    opener.finish()
}

/// An answer in three pieces to the request of `random`, and what opens it.
fn answer(random: u8) -> (Vec<u8>, AnswerOpener) {
    let key = key(1);
    let (sealed, opener) = request(&key.config(), random, b"{}");
    let opened = open_request(&key, &sealed).unwrap();
    let fields = [("content-type", &b"text/event-stream"[..])];
    let begun = AnswerSealer::begin(opened.answer, &[random; 32], 200, fields.into_iter());
    let (mut sealer, mut all) = begun.unwrap();
    for piece in ["one", "two", "three"] {
        all.extend(sealer.content(piece.as_bytes()).unwrap());
    }
    all.extend(sealer.finish().unwrap());
    (all, opener)
}

/// Status and content, as far as they open, and how it ends.
fn read(mut opener: AnswerOpener, sealed: &[u8]) -> (Option<u16>, Vec<u8>, Result<(), SealError>) {
    let (mut status, mut content) = (None, Vec::new());
    for part in sealed.chunks(7) {
        opener.push(part);
        loop {
            match opener.next() {
                Ok(None) => break,
                Ok(Some(Piece::Head(head))) => status = Some(head.status),
                Ok(Some(Piece::Content(more))) => content.extend_from_slice(&more),
                Err(error) => return (status, content, Err(error)),
            }
        }
    }
    (status, content, opener.finish())
}

/// An answer's nonce and its chunks, each with its length before it.
fn taken_apart(sealed: &[u8]) -> Vec<Vec<u8>> {
    let (nonce, mut rest) = sealed.split_at(32);
    let mut parts = vec![nonce.to_vec()];
    while !rest.is_empty() {
        let (length, prefix) = varint::read(rest).unwrap();
        let end = match usize::try_from(length).unwrap() {
            0 => rest.len(),
            length => prefix + length,
        };
        parts.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    parts
}

#[test]
fn what_another_implementation_sealed_opens() {
    let key = key(1);
    assert_eq!(key.config().to_hex().to_string(), FOREIGN_CONFIG);
    let config: Hex<41> = FOREIGN_CONFIG.parse().unwrap();
    assert_eq!(KeyConfig::parse(config.as_bytes()), Some(key.config()));
    let opened = open_request(&key, &unhex(FOREIGN_REQUEST)).unwrap();
    let opened = opened.request.unwrap();
    assert_eq!(
        (opened.method.as_str(), opened.path.as_str()),
        ("POST", "/v1/chat/completions")
    );
    assert_eq!(opened.content.as_slice(), b"{\"model\":\"m\"}");
    assert_eq!(opened.fields.len(), 1);
    // made for the request that these random bytes give; its last chunk opens as the last, and is empty
    let (_, opener) = request(&key.config(), 2, &vec![b'x'; 40_000]);
    let (status, content, end) = read(opener, &unhex(FOREIGN_ANSWER));
    assert_eq!((status, content.as_slice()), (Some(200), &b"hello"[..]));
    assert_eq!(
        end,
        Err(SealError::Message("does not end as an answer does"))
    );
}

#[test]
fn requests_and_answers_of_every_size_come_through() {
    let key = key(1);
    let sizes = [0, 1, MAX_CHUNK_BYTES - 1, MAX_CHUNK_BYTES, 40_000];
    for size in sizes {
        let content = vec![b'x'; size];
        let (sealed, opener) = request(&key.config(), 3, &content);
        let opened = open_request(&key, &sealed).unwrap();
        assert_eq!(*opened.request.unwrap().content, content);
        let begun = AnswerSealer::begin(opened.answer, &[4; 32], 503, [].into_iter());
        let (mut sealer, mut all) = begun.unwrap();
        all.extend(sealer.content(&content).unwrap());
        all.extend(sealer.finish().unwrap());
        assert_eq!(read(opener, &all), (Some(503), content, Ok(())));
    }
}

#[test]
fn an_answer_that_was_cut_never_ends_well() {
    let (sealed, _) = answer(5);
    let whole = taken_apart(&sealed);
    let ends: Vec<_> = whole
        .iter()
        .scan(0, |end, part| {
            *end += part.len();
            Some(*end)
        })
        .collect();
    for end in 0..sealed.len() {
        let (_, opener) = answer(5);
        let (_, content, result) = read(opener, &sealed[..end]);
        assert!("onetwothree".as_bytes().starts_with(&content));
        let code = result.unwrap_err().code();
        // in the last chunk it cannot be told from a change
        let in_last = end >= ends[ends.len() - 2] + 17;
        let expected = ["sealed-cut", "sealed-chunk-refused"][usize::from(in_last)];
        assert_eq!(code, expected, "{end}");
    }
}

type Attack = fn(&mut Vec<Vec<u8>>);

#[test]
fn chunks_that_were_moved_repeated_left_out_or_added_do_not_open() {
    let attacks: [(&str, Attack); 9] = [
        ("sealed-chunk-refused", |parts| parts.swap(2, 3)),
        ("sealed-chunk-refused", |parts| {
            parts.insert(3, parts[2].clone())
        }),
        ("sealed-chunk-refused", |parts| drop(parts.remove(2))),
        ("sealed-chunk-refused", |parts| parts.push(parts[2].clone())),
        ("sealed-chunk-refused", |parts| parts.push(vec![0])),
        // its last chunk, and one that is passed off as the last
        ("sealed-cut", |parts| drop(parts.pop())),
        ("sealed-chunk-refused", |parts| {
            parts.truncate(4);
            parts[3][0] = 0;
        }),
        // of an answer to another request, and of this one under another nonce
        ("sealed-chunk-refused", |parts| {
            parts[3] = taken_apart(&answer(9).0)[3].clone();
        }),
        ("sealed-chunk-refused", |parts| parts[0][0] ^= 1),
    ];
    for (place, (code, attack)) in attacks.into_iter().enumerate() {
        let (sealed, opener) = answer(5);
        let mut parts = taken_apart(&sealed);
        assert_eq!(parts.len(), 6);
        attack(&mut parts);
        let (_, content, end) = read(opener, &parts.concat());
        assert!("onetwothree".as_bytes().starts_with(&content), "{place}");
        assert_eq!(end.unwrap_err().code(), code, "{place}");
    }
}

#[test]
fn an_answer_to_another_request_does_not_open_at_all() {
    let (sealed, _) = answer(5);
    let (_, other) = answer(6);
    let refused = Err(SealError::ChunkRefused);
    assert_eq!(read(other, &sealed), (None, Vec::new(), refused));
}

#[test]
fn no_changed_byte_opens() {
    let (sealed, _) = answer(5);
    for place in 0..sealed.len() {
        let (_, opener) = answer(5);
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        assert!(read(opener, &changed).2.is_err(), "{place}");
    }
    let key = key(1);
    let (sealed, _) = request(&key.config(), 5, b"{\"model\":\"m\"}");
    for place in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        assert!(open_request(&key, &changed).is_err(), "{place}");
        assert!(open_request(&key, &sealed[..place]).is_err(), "{place}");
    }
}

#[test]
fn a_chunk_that_is_too_long_is_refused_before_it_has_come() {
    let mut length = Vec::new();
    varint::write(&mut length, MAX_CHUNK_BYTES + 17);
    let (sealed, mut opener) = answer(5);
    opener.push(&[&sealed[..32], &length].concat());
    assert_eq!(opener.next().unwrap_err(), SealError::ChunkTooLarge);
    let (sealed, mut opener) = answer(5);
    let endless = [&sealed[..32], &[0], &[0; MAX_CHUNK_BYTES + 17]].concat();
    opener.push(&endless);
    assert_eq!(opener.next().unwrap_err(), SealError::ChunkTooLarge);
}

#[test]
fn requests_to_another_key_or_suite_or_of_too_many_bytes_are_refused() {
    let (sealed, _) = request(&key(1).config(), 5, b"{}");
    let code = |sealed: &[u8], number| open_request(&key(number), sealed).unwrap_err().code();
    assert_eq!(code(&sealed, 2), "sealed-chunk-refused");
    for place in 0..7 {
        let mut other = sealed.clone();
        other[place] ^= 1;
        assert_eq!(code(&other, 1), "sealed-key-unknown");
    }
    // a point of small order agrees with nobody (RFC 9180, section 7.1.4)
    let mut weak = sealed.clone();
    weak[7..39].fill(0);
    assert_eq!(code(&weak, 1), "sealed-chunk-refused");
    let head = RequestHead {
        method: "GET",
        path: "/",
    };
    let unsealable = seal_request(
        &KeyConfig::new([0; 32]),
        &[1; 32],
        head,
        [].into_iter(),
        b"",
    );
    assert_eq!(unsealable.unwrap_err().code(), "sealing-failed");
    let (long, _) = request(&key(1).config(), 5, &vec![0; 130_000]);
    assert_eq!(code(&long, 1), "sealed-too-long");
}

#[test]
fn nothing_secret_is_in_what_is_printed() {
    let (sealed, opener) = request(&key(1).config(), 5, b"canary");
    let opened = open_request(&key(1), &sealed).unwrap();
    let printed = format!("{opened:?} {opener:?} {:?}", key(1));
    assert!(!printed.contains("canary") && !printed.contains("99, 97"));
}
