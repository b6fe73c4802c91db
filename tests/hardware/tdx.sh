#!/bin/bash
# Rooms under Intel TDX, for a person at a machine that has it: doctor, reference values, a session, its
# verification, start times. Needs a host kernel with TDX (CONFIG_INTEL_TDX_HOST), kvm_intel with tdx=1,
# QEMU 11 or newer, and Intel's quote generation service. Run as root.
#
#   tests/hardware/tdx.sh              RUNS=20 sessions, cold
#   PROOFROOM_QUOTE_SERVICE=SOCKET     where the service listens, if not at /var/run/tdx-qgs/qgs.socket
#   PROOFROOM_COLLATERAL=DIR           collateral that is there already, DIR/FMSPC.json
#   PROOFROOM_PCS=URL                  a PCCS to fetch it from, instead of Intel's service
#
# Nobody has run this yet where TDX is. Exit codes: 0 everything met, 1 something not met or failed, 69 TDX
# is not available here.

. "$(dirname "${BASH_SOURCE[0]}")/room.sh"

options=(--isolation tdx --collateral "${PROOFROOM_COLLATERAL:-$work/collateral}")
[ -z "${PROOFROOM_QUOTE_SERVICE:-}" ] || options+=(--quote-service "$PROOFROOM_QUOTE_SERVICE")

# The registers of a TD with this machine's QEMU, from the tables of a machine without a TPM.
reference() {
    "$programs/proofroom" image capture --image "$image" --accel kvm
    "$programs/proofroom" image capture --image "$image" --accel kvm --without-tpm
    "$programs/proofroom" measure --image "$image" --layer "$image/layers/base/layer.json" \
        --out "$image/reference.json" > /dev/null
    grep -q '"tdx":{"state":"computed"' "$image/reference.json"
}

# The first refusal names the platform that collateral is needed for.
collateral() {
    local fmspc
    [ -z "${PROOFROOM_COLLATERAL:-}" ] || return 0
    session "${options[@]}" && return 0
    fmspc=$(grep -oE 'collateral/[0-9a-f]{12}\.json' "$work/session.jsonl" | head -n 1 | cut -c 12-23)
    [ -n "$fmspc" ] || return 1
    say "collateral of platform $fmspc"
    "$programs/proofroom" collateral fetch "$work/collateral" --fmspc "$fmspc" ${PROOFROOM_PCS:+--url "$PROOFROOM_PCS"}
}

prepare
say 'QEMU reads our command line:'
(cd "$root" && PROOFROOM_QEMU=${PROOFROOM_QEMU:-qemu-system-x86_64} \
    cargo test --locked --package proofroom-vmm --test qemu -- --nocapture)
doctor tdx || exit 69
reference
collateral
session "${options[@]}"
say "one session: $elapsed ms from request to attested room"
verify
grep -q 'trust domain, Intel TDX' "$work/verdict.txt" || { say 'FAILED: the verdict shows no trust domain'; failed=1; }
measure 'tdx cold start' 3000 "${options[@]}"
exit "$failed"
