//! ACPI captures: order, and what is refused.

use std::collections::BTreeMap;

use proofroom_testkit::image::{acpi, acpi_of_td, loader};

use super::{AcpiTables, MAX_ACPI_BYTES};

type Captured = BTreeMap<String, Vec<u8>>;

#[test]
fn files_are_measured_in_the_order_of_the_script() {
    let names = |files: Captured| -> Vec<String> {
        let tables = AcpiTables::new(files).expect("good");
        tables.measured().map(|(name, _)| name.to_owned()).collect()
    };
    assert_eq!(
        names(acpi()),
        [
            "etc/table-loader",
            "etc/acpi/rsdp",
            "etc/tpm/log",
            "etc/acpi/tables"
        ]
    );
    let mut other = acpi();
    let files = ["etc/tpm/log", "etc/acpi/tables", "etc/acpi/rsdp"];
    other.insert("table-loader".to_owned(), loader(&files));
    assert_eq!(
        names(other),
        [
            "etc/table-loader",
            "etc/tpm/log",
            "etc/acpi/tables",
            "etc/acpi/rsdp"
        ]
    );
    assert!(!AcpiTables::new(acpi_of_td()).expect("good").has_tpm());
}

#[test]
fn a_capture_that_does_not_fit_its_script_is_refused() {
    let code = |change: &dyn Fn(&mut Captured)| {
        let mut files = acpi();
        change(&mut files);
        AcpiTables::new(files).expect_err("refused").code()
    };
    let script = |names: &[&str]| loader(names);
    assert_eq!(code(&|f| drop(f.remove("table-loader"))), "acpi-malformed");
    assert_eq!(code(&|f| drop(f.remove("rsdp"))), "acpi-malformed");
    assert_eq!(
        code(&|f| drop(f.insert("more".to_owned(), vec![]))),
        "acpi-malformed"
    );
    for names in [
        &["etc/acpi/rsdp"] as &[&str],
        &["etc/acpi/rsdp", "etc/acpi/rsdp"],
        &[
            "etc/acpi/rsdp",
            "etc/acpi/tables",
            "etc/tpm/log",
            "etc/other",
        ],
    ] {
        let named = |f: &mut Captured| drop(f.insert("table-loader".to_owned(), script(names)));
        assert_eq!(code(&named), "acpi-malformed", "{names:?}");
    }
    assert_eq!(
        code(&|f| f.get_mut("table-loader").expect("there").push(0)),
        "acpi-malformed"
    );
    assert_eq!(
        code(&|f| f
            .get_mut("tables")
            .expect("there")
            .resize(MAX_ACPI_BYTES, 0)),
        "input-too-large"
    );
}
