//! How much memory a classification takes at most, whatever the text is made of: counted by the
//! allocator itself.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use proofroom_canonical::Timestamp;
use proofroom_classify::{
    ClassificationPolicy, Classifier, Context, DEFAULT_CLASSIFICATION, Origin, Segment,
};

/// Bytes in use and the most there were.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "only the allocator knows what is allocated")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: as this call's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as this call's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the patterns' caches may still take up after a first reading.
const CACHES: usize = 256 << 10;
const SIZE: usize = 512 << 10;

fn texts() -> Vec<(&'static str, String)> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let cases = include_str!("../src/classifier/cases.txt").replace('~', "");
    let fill = |part: &str| part.repeat(SIZE / part.len());
    vec![
        (
            "prose and code",
            fill(include_str!("../src/classifier/scan.rs")),
        ),
        ("every detector's samples", fill(&cases)),
        ("escapes", fill("\\\"")),
        ("escapes of escapes", fill("\\\\n a")),
        ("unicode escapes", fill("\\u0041")),
        (
            "one escape in a line",
            fill(&("word ".repeat(400) + "\\t\n")),
        ),
        ("full-width letters", fill("\u{ff21}\u{ff22}")),
        ("invisible characters", fill("a\u{200b}")),
        ("percent escapes", fill("%41%42 ")),
        ("long runs", fill("abcdefghij0123456789klmnopqrst ")),
        ("base64", STANDARD.encode(fill("some text in base64 "))),
        ("cards", fill("4539 5787 6362 1486\n")),
        ("names of credentials", fill("password = 'Vt8-qLm2x' ")),
    ]
}

#[test]
fn no_text_takes_more_heap_than_twice_its_size_or_thrice_where_it_is_escaped_twice() {
    let policy = ClassificationPolicy::parse(DEFAULT_CLASSIFICATION, "c").unwrap();
    let classifier = Classifier::new(&policy);
    let context = Context {
        repository: "",
        now: Timestamp::from_unix_seconds(0),
    };
    let mut over = Vec::new();
    for (name, text) in texts() {
        let segment = Segment {
            text: &text,
            origin: Origin::User,
            path: None,
        };
        // fills the patterns' caches, which belong to no request
        let first = classifier.classify(&[segment], &context);
        let before = NOW.load(Relaxed);
        MOST.store(before, Relaxed);
        let result = classifier.classify(&[segment], &context);
        let used = MOST.load(Relaxed).saturating_sub(before);
        assert_eq!(first, result);
        // what is escaped twice is held in both readings
        let times = if name == "escapes of escapes" { 3 } else { 2 };
        if used > times * text.len() + CACHES {
            over.push(format!("{name}: {used} for {}", text.len()));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}
