//! Values that begin in one text of an author and end in a later one: what stands before a text is read
//! together with its beginning. What one text shows by itself is none of this file's.

use std::{collections::VecDeque, ops::Range};

use super::{CROWDED, Found, Ruling, Scanner, Scratch};
use crate::detect::{Sure, ceil_boundary, floor_boundary, long_runs};

/// The texts that one author wrote right before another, as many of the last as hold what is read of them.
/// Empty ones are not among them. `T` is what is known of a text beside its letters.
#[derive(Clone, Debug)]
pub(in crate::classifier) struct Run<'a, T> {
    /// First to last.
    texts: VecDeque<(&'a str, T)>,
    /// Bytes of all but the first.
    later: usize,
}

impl<T> Default for Run<'_, T> {
    fn default() -> Self {
        Self {
            texts: VecDeque::new(),
            later: 0,
        }
    }
}

impl<'a, T> Run<'a, T> {
    /// Another author writes from now on.
    pub(in crate::classifier) fn begin(&mut self) {
        self.texts.clear();
        self.later = 0;
    }

    /// The same author wrote `text` too.
    pub(in crate::classifier) fn push(&mut self, text: &'a str, known: T) {
        if text.is_empty() {
            return;
        }
        if !self.texts.is_empty() {
            self.later = self.later.saturating_add(text.len());
        }
        self.texts.push_back((text, known));
        while self.later >= SEAM_REACH {
            self.texts.pop_front();
            let first = self.texts.front().map_or(0, |(text, _)| text.len());
            self.later = self.later.saturating_sub(first);
        }
    }

    pub(in crate::classifier) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// What is known of the texts, first to last.
    pub(in crate::classifier) fn known(&mut self) -> impl Iterator<Item = (&'a str, &mut T)> {
        self.texts.iter_mut().map(|(text, known)| (*text, known))
    }

    /// What is known of a text, counted back from the last as 0.
    pub(in crate::classifier) fn back(&self, back: usize) -> Option<&T> {
        let known = self.texts.iter().rev().nth(back);
        known.map(|(_, known)| known)
    }

    /// The end of it all that is read, and where each text, or what is left of it, begins in it.
    fn tail(&self) -> (String, Vec<Piece<'a>>) {
        let (mut tail, mut pieces) = (String::new(), Vec::new());
        for (text, _) in &self.texts {
            let from = match pieces.last() {
                None => (text.len() + self.later).saturating_sub(SEAM_REACH),
                Some(_) => 0,
            };
            let from = ceil_boundary(text, from);
            pieces.push(Piece {
                text,
                from,
                at: tail.len(),
            });
            tail.push_str(text.get(from..).unwrap_or_default());
        }
        (tail, pieces)
    }
}

/// The end of a text, from this byte on, and where that is in what is read.
struct Piece<'a> {
    text: &'a str,
    from: usize,
    at: usize,
}

impl Piece<'_> {
    /// Where in its text something is that is at `span` of what is read. What goes on behind the text ends
    /// with it here.
    fn place(&self, span: &Range<usize>) -> Range<usize> {
        let place = |at: usize| (self.from + at).saturating_sub(self.at);
        let start = place(span.start).min(self.text.len());
        start..place(span.end).clamp(start, self.text.len())
    }
}

impl Scanner {
    /// Reports values that begin in `before` and end in `text`, which comes next: which of the texts before
    /// they begin in, counted back from the last as 0, and where.
    pub(in crate::classifier) fn scan_seam<'s, T>(
        &'s self,
        before: &Run<'_, T>,
        text: &str,
        report: &mut dyn FnMut(usize, Found<'s>),
    ) {
        if before.is_empty() || text.is_empty() {
            return;
        }
        let (tail, pieces) = before.tail();
        let head = text.get(..floor_boundary(text, SEAM_REACH));
        let joined = tail.clone() + head.unwrap_or_default();
        let place = |span: &Range<usize>| {
            let mut back = pieces.iter().rev().enumerate();
            let (back, piece) = back.find(|(_, piece)| piece.at <= span.start)?;
            Some((back, piece.place(span)))
        };
        let runs = long_runs(&joined);
        for (ruling, span, sure) in self.shown_together(&joined, tail.len(), &runs) {
            if let Some((back, span)) = place(&span) {
                report(back, ruling.found(span, sure));
            }
        }
        for span in self.unlooked(&joined, &runs) {
            let crosses = span.start < tail.len() && span.end >= tail.len();
            if let Some((back, piece)) = place(&span).filter(|_| crosses) {
                report(back, self.undecoded(piece, CROWDED));
            }
        }
    }

    /// What `joined` shows and neither of its parts by itself, which meet at `seam`.
    fn shown_together<'s>(
        &'s self,
        joined: &str,
        seam: usize,
        runs: &[Range<usize>],
    ) -> Vec<(&'s Ruling, Range<usize>, Sure)> {
        let mut together = Vec::new();
        let scan = |scratch: &mut Scratch| {
            self.scan_text(joined, runs, scratch, &mut |ruling, span, sure| {
                together.push((ruling, span, sure));
            });
        };
        self.pool.with(|| self.scratch(), scan);
        if together.is_empty() {
            return together;
        }
        let mut apart: Vec<(&str, usize)> = Vec::new();
        let (tail, head) = joined.split_at(seam);
        for (part, at) in [(tail, 0), (head, seam)] {
            self.scan_part(part, &mut |ruling, span, _| {
                apart.push((&ruling.id, at + span.start));
            });
        }
        together.retain(|(ruling, span, _)| !apart.contains(&(ruling.id.as_str(), span.start)));
        together
    }
}

/// How far before and behind a seam a value split over texts may reach.
pub(in crate::classifier) const SEAM_REACH: usize = 512;
