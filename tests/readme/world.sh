# The world in which the README's blocks are run; the first process of namespaces of its own (see main.rs).
# usage: bash world.sh REPOSITORY SCRATCH BINARIES
set -euo pipefail
repository=$1 scratch=$2 binaries=$3
export PATH="$scratch/bin:$PATH:/usr/sbin:/sbin"

# --- The network: the nodes have one each, joined by a bridge; everything else shares the bridge's. -----------------------
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock
ip link set lo up
ip link add lan type bridge
ip link set lan up
for address in 192.0.2.53 203.0.113.10 198.51.100.20 1.1.1.1 8.8.8.8; do ip address add "$address/32" dev lan; done
add_node() {
    ip netns add "$1"
    ip link add "$1" type veth peer name wan netns "$1"
    ip link set "$1" master lan up
    ip -n "$1" link set lo up
    ip -n "$1" address add "$2/32" dev wan
    ip -n "$1" link set wan up
    ip -n "$1" route add default dev wan
    ip route add "$2/32" dev lan src 192.0.2.53
}
add_node node-1 203.0.113.11
add_node node-2 198.51.100.12
add_node node-3 192.0.2.13

# --- The machines: each sees the real system and writes into a layer of its own. ------------------------------------------
layers=$scratch/layers
mkdir -p "$layers" "$scratch/bin"
mount -t tmpfs tmpfs "$layers"
export world=$scratch
machine_of() {
    case $1 in
        203.0.113.11) echo node-1 ;; 198.51.100.12) echo node-2 ;; 192.0.2.13) echo node-3 ;;
        192.0.2.53) echo dns ;; 203.0.113.10) echo eu ;;
        *) echo "no machine has the address $1" >&2; return 1 ;;
    esac
}
# Runs a command on a machine.
on() {
    local machine=$1 dir network=()
    shift
    [[ ! -e /run/netns/$machine ]] || network=(nsenter "--net=/run/netns/$machine")
    for dir in etc var usr home; do mkdir -p "$layers/$machine/$dir/upper" "$layers/$machine/$dir/work"; done
    echo 'nameserver 192.0.2.53' > "$layers/$machine/etc/upper/resolv.conf"
    ${network[@]+"${network[@]}"} unshare --mount bash -c '
        layer=$1
        shift
        for dir in etc var usr; do
            mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$layer/$dir/upper,workdir=$layer/$dir/work" "/$dir"
        done
        export HOME=$layer/home
        cd "$HOME"
        exec "$@"
    ' bash "$layers/$machine" "$@"
}
export -f on machine_of
export layers

# --- What a machine of the README has and this world has not: sudo, systemd, ssh. -----------------------------------------
tool() { cat > "$scratch/bin/$1" && chmod 755 "$scratch/bin/$1"; }
tool sudo <<'END'
#!/bin/bash
exec "$@"
END
tool ssh <<'END'
#!/bin/bash
set -euo pipefail
machine=$(machine_of "${1#*@}")
shift
on "$machine" "$@"
END
tool scp <<'END'
#!/bin/bash
set -euo pipefail
[[ ${*: -1} =~ ^root@(.*):$ ]]
machine=$(machine_of "${BASH_REMATCH[1]}")
mkdir -p "$layers/$machine/home"
cp "${@:1:$#-1}" "$layers/$machine/home"
END
# Starts what a unit says, as the unit's user and with its credentials; checks the unit with systemd's own judge.
tool systemctl <<'END'
#!/bin/bash
set -euo pipefail
case "$*" in
    'restart named')
        mkdir -p /run/named
        chown bind:bind /run/named
        cat > /var/lib/bind/example.com.zone <<'ZONE'
$TTL 60
@ SOA ns.example.com. hostmaster.example.com. 1 3600 600 86400 60
@ NS ns.example.com.
ns A 192.0.2.53
ZONE
        chown -R bind:bind /var/lib/bind
        named-checkconf
        setsid named -u bind -f -4 > "$world/named.log" 2>&1 < /dev/null &
        until dig +short +time=1 +tries=1 @192.0.2.53 example.com SOA | grep -q hostmaster; do sleep 0.1; done
        ;;
    'stop nginx') kill "$(cat "$world/eu.pid")" ;;
    'start nginx') setsid "$world/bin/region" 203.0.113.10 "$world/eu.pid" ;;
    daemon-reload) ;;
    'enable --now quorated')
        unit=/etc/systemd/system/quorated.service
        systemd-analyze verify "$unit"
        export CREDENTIALS_DIRECTORY=/run/quorate-credentials-$$
        mkdir -p "$CREDENTIALS_DIRECTORY"
        sed -n 's/^LoadCredential=//p' "$unit" | while IFS=: read -r name file; do
            install -o quorate -g quorate -m 400 "$file" "$CREDENTIALS_DIRECTORY/$name"
        done
        chown quorate "$CREDENTIALS_DIRECTORY"
        as_user="setpriv --reuid quorate --regid quorate --init-groups --inh-caps=-all --no-new-privs"
        $as_user $(sed -n 's/^ExecStartPre=//p' "$unit")
        setsid $as_user $(sed -n 's/^ExecStart=//p' "$unit") > "$HOME/quorated.log" 2>&1 < /dev/null &
        ;;
    *) echo "systemctl $*: not in this world" >&2; exit 1 ;;
esac
END
# A region's health endpoint; returns once it listens.
tool region <<'END'
#!/bin/bash
python3 - "$1" "$2" > /dev/null 2>&1 < /dev/null <<'PYTHON' &
import http.server, os, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"status":"UP"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer((sys.argv[1], 80), Health)
with open(sys.argv[2], "w") as file:
    file.write(str(os.getpid()))
server.serve_forever()
PYTHON
until (exec 3<> "/dev/tcp/$1/80") 2> /dev/null; do sleep 0.1; done
END

region 203.0.113.10 "$scratch/eu.pid"
region 198.51.100.20 "$scratch/us.pid"

# --- The administrator's clone, already built. ----------------------------------------------------------------------------
clone=$scratch/clone
mkdir -p "$clone/target" "$scratch/home"
ln -s "$binaries" "$clone/target/release"
ln -s "$repository/deploy" "$clone/deploy"

fail() {
    echo "README.md:$1: this block failed on $2"
    for log in "$scratch"/named.log "$layers"/*/home/quorated.log; do
        [[ -e $log ]] && echo "--- $log" && tail -n 25 "$log"
    done
    exit 1
}

# Runs one block: its line, its place, its file, and the pattern that its output must come to have.
step() {
    local line=$1 place=$2 file=$3 until=$4 id deadline=$((SECONDS + 60))
    echo "=== README.md:$line, $place"
    case $place in
        dns) on dns bash -euo pipefail "$file" || fail "$line" "$place" ;;
        node)
            for id in 1 2 3; do
                case $id in
                    1) cp "$file" "$file.1" ;;
                    2) sed '1s/.*/id=2 site=oslo address=198.51.100.12/' "$file" > "$file.2" ;;
                    3) sed '1s/.*/id=3 site=rome address=192.0.2.13/' "$file" > "$file.3" ;;
                esac
                on "node-$id" bash -euo pipefail "$file.$id" || fail "$line" "node $id"
            done
            ;;
        admin)
            while true; do
                (cd "$clone" && HOME=$scratch/home PATH="$clone/target/release:$PATH" bash -euo pipefail "$file") \
                    > "$scratch/out" 2>&1 && status=0 || status=$?
                ((status == 0)) && { [[ -z $until ]] || grep -q -- "$until" "$scratch/out"; } && break
                if [[ -z $until ]] || ((SECONDS >= deadline)); then
                    cat "$scratch/out"
                    fail "$line" "$place"
                fi
                sleep 0.5
            done
            cat "$scratch/out"
            ;;
        *) echo "README.md:$line: no place is called $place" && exit 1 ;;
    esac
}

# shellcheck source=/dev/null
source "$scratch/steps.sh"
echo 'every block of the README did what it says'
