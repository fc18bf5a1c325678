# Three MariaDB nodes with Galera below script/cluster: hosts db1 to db3, on the database network only; sourced there.

# galera_nodes: all of them at once; the first makes the cluster, the others fetch everything from it.
galera_nodes() {
  local n
  on db1 mariadb-install-db --no-defaults --user=mysql --datadir=/var/lib/mysql/data --auth-root-authentication-method=normal \
    --skip-test-db --skip-name-resolve >"$base/db1/log/mariadb-install.log" 2>&1 || return 1
  touch "$base/db1/mariadb/new-cluster"
  for n in 1 2 3; do
    galera_start "$n" >"$base/db$n/mariadb.sh"
    keep "db$n" mariadb bash "$base/db$n/mariadb.sh"
    infra_wait "db$n" 60 galera_synced "$n" || return 1
  done
  on db1 mariadb --no-defaults -u root -S /var/lib/mysql/socket <<SQL
CREATE USER IF NOT EXISTS 'ferrostack'@'172.30.2.%' IDENTIFIED BY '$(secret database)';
GRANT ALL PRIVILEGES ON *.* TO 'ferrostack'@'172.30.2.%';
CREATE USER IF NOT EXISTS 'haproxy'@'172.30.2.%';
SQL
}

# Not as root: the rsync by which a node gets a full copy would be nobody.
# galera_start N: the script that starts a node, at the first time and after any death.
galera_start() {
  local dir=/var/lib/mysql address=172.30.2.6$1 others
  # Whoever gives a full copy stands still meanwhile: rather not the first, which is written to.
  others=$([ "$1" = 3 ] && echo db2,db1, || echo db3,db2,)
  cat <<SH
mkdir -p $dir/data $dir/tmp
chown mysql: $dir/data $dir/tmp
export TMPDIR=$dir/tmp
start() {
  /usr/sbin/mariadbd --no-defaults --user=mysql --datadir=$dir/data --socket=$dir/socket --pid-file=$dir/pid \\
    --bind-address=$address --port=3306 --skip-name-resolve --skip-log-bin --binlog-format=ROW --innodb-autoinc-lock-mode=2 \\
    --innodb-buffer-pool-size=128M --innodb-log-file-size=32M --innodb-flush-log-at-trx-commit=2 --max-connections=500 \\
    --character-set-server=utf8mb4 --tcp-keepalive-time=10 --tcp-keepalive-interval=3 --tcp-keepalive-probes=3 \\
    --idle-transaction-timeout=60 \\
    --wsrep-on=ON --wsrep-provider=/usr/lib/galera/libgalera_smm.so --wsrep-cluster-name=ferrostack \\
    --wsrep-cluster-address=gcomm://172.30.2.61,172.30.2.62,172.30.2.63 --wsrep-node-name=db$1 --wsrep-node-address=$address \\
    --wsrep-node-incoming-address=$address:3306 --wsrep-sst-method=rsync --wsrep-sst-receive-address=$address:4444 \\
    --wsrep-sst-donor=$others --wsrep-slave-threads=2 --wsrep-retry-autocommit=4 \\
    --wsrep-provider-options="gmcast.listen_addr=tcp://$address:4567;ist.recv_addr=$address:4568;gcache.size=64M;pc.recovery=true;evs.keepalive_period=PT0.5S;evs.inactive_check_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT6S" \\
    "\$@"
}
if [ -e $dir/new-cluster ]; then
  rm $dir/new-cluster
  start --wsrep-new-cluster
elif [ -e $dir/data/ibdata1 ]; then
  # Where it was when it died: it then needs only what came after that.
  start --wsrep-recover --log-error=$dir/recover.log
  start --wsrep-start-position="\$(sed -n 's/.*Recovered position: *//p' $dir/recover.log | tail -n 1)"
else
  start
fi
SH
}

galera_says() { on "db$1" mariadb --no-defaults -u root -S /var/lib/mysql/socket -sNe "SHOW STATUS LIKE '$2'" 2>/dev/null | cut -f 2; }
galera_synced() { [ "$(galera_says "$1" wsrep_local_state_comment)" = Synced ]; }

# writer: the node that the controllers are connected to.
writer() {
  local n
  [ -n "$galera" ] || return 1
  for n in 1 2 3; do
    echo "$(on "db$n" ss -Htn state established '( sport = :3306 )' | wc -l) db$n"
  done | sort -rn | awk 'NR == 1 {print $2}'
}
