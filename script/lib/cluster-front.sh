# What stands before the APIs below script/cluster: HAProxy and keepalived on every controller, with the configurations that
# Ferrostack generates, and the virtual address that they move; sourced there.

# The address that clients and all hosts use.
vip=172.30.1.10

front() {
  local n=${1#controller}
  on "$1" "$binary" haproxy --config /var/lib/ferrostack/config.toml >"$base/$1/haproxy.cfg" || return 1
  on "$1" "$binary" keepalived --config /var/lib/ferrostack/config.toml --controller "$n" --interface eth0 \
    >"$base/$1/keepalived.conf" || return 1
  keep "$1" haproxy haproxy -W -db -f "$base/$1/haproxy.cfg"
  keep "$1" keepalived keepalived --dont-fork --log-console --vrrp --use-file "$base/$1/keepalived.conf"
}

# front_certificate: of an authority of the cluster's own; what an operator brings to the first controller.
front_certificate() {
  local dir=$base/secrets/tls state=$base/controller1/state
  mkdir -p "$dir"
  (
    umask 077
    cd "$dir" || exit
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=ferrostack cluster" \
      -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem &&
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=api" -keyout api.key -out api.csr &&
      printf 'subjectAltName=IP:%s,DNS:api\nextendedKeyUsage=serverAuth\n' "$vip" >extensions &&
      openssl x509 -req -in api.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out api.pem &&
      cat api.pem api.key >"$state/haproxy.pem" &&
      cat ca.pem >"$state/ca.pem"
  )
}

# holder: the controllers that have the virtual address; nothing if nobody has it.
holders() {
  local h
  for h in $(controllers); do
    # Read to its end: ip must not die of a closed pipe.
    ip -n "$(ns "$h")" -o addr show dev eth0 up 2>/dev/null | grep -F " $vip/" >/dev/null && echo "$h"
  done
  return 0
}
holder() { holders | head -n 1; }

# front_answers: somebody has the address, and the first API is reached by it.
front_answers() { [ -n "$(holder)" ] && on client curl -sfk -m 2 -o /dev/null "$scheme://$vip:5000/healthcheck"; }
