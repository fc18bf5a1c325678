#!/usr/bin/env python3
"""Writes attributes.json and extensions.json: the attribute rules of the resources and extensions that this service offers.

Usage: attributes.py <folder with attribute_maps.json and extensions.tsv of the API data>
"""
import csv, json, os, sys

# Extensions whose attributes are merged into the maps below. Order matters: a later map replaces an earlier one's attribute.
MERGED = """security-group router agent allowed-address-pairs availability_zone dns-integration external-net extra_dhcp_opt
extraroute fip-port-details ext-gw-mode network_availability_zone network-ip-availability net-mtu net-mtu-writable
port-mac-address-regenerate port-security binding provider router_availability_zone service-type
stateful-security-group security-groups-normalized-cidr subnet-external-network rbac-policies""".split()
# Extensions that have no attributes, or whose attributes are written here because the data has none.
BARE = """dhcp_agent_scheduler l3_agent_scheduler extraroute-atomic filter-validation pagination sorting sort-key-validation
port-security-groups-filtering project-id quotas quota_details revision-if-match standard-attr-description
standard-attr-revisions standard-attr-tag standard-attr-timestamp tag-creation""".split()
# is_default comes from an extension of which nothing else is offered.
SINGLE = [("auto-allocated-topology", "networks", "is_default")]
RESOURCES = """networks subnets ports routers floatingips security_groups security_group_rules agents rbac_policies""".split()
STANDARD = """networks subnets ports routers floatingips security_groups security_group_rules""".split()
TAGGED = """networks subnets ports routers floatingips security_groups security_group_rules""".split()
SHORT = {"allow_post": "post", "allow_put": "put", "is_visible": "visible", "is_filter": "filter", "is_sort_key": "sort",
         "required_by_policy": "required_by_policy", "enforce_policy": "enforce_policy"}


def function(value):
    return value["__function__"] if isinstance(value, dict) and "__function__" in value else value


def specs(value):
    """Nested key specifications name their converters too."""
    if isinstance(value, dict):
        if set(value) == {"__function__"}:
            return value["__function__"]
        return {k: specs(v) for k, v in value.items()}
    return [specs(v) for v in value] if isinstance(value, list) else value


def attribute(rules):
    out = {short: True for long, short in SHORT.items() if rules.get(long)}
    if "default" in rules:
        if function(rules["default"]) != rules["default"]:
            pass
        elif rules["default"] == "__ATTR_NOT_SPECIFIED__":
            out["optional"] = True
        else:
            out["default"] = rules["default"]
    if rules.get("validate"):
        out["validate"] = specs(rules["validate"])
    for name in ("convert_to", "convert_list_to"):
        if rules.get(name):
            out[name] = function(rules[name])
    return out


def main(folder):
    data = json.load(open(os.path.join(folder, "attribute_maps.json")))
    maps = {r: {} for r in RESOURCES}
    sources = [data["core_resources"]] + [data["definitions"][e].get("resource_attribute_map") or {} for e in MERGED]
    for source in sources:
        for resource, attributes in source.items():
            if resource in maps:
                for name, rules in attributes.items():
                    maps[resource][name] = attribute(rules)
    for extension, resource, name in SINGLE:
        maps[resource][name] = attribute(data["definitions"][extension]["resource_attribute_map"][resource][name])
    text = {"post": True, "put": True, "visible": True, "filter": True, "sort": True, "default": "", "validate": {"type:string": 255}}
    read_only = {"visible": True, "filter": True, "sort": True}
    for resource in STANDARD:
        maps[resource]["description"] = text
        maps[resource]["created_at"] = read_only
        maps[resource]["updated_at"] = read_only
        maps[resource]["revision_number"] = read_only
    for resource in TAGGED:
        if resource != "security_group_rules":
            maps[resource]["tags"] = {"post": True, "visible": True, "optional": True, "validate": {"type:list_of_tags": None}}
    # The security-groups map of ports lives in code upstream.
    maps["ports"]["security_groups"] = {"post": True, "put": True, "visible": True, "filter": True, "optional": True,
                                        "convert_to": "convert_none_to_empty_list", "validate": {"type:uuid_list": None}}
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "attributes.json"), "w") as out:
        out.write("{\n")
        for i, (resource, attributes) in enumerate(maps.items()):
            out.write(" %s: {\n" % json.dumps(resource))
            rows = ["  %s: %s" % (json.dumps(n), json.dumps(r)) for n, r in attributes.items()]
            out.write(",\n".join(rows) + "\n }" + (",\n" if i + 1 < len(maps) else "\n"))
        out.write("}\n")
    offered = set(MERGED + BARE)
    rows = [r for r in csv.DictReader(open(os.path.join(folder, "extensions.tsv")), delimiter="\t") if r["alias"] in offered]
    missing = offered - {r["alias"] for r in rows}
    assert not missing, missing
    with open(os.path.join(here, "extensions.json"), "w") as out:
        lines = [json.dumps({"alias": r["alias"], "name": r["name"], "description": r["description"], "updated": r["updated"]}) for r in rows]
        out.write("[\n " + ",\n ".join(lines) + "\n]\n")


main(sys.argv[1])
