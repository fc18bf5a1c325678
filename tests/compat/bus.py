#!/usr/bin/env python3
"""Upstream's oslo.messaging at the other end of our bus; started by a test of crates/oslo/messaging.

bus.py URL client   asks our server, sends it casts and fan-outs, reads its errors; prints what it got as JSON
bus.py URL server   serves topic `toy` of exchange `toys` and hears notifications of cinder's, until its input ends
bus.py URL listen EXCHANGE TOPIC   hears notifications and prints them whole, until its input ends
"""
import json
import logging
import os
import sys

import oslo_messaging
from oslo_config import cfg

logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
URL, ROLE, *REST = sys.argv[1:]
TARGET = {"exchange": "toys", "topic": "toy", "version": "1.3"}


def settings():
    # The library registers some of its options on the global object only.
    cfg.CONF([])
    return cfg.CONF


class Refused(Exception):
    pass


class Toy:
    target = oslo_messaging.Target(version="1.3")

    def spawn(self, context, spec, host=None):
        return {"name": f"{spec['name']} for {context['user_id']} on {host}", "size": spec["size"]}

    def refuse(self, context, why):
        raise Refused(why)

    def refresh(self, context, host):
        print(json.dumps({"refresh": host}), flush=True)


class Ears:
    def info(self, context, publisher_id, event_type, payload, metadata):
        print(json.dumps({"event": event_type, "publisher": publisher_id, "payload": payload,
                          "user": context.get("user_id")}), flush=True)


class Everything:
    """Hears every priority, and says what it heard in full."""

    def hear(self, context, publisher_id, event_type, payload, metadata):
        print(json.dumps({"event": event_type, "publisher": publisher_id, "payload": payload,
                          "message_id": metadata["message_id"], "timestamp": metadata["timestamp"],
                          "request_id": context.get("request_id"), "user": context.get("user_id"),
                          "priority": self.priority}), flush=True)


def ears(name):
    """An endpoint for one priority; its method is its filter."""
    made = type(name, (Everything,), {name: Everything.hear, "priority": name})
    return made()


def until_the_input_ends(*servers):
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.read()
    for server in servers:
        server.stop()
        server.wait()
    # Threads of the library's that wait for ever do not keep it.
    os._exit(0)


def listen():
    exchange, topic = REST
    transport = oslo_messaging.get_notification_transport(settings(), url=URL)
    targets = [oslo_messaging.Target(topic=topic, exchange=exchange)]
    endpoints = [ears(priority) for priority in ("info", "error")]
    listener = oslo_messaging.get_notification_listener(transport, targets, endpoints, executor="threading")
    listener.start()
    until_the_input_ends(listener)


def serve():
    conf = settings()
    transport = oslo_messaging.get_rpc_transport(conf, url=URL)
    target = oslo_messaging.Target(exchange="toys", topic="toy", server="upstream")
    server = oslo_messaging.get_rpc_server(transport, target, [Toy()], executor="threading")
    server.start()
    hearing = oslo_messaging.get_notification_transport(settings(), url=URL)
    topics = [oslo_messaging.Target(topic="notifications", exchange="cinder")]
    listener = oslo_messaging.get_notification_listener(hearing, topics, [Ears()], executor="threading")
    listener.start()
    until_the_input_ends(server, listener)


def ask():
    transport = oslo_messaging.get_rpc_transport(settings(), url=URL)
    client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(**TARGET), timeout=30)
    context = {"user_id": "ann", "request_id": "req-1", "project_id": "p"}
    told = {"spawn": client.prepare(server="host1").call(
        context, "spawn", spec={"name": "s", "size": 3}, host="h")}
    try:
        client.call(context, "refuse", why="busy")
    except oslo_messaging.RemoteError as e:
        told["refuse"] = [e.exc_type, e.value]
    try:
        client.prepare(version="1.4").call(context, "seen")
    except oslo_messaging.RPCVersionCapError as e:
        told["newer"] = type(e).__name__
    except oslo_messaging.RemoteError as e:
        told["newer"] = e.exc_type
    try:
        client.prepare(server="nobody", timeout=2).call(context, "seen")
    except (oslo_messaging.MessagingTimeout, oslo_messaging.MessageUndeliverable) as e:
        told["nobody"] = type(e).__name__
    client.cast(context, "refresh", host="cast")
    client.prepare(fanout=True).cast(context, "refresh", host="fanout")
    for _ in range(100):
        told["seen"] = sorted(client.call(context, "seen"))
        if len(told["seen"]) == 2:
            break
    print(json.dumps(told), flush=True)


{"client": ask, "server": serve, "listen": listen}[ROLE]()
