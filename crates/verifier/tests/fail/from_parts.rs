//! A genuine proof whose rest goes on under another name: struct update syntax takes the parts that are not
//! named from it.

use proofroom_verifier::{
    VerifiedQuote, VerifiedRoom, VerifiedSnp, VerifiedUpstream,
    gpu::{VerifiedGpu, VerifiedGpus},
};

fn upstream(genuine: VerifiedUpstream) -> VerifiedUpstream {
    VerifiedUpstream {
        model: String::new(),
        ..genuine
    }
}

fn quote(genuine: VerifiedQuote) -> VerifiedQuote {
    VerifiedQuote {
        report_data: [0; 64],
        ..genuine
    }
}

fn snp(genuine: VerifiedSnp) -> VerifiedSnp {
    VerifiedSnp {
        report_data: [0; 64],
        ..genuine
    }
}

fn gpu(genuine: VerifiedGpu) -> VerifiedGpu {
    VerifiedGpu {
        chip: String::new(),
        ..genuine
    }
}

fn gpus(genuine: VerifiedGpus) -> VerifiedGpus {
    VerifiedGpus {
        devices: Vec::new(),
        ..genuine
    }
}

fn room(genuine: VerifiedRoom) -> VerifiedRoom {
    VerifiedRoom {
        policy_name: String::new(),
        ..genuine
    }
}

fn main() {
    let _ = (upstream, quote, snp, gpu, gpus, room);
}
