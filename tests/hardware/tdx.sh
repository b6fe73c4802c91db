#!/bin/bash
# Rooms under Intel TDX, for a person at a machine that has it: doctor, a session, its verification,
# start times. Needs a host kernel with TDX (CONFIG_INTEL_TDX_HOST), kvm_intel with tdx=1, QEMU 11 or
# newer, and Intel's quote generation service with a unix socket.
#
#   tests/hardware/tdx.sh              RUNS=20 sessions, cold
#
# Exit codes: 0 everything met, 1 something not met or failed, 69 TDX is not available here.

. "$(dirname "${BASH_SOURCE[0]}")/room.sh"

prepare
say 'QEMU reads our command line:'
(cd "$root" && PROOFROOM_QEMU=${PROOFROOM_QEMU:-qemu-system-x86_64} \
    cargo test --locked --package proofroom-vmm --test qemu -- --nocapture)
doctor tdx || exit 69
session --isolation tdx
say "one session: $elapsed ms from request to attested room"
verify
measure 'tdx cold start' 3000 --isolation tdx
exit "$failed"
