# What developers and CI run. `just` alone lists the recipes.

_list:
    @just --list --unsorted

# Format all sources
fmt:
    cargo fmt --all

# What CI rejects: unformatted sources, and any warning
lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets -- -D warnings

# Every test: units, scenarios in simulated time, the real binary
test *args:
    cargo test --workspace {{ args }}

# The simulator: just sim run scenarios/NAME.toml --seed 7
sim *args:
    cargo run --profile quick -p ops-proxy-sim -- {{ args }}

# The scenarios once more on the real binary, between network namespaces (needs root): just real [scenarios/NAME.toml...]
real *args:
    cargo build --profile quick -p ops-proxy -p ops-proxy-sim
    "${CARGO_TARGET_DIR:-target}"/quick/ops-proxy-sim real {{ if args == "" { "scenarios/*.toml --jobs 20 --longest 4m" } else { args } }}

# What the explorer draws, on the real binary, for an hour or so many minutes (needs root): just chaos 5
chaos minutes="60" *args:
    cargo build --profile quick -p ops-proxy -p ops-proxy-sim
    "${CARGO_TARGET_DIR:-target}"/quick/ops-proxy-sim chaos --minutes {{ minutes }} --jobs 16 {{ args }}

# Does the simulator find bugs? Plants them: just mutants [NAME...] (needs tree-sitter, tree-sitter-rust)
mutants *args:
    tests/mutants/run {{ args }}

# The same with small changes that nobody chose, by the thousand: just mutation --minutes 60 (needs cargo-mutants, tree-sitter, tree-sitter-rust)
mutation *args:
    tests/mutation/run {{ args }}

# A whole mesh on this machine
demo *args:
    cargo run --profile demo -- demo {{ args }}

# Measure speed
bench *args:
    cargo bench -p ops-proxy-benches {{ args }}

# Speed compared with another commit, on one machine: just bench-compare main [FILTER]
[positional-arguments]
bench-compare base *args:
    #!/usr/bin/env bash
    set -euo pipefail
    # Dependencies are built once, and criterion finds what the base measured.
    export CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    before=$CARGO_TARGET_DIR/before
    trap 'git worktree remove --force "$before"' EXIT
    git worktree add --detach "$before" "$1"
    # Standard output is the comparison alone.
    (cd "$before" && cargo bench -p ops-proxy-benches -- --save-baseline before "${@:2}") >&2
    # Lenient with benches that the base did not have.
    cargo bench -p ops-proxy-benches -- --baseline-lenient before "${@:2}"

# The whole tunnel compared with two chained HAProxies (needs nginx, haproxy, wrk, curl)
bench-tunnel *args:
    cargo build --release -p ops-proxy
    cargo build --profile quick -p ops-proxy-benches
    "${CARGO_TARGET_DIR:-target}"/quick/bench-tunnel {{ args }}

# Keep-alive of the smallest relays that can be written, beside the tunnel (needs root, for BPF): just bench-lab --connections 256
bench-lab *args:
    just bench-tunnel --lab --only keep-alive {{ args }}

# The same, with another commit's build in the same rounds: just bench-tunnel-compare main
[positional-arguments]
bench-tunnel-compare base *args:
    #!/usr/bin/env bash
    set -euo pipefail
    export CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    before=$CARGO_TARGET_DIR/before
    trap 'git worktree remove --force "$before"' EXIT
    git worktree add --detach "$before" "$1"
    (cd "$before" && cargo build --release -p ops-proxy --target-dir "$CARGO_TARGET_DIR/base")
    cargo build --release -p ops-proxy
    cargo build --profile quick -p ops-proxy-benches
    "$CARGO_TARGET_DIR/quick/bench-tunnel" \
        --before "$CARGO_TARGET_DIR/base/release/ops-proxy" "${@:2}"

# One listening peer with 100,000 names, then with 10,000 idle connections
bench-scale *args:
    cargo build --release -p ops-proxy
    cargo build --profile quick -p ops-proxy-benches
    "${CARGO_TARGET_DIR:-target}"/quick/bench-scale {{ args }}

# Each fuzz target, or those named, for this many seconds: just fuzz 60 wire hello (needs cargo-fuzz)
fuzz seconds *targets:
    #!/usr/bin/env bash
    set -euo pipefail
    # Optimising further gains nothing here but a long build.
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    targets=({{ targets }})
    [ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
    for target in "${targets[@]}"; do
        found=fuzz/artifacts/corpus/$target
        mkdir -p "$found"
        cargo fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- \
            -max_total_time={{ seconds }} -timeout=10
    done

# A minute of datagrams as WireGuard sends them, 5,000 a second both ways, without a loss
udp-minute:
    UDP_FLOW_SECONDS=60 cargo test --profile quick -p ops-proxy-tests --test binary -- --nocapture udp::a_steady_flow_loses_nothing

# 50 reloads and two upgrades while wrk asks as fast as it can (needs wrk)
upgrades-under-load:
    cargo test --profile quick -p ops-proxy-tests --test binary -- --nocapture upgrade::fifty_reloads

# Licences, advisories, sources and bans of all dependencies (needs cargo-deny)
deny:
    cargo deny --all-features check

# What CI runs, from a fresh clone
ci:
    .ci/run
