//! Which files are read, and which are refused.

use std::{fs, path::Path, sync::Arc};

use proofroom_canonical::{Nonce, Timestamp};
use proofroom_evidence::Fmspc;
use proofroom_gateway::{UpstreamsConfig, config::SystemSecrets};
use proofroom_testkit::{provider, tee};

use super::{ProviderPolicies, read_saved};
use crate::collateral::CollateralSource;

const UPSTREAMS: &str = r#"
[[upstream]]
name = "provider"
tier = "tee"
base_url = "https://provider.invalid"
apis = ["chat"]
models = ["simulated/model"]
region = "eu"
source = "live"
key = { from = "none" }
retention = { mode = "in-memory" }
attestation = { kind = "near-ai", provider_policy = "provider.toml" }
"#;

fn loaded(directory: &Path, upstreams: &str) -> Result<ProviderPolicies, Vec<String>> {
    let upstreams = UpstreamsConfig::parse(upstreams, Arc::new(SystemSecrets)).unwrap();
    ProviderPolicies::load(&upstreams, directory)
}

/// A directory with the policy and what it rests on.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("provider.toml"),
        provider::policy("near-ai"),
    )
    .unwrap();
    for (name, text) in provider::policies() {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn a_policy_is_read_with_what_it_rests_on_and_kept_beside_the_session() {
    let dir = directory();
    fs::write(dir.path().join("other.toml"), "nobody names it").unwrap();
    let found = loaded(dir.path(), UPSTREAMS).unwrap();
    let policy = &found.by_name()[Path::new("provider.toml")];
    assert_eq!(policy.model(), provider::MODEL);
    let names: Vec<_> = found.digests().into_keys().collect();
    let wanted = [
        "provider.toml",
        provider::GPU_POLICY,
        provider::QUOTE_POLICY,
    ];
    assert_eq!(names, wanted);
    let kept = dir.path().join("kept");
    assert!(read_saved(&kept).unwrap().is_empty());
    found.save(&kept).unwrap();
    assert_eq!(read_saved(&kept).unwrap(), found.files());
}

#[test]
fn what_is_missing_is_named() {
    let dir = directory();
    fs::remove_file(dir.path().join(provider::GPU_POLICY)).unwrap();
    let problems = loaded(dir.path(), UPSTREAMS).unwrap_err();
    assert!(problems[0].contains(provider::GPU_POLICY), "{problems:?}");
    fs::remove_file(dir.path().join("provider.toml")).unwrap();
    let problems = loaded(dir.path(), UPSTREAMS).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].contains("provider.toml: No such file"),
        "{problems:?}"
    );
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let dir = directory();
    let below = dir.path().join("below");
    fs::create_dir(&below).unwrap();
    for name in ["../provider.toml", ".provider.toml", "a b.toml"] {
        let upstreams = UPSTREAMS.replace("provider.toml", name);
        let problems = loaded(&below, &upstreams).unwrap_err();
        assert!(problems[0].contains("cannot be the name"), "{problems:?}");
    }
    // nor may a policy that is in place lead there
    let text = provider::policy("near-ai");
    let text = text.replace(
        provider::QUOTE_POLICY,
        &format!("../{}", provider::QUOTE_POLICY),
    );
    fs::write(below.join("provider.toml"), text).unwrap();
    fs::copy(
        dir.path().join(provider::GPU_POLICY),
        below.join(provider::GPU_POLICY),
    )
    .unwrap();
    let problems = loaded(&below, UPSTREAMS).unwrap_err();
    assert!(problems[0].contains("which is not there"), "{problems:?}");
}

#[test]
fn collateral_is_that_of_the_directory_or_none() {
    let dir = directory();
    let policies = loaded(dir.path(), UPSTREAMS).unwrap();
    let platform = Fmspc::from_bytes([0x51, 0x4d, 0, 0, 0, 0]);
    let tee = tee::SimulatedTee::demo();
    let plan = tee.plan(
        Nonce::from_random([0; 32]),
        proofroom_canonical::Digest::of(""),
        provider::MODEL,
        Timestamp::from_unix_seconds(1_796_083_200),
    );
    let collateral = tee.collateral(&plan);
    let kept = proofroom_canonical::json::to_bytes(&collateral).unwrap();
    fs::write(dir.path().join("514d00000000.json"), kept).unwrap();
    let source = CollateralSource::Directory(dir.path().to_owned());
    let known = policies.with(Some(source)).collateral;
    assert_eq!(known.of_platform(platform), Some(collateral));
    assert!(
        policies
            .with(None)
            .collateral
            .of_platform(platform)
            .is_none()
    );
}
