//! Seeds of the targets that read layers and the parts of an image that are measured.

use proofroom_canonical::Digest;
use proofroom_testkit::{
    image,
    td::{boot_log, simulated_boot},
    tee::written,
};

use super::Seeds;
use crate::make::room;

pub(super) fn seeds() -> Vec<Seeds> {
    vec![
        ("layer_archive", vec![archive()]),
        ("layer_descriptor", vec![descriptor()]),
        ("layer_image", vec![layout()]),
        ("measure_firmware", vec![image::firmware()]),
        ("measure_inputs", inputs()),
        ("measure_kernel", vec![image::kernel()]),
    ]
}

/// A directory, a file, a link and a whiteout.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut entry = |kind: tar::EntryType, path: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(written(u64::try_from(content.len())));
        if kind == tar::EntryType::Symlink {
            written(header.set_link_name("file"));
        }
        written(archive.append_data(&mut header, path, content));
    };
    entry(tar::EntryType::Directory, "dir/", b"");
    entry(tar::EntryType::Regular, "dir/file", b"content");
    entry(tar::EntryType::Symlink, "dir/link", b"");
    entry(tar::EntryType::Regular, "dir/.wh.gone", b"");
    written(archive.into_inner())
}

fn descriptor() -> Vec<u8> {
    let digits = "ab".repeat(32);
    let image = Digest::of("image");
    format!(
        r#"{{"format":"proofroom.layer.v1","name":"git","erofs_bytes":8192,"hash_offset":8192,"data_blocks":2,"root":"{digits}","salt":"{digits}","source":{{"made_with":"mkfs.erofs 1.8","compression":"lz4hc","from":{{"kind":"directory"}}}},"image":"{image}"}}"#
    )
    .into_bytes()
}

/// What the target takes apart: the kind of the layer, the lengths of index and manifest, and the three.
fn layout() -> Vec<u8> {
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let manifest = br#"{"schemaVersion":2,"layers":[]}"#;
    let length = |bytes: &[u8]| written(u16::try_from(bytes.len())).to_be_bytes();
    [
        &[0][..],
        &length(index),
        &length(manifest),
        index,
        manifest,
        &archive(),
    ]
    .concat()
}

/// A boot log, an image list, a loader script and a reference manifest.
fn inputs() -> Vec<Vec<u8>> {
    let script = image::loader(&["etc/acpi/rsdp", "etc/tpm/log", "etc/acpi/tables"]);
    vec![
        boot_log(&simulated_boot()),
        image_list().into_bytes(),
        script,
        room::manifest().bytes().to_vec(),
    ]
}

fn image_list() -> String {
    let digest = "ab".repeat(32);
    let file = |name: &str| format!(r#"{{"file":"{name}","sha256":"{digest}","bytes":1}}"#);
    format!(
        r#"{{"format":"proofroom.image.v1","kernel":{},"initrd":{},"firmware":{},"command_line":"quiet","inputs":[{{"package":"ovmf","version":"1","sha256":"{digest}"}}],"acpi":[{{"qemu":"7.2.22","vcpus":1,"memory_mib":1024,"directory":"acpi/7.2","files":{{"table-loader":"{digest}","tpm-log":"{digest}"}}}}]}}"#,
        file("vmlinuz"),
        file("initrd"),
        file("OVMF.fd")
    )
}
