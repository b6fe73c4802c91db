//! Any bytes as a provider's evidence document, event log and report: no panic, and nothing is accepted.

#![no_main]

use std::sync::LazyLock;

use proofroom_canonical::Timestamp;
use proofroom_provider::{
    Beside, DstackLog, Exchange, Format, PRODUCTION_ACI, PRODUCTION_ENCLAVE, PRODUCTION_NEAR_AI,
    PRODUCTION_TINFOIL, ProviderDocument, ProviderPolicy, appraise_provider, platforms_of,
};
use proofroom_verifier::{PRODUCTION_SNP, PRODUCTION_UPSTREAM, Verdict, gpu::PRODUCTION_GPU};

static POLICIES: LazyLock<[ProviderPolicy; 4]> = LazyLock::new(|| {
    let sibling = |name: &str| match name {
        "production-upstream.toml" => Some(PRODUCTION_UPSTREAM.to_owned()),
        "production-snp.toml" => Some(PRODUCTION_SNP.to_owned()),
        "production-gpu.toml" => Some(PRODUCTION_GPU.to_owned()),
        _ => None,
    };
    [
        PRODUCTION_NEAR_AI,
        PRODUCTION_ENCLAVE,
        PRODUCTION_ACI,
        PRODUCTION_TINFOIL,
    ]
    .map(|text| ProviderPolicy::parse(text, "shipped.toml", &sibling).expect("shipped"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let now = Timestamp::from_unix_seconds(1_795_000_000);
    let _log = DstackLog::parse(bytes);
    for format in [
        Format::NearAi,
        Format::Dstack,
        Format::ProofroomEnclave,
        Format::Aci,
        Format::Tinfoil,
    ] {
        let _platforms = platforms_of(bytes, format);
    }
    for policy in &*POLICIES {
        let wrapped =
            ProviderDocument::write(policy.format(), bytes, Beside::default()).unwrap_or_default();
        for document in [bytes, &wrapped] {
            let appraisal = appraise_provider(document, policy, Exchange::ArchiveAudit, now);
            assert_ne!(appraisal.verdict(), Verdict::Accept);
        }
    }
});
