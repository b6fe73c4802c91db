//! What ends a session and begins the next, while requests arrive, clients leave and disks hang.

use std::{
    cell::Cell,
    collections::BTreeSet,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use proofroom_canonical::{Digest, RunId, SessionId, Timestamp, json};
use proofroom_classify::ClassificationPolicy;
use proofroom_gateway::{Caller, Gateway};
use proofroom_record::{
    gateway::{AccountOccasion, GatewayAttestation, GatewaySession},
    statement::LogMode,
};
use tempfile::TempDir;

use super::{Accounted, Event, Facts, History, Intent, Resumed, Sessions};
use crate::{
    doorkeeper::Doorkeeper,
    gate::account_of_session,
    held::Held,
    keys::{KeyFile, KeyToken, VirtualKey, tests::key_for},
    limits::Spending,
    people::{People, PeopleConfig},
    ring::KeyRing,
    server::tests::{
        CLASSIFICATION, Hanging, NOBODY, gateway_to, open, opening, permission, statement, store,
    },
    store::{Kind, RecordStore, StoreError},
};

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(100) };
}

fn clock() -> Timestamp {
    Timestamp::from_unix_seconds(NOW.get())
}

/// Of a real issuer's range, with the right check digit, and nobody's.
const CARD: &str = "the card is 4485 2757 4230 8327";

struct World {
    dir: TempDir,
    disk: Hanging,
    store: Arc<RecordStore>,
    gateway: Gateway,
    sessions: Arc<Sessions>,
    token: KeyToken,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Hanging::default();
        let store = store(dir.path(), &disk);
        let token = KeyToken::generate().unwrap();
        let key = key_for(&token);
        KeyFile::change(&dir.path().join("keys.json"), |file| {
            file.keys.push(key);
            Ok(())
        })
        .unwrap();
        let ring = KeyRing::open(&dir.path().join("keys.json")).unwrap();
        let people = PeopleConfig {
            bars: dir.path().join("bars.json"),
            ..PeopleConfig::default()
        };
        let doorkeeper = Doorkeeper::new(ring, People::open(&people).unwrap(), Vec::new());
        let permission = permission(&store, doorkeeper.unwrap(), clock);
        let gateway = gateway_to(&store, NOBODY);
        let facts = Facts {
            trust_domain: "test".to_owned(),
            policies: statement().policies,
            attestation: GatewayAttestation::None,
            idle: None,
        };
        let sessions = Sessions::resume(gateway.clone(), permission, facts, nothing()).await;
        Self {
            dir,
            disk,
            store,
            gateway,
            sessions: Arc::new(sessions.unwrap()),
            token,
        }
    }

    /// What a request with the key is let in with, after it was changed by hand.
    fn held(&self, change: impl FnOnce(&mut VirtualKey)) -> Arc<Held> {
        let path = self.dir.path().join("keys.json");
        KeyFile::change(&path, |file| {
            change(file.keys.first_mut().unwrap());
            Ok(())
        })
        .unwrap();
        let ring = KeyRing::open(&path).unwrap();
        let held = ring.authenticate(self.token.expose(), None, clock());
        Arc::new(Held::of_key(held.unwrap()))
    }

    async fn ask(&self, caller: &Arc<Caller>, text: &str) {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let request = Request::post("/v1/chat/completions").body(Full::new(Bytes::from(body)));
        let answer = self.gateway.handle(request.unwrap(), Arc::clone(caller));
        answer.await.into_body().collect().await.unwrap();
    }
}

/// A body that does not come.
struct Trickle;

impl Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

fn nothing() -> Resumed {
    let policy = ClassificationPolicy::parse(CLASSIFICATION, "c.toml").unwrap();
    History::default().resume(policy.levels())
}

fn team(name: &str) -> impl FnOnce(&mut VirtualKey) {
    let name = name.to_owned();
    move |key| key.team = name
}

/// On one thread, whose clock the test sets.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

#[test]
fn a_client_that_leaves_while_its_session_changes_keeps_its_mark() {
    run(async {
        let world = World::new().await;
        let caller = world.sessions.of(&world.held(|_| ())).await.unwrap();
        world.ask(&caller, CARD).await;
        let mark = caller.high_water();
        assert_ne!(mark, world.gateway.fresh().high_water);
        NOW.set(200);
        let changed = world.held(team("other"));
        world.disk.hang(true);
        let change = world.sessions.of(&changed);
        let left = tokio::time::timeout(Duration::from_millis(50), change).await;
        assert!(left.is_err(), "the disk hangs");
        world.disk.hang(false);
        let next = world.sessions.of(&changed).await.unwrap();
        assert_eq!(next.high_water(), mark);
        assert_ne!(next.identity().session, caller.identity().session);
        world.store.stop();
    });
}

#[test]
fn who_trickles_a_request_keeps_nobody_else_waiting_and_their_own_session_as_it_is() {
    run(async {
        let world = World::new().await;
        let caller = world.sessions.of(&world.held(|_| ())).await.unwrap();
        let request = Request::post("/v1/chat/completions").body(Trickle).unwrap();
        let (gateway, arriving) = (world.gateway.clone(), Arc::clone(&caller));
        let trickling = tokio::spawn(async move { gateway.handle(request, arriving).await });
        // it has its place now, and waits for its body
        tokio::task::yield_now().await;
        NOW.set(200);
        let changed = world.held(team("other"));
        let refused = world.sessions.of(&changed).await;
        assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
        world.sessions.sweep().await.unwrap();
        assert_eq!(world.sessions.count().await, 1);
        trickling.abort();
        assert!(trickling.await.unwrap_err().is_cancelled());
        let next = world.sessions.of(&changed).await.unwrap();
        assert_ne!(next.identity().session, caller.identity().session);
        world.store.stop();
    });
}

#[test]
fn a_session_that_changes_again_and_again_is_written_once_in_ten_seconds_and_keeps_its_spending() {
    run(async {
        let world = World::new().await;
        let first = world.sessions.of(&world.held(|_| ())).await.unwrap();
        let changed = world.held(team("other"));
        let refused = world.sessions.of(&changed).await;
        assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
        let book = &world.sessions.permission.book;
        let of = |caller: &Caller| account_of_session(caller.identity().session);
        let spending = Spending {
            tokens: 7,
            micros: 3,
        };
        book.spend(&[of(&first)], spending, clock());
        NOW.set(111);
        let next = world.sessions.of(&changed).await.unwrap();
        assert_eq!(book.spent(&of(&next), clock()), spending);
        assert_eq!(book.spent(&of(&first), clock()), Spending::default());
        world.store.stop();
    });
}

fn began(number: u8, opened: i64, key: &KeyToken) -> GatewaySession {
    let mut began = GatewaySession {
        session: SessionId::from_random([number; 16]),
        opened: Timestamp::from_unix_seconds(opened),
        ..statement()
    };
    began.client.key = key.id().to_string();
    began
}

#[test]
fn of_two_sessions_that_a_crash_left_to_one_holder_the_later_goes_on_with_the_higher_mark() {
    let policy = ClassificationPolicy::parse(CLASSIFICATION, "c.toml").unwrap();
    let key = KeyToken::generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(opening(dir.path()));
    // the later one has the lower id, and no mark of its own
    let (earlier, later) = (began(9, 10, &key), began(1, 20, &key));
    run(async {
        for began in [&earlier, &later] {
            let bytes = json::to_bytes(began).unwrap();
            let event = Event::Session(Box::new(began.clone()));
            let noted = store.note(Kind::Session, began.session, bytes, event, LogMode::Strict);
            noted.await.unwrap();
        }
        let intent = Intent {
            run: RunId::from_random([1; 16]),
            sequence: 0,
            label: "restricted".to_owned(),
            received: Digest::of("r"),
            at: Timestamp::from_unix_seconds(11),
        };
        let bytes = json::to_bytes(&intent).unwrap();
        let event = Event::Intent(intent);
        let noted = store.note(Kind::Intent, earlier.session, bytes, event, LogMode::Strict);
        noted.await.unwrap();
    });
    store.stop();
    drop(store);
    let (store, history) = open(opening(dir.path()));
    store.stop();
    let resumed = history.clone().resume(policy.levels());
    let [(_, past, mark)] = &resumed.open[..] else {
        panic!("{:?}", resumed.open)
    };
    assert_eq!(
        (past.statement.session, *mark),
        (later.session, policy.levels().highest())
    );
    let [(past, _, goes_on)] = &resumed.superseded[..] else {
        panic!("{:?}", resumed.superseded)
    };
    assert_eq!(
        (past.statement.session, *goes_on),
        (earlier.session, later.session)
    );
    // once the earlier one was accounted for, the later one has its mark over every further start
    let mut history = history;
    let account = Accounted {
        key: key.id().to_string(),
        occasion: AccountOccasion::KeyEnded,
        high_water: "restricted".to_owned(),
    };
    history.see(earlier.session, Digest::of("a"), Event::Account(account));
    let resumed = history.resume(policy.levels());
    let marks: BTreeSet<_> = resumed.open.iter().map(|(_, _, mark)| *mark).collect();
    assert_eq!(marks, BTreeSet::from([policy.levels().highest()]));
    assert!(resumed.superseded.is_empty());
}
