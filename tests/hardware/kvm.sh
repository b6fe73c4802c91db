#!/bin/bash
# Rooms under KVM, for a person at a machine where it works: doctor, a session, its verification, start
# times. Needs QEMU 9 or newer, swtpm, and the right to open /dev/kvm; run as root or as a user with
# subordinate ids.
#
#   tests/hardware/kvm.sh              RUNS=20 sessions, cold
#   PROOFROOM_TRY_TCG=1 RUNS=1 tests/hardware/kvm.sh
#                                      the same script with an emulated processor, to try the script;
#                                      its figures say nothing about KVM
#
# Exit codes: 0 everything met, 1 something not met or failed, 69 KVM is not available here.

. "$(dirname "${BASH_SOURCE[0]}")/room.sh"

accelerator=kvm
limit=700
if [ -n "${PROOFROOM_TRY_TCG:-}" ]; then
    accelerator=tcg
    limit=60000
    say 'EMULATED: this tries the script, not KVM'
fi
prepare
doctor "vm ($accelerator)" || exit 69
session --isolation vm --accel "$accelerator"
say "one session: $elapsed ms from request to attested room"
verify
measure "vm ($accelerator) cold start" "$limit" --isolation vm --accel "$accelerator"
exit "$failed"
