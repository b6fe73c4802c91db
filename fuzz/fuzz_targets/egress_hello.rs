//! First bytes of a TLS connection: a name that is found is a host name, and more bytes do not change
//! an answer.
#![no_main]

use proofroom_egress::{Hello, HostName, client_hello};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = client_hello(bytes);
    if let Ok(Hello::To(name)) = &whole {
        assert_eq!(HostName::parse(name.as_str()).as_ref(), Ok(name));
    }
    let half = client_hello(&bytes[..bytes.len() / 2]);
    if half != Ok(Hello::Incomplete) {
        assert_eq!(half, whole);
    }
});
