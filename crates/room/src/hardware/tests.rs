//! Machines that have everything, and machines that lack one thing each.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
};

use super::{HardwareBackend, HardwareReport, HostPaths, QuoteServiceAt, State};

const BOTH: [HardwareBackend; 2] = [HardwareBackend::Tdx, HardwareBackend::SevSnp];

/// A tree that looks like a machine with everything but KVM's own answer, which no file can give.
struct Machine {
    root: tempfile::TempDir,
    paths: HostPaths,
    _service: UnixListener,
}

fn machine() -> Machine {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let write = |name: &str, content: &[u8]| {
        let path = at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("modules/kvm_intel/parameters/tdx", b"Y\n");
    write("modules/kvm_amd/parameters/sev_snp", b"1\n");
    write("sev", b"");
    let mut firmware = vec![0; 1 << 16];
    let end = firmware.len();
    for (offset, backend) in [(162, HardwareBackend::Tdx), (114, HardwareBackend::SevSnp)] {
        firmware[end - offset..][..16].copy_from_slice(&backend.firmware_mark());
    }
    write("OVMF.fd", &firmware);
    qemu(
        &at("qemu"),
        "QEMU emulator version 11.1.3 (Debian)",
        "  sev-snp-guest\n  tdx-guest",
    );
    let service = UnixListener::bind(at("qgs")).unwrap();
    let paths = HostPaths {
        kvm: at("kvm"),
        sev: at("sev"),
        modules: at("modules"),
        qemu: at("qemu"),
        firmware: at("OVMF.fd"),
        quote_service: QuoteServiceAt::Unix(at("qgs")),
    };
    Machine {
        root,
        paths,
        _service: service,
    }
}

fn qemu(path: &Path, version: &str, objects: &str) {
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\n--version) echo '{version}' ;;\n-object) echo 'List of objects:\n{objects}' ;;\nesac\n"
    );
    // Written elsewhere and moved: a file that is open for writing cannot be executed.
    let made = path.with_extension("new");
    fs::write(&made, script).unwrap();
    fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(made, path).unwrap();
}

fn missing(backend: HardwareBackend, paths: &HostPaths) -> Vec<&'static str> {
    let refused = HardwareReport::of(backend, paths).require().unwrap_err();
    assert_eq!(refused.code(), "backend-unavailable");
    assert_eq!(refused.backend, backend);
    refused.missing.iter().map(|missing| missing.name).collect()
}

#[test]
fn a_machine_with_everything_lacks_only_what_no_file_can_give() {
    let machine = machine();
    for backend in BOTH {
        assert_eq!(missing(backend, &machine.paths), ["kvm-machine-type"]);
    }
}

#[test]
fn each_missing_thing_is_named() {
    let machine = machine();
    let at = |name: &str| machine.root.path().join(name);
    let lacks = |backend, change: &dyn Fn(&mut HostPaths)| {
        let mut paths = machine.paths.clone();
        change(&mut paths);
        let mut names = missing(backend, &paths);
        names.retain(|name| *name != "kvm-machine-type");
        names
    };
    use HardwareBackend::{SevSnp, Tdx};
    let no_modules = |paths: &mut HostPaths| paths.modules = at("nowhere");
    assert_eq!(lacks(Tdx, &no_modules), ["kvm-intel-tdx"]);
    assert_eq!(lacks(SevSnp, &no_modules), ["kvm-amd-sev-snp"]);
    let no_qemu = |paths: &mut HostPaths| paths.qemu = at("nowhere");
    for backend in BOTH {
        assert_eq!(lacks(backend, &no_qemu), ["qemu-version", "qemu-object"]);
    }
    fs::write(at("plain"), vec![0; 8192]).unwrap();
    let plain = |paths: &mut HostPaths| paths.firmware = at("plain");
    let no_firmware = |paths: &mut HostPaths| paths.firmware = at("nowhere");
    for backend in BOTH {
        assert_eq!(lacks(backend, &plain), ["firmware"]);
        assert_eq!(lacks(backend, &no_firmware), ["firmware"]);
    }
    let no_service =
        |paths: &mut HostPaths| paths.quote_service = QuoteServiceAt::Unix(at("nowhere"));
    assert_eq!(lacks(Tdx, &no_service), ["quote-service"]);
    let no_device = |paths: &mut HostPaths| paths.sev = at("nowhere");
    assert_eq!(lacks(SevSnp, &no_device), ["sev-device"]);
}

#[test]
fn a_switched_off_module_and_an_old_qemu_are_not_enough() {
    let machine = machine();
    let at = |name: &str| machine.root.path().join(name);
    fs::write(at("modules/kvm_intel/parameters/tdx"), "N\n").unwrap();
    let old = "QEMU emulator version 10.0.3 (Debian)";
    qemu(&at("qemu"), old, "  sev-snp-guest");
    assert_eq!(
        missing(HardwareBackend::Tdx, &machine.paths),
        [
            "kvm-intel-tdx",
            "kvm-machine-type",
            "qemu-version",
            "qemu-object"
        ]
    );
    qemu(&at("qemu"), "something else", "");
    let names = missing(HardwareBackend::SevSnp, &machine.paths);
    assert_eq!(names, ["kvm-machine-type", "qemu-version", "qemu-object"]);
}

#[test]
fn a_vsock_quote_service_is_not_called_present() {
    let mut paths = machine().paths;
    paths.quote_service = QuoteServiceAt::Vsock(4050);
    let report = HardwareReport::of(HardwareBackend::Tdx, &paths);
    let found = report
        .requirements
        .iter()
        .find(|r| r.name == "quote-service");
    assert!(matches!(found.unwrap().state, State::NotTried(_)));
}

#[test]
fn this_machine_gives_an_answer_for_each_backend_and_every_missing_thing_says_what_to_do() {
    let paths = HostPaths::of_image(Path::new("/usr/share/proofroom/image"));
    for backend in BOTH {
        let report = HardwareReport::of(backend, &paths);
        for requirement in &report.requirements {
            println!("{backend}: {requirement}");
        }
        if let Err(refused) = report.require() {
            let text = refused.to_string();
            for missing in &refused.missing {
                assert!(text.contains(missing.name), "{text}");
                let State::Missing { what_to_do, .. } = &missing.state else {
                    panic!("{missing} is listed as missing")
                };
                assert!(text.contains(what_to_do), "{text}");
            }
        }
    }
}
