//! What the simulated vendor publishes about its platform: TCB info, QE identity and revocation
//! lists, in Intel's formats (PCS API version 4), signed with simulated keys.

use proofroom_canonical::Timestamp;
use proofroom_evidence::Collateral;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, RevocationReason, RevokedCertParams,
    SerialNumber,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    Plan, Revoked, TcbAnswer,
    keys::SimulatedKey,
    pki::{CPU_SVN, PCE_SVN, PCK_SERIAL, PLATFORM_CA_SERIAL, SimulatedPki, TCB_SIGNER_SERIAL},
    quote::{QE_ATTRIBUTES, QE_ISV_PROD_ID, QE_ISV_SVN, QE_MRSIGNER},
    written,
};

const ADVISORY: &str = "SIMULATED-SA-00001";
const TCB_DATE: &str = "2025-01-01T00:00:00Z";

pub(super) fn publish(pki: &SimulatedPki, plan: &Plan) -> Collateral {
    let root_revokes = match plan.revoked {
        Revoked::PlatformCa => Some(PLATFORM_CA_SERIAL),
        Revoked::TcbSigner => Some(TCB_SIGNER_SERIAL),
        Revoked::Nothing | Revoked::Pck => None,
    };
    let platform_revokes = (plan.revoked == Revoked::Pck).then_some(PCK_SERIAL);
    let tcb_info = tcb_info(plan).to_string();
    let qe_identity = qe_identity(plan).to_string();
    Collateral {
        pck_crl_issuer_chain: pki.pck_crl_chain(),
        root_ca_crl: revocation_list(pki.root(), root_revokes, plan),
        pck_crl: revocation_list(pki.platform_ca(), platform_revokes, plan),
        tcb_info_issuer_chain: pki.tcb_chain(),
        tcb_info_signature: pki.tcb_signer.sign_raw(tcb_info.as_bytes()).to_vec(),
        tcb_info,
        qe_identity_issuer_chain: pki.tcb_chain(),
        qe_identity_signature: pki.tcb_signer.sign_raw(qe_identity.as_bytes()).to_vec(),
        qe_identity,
    }
}

fn tcb_info(plan: &Plan) -> Value {
    let (status, advisories, svn_needed) = match plan.tcb {
        TcbAnswer::UpToDate => ("UpToDate", vec![], CPU_SVN),
        TcbAnswer::SwHardeningNeeded => ("SWHardeningNeeded", vec![ADVISORY], CPU_SVN),
        TcbAnswer::OutOfDate => ("OutOfDate", vec![ADVISORY], CPU_SVN),
        TcbAnswer::Revoked => ("Revoked", vec![ADVISORY], CPU_SVN),
        TcbAnswer::NoMatch => ("UpToDate", vec![], [255; 16]),
    };
    let components = |svns: [u8; 16]| -> Vec<Value> {
        svns.into_iter().map(|svn| json!({ "svn": svn })).collect()
    };
    let module = |id: Option<&str>| {
        let mut module = json!({
            "mrsigner": "0".repeat(96),
            "attributes": "0".repeat(16),
            "attributesMask": "F".repeat(16),
        });
        if let (Some(id), Some(members)) = (id, module.as_object_mut()) {
            members.insert("id".into(), id.into());
            members.insert(
                "tcbLevels".into(),
                json!([{ "tcb": { "isvsvn": 4 }, "tcbDate": TCB_DATE, "tcbStatus": "UpToDate" }]),
            );
        }
        module
    };
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": plan.collateral_from,
        "nextUpdate": plan.collateral_until,
        "fmspc": hex::encode_upper(plan.tcb_fmspc),
        "pceId": plan.tcb_pce_id,
        "tcbType": 0,
        "tcbEvaluationDataNumber": 20,
        "tdxModule": module(None),
        "tdxModuleIdentities": [module(Some("TDX_01"))],
        "tcbLevels": [{
            "tcb": {
                "sgxtcbcomponents": components(svn_needed),
                "pcesvn": PCE_SVN,
                "tdxtcbcomponents": components([0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            },
            "tcbDate": TCB_DATE,
            "tcbStatus": status,
            "advisoryIDs": advisories,
        }],
    })
}

fn qe_identity(plan: &Plan) -> Value {
    json!({
        "id": plan.qe_identity,
        "version": 2,
        "issueDate": plan.collateral_from,
        "nextUpdate": plan.collateral_until,
        "tcbEvaluationDataNumber": 20,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": hex::encode_upper(QE_ATTRIBUTES),
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(QE_MRSIGNER),
        "isvprodid": QE_ISV_PROD_ID,
        "tcbLevels": [{
            "tcb": { "isvsvn": QE_ISV_SVN },
            "tcbDate": TCB_DATE,
            "tcbStatus": "UpToDate",
        }],
    })
}

fn revocation_list(
    issuer: &Issuer<'static, SimulatedKey>,
    revokes: Option<u8>,
    plan: &Plan,
) -> Vec<u8> {
    let revoked = |serial| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&[serial]),
        revocation_time: instant(plan.collateral_from),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: instant(plan.collateral_from),
        next_update: instant(plan.revocation_until),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: revokes.map(revoked).into_iter().collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    written(list.signed_by(issuer)).der().to_vec()
}

fn instant(time: Timestamp) -> OffsetDateTime {
    written(OffsetDateTime::from_unix_timestamp(time.unix_seconds()))
}
