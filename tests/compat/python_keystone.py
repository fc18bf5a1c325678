#!/usr/bin/env python3
"""Upstream's keystone as a library, for a test of crates/services/keystone: reads a request from its input, prints an answer.

The request is JSON:
  fernet, credential, jws_public, jws_private   key repositories
  tokens        [{id, class, user_id, methods, audit_ids, expires_at, project_id, ...}]: made with upstream's formatters
  read, read_jws  [token]: read with upstream's formatters
  passwords     {password, hashes: [hash]}: which of the hashes are the password's
  encrypt, decrypt  [text]: credentials
"""
import json
import logging
import os
import sys
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import passlib.hash
from keystone.common import jwt_utils, password_hashing
from keystone.credential.providers import fernet as credentials
from keystone.token import token_formatters
from keystone.token.providers.jws import core as jws
import keystone.conf

FIELDS = ["user_id", "methods", "audit_ids", "system", "domain_id", "project_id", "trust_id", "group_ids", "idp_id",
          "protocol_id", "access_token_id", "app_cred_id", "thumbprint", "issued_at", "expires_at"]


def configure(request):
    conf = keystone.conf.CONF
    keystone.conf.configure(conf)
    conf([], project="keystone", default_config_files=[], default_config_dirs=[])
    conf.set_override("key_repository", request["fernet"], "fernet_tokens")
    conf.set_override("key_repository", request["credential"], "credential")
    if "jws_public" in request:
        conf.set_override("jws_public_key_repository", request["jws_public"], "jwt_tokens")
        conf.set_override("jws_private_key_repository", request["jws_private"], "jwt_tokens")
    return conf


def shown(read):
    return {name: value for name, value in zip(FIELDS, read) if value is not None}


def made(formatter, wanted):
    rest = {k: v for k, v in wanted.items() if k not in ("id", "class", "user_id", "expires_at", "audit_ids")}
    kind = getattr(token_formatters, wanted["class"])
    return formatter.create_token(wanted["user_id"], wanted["expires_at"], wanted["audit_ids"], kind, **rest)


def made_jws(wanted):
    rest = {k: v for k, v in wanted.items() if k not in ("id", "class", "user_id", "expires_at", "audit_ids", "methods")}
    token, _ = jws.JWSFormatter().create_token(
        wanted["user_id"], wanted["expires_at"], wanted["audit_ids"], wanted["methods"], **rest)
    return token


def hashes(conf, password):
    """By upstream's own functions with each algorithm, and by passlib, which older releases used."""
    found = []
    for algorithm, rounds in (("bcrypt", 4), ("bcrypt_sha256", 4), ("scrypt", None), ("pbkdf2_sha512", 1000)):
        conf.set_override("password_hash_algorithm", algorithm, "identity")
        conf.set_override("password_hash_rounds", rounds, "identity")
        found.append(password_hashing.hash_password(password))
    found.append(passlib.hash.pbkdf2_sha512.using(rounds=1000, salt_size=32).hash(password))
    found.append(passlib.hash.scrypt.using(rounds=10, block_size=4, parallelism=2).hash(password))
    found.append(passlib.hash.sha512_crypt.using(rounds=1000).hash(password))
    return found


def main():
    request = json.load(sys.stdin)
    conf = configure(request)
    answer = {}
    formatter = token_formatters.TokenFormatter()
    answer["tokens"] = {wanted["id"]: made(formatter, wanted) for wanted in request.get("tokens", [])}
    answer["read"] = [shown(formatter.validate_token(token)) for token in request.get("read", [])]
    if "jws_private" in request:
        private = os.path.join(request["jws_private"], "private.pem")
        if not os.path.exists(private):
            jwt_utils.create_jws_keypair(private, os.path.join(request["jws_public"], "python.pem"))
        answer["jws"] = {wanted["id"]: made_jws(wanted) for wanted in request.get("tokens", [])}
        answer["read_jws"] = [shown(jws.JWSFormatter().validate_token(token)) for token in request.get("read_jws", [])]
    if "passwords" in request:
        password = request["passwords"]["password"]
        theirs = request["passwords"]["hashes"]
        answer["verified"] = [password_hashing.check_password(password, hashed) for hashed in theirs]
        answer["refused"] = [password_hashing.check_password(password + "!", hashed) for hashed in theirs]
        answer["hashes"] = hashes(conf, password)
    provider = credentials.Provider()
    answer["encrypted"] = [provider.encrypt(text)[0].decode() for text in request.get("encrypt", [])]
    answer["decrypted"] = [provider.decrypt(blob) for blob in request.get("decrypt", [])]
    json.dump(answer, sys.stdout)


main()
