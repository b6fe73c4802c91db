//! Tile paths and entry bundles: whatever is accepted is written back byte for byte.
#![no_main]

use proofroom_tlog::{EntryBundle, TilePath, TileWidth};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = std::str::from_utf8(bytes).ok();
    if let Some(path) = text.and_then(|text| text.parse::<TilePath>().ok()) {
        assert_eq!(path.to_string().as_bytes(), bytes);
    }
    let Some((width, bundle)) = bytes.split_first() else {
        return;
    };
    let Ok(width) = TileWidth::new(u64::from(*width)) else {
        return;
    };
    if let Ok(parsed) = EntryBundle::parse(bundle, width) {
        assert_eq!(parsed.to_bytes(), bundle);
    }
});
