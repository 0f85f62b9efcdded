#!/usr/bin/env python3
"""Holds the YAML of deploy/ to itself, to the program, and to the schema of MPIJob where it is given.

    manifests.py --program build/seamwright deploy
    manifests.py --program build/seamwright --crd mpi-operator.yaml deploy

Every document must parse without repeated keys; volumes, ports, selectors, addresses, secrets and the number of
ranks must fit together; flags must be in the program's help. --crd takes a file with the definition of
mpijobs.kubeflow.org (mpi-operator's deploy/v2beta1/mpi-operator.yaml) and checks every field against it.
Needs PyYAML. --self-test spoils the manifests in turn and fails when nothing is said.
"""
import argparse
import copy
import json
import pathlib
import re
import subprocess
import sys

import yaml


class Loader(yaml.SafeLoader):
    """Refuses what YAML forbids and PyYAML takes: a key twice."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load(path):
    # Through JSON: what an anchor and its aliases share becomes separate.
    return [json.loads(json.dumps(d)) for d in yaml.load_all(path.read_text(), Loader) if d is not None]


def pods(document):
    """(name, pod spec, labels) of everything that becomes a pod."""
    if document["kind"] == "Deployment":
        template = document["spec"]["template"]
        yield document["metadata"]["name"], template["spec"], template["metadata"]["labels"]
    elif document["kind"] == "MPIJob":
        for role, replica in document["spec"]["mpiReplicaSpecs"].items():
            name = document["metadata"]["name"] + " " + role
            yield name, replica["template"]["spec"], {}


def command_of(container):
    return [str(word) for word in container.get("command", []) + container.get("args", [])]


def value_of(words, flag, default=None):
    for at, word in enumerate(words):
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
        if word == flag and at + 1 < len(words):
            return words[at + 1]
    return default


class Checker:
    def __init__(self, program):
        self.program = program
        self.helps = {}
        self.said = []

    def say(self, where, what):
        self.said.append(f"{where}: {what}")

    def flags(self, verb):
        if verb not in self.helps:
            text = subprocess.run([self.program, verb, "--help"], check=True, text=True,
                                  stdout=subprocess.PIPE).stdout
            options = re.findall(r"^  (-\S+)", text, re.M)
            self.helps[verb] = {flag for one in options for flag in one.split(",")}
        return self.helps[verb]

    def check_command(self, where, container):
        words = command_of(container)
        verbs = [i for i, word in enumerate(words) if word in ("serve", "worker", "generate")]
        if not verbs:
            return
        at = verbs[0]
        for word in words[at + 1:]:
            flag = word.split("=", 1)[0]
            if word.startswith("-") and flag not in self.flags(words[at]):
                self.say(where, f"'seamwright {words[at]}' has no {flag}")

    def check_pod(self, name, spec):
        if spec.get("enableServiceLinks") is not False:
            self.say(name, "a Service called seamwright would set SEAMWRIGHT_PORT: enableServiceLinks: false")
        if not spec.get("securityContext", {}).get("runAsNonRoot"):
            self.say(name, "may run as root")
        volumes = [volume["name"] for volume in spec.get("volumes", [])]
        mounted = set()
        containers = spec.get("initContainers", []) + spec["containers"]
        for container in containers:
            where = f"{name}, container {container['name']}"
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if port is not None and port not in ports:
                    self.say(where, f"{probe} asks port '{port}', which it does not have")
            for mount in container.get("volumeMounts", []):
                mounted.add(mount["name"])
                if mount["name"] not in volumes:
                    self.say(where, f"mounts '{mount['name']}', which is no volume")
            if "limits" not in container.get("resources", {}):
                self.say(where, "has no limits")
            self.check_command(where, container)
        for volume in set(volumes) - mounted:
            self.say(name, f"volume '{volume}' is not mounted")

    def check_gang(self, document):
        name = document["metadata"]["name"]
        spec = document["spec"]
        launcher = spec["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]
        words = command_of(launcher)
        workers = spec["mpiReplicaSpecs"]["Worker"]["replicas"] * spec["slotsPerWorker"]
        ranks = int(value_of(words, "--window-parallel-size", 1)) * int(
            value_of(words, "--pipeline-parallel-size", 1))
        started = int(value_of(words, "-n", ranks))
        if not workers == ranks == started:
            self.say(name, f"{workers} slots, {ranks} ranks in the layout, {started} started")
        cpus = spec["mpiReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
        if value_of(words, "--threads") != cpus:
            self.say(name, f"--threads {value_of(words, '--threads')}, but {cpus} CPUs a worker")

    def check_service(self, service, documents):
        name = service["metadata"]["name"]
        chosen = [(spec, labels) for d in documents if d["kind"] == "Deployment" for _, spec, labels in pods(d)
                  if service["spec"]["selector"].items() <= labels.items()]
        if not chosen:
            self.say(name, "the Service selects no pod")
            return
        container = chosen[0][0]["containers"][0]
        numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in numbers:
                self.say(name, f"the Service leads to port '{port['targetPort']}', which is not there")
        words = command_of(container)
        for flag, port in (("--port", "http"), ("--control-port", "gangs")):
            if value_of(words, flag) != str(numbers.get(port)):
                self.say(name, f"{flag} is {value_of(words, flag)}, the container's port {numbers.get(port)}")
        addresses = {f"{name}:{port['port']}" for port in service["spec"]["ports"] if port["name"] == "gangs"}
        for gang in (d for d in documents if d["kind"] == "MPIJob"):
            words = command_of(gang["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0])
            address = value_of(words, "--coordinator")
            if address is not None and address not in addresses:
                self.say(gang["metadata"]["name"], f"looks for its coordinator at {address}, not {addresses}")

    def check(self, documents):
        self.said = []
        claims = {d["metadata"]["name"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
        for document in documents:
            for name, spec, _ in pods(document):
                self.check_pod(name, spec)
                for volume in spec.get("volumes", []):
                    claim = volume.get("persistentVolumeClaim", {}).get("claimName")
                    if claim is not None and claim not in claims:
                        self.say(name, f"there is no claim '{claim}'")
            if document["kind"] == "MPIJob":
                self.check_gang(document)
            if document["kind"] == "Service":
                self.check_service(document, documents)
        return self.said


def against_schema(value, schema, where, said):
    """OpenAPI v3 as Kubernetes uses it in definitions; a field that the schema does not name is a fault."""
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, (int, str)):
            said.append(f"{where}: neither number nor text")
        return
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": (int, float)}
    kind = schema.get("type")
    if kind in kinds and (not isinstance(value, kinds[kind]) or (kind == "integer" and isinstance(value, bool))):
        said.append(f"{where}: {value!r} is no {kind}")
        return
    if "enum" in schema and value not in schema["enum"]:
        said.append(f"{where}: {value!r} is none of {schema['enum']}")
    if kind == "array":
        for at, one in enumerate(value):
            against_schema(one, schema.get("items", {}), f"{where}[{at}]", said)
    if kind == "object":
        known = schema.get("properties", {})
        other = schema.get("additionalProperties")
        for name in schema.get("required", []):
            if name not in value:
                said.append(f"{where}: {name} is missing")
        for name, one in value.items():
            if name in known:
                against_schema(one, known[name], f"{where}.{name}", said)
            elif isinstance(other, dict):
                against_schema(one, other, f"{where}.{name}", said)
            elif known and not schema.get("x-kubernetes-preserve-unknown-fields"):
                said.append(f"{where}: {name} is not a field")


def check_crd(path, documents):
    said = []
    schema = None
    for definition in yaml.safe_load_all(path.read_text()):
        if definition and definition.get("kind") == "CustomResourceDefinition":
            for version in definition["spec"]["versions"]:
                if definition["spec"]["names"]["kind"] == "MPIJob" and version["name"] == "v2beta1":
                    schema = version["schema"]["openAPIV3Schema"]
    if schema is None:
        return [f"{path} does not define MPIJob v2beta1"]
    checked = 0
    for document in documents:
        if document["kind"] == "MPIJob":
            against_schema(document, schema, document["metadata"]["name"], said)
            checked += 1
    print(f"{checked} MPIJobs held against {path.name}")
    return said


def self_test(checker, documents):
    """Each spoils something; the checks must notice."""
    def deployment(all_): return next(d for d in all_ if d["kind"] == "Deployment")
    def gang(all_): return next(d for d in all_ if d["kind"] == "MPIJob" and d["metadata"]["name"] == "seamwright-gang")
    def coordinator(all_): return deployment(all_)["spec"]["template"]["spec"]
    def launcher(all_): return gang(all_)["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]
    spoilers = {
        "a flag": lambda d: coordinator(d)["containers"][0]["args"].append("--no-such-flag"),
        "a port": lambda d: coordinator(d)["containers"][0]["ports"][1].update(containerPort=9),
        "a volume": lambda d: coordinator(d)["volumes"].pop(),
        "a selector": lambda d: next(x for x in d if x["kind"] == "Service")["spec"]["selector"].update(a="b"),
        "an address": lambda d: launcher(d)["command"].__setitem__(
            next(i for i, w in enumerate(launcher(d)["command"]) if w.startswith("--coordinator")),
            "--coordinator=elsewhere:1"),
        "ranks": lambda d: gang(d)["spec"]["mpiReplicaSpecs"]["Worker"].update(replicas=3),
        "service links": lambda d: coordinator(d).pop("enableServiceLinks"),
    }
    for name, spoil in spoilers.items():
        spoiled = copy.deepcopy(documents)
        spoil(spoiled)
        if not checker.check(spoiled):
            sys.exit(f"nothing was said of: {name}")
    said = []
    against_schema({"a": 1, "c": 2}, {"type": "object", "required": ["b"], "properties": {"a": {"type": "string"}}},
                   "x", said)
    if len(said) != 3:
        sys.exit(f"the schema check said: {said}")
    print(f"{len(spoilers)} spoiled manifests were found out")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--crd", type=pathlib.Path)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    files = sorted(arguments.folder.rglob("*.y*ml"))
    documents = [d for file in files for d in load(file) if "kind" in d]
    if not documents:
        sys.exit(f"no manifests below {arguments.folder}")
    checker = Checker(arguments.program)
    if arguments.self_test:
        return self_test(checker, documents)
    said = checker.check(documents)
    if arguments.crd:
        said += check_crd(arguments.crd, documents)
    print("\n".join(said) if said else f"{len(files)} files, {len(documents)} manifests: no complaint")
    sys.exit(1 if said else 0)


if __name__ == "__main__":
    main()
