#!/usr/bin/env bash
# Fuzzes the parsers for FUZZ_SECONDS (30 by default). A crashing input is left in .build-fuzz/; it becomes a test.
set -euo pipefail
cd "$(dirname "$0")/.."
STRATA_FUZZ=1 swift build --product fuzz-parsers --sanitize fuzzer --scratch-path .build-fuzz 2>&1 | tail -3
mkdir -p .build-fuzz/corpus
# Swift's own crash handler would keep the fuzzer from writing the input down.
SWIFT_BACKTRACE=enable=no .build-fuzz/debug/fuzz-parsers .build-fuzz/corpus Fuzz/Corpus \
    -max_total_time="${FUZZ_SECONDS:-30}" -max_len=4096 -artifact_prefix=.build-fuzz/ -print_final_stats=1 2>&1 | tail -8
