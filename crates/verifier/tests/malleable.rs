//! What can be changed in accepted evidence without changing what was attested: every region of
//! `docs/spec/malleability.md` is changed here, the evidence stays accepted and its identity the same. What is
//! signed is in `every_bit.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::collections::BTreeSet;

use der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, asn1::BitStringRef};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{
    Collateral, EvidenceDocument, Quote,
    snp::{SigningKey, SnpProduct},
};
use proofroom_testkit::{
    gpu::{RimPlan, SimulatedGpus, list_of},
    snp::{SNP_SEED, SimulatedAmd, SnpEvidence},
    tee::{SimulatedTee, simulated_measurement},
};
use proofroom_verifier::{
    AppraisalPolicy, Freshness, PRODUCTION_SNP, SIMULATED_UPSTREAM, SnpAppraisalPolicy, SnpChain,
    SnpExpectation, Verdict, appraise, appraise_snp,
    gpu::{GpuEndorsements, GpuPolicy, SIMULATED_GPU, appraise_gpus},
};

const NONCE: Nonce = Nonce::from_random([0x5a; 32]);
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_435_200);

/// What an upstream serves, in the parts that can be changed.
#[derive(Clone)]
struct Upstream {
    quote: Vec<u8>,
    collateral: Collateral,
    layout: fn(&str) -> String,
}

impl Upstream {
    fn honest() -> Self {
        let tee = SimulatedTee::demo();
        let document = tee.document(&tee.plan(NONCE, Digest::of("tls key"), "glm-5", NOW));
        let document = EvidenceDocument::parse(&document).unwrap();
        Self {
            quote: document.quote_bytes().to_vec(),
            collateral: document.collateral().clone(),
            layout: str::to_owned,
        }
    }

    fn document(&self, statement: &[u8]) -> Vec<u8> {
        let written = EvidenceDocument::write(statement, &self.quote, &self.collateral).unwrap();
        (self.layout)(std::str::from_utf8(&written).unwrap()).into_bytes()
    }
}

type Region<T> = (&'static str, fn(&mut T));

const UPSTREAM: &[Region<Upstream>] = &[
    ("quote: padding", |it| it.quote.extend([0; 128])),
    ("quote: signature", |it| {
        let at = Quote::parse(&it.quote).unwrap().signed_length() + 4;
        negate_p256(&mut it.quote[at..at + 64]);
    }),
    ("quote: signature of the QE report", |it| {
        let at = QuoteParts::qe_report(&it.quote) + 384;
        negate_p256(&mut it.quote[at..at + 64]);
    }),
    ("quote: signatures of the PCK certificates", |it| {
        it.quote = QuoteParts::with_chain(&it.quote, resigned_below_root::<P256>);
    }),
    ("quote: armour of the PCK certificates", |it| {
        it.quote = QuoteParts::with_chain(&it.quote, other_armour);
    }),
    ("collateral: signatures of TCB info and QE identity", |it| {
        negate_p256(&mut it.collateral.tcb_info_signature);
        negate_p256(&mut it.collateral.qe_identity_signature);
    }),
    ("collateral: signatures of the revocation lists", |it| {
        it.collateral.pck_crl = resigned::<P256>(&it.collateral.pck_crl);
        it.collateral.root_ca_crl = resigned::<P256>(&it.collateral.root_ca_crl);
    }),
    ("collateral: signatures of the certificates", |it| {
        for chain in chains(&mut it.collateral) {
            *chain = resigned_below_root::<P256>(chain);
        }
    }),
    ("collateral: armour of the certificates", |it| {
        for chain in chains(&mut it.collateral) {
            *chain = other_armour(chain);
        }
    }),
    ("document: space and order of members", |it| {
        it.layout = spaced_and_reordered;
    }),
    ("document: case of hexadecimal digits", |it| {
        it.layout = |text| {
            let (before, rest) = text.split_once("\"root_ca_crl\":\"").unwrap();
            let (digits, after) = rest.split_once('"').unwrap();
            let digits = digits.to_ascii_uppercase();
            format!("{before}\"root_ca_crl\":\"{digits}\"{after}")
        };
    }),
];

#[test]
fn an_upstreams_evidence_is_what_its_quote_signed_whatever_else_is_changed() {
    let honest = Upstream::honest();
    let tee = SimulatedTee::demo();
    let statement = tee
        .plan(NONCE, Digest::of("tls key"), "glm-5", NOW)
        .statement;
    let statement = statement.to_bytes().unwrap();
    let policy = AppraisalPolicy::parse(SIMULATED_UPSTREAM, "simulated.toml").unwrap();
    let judged = |it: &Upstream| {
        let document = it.document(&statement);
        let appraisal = appraise(&document, &policy, Freshness::Challenge(NONCE), NOW);
        let checks = format!("{:#?}", appraisal.checks());
        let verified = appraisal.into_verified();
        (verified.map_err(|_| checks).unwrap().quote(), document)
    };
    stays_the_same(&honest, UPSTREAM, judged);
}

const SNP: &[Region<SnpEvidence>] = &[("report: signature", |it| {
    // r and s, little-endian in 72 bytes each (SEV-SNP ABI, table 139)
    let (r, s) = (0x2a0, 0x2a0 + 72);
    let mut big: Vec<u8> = it.report[r..r + 48].to_vec();
    big.reverse();
    let mut last: Vec<u8> = it.report[s..s + 48].to_vec();
    last.reverse();
    big.extend(last);
    negate_p384(&mut big);
    big[48..].reverse();
    it.report[s..s + 48].copy_from_slice(&big[48..]);
})];

#[test]
fn an_snp_report_is_what_was_signed_whatever_its_signature() {
    let amd = SimulatedAmd::from_seed(SNP_SEED);
    let honest = amd.make(&amd.plan(SnpProduct::Milan, 3, SigningKey::Vcek, NOW));
    let root = amd.root_digest(SnpProduct::Milan).to_string();
    let example = PRODUCTION_SNP
        .lines()
        .find(|line| line.starts_with("measurement"))
        .unwrap();
    let measurement = format!("measurement = [\"{}\"]", simulated_measurement("snp"));
    let text = PRODUCTION_SNP
        .replace("production-snp", "simulated-snp")
        .replace("\"production-upstream\"", "\"simulated\"")
        .replace("amd-ark-milan", &root)
        .replace(example, &measurement);
    let text = text.split("\n[[match]]").next().unwrap();
    let policy = SnpAppraisalPolicy::parse(text, "simulated.toml").unwrap();
    stays_the_same(&honest, SNP, |it| {
        let chain = SnpChain {
            leaf: &it.leaf,
            intermediate: &it.intermediate,
            root: &it.root,
            crl: Some(&it.crl),
        };
        let expected = SnpExpectation::Challenge([0x77; 64]);
        let appraisal = appraise_snp(&it.report, chain, &policy, expected, NOW);
        assert_eq!(appraisal.verdict(), Verdict::Accept, "{appraisal:#?}");
        (appraisal.report().unwrap(), it.report.clone())
    });
}

/// One device's evidence.
#[derive(Clone)]
struct Device {
    report: Vec<u8>,
    chain: String,
    layout: fn(&str) -> String,
}

const GPU: &[Region<Device>] = &[
    ("device: filling", |it| it.report.extend([0; 64])),
    ("device: signature", |it| {
        let at = it.report.len() - 96;
        negate_p384(&mut it.report[at..]);
    }),
    ("device: signatures of the certificates", |it| {
        it.chain = resigned_below_root::<P384>(&it.chain);
    }),
    ("device: armour of the certificates", |it| {
        it.chain = other_armour(&it.chain);
    }),
    ("list: space and order of members", |it| {
        it.layout = spaced_and_reordered;
    }),
    ("list: what the collector says", |it| {
        it.layout = |text| text.replacen("HOPPER", "another", 1);
    }),
];

#[test]
fn a_devices_evidence_is_what_it_signed_whatever_else_is_changed() {
    let gpus = SimulatedGpus::demo();
    let plan = gpus.plan(1, NONCE);
    let other = gpus.plan(2, NONCE);
    let honest = Device {
        report: gpus.report(&plan),
        chain: gpus.chain(&plan),
        layout: str::to_owned,
    };
    let policy = SIMULATED_GPU
        .replace("token = \"required\"", "token = \"not-required\"")
        .replace("revocation = \"required\"", "revocation = \"not-required\"");
    let policy = GpuPolicy::parse(&policy, "gpu.toml").unwrap();
    let driver_rims = [gpus.rim(&RimPlan::driver())];
    let bios_rims = [gpus.rim(&RimPlan::bios())];
    let beside = (gpus.report(&other), gpus.chain(&other));
    stays_the_same(&honest, GPU, |it| {
        let list = list_of([(it.report.clone(), it.chain.clone()), beside.clone()]);
        let list = (it.layout)(std::str::from_utf8(&list).unwrap()).into_bytes();
        let endorsements = GpuEndorsements {
            driver_rims: &driver_rims,
            bios_rims: &bios_rims,
            ..GpuEndorsements::default()
        };
        let judged = appraise_gpus(
            &list,
            endorsements,
            &policy,
            Freshness::Challenge(NONCE),
            NOW,
        );
        assert_eq!(judged.verdict(), Verdict::Accept, "{judged:#?}");
        (judged.devices()[0].report().unwrap(), list)
    });
}

#[test]
fn the_specification_lists_these_regions_and_no_other() {
    let listed: BTreeSet<&str> = include_str!("../../../docs/spec/malleability.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(region, _)| region)
        .collect();
    let changed = names(UPSTREAM)
        .chain(names(SNP))
        .chain(names(GPU))
        .collect::<BTreeSet<&str>>();
    assert_eq!(listed, changed);
}

fn names<T>(regions: &[Region<T>]) -> impl Iterator<Item = &'static str> {
    regions.iter().map(|(name, _)| *name)
}

/// `judged` accepts the evidence and answers its identity and its bytes: the identity stays what it was, the
/// bytes do not.
fn stays_the_same<T: Clone>(
    honest: &T,
    regions: &[Region<T>],
    judged: impl Fn(&T) -> (Digest, Vec<u8>),
) {
    let (identity, bytes) = judged(honest);
    for (name, change) in regions {
        let mut changed = honest.clone();
        change(&mut changed);
        let (changed, other) = judged(&changed);
        assert_eq!(changed, identity, "{name}");
        assert_ne!(other, bytes, "{name}: nothing was changed");
    }
}

/// Written by a library that has its own idea of space and order.
fn spaced_and_reordered(text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    format!(" {pretty}\n")
}

fn chains(collateral: &mut Collateral) -> [&mut String; 3] {
    [
        &mut collateral.pck_crl_issuer_chain,
        &mut collateral.tcb_info_issuer_chain,
        &mut collateral.qe_identity_issuer_chain,
    ]
}

/// Where things are behind the signed part of a quote (DCAP quoting library API, A.3).
struct QuoteParts;

impl QuoteParts {
    /// Behind the length of the signature data: signature, key, type and length of the certification data.
    fn qe_report(quote: &[u8]) -> usize {
        Quote::parse(quote).unwrap().signed_length() + 4 + 64 + 64 + 2 + 4
    }

    /// The quote with another certificate chain, and the three lengths that are about it.
    fn with_chain(quote: &[u8], change: fn(&str) -> String) -> Vec<u8> {
        let report = Self::qe_report(quote);
        let auth = report + 384 + 64;
        let auth_length = u16::from_le_bytes([quote[auth], quote[auth + 1]]);
        let chain = auth + 2 + usize::from(auth_length) + 2 + 4;
        let changed = change(std::str::from_utf8(&quote[chain..]).unwrap());
        let mut out = quote[..chain].to_vec();
        out.extend(changed.as_bytes());
        let signed = Quote::parse(quote).unwrap().signed_length();
        for start in [signed + 4, report, chain] {
            let length = u32::try_from(out.len() - start).unwrap();
            out[start - 4..start].copy_from_slice(&length.to_le_bytes());
        }
        out
    }
}

/// `(r, n - s)` in the place of `(r, s)`, as DER.
trait Curve {
    fn negated(signature: &[u8]) -> Vec<u8>;
}

struct P256;
struct P384;

impl Curve for P256 {
    fn negated(signature: &[u8]) -> Vec<u8> {
        let signature = p256::ecdsa::Signature::from_der(signature).unwrap();
        let mut raw = signature.to_bytes();
        negate_p256(&mut raw);
        let negated = p256::ecdsa::Signature::from_slice(&raw).unwrap();
        negated.to_der().as_bytes().to_vec()
    }
}

impl Curve for P384 {
    fn negated(signature: &[u8]) -> Vec<u8> {
        let signature = p384::ecdsa::Signature::from_der(signature).unwrap();
        let mut raw = signature.to_bytes();
        negate_p384(&mut raw);
        let negated = p384::ecdsa::Signature::from_slice(&raw).unwrap();
        negated.to_der().as_bytes().to_vec()
    }
}

fn negate_p256(raw: &mut [u8]) {
    let signature = p256::ecdsa::Signature::from_slice(raw).unwrap();
    let (r, s) = signature.split_scalars();
    let negated = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    raw.copy_from_slice(&negated.to_bytes());
}

fn negate_p384(raw: &mut [u8]) {
    let signature = p384::ecdsa::Signature::from_slice(raw).unwrap();
    let (r, s) = signature.split_scalars();
    let negated = p384::ecdsa::Signature::from_scalars(r, -s).unwrap();
    raw.copy_from_slice(&negated.to_bytes());
}

/// A certificate or revocation list with its signature written the other way.
fn resigned<C: Curve>(der: &[u8]) -> Vec<u8> {
    let mut reader = SliceReader::new(der).unwrap();
    let members: Vec<&[u8]> = reader
        .sequence(|outer: &mut SliceReader<'_>| {
            let mut members = Vec::new();
            while !outer.is_finished() {
                members.push(outer.tlv_bytes()?);
            }
            Ok::<_, der::Error>(members)
        })
        .unwrap();
    let [body, algorithm, signature] = members.try_into().unwrap();
    let signature = BitStringRef::from_der(signature).unwrap();
    let negated = C::negated(signature.as_bytes().unwrap());
    let negated = BitStringRef::from_bytes(&negated)
        .unwrap()
        .to_der()
        .unwrap();
    let content = [body, algorithm, negated.as_slice()].concat();
    der::asn1::AnyRef::new(Tag::Sequence, &content)
        .unwrap()
        .to_der()
        .unwrap()
}

/// The root is pinned by its digest, which leaves it no second way.
fn resigned_below_root<C: Curve>(chain: &str) -> String {
    let mut blocks = pem::parse_many(chain).unwrap();
    let below = blocks.len() - 1;
    for block in &mut blocks[..below] {
        *block = pem::Pem::new(block.tag(), resigned::<C>(block.contents()));
    }
    pem::encode_many(&blocks)
}

fn other_armour(chain: &str) -> String {
    let blocks = pem::parse_many(chain).unwrap();
    let config = pem::EncodeConfig::new().set_line_wrap(76);
    blocks
        .iter()
        .map(|block| pem::encode_config(block, config))
        .collect()
}
