#!/usr/bin/env bash
# A leader stands still for longer than its lease, another one is elected, the first wakes up:
# the same story with `etcdctl lock` and with `tenure run`. See README.md beside this file.
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
dir=$(mktemp -d)
servers=()    # processes of ours that have no session of their own
sessions=()   # hosts: all processes of a session

say() { printf '%s\n' "$*"; }
fail() { say "error: $*" >&2; exit 125; }

# ---- processes -------------------------------------------------------------------------------

# The processes of a host: all that are in its session, whatever they have become.
pids_of() {
    local stat text fields
    for stat in /proc/[0-9]*/stat; do
        text=$(cat "$stat" 2>/dev/null) || continue
        read -r -a fields <<<"${text##*) }"
        if [ "${fields[3]:-}" = "$1" ] && [ "${fields[0]}" != Z ]; then
            text=${stat#/proc/}
            say "${text%/stat}"
        fi
    done
}

# What belongs to the wrapper and not to its job: `tenure run` is two processes.
wrapper_of() { # session
    local pid parent
    say "$1"
    for pid in $(pids_of "$1"); do
        parent=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d ' ' -f 2)
        if [ "$parent" = "$1" ] && [ "$(readlink "/proc/$pid/exe")" = "$(readlink "/proc/$1/exe")" ]; then
            say "$pid"
        fi
    done
}

signal_host() { # signal, session
    local pid
    for pid in $(pids_of "$2"); do
        kill "-$1" "$pid" 2>/dev/null
    done
}

clean_up() {
    local session pid
    for session in "${sessions[@]}"; do
        signal_host CONT "$session"
        signal_host KILL "$session"
    done
    for pid in "${servers[@]}"; do
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# Waits until a command succeeds.
until_true() { # what for, command...
    local what=$1 tries
    shift
    for ((tries = 0; tries < 1200; tries++)); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.05
    done
    cat "$dir"/*.log >&2 2>/dev/null
    fail "$what: not within a minute"
}

# ---- programs --------------------------------------------------------------------------------

debian() { # program, package
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "$1 is missing: installing Debian's package $2"
        # Nothing but the program: no service is to be started.
        [ -e /usr/sbin/policy-rc.d ] || {
            printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
            chmod +x /usr/sbin/policy-rc.d
            local ours=yes
        }
        apt-get install -y -qq "$2" >/dev/null 2>&1 ||
            { apt-get update -qq && apt-get install -y -qq "$2"; } >/dev/null 2>&1
        [ "${ours:-}" = yes ] && rm -f /usr/sbin/policy-rc.d
    fi
    command -v "$1" >/dev/null || fail "$1 is missing: apt-get install $2"
}

find_tenure() {
    local candidate target=${CARGO_TARGET_DIR:-$root/target}
    for candidate in "${TENURE:-}" "$target/release/tenure" "$target/debug/tenure"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            tenure=$candidate
            return
        fi
    done
    say "building tenure, once"
    (cd "$root" && cargo build --release --quiet) || fail "tenure cannot be built"
    tenure=$target/release/tenure
}

free_port() {
    local port
    for ((port = 20000 + RANDOM % 9000; ; port++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { say "$port"; return; }
    done
}

debian etcd etcd-server
debian etcdctl etcd-client
find_tenure
export tenure
# Nothing of whoever runs this is to be met.
unset "${!TENURE_@}" "${!ETCD@}"
export XDG_STATE_HOME=$dir/state XDG_RUNTIME_DIR=$dir/run ETCDCTL_API=3

# ---- servers: one node each -------------------------------------------------------------------

etcd_port=$(free_port)
peer_port=$(free_port)
etcd --data-dir "$dir/etcd" --listen-client-urls "http://127.0.0.1:$etcd_port" \
    --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-cluster "default=http://127.0.0.1:$peer_port" >"$dir/etcd.log" 2>&1 &
servers+=($!)
node_port=$(free_port)
"$tenure" node --id n1 --data-dir "$dir/node" --listen "127.0.0.1:$node_port" \
    --peers "n1=127.0.0.1:$node_port" >"$dir/node.log" 2>&1 &
servers+=($!)
export ETCDCTL_ENDPOINTS=http://127.0.0.1:$etcd_port
url=tenure://127.0.0.1:$node_port
until_true "etcd starts" etcdctl endpoint health
until_true "the node starts" "$tenure" cluster status --url "$url"

# ---- the job, and the hosts that want to run it -------------------------------------------------

# Appends a line to the ledger, again and again. $1 is the host, $2 the ledger, $3 its fence.
cat >"$dir/job" <<'JOB'
#!/usr/bin/env bash
: >"$2.$1-began"
while :; do
    if [ -n "$3" ]; then
        "$tenure" fence verify "$3" -- sh -c 'echo "$0" >>"$1"' "$1" "$2" 2>>"$2.refused"
    else
        echo "$1" >>"$2"
    fi
    sleep 0.05
done
JOB
chmod +x "$dir/job"

# Starts a host that contends for the job. $host is its session then.
start_host() { # tool, host, story
    local ledger=$dir/$1-$3
    case $1 in
    etcdctl)
        setsid etcdctl lock --ttl 2 "job-$3" "$dir/job" "$2" "$ledger" "" \
            >"$ledger-$2.log" 2>&1 &
        ;;
    tenure)
        setsid "$tenure" run "job-$3" --url "$url" --id "$2" --ttl 2s --stop-timeout 200ms \
            -- "$dir/job" "$2" "$ledger" "$ledger.fence" >"$ledger-$2.log" 2>&1 &
        ;;
    esac
    host=$!
    disown "$host" # its end is no news of the shell
    sessions+=("$host")
}

has_written() { grep -qx "$1" "$2"; }
count() { grep -cx "$1" "$2"; }

# Lines that the first host wrote after the second had begun.
overlap() { awk '$0 == "B" { begun = 1 } $0 == "A" && begun { n++ } END { print n + 0 }' "$1"; }

more_of() { [ "$(count "$1" "$2")" -gt "$3" ]; }

declare -A result
# One story: $1 the tool, $2 what happens to the first host.
tell() {
    local tool=$1 story=$2 ledger=$dir/$1-$2 first second begun left session tries
    : >"$ledger"
    say ""
    say "$tool, $story: A contends, then B"
    start_host "$tool" A "$story"
    first=$host
    until_true "A writes" has_written A "$ledger"
    start_host "$tool" B "$story"
    second=$host
    # It has to be waiting before anything happens: its first lines come from its second wait.
    sleep 0.5
    case $story in
    wrapper-paused)
        say "  the wrapper of A stands still, and can stop nothing; its job goes on"
        kill -STOP $(wrapper_of "$first")
        ;;
    host-paused)
        say "  all of A stands still"
        signal_host STOP "$first"
        ;;
    wrapper-killed)
        say "  the wrapper of A is killed with kill -9"
        kill -KILL "$first"
        ;;
    esac
    until_true "B is elected" test -e "$ledger.B-began"
    say "  B is elected"
    # It writes, unless a write of A is under way: then the fence lets it wait for the end of that.
    for ((tries = 0; tries < 20; tries++)); do
        has_written B "$ledger" && break
        sleep 0.05
    done
    case $story in
    wrapper-paused | host-paused)
        signal_host CONT "$first"
        say "  A wakes up"
        ;;
    esac
    # As long as B takes for twenty more lines.
    begun=$(count B "$ledger")
    until_true "B goes on" more_of B "$ledger" $((begun + 20))
    left=$(pids_of "$first" | wc -l)
    result[$tool,$story]=$(overlap "$ledger")
    result[$tool,$story,left]=$left
    say "  A wrote ${result[$tool,$story]} lines into the work of B; $left of its processes live"
    if [ -s "$ledger.refused" ]; then
        say "  refused by the fence: $(grep -c stale "$ledger.refused") writes"
    fi
    for session in "$first" "$second"; do
        signal_host KILL "$session"
    done
}

stories="wrapper-paused host-paused wrapper-killed"
for story in $stories; do
    for tool in etcdctl tenure; do
        tell "$tool" "$story"
    done
done

# ---- what came of it -----------------------------------------------------------------------------

say ""
printf '%-16s  %-28s  %-28s\n' "" "etcdctl lock" "tenure run"
printf '%-16s  %-28s  %-28s\n' "A ..." "written into the work of B" "written into the work of B"
bad=0
for story in $stories; do
    printf '%-16s  %-28s  %-28s\n' "$story" \
        "${result[etcdctl,$story]} lines, ${result[etcdctl,$story,left]} processes" \
        "${result[tenure,$story]} lines, ${result[tenure,$story,left]} processes"
    [ "${result[tenure,$story]}" = 0 ] || bad=1
    # A host that was not killed contends again; what was killed leaves nothing.
    if [ "$story" = wrapper-killed ] && [ "${result[tenure,$story,left]}" != 0 ]; then
        bad=1
    fi
done
say ""
if [ "$bad" != 0 ]; then
    say "tenure run let a former leader write, or left processes behind: that must not be"
    exit 1
fi
say "with tenure run nothing of a former leader came through"
