//! What the machine's GPUs show for a nonce, by the program that the operator named for it.

use std::{process::Stdio, time::Duration};

use proofroom_canonical::Nonce;
use proofroom_evidence::gpu::EvidenceList;
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use crate::config::GpuHelper;

/// The most bytes that it may print: eight GPUs take 250,000.
const MAX_OUTPUT_BYTES: usize = 512 * 1024;

/// Why GPUs are not shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The program cannot be run, or says that it failed.
    #[error("the program for GPUs failed")]
    Failed,
    /// It took too long.
    #[error("the program for GPUs took too long")]
    Silent,
    /// What it printed is no evidence.
    #[error("the program for GPUs printed no evidence")]
    Malformed,
}

impl GpuError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Failed => "gpu-helper-failed",
            Self::Silent => "gpu-helper-silent",
            Self::Malformed => "gpu-evidence-malformed",
        }
    }
}

/// Asks the program. It gets no environment, and is killed where it is not waited for any more.
pub(crate) async fn ask(helper: &GpuHelper, nonce: Nonce) -> Result<String, GpuError> {
    let limit = Duration::from_secs(u64::from(helper.seconds));
    let printed = timeout(limit, run(helper, nonce)).await;
    let printed = printed.map_err(|_| GpuError::Silent)??;
    let text = String::from_utf8(printed).map_err(|_| GpuError::Malformed)?;
    EvidenceList::parse(text.as_bytes()).map_err(|_| GpuError::Malformed)?;
    Ok(text)
}

async fn run(helper: &GpuHelper, nonce: Nonce) -> Result<Vec<u8>, GpuError> {
    let (program, arguments) = helper.command.split_first().ok_or(GpuError::Failed)?;
    let mut child = Command::new(program)
        .args(arguments)
        .arg(nonce.to_string())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| GpuError::Failed)?;
    let stdout = child.stdout.take().ok_or(GpuError::Failed)?;
    let mut printed = Vec::new();
    let most = MAX_OUTPUT_BYTES as u64 + 1;
    let read = stdout.take(most).read_to_end(&mut printed).await;
    read.map_err(|_| GpuError::Failed)?;
    if printed.len() > MAX_OUTPUT_BYTES {
        return Err(GpuError::Malformed);
    }
    let ended = child.wait().await.map_err(|_| GpuError::Failed)?;
    ended.success().then_some(printed).ok_or(GpuError::Failed)
}
