//! An SNP appraisal whose verdict is changed.

use proofroom_verifier::{SnpAppraisal, Verdict};

fn whitewash(mut appraisal: SnpAppraisal) -> SnpAppraisal {
    appraisal.verdict = Verdict::Accept;
    appraisal
}

fn main() {
    let _ = whitewash;
}
