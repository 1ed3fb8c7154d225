"""Files for clusters: valid by the schemas of who reads them, and installable from a checkout."""

import json
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from cyclopts import CycloptsError
from ray.scripts import scripts, symmetric_run

from mixopt.cli import app
from mixopt.tune.study_file import StudyFile

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "examples" / "cluster"
LAUNCHER = [ROOT / "ray_cluster.yaml", CLUSTER / "aws.yaml", CLUSTER / "gcp.yaml"]

# What the manifest may use of KubeRay's API `ray.io/v1` and of a pod: the operator drops keys that
# it does not know without a word, so that a misspelt one would be lost.
TEXT, WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}


def fields(required=(), **known):
    return {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
    }


QUANTITIES = fields(["cpu", "memory"], cpu=TEXT, memory=TEXT)
CONTAINER = fields(
    ["name", "image", "resources"],
    name=TEXT,
    image=TEXT,
    ports={"type": "array", "items": fields(["containerPort"], containerPort=WHOLE, name=TEXT)},
    resources=fields(["limits"], limits=QUANTITIES, requests=QUANTITIES),
    volumeMounts={
        "type": "array",
        "items": fields(["name", "mountPath"], name=TEXT, mountPath=TEXT),
    },
)
VOLUME = fields(
    ["name"],
    name=TEXT,
    persistentVolumeClaim=fields(["claimName"], claimName=TEXT),
    configMap=fields(["name"], name=TEXT),
)
POD = fields(
    ["spec"],
    spec=fields(
        ["containers"],
        containers={"type": "array", "minItems": 1, "items": CONTAINER},
        volumes={"type": "array", "items": VOLUME},
        terminationGracePeriodSeconds=WHOLE,
    ),
)
PARAMETERS = {"type": "object", "additionalProperties": TEXT}
GROUP = fields(
    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    groupName=TEXT,
    replicas=WHOLE,
    minReplicas=WHOLE,
    maxReplicas=WHOLE,
    rayStartParams=PARAMETERS,
    template=POD,
)
RAY_JOB = fields(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields(["name"], name=TEXT),
    spec=fields(
        ["entrypoint", "rayClusterSpec"],
        entrypoint=TEXT,
        backoffLimit=WHOLE,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=WHOLE,
        runtimeEnvYAML=TEXT,
        rayClusterSpec=fields(
            ["headGroupSpec"],
            rayVersion=TEXT,
            headGroupSpec=fields(
                ["rayStartParams", "template"], rayStartParams=PARAMETERS, template=POD
            ),
            workerGroupSpecs={"type": "array", "items": GROUP},
        ),
    ),
)


def commands(text):
    """Every command of mixopt in a file, as words."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line[at.start() + 7 :] for line in lines for at in re.finditer(r"\bmixopt run ", line)]


def ray_starts(text):
    """The options of every `ray start` in a file."""
    return [found.split() for found in re.findall(r"\bray start ([^\n;]*)", text)]


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_the_launcher_of_ray_takes_the_file(path):
    schema = json.loads(
        Path(ray.__file__).with_name("autoscaler").joinpath("ray-schema.json").read_text()
    )
    config = yaml.safe_load(path.read_text())
    jsonschema.validate(config, schema)
    types = config.get("available_node_types", {})
    assert config.get("head_node_type") in types or not types
    starts = ray_starts(path.read_text())
    assert len(starts) == 2
    for options in starts:
        # An option that Ray does not know is refused here.
        scripts.start.make_context("ray start", options)
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        jsonschema.validate({**config, "max_worker": 3}, schema)


def test_the_manifest_for_kubernetes_has_known_fields_only():
    parts = list(yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text()))
    job = parts[-1]
    jsonschema.validate(job, RAY_JOB)
    job["spec"]["rayClusterSpec"]["workerGroupSpec"] = []
    with pytest.raises(jsonschema.ValidationError, match="workerGroupSpec"):
        jsonschema.validate(job, RAY_JOB)
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned("ray")
    # Every volume that is mounted is there, and so is what it is made from.
    made = {part["metadata"]["name"] for part in parts}
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {m["name"] for c in pod["containers"] for m in c["volumeMounts"]} == set(volumes)
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            assert (claim or volume["configMap"]["name"]) in made


def test_the_study_of_the_manifest_is_a_study(tmp_path):
    study = next(yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text()))["data"]
    for name, text in study.items():
        (tmp_path / name).write_text(text)
    assert StudyFile.from_yaml(tmp_path / "study.yaml").budget.trials == 48


@pytest.mark.parametrize(
    "path", sorted([*LAUNCHER, *CLUSTER.iterdir()]), ids=lambda path: path.name
)
def test_the_commands_in_the_files_are_mixopt_s(path):
    found = commands(path.read_text())
    assert found
    for line in found:
        words = re.sub(r"'.*", "", line).replace('"', "").replace("$", "").split()
        app.parse_args(words, exit_on_error=False, print_error=False)
    with pytest.raises(CycloptsError, match="--adress"):
        app.parse_args([*words, "--adress", "auto"], exit_on_error=False, print_error=False)


def test_slurm_starts_one_ray_over_its_nodes(tmp_path):
    said = tmp_path / "said"
    stubs = {
        "scontrol": 'printf "node7\\nnode8\\n"',
        "srun": f'printf "%s\\n" "$@" > {said}',
    }
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "4",
    }
    script = [str(CLUSTER / "slurm.sbatch"), "study.yaml", "/shared/first"]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", *script], env={**os.environ, **slurm, "PATH": path}, check=True)
    words = said.read_text().splitlines()
    assert words[:4] == ["--nodes=2", "--ntasks=2", "ray", "symmetric-run"]
    end = words.index("--")
    given = symmetric_run.symmetric_run.make_context("_", words[4:end]).params
    assert (given["address"], given["min_nodes"]) == ("node7:6379", 2)
    scripts.start.make_context("ray start", [*given["ray_args_and_entrypoint"], "--head"])
    assert words[end + 1 :] == [
        "mixopt", "run", "study.yaml", "--out", "/shared/first", "--address", "auto",
    ]  # fmt: skip


def pinned(name):
    return re.search(rf"^{name}==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)[1]


def instructions(path):
    """A Dockerfile's instructions as pairs of a word and the rest."""
    lines = path.read_text().replace("\\\n", " ").splitlines()
    return [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]


@pytest.mark.faults
def test_the_image_s_steps_install_mixopt_from_a_checkout(tmp_path):
    """The Dockerfile in a clean virtual environment: its files are copied, its pip commands run."""
    environment, source = tmp_path / "venv", tmp_path / "src"
    venv.create(environment, with_pip=True, symlinks=True)
    source.mkdir()
    (tmp_path / "dist").mkdir()
    ran = []
    for word, rest in instructions(ROOT / "Dockerfile"):
        if word == "COPY" and not rest.startswith("--from"):
            *names, target = rest.split()
            where = tmp_path / "dist" if target == "/dist/" else source
            for name in names:
                copy(ROOT / name, where / name)
        elif word == "RUN" and rest.startswith(("pip", "mixopt")):
            ran.append(rest)
            subprocess.run(
                ["bash", "-c", rest.replace("/dist", str(tmp_path / "dist"))],
                cwd=source,
                env={
                    **os.environ,
                    "PATH": f"{environment / 'bin'}:/usr/bin:/bin",
                    "PYTHONPATH": "",
                },
                check=True,
            )
    assert len(ran) == 3
    check = "from mixopt.space.library import search_space_path; print(search_space_path('local'))"
    found = subprocess.run(
        [environment / "bin" / "python", "-c", check], cwd=tmp_path, capture_output=True, text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, check=True,
    )  # fmt: skip
    assert Path(found.stdout.strip()).is_relative_to(environment)


def copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@pytest.mark.faults
@pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0,
    reason="docker is not running",
)
def test_the_image_is_built():
    subprocess.run(["docker", "build", "--quiet", "--tag", "mixopt-test", ROOT], check=True)
    version = ["docker", "run", "--rm", "mixopt-test", "mixopt", "--version"]
    assert subprocess.run(version, check=True, capture_output=True).stdout.strip()
