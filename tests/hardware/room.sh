# What tests/hardware/kvm.sh and tests/hardware/tdx.sh share: build, doctor, one session, its offline
# verification, and start times. Sourced, not executed. PROOFROOM_PROGRAMS names a directory with programs that
# are built already.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
programs=${PROOFROOM_PROGRAMS:-$target/release}
image=${PROOFROOM_IMAGE:-$target/image}
runs=${RUNS:-20}
work=$(mktemp -d)
upstream_pid=
failed=0

say() { printf '%s\n' "$*"; }

end() {
    [ -z "$upstream_pid" ] || kill "$upstream_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

# Programs, the image, a repository of one commit, and an upstream that plays a recording.
prepare() {
    [ -n "${PROOFROOM_PROGRAMS:-}" ] || (cd "$root" && cargo build --release --locked --bins)
    [ -f "$image/image.json" ] || (cd "$root" && cargo xtask image --out "$image")
    git init --quiet "$work/repository"
    printf 'hello\n' > "$work/repository/README"
    git -C "$work/repository" add README
    git -C "$work/repository" -c user.name=test -c user.email=test@example.invalid \
        commit --quiet --message 'First'
    "$programs/proofroom-cassette" --cassette "$root/crates/testkit/cassettes/hello.json" \
        > "$work/upstream.json" &
    upstream_pid=$!
    for _ in $(seq 100); do
        [ -s "$work/upstream.json" ] && break
        sleep 0.1
    done
    upstream=$(sed 's/.*"url":"\([^"]*\)".*/\1/' "$work/upstream.json")
}

# What `proofroom doctor` says about one backend, and whether it is available.
doctor() {
    local backend=$1 heading
    "$programs/proofroom" doctor --image "$image" > "$work/doctor.txt" || true
    heading=$(grep -F "$backend (level" "$work/doctor.txt")
    say "$heading"
    sed -n "/^$backend (level/,/^\$/p" "$work/doctor.txt" | grep -E '^  (no|not tried) ' || true
    case $heading in *': not available') return 1 ;; esac
}

# One session with these options; its first event is written when the room has attested and its
# supervisor runs. Leaves the milliseconds from request to that event in $elapsed.
session() {
    local began event line
    began=${EPOCHREALTIME/[.,]/}
    event=
    while IFS= read -r line; do
        case $line in
            *'"type":"event"'*) [ -n "$event" ] || event=${EPOCHREALTIME/[.,]/} ;;
        esac
        printf '%s\n' "$line" >> "$work/session.jsonl"
    done < <("$programs/proofroom" run --json --state "$work/state" --image "$image" \
        --upstream "$upstream" --model cassette-standard --repo "$work/repository" --out "$work/session.proofroom" \
        "$@" -- /bin/true || say '{"type":"failed"}')
    if [ -z "$event" ]; then
        tail -n 5 "$work/session.jsonl"
        say 'FAILED: the session wrote no event'
        return 1
    fi
    elapsed=$(((event - began) / 1000))
}

# The last session's bundle, verified as an auditor would.
verify() {
    local answer=0
    "$programs/proofroom-verify" "$work/session.proofroom" "$@" > "$work/verdict.txt" || answer=$?
    cat "$work/verdict.txt"
    case $answer in
        0) say 'verification: accepted' ;;
        11) say 'verification: incomplete, see the list above' ;;
        *) say "FAILED: verification ended with $answer"; failed=1 ;;
    esac
}

# Median start time of $runs sessions against a limit, both in milliseconds.
measure() {
    local name=$1 limit=$2 times=() p50
    shift 2
    for _ in $(seq "$runs"); do
        session "$@"
        times+=("$elapsed")
    done
    p50=$(printf '%s\n' "${times[@]}" | sort -n | sed -n "$(((runs + 1) / 2))p")
    say "$name: p50 $p50 ms over $runs sessions (each: ${times[*]})"
    if [ "$p50" -le "$limit" ]; then
        say "$name: at most $limit ms: MET"
    else
        say "$name: at most $limit ms: NOT MET"
        failed=1
    fi
}
