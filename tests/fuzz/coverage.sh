#!/usr/bin/env bash
# Drives the decoders with libFuzzer, which keeps whatever input reaches new code and mutates that.
#
#   tests/fuzz/coverage.sh [TARGET…]     each target, or all, for FUZZ_SECONDS (default 60) at the lowest priority
#
# Needs nightly Rust and cargo-fuzz (`cargo install cargo-fuzz`). What is found stays in target/fuzz: the corpus, from which
# a good input may be copied to tests/fixtures/fuzz/TARGET, and the inputs that failed. Exit code 1: an input failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
for need in 'cargo +nightly --version' 'cargo fuzz --version'; do
    $need > /dev/null 2>&1 || { echo "missing: \`$need\` fails" >&2; exit 2; }
done

# RUSTFLAGS wins over .cargo/config.toml, so what stands there is said again.
export RUSTFLAGS='--cfg tokio_unstable'
nice -n 19 cargo +nightly fuzz build --fuzz-dir tests/fuzz/cargo-fuzz --sanitizer none --target-dir "$out" decoder
program=$(ls -t "$out"/*/release/decoder | head -n 1)

# The valid inputs that the encoders make are the beginning of each corpus.
seeds=$out/seeds
rm -rf "$seeds"
QUORATE_FUZZ_SEEDS=$seeds "$program" -runs=0 > /dev/null 2>&1 || true
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(ls "$seeds")

status=0
printf '%-16s %12s %10s %8s\n' target executions 'exec/s' edges
for target in "${targets[@]}"; do
    corpus=$out/corpus/$target failed=$out/failed/$target
    mkdir -p "$corpus" "$failed"
    committed=tests/fixtures/fuzz/$target
    [[ -d $committed ]] || committed=
    log=$failed/log
    QUORATE_FUZZ_TARGET=$target nice -n 19 "$program" "$corpus" "$seeds/$target" $committed -artifact_prefix="$failed/" \
        -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=1024 -max_len=16384 -print_final_stats=1 > "$log" 2>&1 || status=1
    awk -v target="$target" '
        / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
        /number_of_executed_units/ { runs = $2 } /average_exec_per_sec/ { speed = $2 }
        END { printf "%-16s %12d %10d %8d\n", target, runs, speed, edges }' "$log"
    grep -hE 'panicked at|ERROR: |Test unit written' "$log" || true
done
exit "$status"
