//! Certificates that must and must not be accepted, issued here by an independent library.

use proofroom_canonical::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SanType, date_time_ymd,
};

use super::{CertifiedKey, DeploymentCa, Refusal, UnverifiedCertificate, canonical_pem};

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    params
}

fn ca(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    let id = "spiffe://proofroom.test/gateway".try_into().unwrap();
    params.subject_alt_names = vec![SanType::URI(id)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = (date_time_ymd(2026, 5, 1), date_time_ymd(2026, 5, 2));
    params
}

fn verify(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    params: &CertificateParams,
) -> Result<CertifiedKey, Refusal> {
    let leaf = params
        .clone()
        .signed_by(&KeyPair::generate().unwrap(), issuer)
        .unwrap();
    let read = UnverifiedCertificate::parse_pem(leaf.pem().as_bytes())?;
    DeploymentCa::parse_pem(ca_of(issuer).as_bytes())?.verify(&read)
}

fn ca_of(issuer: &CertifiedIssuer<'static, KeyPair>) -> String {
    issuer.pem()
}

#[test]
fn a_key_is_certified_for_its_time_and_name_only() {
    let key = verify(&ca("ca"), &leaf_params()).unwrap();
    assert_eq!(
        key.spiffe_id().to_string(),
        "spiffe://proofroom.test/gateway"
    );
    let at = |text: &str| key.key_at(text.parse::<Timestamp>().unwrap());
    assert!(at("2026-05-01T00:00:00.000Z").is_ok());
    assert!(at("2026-05-02T00:00:00.999Z").is_ok());
    let refused = at("2026-04-30T23:59:59.999Z").unwrap_err();
    assert_eq!(refused.code(), "certificate-not-valid-at");
}

#[test]
fn another_ca_of_the_same_name_is_not_the_ca() {
    let (own, other) = (ca("ca"), ca("ca"));
    let leaf = leaf_params()
        .signed_by(&KeyPair::generate().unwrap(), &other)
        .unwrap();
    let read = UnverifiedCertificate::parse_pem(leaf.pem().as_bytes()).unwrap();
    let verify = |pem: String| {
        DeploymentCa::parse_pem(pem.as_bytes())
            .unwrap()
            .verify(&read)
    };
    assert_eq!(
        verify(own.pem()).unwrap_err().code(),
        "certificate-bad-signature"
    );
    assert_eq!(
        verify(ca("else").pem()).unwrap_err().code(),
        "certificate-issuer"
    );
}

#[test]
fn certificates_for_other_uses_are_refused() {
    let code = |change: fn(&mut CertificateParams)| {
        let mut params = leaf_params();
        change(&mut params);
        verify(&ca("ca"), &params).unwrap_err().code()
    };
    let is_ca: fn(&mut CertificateParams) = |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(code(is_ca), "certificate-not-an-end-entity");
    assert_eq!(
        code(|p| p.key_usages.clear()),
        "certificate-not-an-end-entity"
    );
    assert_eq!(code(|p| p.subject_alt_names.clear()), "certificate-spiffe");
    assert_eq!(
        code(|p| p
            .subject_alt_names
            .push(SanType::DnsName("a".try_into().unwrap()))),
        "certificate-spiffe"
    );
    assert_eq!(
        code(|p| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            unknown.set_criticality(true);
            p.custom_extensions.push(unknown);
        }),
        "certificate-critical-extension"
    );
}

#[test]
fn an_end_entity_is_no_ca_and_other_curves_are_refused() {
    let leaf = leaf_params()
        .signed_by(&KeyPair::generate().unwrap(), &ca("ca"))
        .unwrap();
    let refused = DeploymentCa::parse_pem(leaf.pem().as_bytes()).unwrap_err();
    assert_eq!(refused.code(), "certificate-not-a-ca");
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let other = ca_params("ca").self_signed(&p384).unwrap();
    let refused = DeploymentCa::parse_pem(other.pem().as_bytes()).unwrap_err();
    assert_eq!(refused.code(), "certificate-algorithm");
}

#[test]
fn only_one_encoding_is_read() {
    let pem = ca("ca").pem();
    assert_eq!(canonical_pem(pem.as_bytes()).unwrap(), pem);
    for other in [
        pem.replace('\n', "\r\n"),
        format!("{pem}\n"),
        format!("{pem}{pem}"),
        String::new(),
    ] {
        let refused = UnverifiedCertificate::parse_pem(other.as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "certificate-malformed");
    }
}
