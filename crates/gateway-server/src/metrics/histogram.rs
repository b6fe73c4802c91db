//! A histogram with fixed bounds.

use std::fmt::{Arguments, Write as _};

/// Bounds of durations in seconds, as the GenAI conventions advise.
pub(super) const SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// Bounds of token counts, as the GenAI conventions advise.
pub(super) const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

#[derive(Clone, Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    below: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            below: vec![0; bounds.len()],
            count: 0,
            sum: 0.0,
        }
    }

    pub(super) fn observe(&mut self, value: f64) {
        for (bound, below) in self.bounds.iter().zip(&mut self.below) {
            if value <= *bound {
                *below = below.saturating_add(1);
            }
        }
        self.count = self.count.saturating_add(1);
        self.sum += value;
    }

    pub(super) fn render(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, below) in self.bounds.iter().zip(&self.below) {
            line(
                out,
                format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"),
            );
        }
        let count = self.count;
        line(
            out,
            format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"),
        );
        let braced = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        line(out, format_args!("{name}_sum{braced} {}", self.sum));
        line(out, format_args!("{name}_count{braced} {count}"));
    }
}

/// Writes one line.
pub(super) fn line(out: &mut String, words: Arguments<'_>) {
    // a text in memory takes every line
    out.write_fmt(words).ok();
    out.push('\n');
}
