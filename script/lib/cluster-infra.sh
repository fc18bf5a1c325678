# The engines below script/cluster: MariaDB, RabbitMQ and Memcached from Debian's packages, on host infra, at
# addresses that exist inside the cluster only; sourced there.

infra_mariadb() {
  local dir=$base/infra/mariadb
  if [ ! -d "$dir/data/mysql" ]; then
    mkdir -p "$dir/data"
    mariadb-install-db --no-defaults --user=root --datadir="$dir/data" --auth-root-authentication-method=normal \
      --skip-test-db >"$base/infra/log/mariadb-install.log" 2>&1
  fi
  # Only the database's own network reaches it.
  daemon infra mariadb /usr/sbin/mariadbd --no-defaults --user=root --datadir="$dir/data" --bind-address=172.30.2.1 \
    --port=3306 --socket="$dir/socket" --pid-file="$dir/pid" --max-connections=500 --innodb-flush-log-at-trx-commit=1 \
    --innodb-buffer-pool-size=256M --skip-name-resolve --character-set-server=utf8mb4 \
    --tcp-keepalive-time=10 --tcp-keepalive-interval=3 --tcp-keepalive-probes=3 --idle-transaction-timeout=60
  infra_wait MariaDB 30 mariadb_answers || return 1
  on infra mariadb --no-defaults -u root -S "$dir/socket" <<SQL
CREATE USER IF NOT EXISTS 'ferrostack'@'172.30.2.%' IDENTIFIED BY '$(secret database)';
GRANT ALL PRIVILEGES ON *.* TO 'ferrostack'@'172.30.2.%';
SQL
}
mariadb_answers() { on infra mariadb-admin --no-defaults -u root -S "$base/infra/mariadb/socket" ping >/dev/null 2>&1; }

infra_rabbitmq() {
  local dir=$base/infra/rabbitmq
  mkdir -p "$dir"
  cat >"$dir/rabbitmq.conf" <<CONF
listeners.tcp.1 = 172.30.1.1:5672
default_user = ferrostack
default_pass = $(secret broker)
default_vhost = ferrostack
heartbeat = 10
log.file.level = warning
CONF
  local env=(env HOME="$dir" RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log"
    RABBITMQ_PID_FILE="$dir/pid" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/plugins" RABBITMQ_CONFIG_FILE="$dir/rabbitmq"
    RABBITMQ_DIST_PORT=25672 RABBITMQ_ALLOW_INPUT=1 ERL_EPMD_ADDRESS=127.0.0.1)
  daemon infra epmd env HOME="$dir" epmd -address 127.0.0.1
  # It ends with its standard input: give it one that stays.
  daemon infra rabbitmq "${env[@]}" sh -c 'tail -f /dev/null | exec /usr/lib/rabbitmq/bin/rabbitmq-server'
  infra_wait RabbitMQ 60 on infra bash -c 'exec 3<>/dev/tcp/172.30.1.1/5672' 2>/dev/null
}

infra_memcached() {
  daemon infra memcached memcached -u nobody -l 172.30.1.1 -p 11211 -m 64
  infra_wait Memcached 5 on infra bash -c 'exec 3<>/dev/tcp/172.30.1.1/11211' 2>/dev/null
}

# infra_wait NAME SECONDS COMMAND...
infra_wait() {
  local until=$((SECONDS + $2)) name=$1
  shift 2
  until "$@" 2>/dev/null; do
    [ $SECONDS -lt $until ] || { echo "$name does not start; its words: $base/infra/log/${name,,}.log"; return 1; }
    sleep 0.1
  done
}

# secret NAME: one of the cluster's own passwords, made at first use.
secret() {
  local file=$base/secrets/$1
  mkdir -p "$base/secrets"
  chmod 700 "$base/secrets"
  [ -s "$file" ] || (umask 077; head -c 18 /dev/urandom | base64 | tr '+/' 'ab' >"$file")
  cat "$file"
}
