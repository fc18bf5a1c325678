#!/bin/bash
# keep.sh READY STOPPED HOLD COMMAND...: starts a program again a second after it ended, as an init system would, until the
# file STOPPED is there; not while the file HOLD is. What it prints goes to READY.
ready=$1 stopped=$2 hold=$3
shift 3
until [ -e "$stopped" ]; do
  if [ -e "$hold" ]; then
    sleep 0.1
    continue
  fi
  "$@" >"$ready" </dev/null
  sleep 1
done
