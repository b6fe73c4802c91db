//! `image.json`: what is read and what is refused.

use proofroom_verifier::reference::Hash256;
use serde_json::{Value, json};

use super::ImageList;

fn sample() -> Value {
    let file =
        |name: &str| json!({"file": name, "sha256": Hash256::of(b"x").to_string(), "bytes": 1});
    json!({
        "format": "proofroom.image.v1",
        "kernel": file("vmlinuz"), "initrd": file("initrd"), "firmware": file("OVMF.fd"),
        "command_line": "quiet",
        "inputs": [{"package": "ovmf", "version": "1", "sha256": Hash256::of(b"p").to_string()}],
        "acpi": [{"qemu": "7.2.22", "vcpus": 1, "memory_mib": 1024, "directory": "acpi/7.2",
            "files": {"table-loader": Hash256::of(b"l").to_string(), "tpm-log": Hash256::of(b"t").to_string()}}],
    })
}

fn code(list: &Value) -> &'static str {
    ImageList::parse(list.to_string().as_bytes())
        .expect_err("refused")
        .code()
}

#[test]
fn a_list_is_read_and_its_files_are_held_against_it() {
    let text = sample().to_string();
    let list = ImageList::parse(text.as_bytes()).expect("good");
    assert_eq!(list.digest(), proofroom_canonical::Digest::of(&text));
    assert_eq!(list.kernel().check(b"x").map_err(|e| e.code()), Ok(()));
    assert_eq!(
        list.kernel().check(b"y").expect_err("other").code(),
        "image-file-differs"
    );
    assert_eq!(
        list.kernel().check(b"xx").expect_err("longer").code(),
        "image-file-differs"
    );
    let entry = &list.acpi()[0];
    assert!(entry.has_tpm());
    assert!(entry.fits_layers(0) && entry.fits_layers(3));
    let mut with_disks = sample();
    with_disks["acpi"][0]["disks"] = json!(2);
    let list_with_disks = ImageList::parse(with_disks.to_string().as_bytes()).expect("good");
    let fits = |layers| list_with_disks.acpi()[0].fits_layers(layers);
    assert_eq!((fits(1), fits(2), fits(3)), (false, true, false));
    assert_eq!(entry.check("tpm-log", b"t").map_err(|e| e.code()), Ok(()));
    assert_eq!(
        entry.check("tpm-log", b"u").expect_err("other").code(),
        "image-file-differs"
    );
    assert_eq!(
        entry.check("rsdp", b"u").expect_err("not listed").code(),
        "image-file-differs"
    );
}

#[test]
fn what_the_format_does_not_say_is_refused() {
    let with = |pointer: &str, value: Value| {
        let mut list = sample();
        *list.pointer_mut(pointer).expect(pointer) = value;
        code(&list)
    };
    assert_eq!(with("/format", json!("proofroom.image.v2")), "image-member");
    assert_eq!(with("/kernel/file", json!("../vmlinuz")), "image-member");
    assert_eq!(with("/initrd/file", json!("/etc/passwd")), "image-member");
    assert_eq!(with("/firmware/file", json!("")), "image-member");
    assert_eq!(with("/acpi/0/directory", json!("acpi/..")), "image-member");
    assert_eq!(
        with(
            "/acpi/0/files",
            json!({"../x": Hash256::of(b"t").to_string()})
        ),
        "image-member"
    );
    assert_eq!(with("/kernel/sha256", json!("AB")), "image-malformed");
    assert_eq!(with("/kernel/bytes", json!(-1)), "image-malformed");
    let mut more = sample();
    more["more"] = json!(1);
    assert_eq!(code(&more), "image-malformed");
    let mut less = sample();
    less.as_object_mut().expect("object").remove("acpi");
    assert_eq!(code(&less), "image-malformed");
    let large = vec![b' '; super::MAX_IMAGE_LIST_BYTES + 1];
    assert_eq!(
        ImageList::parse(&large).expect_err("large").code(),
        "image-malformed"
    );
}
