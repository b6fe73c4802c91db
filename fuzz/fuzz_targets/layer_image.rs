//! Any bytes as the index, the manifest and the layer of an image layout: no panic.

#![no_main]

use std::fs;

use proofroom_canonical::Digest;
use proofroom_layer::reader::{DirectoryLinks, Limits, Tree, read_layout};

const KINDS: [&str; 4] = ["tar", "tar+gzip", "tar+zstd", "other"];

/// The layer's kind, the index, the manifest and the layer: a byte, two lengths, the parts.
fn parts(bytes: &[u8]) -> Option<(u8, [&[u8]; 3])> {
    let (&[kind, a, b, c, d], rest) = bytes.split_first_chunk()?;
    let (index, rest) = rest.split_at_checked(u16::from_be_bytes([a, b]).into())?;
    let (manifest, layer) = rest.split_at_checked(u16::from_be_bytes([c, d]).into())?;
    Some((kind, [index, manifest, layer]))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, [index, manifest, layer])) = parts(bytes) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let blobs = dir.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.to_hex()), bytes).expect("written");
        let size = bytes.len();
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#
        )
    };
    let write =
        |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("written");
    write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let extract = || {
        let files = tempfile::tempdir().expect("a directory");
        let limits = Limits {
            bytes: 1 << 20,
            entries: 1000,
        };
        let mut tree = Tree::new(files.path(), limits, DirectoryLinks::Replace).expect("a tree");
        let _ = read_layout(dir.path()).and_then(|image| image.extract(&mut tree, &mut |_| {}));
    };
    write("index.json", index);
    extract();
    let named = |manifest: &str| format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#);
    write(
        "index.json",
        named(&blob("manifest.v1+json", manifest)).as_bytes(),
    );
    extract();
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    let layer = blob(&format!("layer.v1.{kind}"), layer);
    let manifest = format!(r#"{{"schemaVersion":2,"layers":[{layer}]}}"#);
    write(
        "index.json",
        named(&blob("manifest.v1+json", manifest.as_bytes())).as_bytes(),
    );
    extract();
});
