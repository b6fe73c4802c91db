//! Standard upstreams with an authority of the operator's own: that authority vouches for them, and nobody else.

use std::sync::{Arc, Mutex};

use proofroom_testkit::tls::TlsAuthority;

use crate::{
    upstream::{FakeUpstream, Tls},
    world::{CHAT, Got, World, chat, standard},
};

/// An authority in PEM, and a server on the loopback that it certified.
fn authority() -> (String, Tls) {
    let authority = TlsAuthority::new();
    let server = authority.certify().config;
    (authority.pem, Arc::new(Mutex::new(server)))
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
