//! The answers of the double are the kernel's: what is refused, with which error number.

use proofroom_evidence::Quote;

use super::{
    Extends, TsmOptions, TsmProvider,
    kernel::{Kernel, Refused, ReportFile},
};
use crate::tee::SimulatedTee;

fn kernel(options: TsmOptions) -> Kernel {
    Kernel::new(SimulatedTee::demo(), options)
}

#[test]
fn an_outblob_needs_an_inblob_of_64_bytes() {
    let mut kernel = kernel(TsmOptions::default());
    let id = kernel.make("a").unwrap();
    assert_eq!(kernel.read(id, ReportFile::Outblob), Err(Refused::Invalid));
    kernel.close_inblob(id, vec![1; 63]).unwrap();
    assert_eq!(kernel.read(id, ReportFile::Outblob), Err(Refused::Invalid));
    assert_eq!(kernel.close_inblob(id, vec![1; 65]), Err(Refused::TooBig));
    assert_eq!(kernel.read(id, ReportFile::Inblob), Err(Refused::Denied));
    kernel.close_inblob(id, vec![1; 64]).unwrap();
    let quote = kernel.read(id, ReportFile::Outblob).unwrap();
    let quote = Quote::parse(&quote).unwrap();
    assert_eq!(quote.claims().report_data, [1; 64]);
}

#[test]
fn every_inblob_is_a_generation() {
    let mut kernel = kernel(TsmOptions::default());
    let id = kernel.make("a").unwrap();
    for generation in ["0\n", "1\n", "2\n"] {
        let told = kernel.read(id, ReportFile::Generation).unwrap();
        assert_eq!(told, generation.as_bytes());
        kernel.close_inblob(id, vec![0; 64]).unwrap();
    }
}

#[test]
fn entries_are_made_and_removed_once() {
    let mut kernel = kernel(TsmOptions::default());
    let id = kernel.make("a").unwrap();
    assert_eq!(kernel.make("a"), Err(Refused::Exists));
    kernel.remove("a").unwrap();
    assert_eq!(kernel.remove("a"), Err(Refused::NoEntry));
    assert_eq!(kernel.close_inblob(id, vec![0; 64]), Err(Refused::NoEntry));
    assert_ne!(kernel.make("a").unwrap(), id, "a new entry is another one");
}

#[test]
fn a_register_takes_48_bytes_at_its_beginning_and_the_measurement_of_the_td_none() {
    let mut kernel = kernel(TsmOptions::default());
    for (offset, count) in [(0, 47), (0, 49), (0, 0), (1, 48)] {
        let refused = kernel.extend(3, offset, &vec![1; count]);
        assert_eq!(refused, Err(Refused::Invalid), "{count} at {offset}");
    }
    assert_eq!(kernel.extend(4, 0, &[1; 48]), Err(Refused::NotPermitted));
    let before = kernel.register(3).unwrap();
    kernel.extend(3, 0, &[1; 48]).unwrap();
    assert_ne!(kernel.register(3).unwrap(), before);
}

#[test]
fn faults_are_only_what_was_asked_for() {
    let mut faulty = kernel(TsmOptions {
        disturbed: 1,
        extends: Extends::Lost,
        ..TsmOptions::default()
    });
    let before = faulty.register(3).unwrap();
    faulty.extend(3, 0, &[1; 48]).unwrap();
    assert_eq!(faulty.register(3).unwrap(), before);
    let id = faulty.make("a").unwrap();
    for generation in ["2\n", "3\n"] {
        faulty.close_inblob(id, vec![0; 64]).unwrap();
        faulty.read(id, ReportFile::Outblob).unwrap();
        let told = faulty.read(id, ReportFile::Generation).unwrap();
        assert_eq!(told, generation.as_bytes());
    }
}

#[test]
fn only_sev_snp_has_auxiliary_data() {
    let has = |provider| {
        let kernel = kernel(TsmOptions {
            provider,
            ..TsmOptions::default()
        });
        kernel.files().any(|file| file == ReportFile::Auxblob)
    };
    assert!(has(TsmProvider::SevSnp));
    assert!(!has(TsmProvider::Tdx));
}
