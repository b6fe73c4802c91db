//! Authorities and URLs: what is accepted is its own only spelling and climbs nowhere.
#![no_main]

use proofroom_egress::{Endpoint, Target};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(endpoint) = Endpoint::of_connect(text) {
        assert_eq!(Endpoint::of_connect(&endpoint.to_string()), Ok(endpoint));
    }
    if let Ok(target) = Target::of_url(text) {
        let again = Target::on(target.endpoint.clone(), &target.path_and_query());
        assert_eq!(again.as_ref(), Ok(&target));
        assert!(
            !target
                .path
                .as_str()
                .split('/')
                .any(|segment| segment == "..")
        );
        assert!(
            target
                .endpoint
                .host
                .as_str()
                .parse::<std::net::IpAddr>()
                .is_err()
        );
    }
});
