#!/usr/bin/env bash
# Runs every test of Quorate, one part after the other; `tests/run.sh --help` says how. Never talks to a real provider.
set -euo pipefail

usage() {
    cat <<'HELP'
Runs every test of Quorate: unit and property tests, documentation examples, and each integration test of Cargo.toml.

usage: tests/run.sh [options] [PART…]
       tests/run.sh bench [NAME…]

A PART is `unit`, `doc`, or the name of a [[test]] in Cargo.toml; without any, all of them run. `bench` builds the
benchmarks with optimisation and runs them instead.

Options:
  --no-skip     what a test needs and does not find is an error, not a skip
  --no-install  installs nothing; what is missing is said and skipped
  --verbose     prints what the tests print, not only what fails
  --list        prints the parts and benchmarks, and ends
  --help        prints this, and ends

As root on a machine with apt-get, the Debian packages that are missing (BIND, Knot and other programs that the tests
start for themselves) are installed first, without starting any of their services. python-ovh comes from PyPI into a
virtual environment under the build directory. Without them, the tests that need them say SKIP.

Environment: CARGO_TARGET_DIR and PROPTEST_CASES mean what they always mean; QUORATE_PART_TIMEOUT is the longest that
one part may take (default 30m). FUZZ_SECONDS is how long the part `fuzz` goes on (default 60), FUZZ_SEED sends it another
way. tests/fuzz/coverage.sh fuzzes with libFuzzer, where there is nightly Rust. SIM_SEEDS is how many seeds the part
`simulation` runs (default 200), SIM_FROM the first of them, SIM_SEED a single one, whose events SIM_TRACE=1 tells. The
part `controls` takes the seeds of tests/controls/seeds.txt to show that each broken rule is noticed; CONTROLS_SEARCH=1 has
it search the seeds from 1 to 500 anew, which takes minutes, and write that list.
TORTURE_SECONDS is how long the part `torture` goes on (default 600), TORTURE_SEED sends it another way.

Exit code: 0 all passed, 1 something failed, 2 wrong usage, 130 interrupted.

Examples:
  tests/run.sh
  tests/run.sh --no-skip
  tests/run.sh unit dns
  tests/run.sh --verbose demo
  PROPTEST_CASES=5000 tests/run.sh unit
  FUZZ_SECONDS=3600 QUORATE_PART_TIMEOUT=2h tests/run.sh fuzz
  SIM_SEEDS=10000 QUORATE_PART_TIMEOUT=5h tests/run.sh --verbose simulation
  SIM_SEED=7 SIM_TRACE=1 tests/run.sh --verbose simulation
  CONTROLS_SEARCH=1 tests/run.sh --verbose controls
  tests/run.sh bench
HELP
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The servers of Debian live where an unprivileged PATH may not look.
export PATH="$PATH:/usr/sbin:/sbin" CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"

# The names in the [[test]], [[bench]] or [[example]] tables of Cargo.toml.
names_of() {
    awk -v table="[[$1]]" '
        /^\[/ { inside = ($0 == table) }
        inside && $1 == "name" { gsub(/"/, "", $3); print $3 }
    ' Cargo.toml
}

# They spend their time in code, and are built with some optimisation.
optimised=(simulation model controls)
mapfile -t all_parts < <(printf 'unit\ndoc\n'; names_of test)
mapfile -t all_benches < <(names_of bench; names_of example)

wrong_usage() {
    printf 'tests/run.sh: %s\nTry: tests/run.sh --help\n' "$1" >&2
    exit 2
}

contains() {
    local wanted=$1 item
    shift
    for item; do [[ $item == "$wanted" ]] && return 0; done
    return 1
}

install=yes verbose=no mode=test chosen=()
while (($#)); do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --list) printf '%s\n' "${all_parts[@]}"; printf 'bench %s\n' "${all_benches[@]}"; exit 0 ;;
        --no-skip) export QUORATE_NO_SKIP=1 ;;
        --no-install) install=no ;;
        --verbose | -v) verbose=yes ;;
        -*) wrong_usage "unknown option $1" ;;
        bench) ((${#chosen[@]} == 0)) || wrong_usage "bench stands before the names"; mode=bench ;;
        *) chosen+=("$1") ;;
    esac
    shift
done
if [[ $mode == bench ]]; then known=("${all_benches[@]}"); else known=("${all_parts[@]}"); fi
for part in ${chosen[@]+"${chosen[@]}"}; do
    contains "$part" "${known[@]}" || wrong_usage "no $mode is called $part; there are: ${known[*]}"
done
everything=no
((${#chosen[@]})) || { chosen=("${known[@]}") everything=yes; }

command -v cargo > /dev/null || { echo 'tests/run.sh: cargo is missing; install Rust (see rust-version in Cargo.toml)' >&2; exit 1; }

# --- What the tests need besides Rust: a check, and the Debian package that makes it succeed. ---------------------------

needs=(
    'command -v cc                 |gcc'
    'test -e /usr/include/stdlib.h |libc6-dev'
    'command -v named              |bind9'
    'command -v nsupdate           |bind9-dnsutils'
    'command -v dig                |bind9-dnsutils'
    'command -v knotd              |knot'
    'command -v pdns_server        |pdns-server'
    'test -e /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql |pdns-backend-sqlite3'
    'command -v sqlite3            |sqlite3'
    'command -v mkfs.xfs           |xfsprogs'
    'command -v xfs_io             |xfsprogs'
    'command -v mount              |mount'
    'command -v nft                |nftables'
    'command -v ip                 |iproute2'
    'python3 -c "import ensurepip" |python3-venv'
    'command -v php                |php-cli'
    'command -v composer           |composer'
    'command -v phpunit            |phpunit'
    'test -d /usr/share/php/Illuminate/Foundation |php-laravel-framework'
    'test -d /usr/share/php/AsyncAws/Core         |php-async-aws-core'
    'php -m | grep -qx curl        |php-curl'
    'php -m | grep -qx mbstring    |php-mbstring'
    'test -e /usr/share/java/clojure.jar |clojure'
    'test -e /usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1 -o -e /usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1 |faketime'
)

# The packages whose check fails, each once.
missing_packages() {
    local need
    for need in "${needs[@]}"; do
        bash -c "${need%|*}" > /dev/null 2>&1 || printf '%s\n' "${need##*|}"
    done | sort -u
}

# Installs packages without letting their services start: the tests start servers of their own, on ports of their own.
apt_install() {
    local policy=/usr/sbin/policy-rc.d made=no status=0
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
        made=yes
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends "$@" > "$logs/apt.log" 2>&1 ||
        { apt-get update -qq >> "$logs/apt.log" 2>&1 &&
            apt-get install -qq -y --no-install-recommends "$@" >> "$logs/apt.log" 2>&1; } || status=$?
    [[ $made == no ]] || rm -f "$policy"
    return "$status"
}

prepare() {
    local missing
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    if [[ $install == no ]]; then
        echo "missing, and not installed (--no-install): ${missing[*]}"
    elif ((EUID != 0)) || ! command -v apt-get > /dev/null; then
        echo "missing, and not installed (that takes root and apt-get): ${missing[*]}"
    else
        echo "installing ${missing[*]}"
        apt_install "${missing[@]}" || { echo "apt-get failed, its log ends so:"; tail -n 5 "$logs/apt.log"; }
        mapfile -t missing < <(missing_packages)
        ((${#missing[@]} == 0)) || echo "still missing: ${missing[*]}"
    fi
    ((${#missing[@]} == 0)) || [[ -n ${QUORATE_NO_SKIP:-} ]] || echo "tests that need them are skipped"
}

# --- Running one part. ----------------------------------------------------------------------------------------------------

target=${CARGO_TARGET_DIR:-$PWD/target}
logs=$target/test-logs
mkdir -p "$logs"
# Everything that the tests leave would lie here or carry this mark, so that nothing is left unseen.
scratch=$(mktemp -d /tmp/quorate-tests.XXXXXX)
export TMPDIR=$scratch QUORATE_TEST_RUN=$scratch
current=

# The processes that carry the mark of this run, besides this script and its own subshells.
marked_processes() {
    local environ pid
    for environ in /proc/[0-9]*/environ; do
        pid=${environ//[^0-9]/}
        [[ $pid != "$$" && $pid != "$BASHPID" ]] || continue
        { tr '\0' '\n' < "$environ" | grep -qxF "QUORATE_TEST_RUN=$scratch"; } 2> /dev/null || continue
        grep -qx "PPid:[[:space:]]*$$" "/proc/$pid/status" 2> /dev/null || printf '%s\n' "$pid"
    done
}

# The mounts that were made under the run's directory, the innermost first.
marked_mounts() { awk -v dir="$scratch/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | sort -r; }

# The network namespaces and bridges of tests whose process is gone. Their names are qn or qb, the process id in hex, and one
# digit more (tests/common/netns.rs).
orphaned_networks() {
    local path name tag process owned
    for path in /run/netns/qn* /sys/class/net/qb*; do
        [[ -e $path ]] || continue
        name=${path##*/} owned=no
        tag=${name:2} tag=${tag%-*} tag=${tag%?}
        [[ $tag =~ ^[0-9a-f]+$ ]] || continue
        for process in /proc/[0-9]*; do
            ((${process##*/} % 0x100000 != 16#$tag)) || owned=yes
        done
        [[ $owned == yes ]] || printf '%s\n' "$name"
    done
}

# Says what a part left behind, removes it, and fails if there was any.
leftovers() {
    local found=0 pid mount network
    for pid in $(marked_processes); do
        echo "left a process: $pid $(tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null)"
        kill -KILL "$pid" 2> /dev/null || true
        found=1
    done
    while read -r mount; do
        echo "left a mount: $mount"
        umount -l "$mount" || true
        found=1
    done < <(marked_mounts)
    for network in $(orphaned_networks); do
        echo "left a network: $network"
        if [[ $network == qn* ]]; then ip netns del "$network"; else ip link del "$network"; fi || true
        found=1
    done
    return "$found"
}

finish() {
    [[ -z $current ]] || kill -TERM "$current" 2> /dev/null || true
    [[ -z $current ]] || wait "$current" 2> /dev/null || true
    leftovers > /dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT
trap 'echo; echo "interrupted"; exit 130' INT TERM HUP

# Runs a command with the output in a log. Job control gives it a process group of its own, which `timeout` ends as a
# whole, and keeps the shell from making it deaf to Ctrl-C, which some tests send.
logged() {
    local log=$1 status=0
    shift
    : > "$log"
    set -m
    timeout --kill-after=10s "${QUORATE_PART_TIMEOUT:-30m}" "$@" >> "$log" 2>&1 &
    current=$!
    set +m
    [[ $verbose == no ]] || tail -n +1 -f --pid="$current" "$log"
    wait "$current" || status=$?
    current=
    return "$status"
}

total_passed=0 total_failed=0 total_skipped=0 rows=()
# One line of the summary: part, passed, failed, skipped, seconds.
row() {
    rows+=("$(printf '%-10s %7d %7d %8d %8d' "$@")")
    total_passed=$((total_passed + $2)) total_failed=$((total_failed + $3)) total_skipped=$((total_skipped + $4))
    if (($3)); then echo "   FAILED: $2 passed, $3 failed, $4 skipped, $5 s"; else echo "   $2 passed, $4 skipped, $5 s"; fi
}

# The sum of one figure over the `test result:` lines of a log.
sum() { sed -n "s/^test result: .* \([0-9]*\) $2.*/\1/p" "$1" | awk '{ n += $1 } END { print n + 0 }'; }

# What a person needs of a failed part: cargo's list of failures with their output, or else the end.
show_failure() {
    echo "--- $1 ---"
    if grep -qx 'failures:' "$1"; then sed -n '/^failures:$/,$p' "$1" | tail -n 200; else tail -n 40 "$1"; fi
    echo '---'
}

run_part() {
    local part=$1 log=$logs/$1.log start=$SECONDS status=0 passed failed skipped select left
    case $part in
        unit) select=(--lib --bins) ;;
        doc) select=(--doc) ;;
        *) select=(--test "$part")
            ! contains "$part" "${optimised[@]}" || select+=(--profile simulation) ;;
    esac
    echo "== $part"
    logged "$log" cargo test --features testing "${select[@]}" -- --show-output || status=$?
    left=$(leftovers) || { echo "$left" | sed 's/^/   /'; status=1; }
    passed=$(sum "$log" passed) failed=$(sum "$log" failed)
    # A test that skips says so and passes; cargo does not know of it.
    skipped=$(grep -c 'SKIP: ' "$log" || true)
    sed -n 's/.*SKIP: /   skipped: /p' "$log" | sort -u
    # What a test shows for everybody to see, whether it passed or not.
    sed -n 's/^TABLE: /   /p' "$log"
    passed=$((passed > skipped ? passed - skipped : 0)) skipped=$((skipped + $(sum "$log" ignored)))
    if ((status == 124 || status == 137)); then echo "   took longer than ${QUORATE_PART_TIMEOUT:-30m}"; fi
    if ((status == 0 && passed + failed + skipped == 0)) && [[ $part != doc ]]; then
        echo "   no test ran"
        status=1
    fi
    if ((status != 0)); then
        failed=$((failed > 0 ? failed : 1))
        [[ $verbose == yes ]] || show_failure "$log"
    fi
    row "$part" "$passed" "$failed" "$skipped" $((SECONDS - start))
}

# Builds tests without running them.
build() {
    local start=$SECONDS what=$1
    shift
    echo "== build, $what"
    if logged "$logs/build.log" cargo test --features testing --no-run "$@"; then
        echo "   $((SECONDS - start)) s"
    else
        [[ $verbose == yes ]] || show_failure "$logs/build.log"
        row build 0 1 0 $((SECONDS - start))
        return 1
    fi
}

# Builds every test for the profile that it runs with, and for no other.
build_all() {
    local part plain=(--lib --bins) few=(--profile simulation)
    for part in $(names_of test); do
        if contains "$part" "${optimised[@]}"; then few+=(--test "$part"); else plain+=(--test "$part"); fi
    done
    build "as everybody does" "${plain[@]}" && build "optimised: ${optimised[*]}" "${few[@]}"
}

run_bench() {
    local start=$SECONDS status=0 command=(cargo run --release --example "$1")
    [[ $1 == bench-* ]] || command=(cargo bench --bench "$1")
    echo "== bench $1"
    verbose=yes
    logged "$logs/$1.log" "${command[@]}" || status=$?
    row "${1#bench-}" $((status == 0)) $((status != 0)) 0 $((SECONDS - start))
}

summary() {
    printf '\n%-10s %7s %7s %8s %8s\n' part passed failed skipped seconds
    printf '%s\n' "${rows[@]}"
    printf '\n%d passed, %d failed, %d skipped\n' "$total_passed" "$total_failed" "$total_skipped"
}

if [[ $mode == bench ]]; then
    for name in "${chosen[@]}"; do run_bench "$name"; done
else
    prepare
    # All at once compiles side by side; of a few parts, each builds what it needs.
    if [[ $everything == no ]] || build_all; then
        for part in "${chosen[@]}"; do run_part "$part"; done
    fi
fi
summary
((total_failed == 0))
