# shellcheck shell=bash disable=SC2034,SC2154  # set or read where this is sourced

# Sourced by the checks that need peers and a Prometheus, with `binary` set. Gives them a
# directory `work` and functions; ends what they started, by process id. Everything listens on
# loopback, on free ports.

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
pki=$work/pki
why=

# end PID: ends a child at once.
end() {
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

finish() {
    status=$?
    # Children that have not been waited for, so no id can be another process by now.
    mapfile -t running < <(jobs -p)
    for child in "${running[@]}"; do end "$child"; done
    if [ "$status" -ne 0 ]; then
        tail -n 5 "$work"/*.log >&2 || true
        printf '\n%s\n' "${why:-a command failed}" >&2
    fi
    rm -rf "$work"
}
trap finish EXIT

fail() {
    why=$*
    exit 1
}

# until_true SECONDS WHAT COMMAND…
until_true() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    while [ "$SECONDS" -le "$end" ]; do
        if "$@"; then return; fi
        sleep 0.2
    done
    fail "waited in vain for $what"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Sets `http` and `udp` to the ports of a backend.
backend() {
    python3 "$deploy/backend.py" >"$work/ports" 2>"$work/backend.log" &
    until_true 10 "the backend" grep -q . "$work/ports"
    read -r http udp <"$work/ports"
}

# Writes `kubeconfig`, which leads to an API of Kubernetes with Services in the namespace `shop`.
kubernetes_api() {
    local port
    python3 "$deploy/kubernetes.py" >"$work/kubernetes" 2>"$work/kubernetes.log" &
    until_true 10 "the API of Kubernetes" grep -q . "$work/kubernetes"
    port=$(<"$work/kubernetes")
    cat >"$work/kubeconfig" <<JSON
{
  "current-context": "check",
  "contexts": [{ "name": "check", "context": { "cluster": "check", "user": "" } }],
  "clusters": [{ "name": "check", "cluster": { "server": "http://127.0.0.1:$port" } }]
}
JSON
}

# certificates ID…: a CA, a hub, and peers that may register ID.example and what is below.
certificates() {
    "$binary" pki init --dir "$pki" --peer hub --name localhost --name 127.0.0.1
    for id in "$@"; do
        "$binary" pki issue --dir "$pki" --peer "$id" --name "$id.example" --name "*.$id.example"
    done
    "$binary" pki revoke --dir "$pki"
} >/dev/null

# peer NAME ARGUMENT…: starts a peer with a log and a pod label of that name, and with the id and
# certificate of what is before its hyphen. Sets `pid`.
peer() {
    local name=$1 id=${1%%-*}
    shift
    POD_NAME=$name NODE_NAME=check "$binary" run --peer-id "$id" --admin 127.0.0.1:0 --log-format json \
        --tls-cert "$pki/$id.pem" --tls-key "${key:-$pki/$id-key.pem}" --tls-ca "$pki/ca.pem" --tls-crl "$pki/crl.pem" \
        "$@" >/dev/null 2>"$work/$name.log" &
    pid=$!
    until_true 20 "$name to tell its admin address" address "$name" admin >/dev/null
}

# address NAME WHAT [N]: where a peer listens, as its log says.
address() {
    jq -rR --arg what "$2" 'fromjson? | (.fields // .) | select(.message == "listening" and .what == $what) | .addr' \
        "$work/$1.log" | sed -n "${3:-1}p" | grep .
}

# A Prometheus that finds its targets in $work/targets.json and evaluates the rules each second.
# Sets `api`.
start_prometheus() {
    local port
    port=$(free_port)
    [ -e "$work/targets.json" ] || echo '[]' >"$work/targets.json"
    cat >"$work/prometheus.yml" <<YAML
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ["$deploy/prometheus/*.rules.yml"]
scrape_configs:
  - job_name: ops-proxy
    file_sd_configs: [{ files: ["$work/targets.json"], refresh_interval: 1s }]
YAML
    prometheus --config.file "$work/prometheus.yml" --storage.tsdb.path "$work/data" \
        --web.listen-address "127.0.0.1:$port" --enable-feature=exemplar-storage \
        --log.level warn >"$work/prometheus.log" 2>&1 &
    api=http://127.0.0.1:$port/api/v1
    until_true 20 Prometheus curl -sfo /dev/null "http://127.0.0.1:$port/-/ready"
}

# scrape JOB NAME…: has Prometheus scrape these peers, too, as this job.
scrape() {
    local job=$1
    shift
    for name in "$@"; do address "$name" admin; done |
        jq -R . | jq -sc --arg job "$job" '[{ targets: ., labels: { job: $job } }]' >"$work/job-$job"
    jq -sc add "$work"/job-* >"$work/targets.new"
    mv "$work/targets.new" "$work/targets.json"
}

query() {
    curl -s --max-time 10 "$api/query" --data-urlencode "query=$1"
}

# exemplars QUERY: the request ids that go with these series.
exemplars() {
    curl -s --max-time 10 "$api/query_exemplars" --data-urlencode "query=$1" \
        --data-urlencode "start=$(($(date +%s) - 600))" --data-urlencode "end=$(($(date +%s) + 60))" |
        jq -r '.data[].exemplars[].labels.proxy_id' | sort -u
}

gives_series() {
    [ "$(query "$1" | jq -r '.data.result | length' 2>/dev/null)" -gt 0 ] 2>/dev/null
}

ask() {
    curl -s -o /dev/null --max-time 5 "$@" 2>/dev/null || true
}
