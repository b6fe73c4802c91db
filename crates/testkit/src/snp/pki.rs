//! The simulated vendor's certificates and revocation list, as AMD lays them out (AMD 57230). Every
//! subject says `SIMULATED`.

use proofroom_canonical::Timestamp;
use proofroom_evidence::snp::{SigningKey, SnpProduct};

use super::{ASK_SERIAL, ASVK_SERIAL, SimulatedAmd, SnpPlan, VLEK_SERIAL, VekPlan, keys::RsaKey};
use crate::der::{bit_string, der, integer, object_id, sequence};

const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// AMD's arc, 1.3.6.1.4.1.3704.1.
const AMD: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01];
/// An extension that nobody knows, 1.3.6.1.4.1.3704.99.
const UNKNOWN: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x63];

struct Tbs {
    serial: Vec<u8>,
    issuer: String,
    subject: String,
    validity: (String, String),
    public: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

/// The root certificate of `product`. Valid from 2020 to 2049.
pub(super) fn root(ark: &RsaKey, product: SnpProduct) -> Vec<u8> {
    let name = format!("ARK-{product}");
    certificate(
        &Tbs {
            serial: vec![1],
            issuer: name.clone(),
            subject: name,
            validity: long(),
            public: ark.public(),
            // keyCertSign and cRLSign (RFC 5280 section 4.2.1.3)
            extensions: vec![key_usage(&[1, 0x06]), basic_constraints(true, None)],
        },
        ark,
    )
}

/// The certificate of the key that signs chip keys.
pub(super) fn intermediate(amd: &SimulatedAmd, plan: &SnpPlan) -> Vec<u8> {
    let (key, serial) = match plan.key {
        SigningKey::Vlek => (&amd.asvk, ASVK_SERIAL),
        SigningKey::Vcek | SigningKey::None => (&amd.ask, ASK_SERIAL),
    };
    let length = plan.intermediate_ca.then_some(0);
    certificate(
        &Tbs {
            serial: serial.to_vec(),
            issuer: format!("ARK-{}", plan.product),
            subject: intermediate_name(plan),
            validity: long(),
            public: key.public(),
            extensions: vec![
                basic_constraints(plan.intermediate_ca, length),
                key_usage(&[2, 0x04]), // keyCertSign
            ],
        },
        &amd.ark,
    )
}

fn intermediate_name(plan: &SnpPlan) -> String {
    match plan.key {
        SigningKey::Vlek => format!("SEV-VLEK-{}", plan.product),
        SigningKey::Vcek | SigningKey::None => format!("SEV-{}", plan.product),
    }
}

/// The certificate of the chip key.
pub(super) fn leaf(amd: &SimulatedAmd, plan: &SnpPlan) -> Vec<u8> {
    let (issuer, serial) = match plan.key {
        SigningKey::Vlek => (&amd.asvk, VLEK_SERIAL.to_vec()),
        SigningKey::Vcek | SigningKey::None => (&amd.ask, vec![0]),
    };
    certificate(
        &Tbs {
            serial,
            issuer: intermediate_name(plan),
            subject: plan.vek.common_name.clone(),
            validity: (utc_time(plan.vek.not_before), utc_time(plan.vek.not_after)),
            public: amd.chip_key(plan.key).public(),
            extensions: vek_extensions(&plan.vek, plan.product),
        },
        issuer,
    )
}

/// The root's revocation list.
pub(super) fn revocation_list(amd: &SimulatedAmd, plan: &SnpPlan) -> Vec<u8> {
    let time = |at| der(0x17, utc_time(at).as_bytes());
    let revoked: Vec<u8> = plan
        .crl
        .revoked
        .iter()
        .flat_map(|serial| sequence(&[&integer(serial), &time(plan.crl.this_update)]))
        .collect();
    let mut body = vec![
        integer(&[1]),
        algorithm(),
        name(&format!("ARK-{}", plan.product)),
        time(plan.crl.this_update),
    ];
    body.extend(plan.crl.next_update.map(time));
    if !revoked.is_empty() {
        body.push(der(0x30, &revoked));
    }
    let key = if plan.crl.foreign { &amd.ask } else { &amd.ark };
    signed(&der(0x30, &body.concat()), key)
}

fn vek_extensions(vek: &VekPlan, product: SnpProduct) -> Vec<Vec<u8>> {
    let [b0, b1, b2, b3, _, _, b6, b7] = vek.tcb;
    let (fmc, boot_loader, tee, snp) = match product {
        SnpProduct::Milan | SnpProduct::Genoa => (None, b0, b1, b6),
        SnpProduct::Turin => (Some(b0), b1, b2, b3),
    };
    let spl = |arc: u8, value: u8| amd(&[3, arc], &integer(&[value]));
    let mut all = vec![
        amd(&[1], &integer(&[0])),
        amd(&[2], &der(0x16, vek.product_name.as_bytes())),
        spl(1, boot_loader),
        spl(2, tee),
        spl(4, 0),
        spl(5, 0),
        spl(6, 0),
        spl(7, 0),
        spl(3, snp),
        spl(8, b7),
    ];
    all.extend(fmc.map(|fmc| spl(9, fmc)));
    all.extend(vek.hardware_id.as_ref().map(|id| amd(&[4], id)));
    all.extend(
        vek.csp_id
            .as_ref()
            .map(|id| amd(&[5], &der(0x16, id.as_bytes()))),
    );
    if vek.ca {
        all.push(basic_constraints(true, None));
    }
    if vek.unknown_critical {
        all.push(extension(UNKNOWN, true, &der(0x05, &[])));
    }
    all
}

fn amd(tail: &[u8], value: &[u8]) -> Vec<u8> {
    extension(&[AMD, tail].concat(), false, value)
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical {
        der(0x01, &[0xff])
    } else {
        Vec::new()
    };
    sequence(&[&object_id(id), &critical, &der(0x04, value)])
}

fn basic_constraints(ca: bool, length: Option<u8>) -> Vec<u8> {
    let mut content = if ca { der(0x01, &[0xff]) } else { Vec::new() };
    content.extend(length.map(|most| integer(&[most])).unwrap_or_default());
    extension(BASIC_CONSTRAINTS, true, &der(0x30, &content))
}

/// From how many bits are unused, and the bits.
fn key_usage(bits: &[u8]) -> Vec<u8> {
    extension(KEY_USAGE, true, &der(0x03, bits))
}

fn certificate(tbs: &Tbs, issuer: &RsaKey) -> Vec<u8> {
    let (from, until) = &tbs.validity;
    let body = sequence(&[
        &der(0xa0, &integer(&[2])),
        &integer(&tbs.serial),
        &algorithm(),
        &name(&tbs.issuer),
        &sequence(&[&der(0x17, from.as_bytes()), &der(0x17, until.as_bytes())]),
        &name(&tbs.subject),
        &tbs.public,
        &der(0xa3, &der(0x30, &tbs.extensions.concat())),
    ]);
    signed(&body, issuer)
}

fn signed(body: &[u8], key: &RsaKey) -> Vec<u8> {
    sequence(&[body, &algorithm(), &bit_string(&key.sign(body))])
}

/// RSASSA-PSS with SHA-384, MGF1 with SHA-384, salt of 48 bytes.
fn algorithm() -> Vec<u8> {
    let sha384 = sequence(&[&object_id(SHA384), &der(0x05, &[])]);
    let mgf1 = sequence(&[&object_id(MGF1), &sha384]);
    let parameters = sequence(&[
        &der(0xa0, &sha384),
        &der(0xa1, &mgf1),
        &der(0xa2, &integer(&[48])),
    ]);
    sequence(&[&object_id(RSASSA_PSS), &parameters])
}

fn name(common_name: &str) -> Vec<u8> {
    let part = |id: &[u8], value: &str| {
        let attribute = sequence(&[&object_id(id), &der(0x0c, value.as_bytes())]);
        der(0x31, &attribute)
    };
    sequence(&[
        &part(ORGANIZATION, "Proofroom SIMULATED, proves nothing"),
        &part(COMMON_NAME, common_name),
    ])
}

fn long() -> (String, String) {
    ("200101000000Z".to_owned(), "491231235959Z".to_owned())
}

/// `YYMMDDHHMMSSZ`, of the years from 2000 to 2049 (RFC 5280 section 4.1.2.5.1).
fn utc_time(at: Timestamp) -> String {
    let digits: String = at
        .to_string()
        .chars()
        .filter(char::is_ascii_digit)
        .skip(2)
        .take(12)
        .collect();
    digits + "Z"
}
