//! Repository in, commits out: the broker's two directions as bodies of the Room API.

use std::{fs, io::Write as _, process::Child, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use proofroom_record::{
    room_api::{COMMIT_HEADER, MAX_PACK_BYTES, ResultAccepted},
    statement::SessionResult,
};
use tokio::io::AsyncReadExt as _;

use super::{
    SessionService,
    body::{Body, BodyError, Refusal, json},
};
use crate::{broker::Git, causes::chain, session::save_result};

/// git writes bundles in pieces of this size at most.
const PIECE_BYTES: usize = 64 * 1024;
/// After its output ended, git has nothing left to do.
const GIT_PATIENCE: Duration = Duration::from_secs(10);

impl SessionService {
    /// Streams the commit and its history. A git that fails midway breaks the stream off, and the
    /// room's own git then refuses the torn bundle.
    pub(super) fn workspace(&self) -> Result<Response<Body>, Refusal> {
        let mut child = self
            .facts
            .origin
            .bundle()
            .map_err(|error| Refusal::failed(error.code(), chain(&error)))?;
        let stdout = child
            .stdout
            .take()
            .and_then(|pipe| tokio::process::ChildStdout::from_std(pipe).ok())
            .ok_or_else(|| Refusal::failed("git-pipe", "git has no output pipe"))?;
        let pieces = stream::unfold(Some((stdout, child)), |state| async move {
            let (mut stdout, child) = state?;
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            match stdout.read_buf(&mut piece).await {
                Ok(0) => finish(child).await.map(|error| (Err(error), None)),
                Ok(_) => Some((Ok(Frame::data(piece.freeze())), Some((stdout, child)))),
                Err(error) => Some((Err(error.into()), None)),
            }
        });
        Ok(Response::new(StreamBody::new(pieces).boxed_unsync()))
    }

    /// Takes the session's commits to the origin.
    pub(super) async fn result(
        self: std::sync::Arc<Self>,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let commit = headers
            .get(COMMIT_HEADER)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| Refusal::bad("commit-missing", "the request names no commit"))?
            .to_owned();
        let pack = self.facts.dir.join("incoming.pack");
        spool(body, &pack).await?;
        let service = std::sync::Arc::clone(&self);
        let path = pack.clone();
        let delivering = std::sync::Arc::clone(&self.delivering).lock_owned().await;
        let delivered = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, also when nobody waits for it any more.
            let _delivering = delivering;
            let pack = fs::File::open(&path)
                .map_err(|error| Refusal::failed("session-folder", chain(&error)))?;
            let facts = &service.facts;
            let delivered = facts
                .origin
                .deliver(pack, &commit, &facts.reference, &facts.inspector)
                .map_err(|error| Refusal::bad(error.code(), chain(&error)))?;
            // Before the room hears of it: whoever closes the session in its place needs it.
            let result = SessionResult {
                reference: delivered.reference.clone(),
                commit: delivered.commit.clone(),
                tree: delivered.tree.clone(),
            };
            save_result(&facts.dir, &result)
                .map_err(|error| Refusal::failed("session-folder", chain(&error)))?;
            Ok::<_, Refusal>(delivered)
        })
        .await
        .map_err(|_| Refusal::failed("internal", "the broker stopped"))?;
        // The pack is the room's; whatever became of it, it does not stay.
        fs::remove_file(&pack).map_err(|error| Refusal::failed("session-folder", chain(&error)))?;
        let delivered = delivered?;
        Ok(json(
            StatusCode::OK,
            &ResultAccepted {
                reference: delivered.reference,
                commit: delivered.commit,
                tree: delivered.tree,
            },
        ))
    }
}

async fn finish(child: Child) -> Option<BodyError> {
    let done =
        tokio::task::spawn_blocking(move || Git::finish_within(child, "bundle", GIT_PATIENCE));
    match done.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.into()),
        Err(error) => Some(error.into()),
    }
}

async fn spool(mut body: Incoming, path: &std::path::Path) -> Result<(), Refusal> {
    let storage = |error: std::io::Error| Refusal::failed("session-folder", chain(&error));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(storage)?;
    let mut taken: usize = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::bad("body-broke-off", chain(&error)))?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        let piece: Bytes = piece;
        taken = taken.saturating_add(piece.len());
        if taken > MAX_PACK_BYTES {
            return Err(Refusal::bad(
                "pack-too-large",
                "the commits have more than 2 GiB",
            ));
        }
        file.write_all(&piece).map_err(storage)?;
    }
    file.flush().map_err(storage)
}
