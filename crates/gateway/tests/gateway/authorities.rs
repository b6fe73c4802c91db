//! Standard upstreams with an authority of the operator's own: that authority vouches for them, and nobody else.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;

use crate::{
    upstream::{FakeUpstream, Tls},
    world::{CHAT, Got, World, chat, standard},
};

/// An authority in PEM, and a server on the loopback that it certified.
fn authority() -> (String, Tls) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    (pem, Arc::new(Mutex::new(Arc::new(config))))
}

#[tokio::test]
async fn an_upstream_is_reached_by_the_authority_that_it_names_and_by_no_other() {
    let (own, tls) = authority();
    let (other, _) = authority();
    let mut upstream = FakeUpstream::start(Some(tls)).await;
    let address = format!("https://{}", upstream.address);
    let plain = standard("replaced").replace("http://replaced", &address);
    for (authorities, status) in [(Some(own), 200), (Some(other), 502), (None, 502)] {
        let named = authorities.map_or_else(String::new, |pem| {
            format!("certificate_authorities = \"\"\"\n{pem}\"\"\"\n")
        });
        let world = World::new(format!("{plain}{named}"));
        let caller = world.caller(1);
        let asked = world.post(&caller, CHAT, chat("std-model", "hi"));
        let got = Got::of(asked.await).await;
        assert_eq!(got.status.as_u16(), status, "{named}");
        if status == 200 {
            upstream.seen.recv().await.unwrap();
        } else {
            assert_eq!(got.code(), "upstream-unreachable");
            upstream.nothing_was_sent();
        }
    }
}
