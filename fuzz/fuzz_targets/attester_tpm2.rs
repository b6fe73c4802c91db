//! Any bytes as the answers of a TPM, and as a machine's commands to it: no panic, and a key that is
//! accepted has its one name.

#![no_main]

use std::io::{self, Read, Write};

use proofroom_attester::tpm2::{AkPublic, Bank, Tpm, carry, narrowed};

struct Answers<'a>(&'a [u8]);

impl Read for Answers<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Answers<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = AkPublic::from_tpmt_public(bytes) {
        assert_eq!(key.name().len(), 34);
    }
    let _ = Tpm::new(Answers(bytes)).create_attestation_key();
    let _ = Tpm::new(Answers(bytes)).active_banks();
    let _ = Tpm::new(Answers(bytes)).read_register(Bank::Sha384, 15);
    // The first half as what a machine says, the second as what its TPM answers.
    let (asker, tpm) = bytes.split_at(bytes.len() / 2);
    let _ = narrowed(asker, tpm.to_vec(), Bank::Sha384);
    let _ = carry(Answers(asker), Answers(tpm), Bank::Sha384);
});
