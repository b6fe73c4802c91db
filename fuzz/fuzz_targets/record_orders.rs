//! Any bytes as the host's orders and as a room's report: no panic, and what is read is read again from
//! what is written of it.

#![no_main]

use proofroom_canonical::json;
use proofroom_record::room_api::{parse_orders, parse_report};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(orders) = parse_orders(bytes) {
        let again = json::to_bytes(&orders).unwrap();
        assert_eq!(parse_orders(&again).unwrap(), orders);
    }
    if let Ok(report) = parse_report(bytes) {
        let again = json::to_bytes(&report).unwrap();
        assert_eq!(parse_report(&again).unwrap(), report);
    }
});
