"""`docs/scaling.md`: its scripts parse and agree with themselves, its formulas with the package."""

from __future__ import annotations

import ast
import inspect
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor

from super_selfish.supervisors import SUPERVISORS, Supervisor
from super_selfish.supervisors.traffic import Traffic, traffic_of
from tests.conftest import backbone_for
from tests.scripts import ROOT, benchmark
from tests.supervisors.test_contract import build

TEXT = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_script_uses_keywords_that_there_are() -> None:
    script = blocks("python")[0]
    calls = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Call)]
    given = {getattr(call.func, "attr", getattr(call.func, "id", "")): call for call in calls}
    known = inspect.signature(Supervisor.supervise).parameters
    assert {keyword.arg for keyword in given["supervise"].keywords} <= set(known)
    moco = inspect.signature(SUPERVISORS["moco"]).parameters
    assert {k.arg for k in given["MomentumContrastSupervisor"].keywords} <= set(moco)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash to look at its own syntax")
def test_shell_scripts_have_no_fault_of_syntax() -> None:
    found = blocks("bash")
    assert len(found) >= 3
    for script in found:
        told = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert told.returncode == 0, told.stderr


def test_the_batch_file_has_a_task_for_each_gpu_and_time_to_store() -> None:
    script = next(each for each in blocks("bash") if "#SBATCH" in each)
    first, *lines = script.splitlines()
    assert first == "#!/bin/bash"
    commands = [place for place, line in enumerate(lines) if line and not line.startswith("#")]
    options = [place for place, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert max(options) < min(commands)  # SLURM reads none after the first command
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", script, re.MULTILINE))
    assert len(asked) == len(options)
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]
    signal, _, seconds = asked["signal"].partition("@")  # no "B:": to the tasks, not the script
    assert signal == "TERM" and int(seconds) >= 60
    assert asked["array"].endswith("%1")  # never two at a time
    assert lines[-1].startswith("srun ") and lines[-1].endswith("python train.py")


def test_the_job_of_kubernetes_agrees_with_itself() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML parses the file")
    (text,) = blocks("yaml")
    service, job = yaml.safe_load_all(text)
    assert (service["kind"], job["kind"], job["apiVersion"]) == ("Service", "Job", "batch/v1")
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed"
    (container,) = pod["containers"]
    (command,) = container["args"]
    options = dict(re.findall(r"--([\w-]+)=(\S+)", command))
    assert int(options["nnodes"]) == spec["completions"] == spec["parallelism"]
    assert int(options["nproc-per-node"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert options["master-addr"] == f"{name}-0.{pod['subdomain']}"
    assert int(options["master-port"]) == container["ports"][0]["containerPort"]
    assert options["node-rank"] == '"$JOB_COMPLETION_INDEX"'
    assert command.split()[-1] == "train.py" and "\n" not in command.strip()
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


# What the letters of the table mean for these networks and images.
LETTERS = {
    "B": 8,
    "W": 4,
    "C": 3 * 32 * 32,
    "E": 128,
    "H": 256,
    "F": 12,
    "K": 300,
    "N": 1000,
    "tiles": 9,
    "V": 4,
}
FORMULAS = {
    name: numbers for name, *numbers in re.findall(r"^\| (\w+) \| `(.+)` \| `(.+)` \|$", TEXT, re.M)
}


@pytest.mark.parametrize("algorithm", sorted(set(SUPERVISORS) - {"multi_task"}))
def test_the_table_is_what_the_package_says_of_each_algorithm(
    algorithm: str, images: Tensor
) -> None:
    own = {"swav": {"num_prototypes": 300}, "dino": {"num_classes": 300}}
    own |= {name: {"embedding_size": 128} for name in ("simclr", "cpc", "nnclr", "lejepa")}
    supervisor = build(algorithm, images, backbone_for(algorithm), **own.get(algorithm, {}))
    found = traffic_of(supervisor, LETTERS["W"], LETTERS["B"])
    gathered, returned = FORMULAS.get(algorithm, ("0", "0"))
    assert found.gathered == 4 * eval(gathered, {}, LETTERS)
    assert found.returned == 4 * eval(returned, {}, LETTERS)


@pytest.fixture
def model() -> Iterator[ModuleType]:
    with benchmark("scaling") as module:
        yield module


def test_the_model_of_a_step_is_that_of_its_formula(model: Any) -> None:
    link = model.Link("a link", 1e9, 1e-3)
    step = model.Step("gradients alone", 0.3, Traffic(4, 100e6, 0, 0))
    assert model.foretold(step, link, 1) == 0.3
    # 150 MB at 1 GB/s in four buckets, under 0.2 s of the backward pass but for the last one.
    assert model.foretold(step, link, 4) == pytest.approx(0.3 + 1.5 * 25e6 / 1e9 + 4e-3)
    slow = link._replace(bandwidth=1e8)
    assert model.foretold(step, slow, 4) == pytest.approx(0.3 + 1.5 + 4 * 4e-3 - 0.2)
    gathering = model.Step("and images", 0.3, Traffic(4, 100e6, 20_000_000, 80_000_000))
    more = model.foretold(gathering, link, 4) - model.foretold(step, link, 4)
    assert more == pytest.approx((3 * 20e6 + 1.5 * 80e6) / 1e9 + 2 * 4e-3)
    quick = model.Step("nothing to compute", 0.0, Traffic(512, 4.0, 0, 0))
    assert model.foretold(quick, link._replace(latency=0.0), 512) == pytest.approx(
        2 * 511 * model.CONTROL
    )


def test_a_line_through_what_was_measured(model: Any) -> None:
    points = [(sent, 2e-9 * sent + 0.003) for sent in (0.0, 1e6, 5e6, 40e6)]
    line = model.fitted(points)
    assert line.of_byte == pytest.approx(2e-9) and line.of_step == pytest.approx(0.003)
    assert line.seconds(1e6) == pytest.approx(0.005)
    assert math.isclose(model.Fit(1e-9, 0.0).seconds(1e9), 1.0)


def test_the_table_of_efficiency_is_that_of_the_committed_results() -> None:
    results = (ROOT / "benchmarks" / "results" / "scaling.md").read_text(encoding="utf-8")
    kinds = {line for line in results.splitlines() if re.search(r"InfiniBand|Ethernet", line)}
    assert len(kinds) == 15
    assert {line for line in TEXT.splitlines() if line in kinds} == kinds
    numbers = [line for line in TEXT.splitlines() if line.endswith("|") and "Gb/s" in line]
    assert set(numbers) == kinds


def test_efficiency_is_what_the_model_says_of_the_algorithms_today(model: Any) -> None:
    (rotate, *_), link = model.large_steps(1000.0, 64, (8, 64))[:1], model.LINKS[-1]
    share = rotate[64].seconds / model.foretold(rotate[64], link, 64)
    assert f"| rotate | {link.name} | 100 | {100 * share:.0f} |" in TEXT
