# Short names for what `cargo xtask` and cargo do. `just ci` is exactly what CI runs.

demo *options:
    cargo xtask demo {{options}}

test:
    cargo xtask test

ci:
    cargo xtask ci

tidy:
    cargo xtask tidy

fmt:
    cargo fmt --all

lint:
    cargo clippy --workspace --all-targets -- -D warnings

deny:
    cargo deny check bans licenses sources

bench:
    cargo bench --workspace

# Small inputs that the fuzz targets begin with.
fuzz-seeds:
    cargo run --quiet --package proofroom-conformance --bin proofroom-make-seeds

fuzz target seconds="60": fuzz-seeds
    cd fuzz && cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}
