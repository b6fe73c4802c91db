//! Images in the OCI image layout, good and hostile, as they are put into a tree of files.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken set-up must fail its test"
)]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use proofroom_canonical::Digest;
use proofroom_layer::reader::{DirectoryLinks, Limits, Tree, Whiteouts, extract, read_layout};
use tar::{Builder, EntryType, Header};

/// One entry: its name, kind, link and content.
type Row<'a> = (&'a str, EntryType, &'a str, &'a str);

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

fn archive(rows: &[Row<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, link, content) in rows {
        let mut header = Header::new_gnu();
        // Written by hand: the crate's own writer refuses the names that are tried here.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(if *kind == DIR { 0o755 } else { 0o6751 });
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

const SMALL: Limits = Limits {
    bytes: 1 << 20,
    entries: 100,
};

struct Layout {
    dir: tempfile::TempDir,
}

impl Layout {
    fn new(layers: &[(Vec<u8>, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Self { dir };
        fs::create_dir_all(layout.path().join("blobs/sha256")).unwrap();
        layout.write("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        let descriptors: Vec<String> = layers
            .iter()
            .map(|(bytes, kind)| {
                let kind = format!("application/vnd.oci.image.layer.v1.tar{kind}");
                layout.blob(&kind, bytes)
            })
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{}},"layers":[{}]}}"#,
            descriptors.join(",")
        );
        layout.index(&manifest);
        layout
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn blob(&self, kind: &str, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes);
        fs::write(self.blob_path(digest), bytes).unwrap();
        let size = bytes.len();
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.path().join("blobs/sha256").join(digest.to_hex())
    }

    fn index(&self, manifest: &str) {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = self.blob(kind, manifest.as_bytes());
        self.write(
            "index.json",
            &format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#),
        );
    }

    fn extract(&self) -> Result<tempfile::TempDir, &'static str> {
        self.extract_within(Limits::default())
    }

    fn extract_within(&self, limits: Limits) -> Result<tempfile::TempDir, &'static str> {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(dir.path(), limits, DirectoryLinks::Replace).unwrap();
        read_layout(self.path())
            .and_then(|image| image.extract(&mut tree, &mut |_| {}))
            .map(|()| dir)
            .map_err(|error| error.code())
    }
}

fn plain(rows: &[Row<'_>]) -> Layout {
    Layout::new(&[(archive(rows), "")])
}

fn code(rows: &[Row<'_>]) -> &'static str {
    plain(rows).extract().unwrap_err()
}

fn text(dir: &tempfile::TempDir, name: &str) -> Option<String> {
    fs::read_to_string(dir.path().join(name)).ok()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn layers_lie_one_over_the_other_however_they_are_packed() {
    let lower = archive(&[
        ("a/", DIR, "", ""),
        ("a/kept", FILE, "", "kept"),
        ("a/changed", FILE, "", "old"),
        ("a/gone", FILE, "", "gone"),
        ("b/x", FILE, "", "x"),
        ("b/y", FILE, "", "y"),
    ]);
    // The marker stands after what its own layer brings, which it does not concern.
    let middle = archive(&[
        ("a/changed", FILE, "", "new"),
        ("a/.wh.gone", FILE, "", ""),
        ("b/z", FILE, "", "z"),
        ("b/.wh..wh..opq", FILE, "", ""),
    ]);
    let upper = archive(&[
        ("a/link", LINK, "/a/kept", ""),
        ("a/hard", HARD, "a/kept", ""),
    ]);
    // Two frames and one without data between them.
    let (first, second) = upper.split_at(1024);
    let mut frames = zstd(first);
    frames.extend(0x184D_2A53_u32.to_le_bytes());
    frames.extend(3_u32.to_le_bytes());
    frames.extend(b"abc");
    frames.extend(zstd(second));
    let layout = Layout::new(&[(gzip(&lower), "+gzip"), (middle, ""), (frames, "+zstd")]);
    let tree = layout.extract().unwrap();
    assert_eq!(text(&tree, "a/kept").as_deref(), Some("kept"));
    assert_eq!(text(&tree, "a/changed").as_deref(), Some("new"));
    assert_eq!(text(&tree, "a/hard").as_deref(), Some("kept"));
    for gone in ["a/gone", "b/x", "b/y", "a/.wh.gone", "b/.wh..wh..opq"] {
        assert_eq!(text(&tree, gone), None, "{gone}");
    }
    assert_eq!(text(&tree, "b/z").as_deref(), Some("z"));
    let link = fs::read_link(tree.path().join("a/link")).unwrap();
    assert_eq!(link, Path::new("/a/kept"));
    let mode = fs::metadata(tree.path().join("a/kept"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o7777, 0o751, "no setuid, no setgid");
}

#[test]
fn a_link_to_outside_leads_inside() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let tree = plain(&[("way", LINK, target, ""), ("way/file", FILE, "", "x")]).extract();
    // The link's target does not exist inside, so that nothing can lie behind it.
    assert_eq!(tree.unwrap_err(), "layer-entry");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);

    let inside = format!("{}/", target.trim_start_matches('/'));
    let rows = [
        (inside.as_str(), DIR, "", ""),
        ("way", LINK, target, ""),
        ("way/file", FILE, "", "x"),
    ];
    let tree = plain(&rows).extract().unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(text(&tree, &format!("{inside}file")).as_deref(), Some("x"));
}

#[test]
fn entries_that_no_layer_can_have_are_refused_by_their_code() {
    assert_eq!(code(&[("../x", FILE, "", "x")]), "layer-entry-escapes");
    assert_eq!(code(&[("a/../../x", FILE, "", "x")]), "layer-entry-escapes");
    assert_eq!(code(&[("a", LINK, "../x", "")]), "layer-entry-escapes");
    assert_eq!(code(&[("a/b", LINK, "/../x", "")]), "layer-entry-escapes");
    assert_eq!(code(&[("a", HARD, "../x", "")]), "layer-entry-escapes");
    assert_eq!(code(&[("a", HARD, "/etc/passwd", "")]), "layer-entry");
    assert_eq!(code(&[("a", LINK, "", "")]), "layer-entry");
    assert_eq!(
        code(&[("a", EntryType::Char, "", "")]),
        "layer-entry-special"
    );
    assert_eq!(
        code(&[("a", EntryType::Block, "", "")]),
        "layer-entry-special"
    );
    assert_eq!(
        code(&[("a", EntryType::Fifo, "", "")]),
        "layer-entry-special"
    );
    assert_eq!(code(&[("a", EntryType::GNUSparse, "", "")]), "layer-entry");
    assert_eq!(code(&[("a/.wh.", FILE, "", "")]), "layer-entry");
    assert_eq!(code(&[("a/.wh...", FILE, "", "")]), "layer-entry");
    assert_eq!(code(&[(".", FILE, "", "x")]), "layer-entry");
    let loops = [
        ("a", LINK, "b", ""),
        ("b", LINK, "a", ""),
        ("a/x", FILE, "", ""),
    ];
    assert_eq!(code(&loops), "layer-entry");
    let deep = "d/".repeat(45);
    let name = format!("{deep}x");
    assert!(plain(&[(name.as_str(), FILE, "", "")]).extract().is_ok());
}

#[test]
fn an_archive_is_bounded_and_complete() {
    let layout = plain(&[("a", FILE, "", "12345"), ("b", FILE, "", "67890")]);
    let limits = |bytes, entries| Limits { bytes, entries };
    assert!(layout.extract_within(limits(10, 2)).is_ok());
    let refused = |limits| layout.extract_within(limits).unwrap_err();
    assert_eq!(refused(limits(9, 2)), "layer-too-large");
    assert_eq!(refused(limits(10, 1)), "layer-too-large");

    let mut cut = archive(&[("a", FILE, "", &"x".repeat(2000))]);
    cut.truncate(1024);
    let refused = Layout::new(&[(cut, "")]).extract().unwrap_err();
    assert!(
        ["layer-archive", "layer-entry"].contains(&refused),
        "{refused}"
    );
    let mut packed = gzip(&archive(&[("a", FILE, "", &"x".repeat(2000))]));
    packed.truncate(packed.len() / 2);
    let refused = Layout::new(&[(packed, "+gzip")]).extract().unwrap_err();
    assert_eq!(refused, "layer-archive");
    let refused = Layout::new(&[(vec![1; 600], "+zstd")])
        .extract()
        .unwrap_err();
    assert_eq!(refused, "layer-archive");
}

#[test]
fn a_blob_that_differs_from_its_digest_or_size_is_refused() {
    let bytes = archive(&[("a", FILE, "", "x")]);
    let digest = Digest::of(&bytes);
    let layout = Layout::new(&[(bytes.clone(), "")]);
    let blob = layout.blob_path(digest);
    let mut other = bytes.clone();
    // In the padding of the archive: its reader sees no difference.
    *other.last_mut().unwrap() ^= 1;
    fs::write(&blob, &other).unwrap();
    assert_eq!(layout.extract().unwrap_err(), "layer-blob-digest");
    other.push(0);
    fs::write(&blob, &other).unwrap();
    assert_eq!(layout.extract().unwrap_err(), "layer-oci-image");
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &blob).unwrap();
    assert_eq!(layout.extract().unwrap_err(), "layer-disk");
}

#[test]
fn layouts_that_are_not_read_are_refused() {
    let layout = plain(&[("a", FILE, "", "x")]);
    let index = fs::read_to_string(layout.path().join("index.json")).unwrap();
    let try_index = |text: &str| {
        layout.write("index.json", text);
        layout.extract().map(drop)
    };
    assert_eq!(try_index(&index), Ok(()));
    for (from, to) in [
        ("sha256:", "sha512:"),
        ("\"schemaVersion\":2", "\"schemaVersion\":1"),
        ("image.manifest", "image.config"),
        (
            "[{",
            "[{\"platform\":{\"os\":\"plan9\",\"architecture\":\"amd64\"},",
        ),
        ("\"size\":", "\"size\":1"),
    ] {
        let refused = try_index(&index.replacen(from, to, 1));
        assert_eq!(refused, Err("layer-oci-image"), "{from} -> {to}");
    }
    assert_eq!(try_index("{"), Err("layer-oci-image"));
    let huge = index.replacen("\"size\":", "\"size\":999999999", 1);
    assert_eq!(try_index(&huge), Err("layer-too-large"));
    layout.write("index.json", &index);
    layout.write("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#);
    assert_eq!(layout.extract().unwrap_err(), "layer-oci-image");

    let layout = Layout::new(&[]);
    assert_eq!(layout.extract().unwrap_err(), "layer-oci-image");
    let layout = Layout::new(&[(Vec::new(), "+lzma")]);
    assert_eq!(layout.extract().unwrap_err(), "layer-oci-image");
}

/// Makes a header's sum right again, so that a change in it decides and not the sum.
fn with_its_sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn no_changed_byte_of_an_archive_reaches_outside_or_panics() {
    let good = archive(&[
        ("usr/", DIR, "", ""),
        ("usr/file", FILE, "", "content"),
        ("link", LINK, "usr/file", ""),
        ("hard", HARD, "usr/file", ""),
    ]);
    // Four headers and one block of content; what follows is zero.
    let mut refused = 0;
    for at in (0..5 * 512).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= if at % 2 == 0 { 0x01 } else { 0x2f };
        let header = at / 512 * 512;
        if header != 1024 {
            with_its_sum(&mut bytes[header..header + 512]);
        }
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let mut tree = Tree::new(&inside, SMALL, DirectoryLinks::Replace).unwrap();
        let mut reader = bytes.as_slice();
        let done = extract("x", &mut reader, &mut tree, Whiteouts::None, &|_| true);
        refused += usize::from(done.is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "byte {at}");
    }
    assert!(refused > 0);
}
