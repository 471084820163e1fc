# SPDX-License-Identifier: Apache-2.0
"""Triton's rules as data: each has a source, a check, and a repository that breaks exactly it."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders import repository_from_card
from sightline.builders.build import Choices
from sightline.builders.entries.context import TARGETS, Target
from sightline.builders.rules import all_rules, check_repository, refuse_broken, rules_for
from sightline.builders.rules.check import CHECKS
from sightline.card import card_from_dict
from sightline.errors import BuildError, SightlineError
from tests.onnx_models import (
    mean_colours,
    mean_quarters,
    planted,
    planted_masks,
    strongest_channel,
    write_pictures,
)
from tests.rules_cases import CASES, Broken, world

_SOURCE = re.compile(
    r"(triton-inference-server/)?(core|common|server|python_backend|tensorrt_backend|dali_backend) r2\d\.\d\d "
)


def test_data_and_checks_are_the_same_rules() -> None:
    ids = [rule.id for rule in all_rules()]
    assert len(ids) == len(set(ids))
    assert set(ids) == set(CHECKS) == {case.rule for case in CASES}


def test_every_rule_names_where_it_was_read() -> None:
    for rule in all_rules():
        own = rule.source.startswith("sightline builders/")
        assert own or all(_SOURCE.match(part.strip()) for part in rule.source.split(";")), rule.id
        assert rule.text[0].islower() or rule.text.startswith(("KIND", "FORMAT")), rule.id


def test_rules_of_another_release_and_target_do_not_hold() -> None:
    ids = {rule.id for rule in rules_for("local", "24.10")}
    assert "cache-ensemble" not in ids
    assert "tensorrt-gpu" not in ids
    assert "cache-ensemble" in {rule.id for rule in rules_for("local", "24.04")}
    assert "tensorrt-gpu" in {rule.id for rule in rules_for("jetson")}
    with pytest.raises(SightlineError, match=r"the release is 'newest'.*such as 24\.10"):
        rules_for("local", "newest")


@pytest.mark.parametrize("target", TARGETS)
def test_the_whole_repository_breaks_no_rule(tmp_path: Path, target: Target) -> None:
    made = world(gpu=target != "local")
    if target == "jetson":
        del made.configs["dali"]
    assert check_repository(made.write(tmp_path), target) == []
    refuse_broken(tmp_path, target)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_each_rule_is_found_where_it_is_broken_and_no_other(tmp_path: Path, case: Broken) -> None:
    found = check_repository(case.world().write(tmp_path), case.target, case.release)
    assert {(one.rule, one.model) for one in found} == {(case.rule, case.model)}, [str(one) for one in found]
    severities = {rule.id: rule.severity for rule in all_rules()}
    for one in found:
        assert one.severity == severities[case.rule]
        assert one.text
        assert one.fix
        assert str(one).startswith(f"{case.model}: ")


def test_errors_refuse_a_build_and_warnings_do_not(tmp_path: Path) -> None:
    by_rule = {case.rule: case for case in CASES}
    refuse_broken(by_rule["queue-bounded"].world().write(tmp_path / "warning"), "local")
    with pytest.raises(BuildError, match=r"single: .*preferred_batch_size \[99\].*\(preferred-batch-size\)"):
        refuse_broken(by_rule["preferred-batch-size"].world().write(tmp_path / "error"), "local")


def test_an_empty_and_a_missing_repository_have_nothing_to_find(tmp_path: Path) -> None:
    assert check_repository(tmp_path, "local") == []
    assert check_repository(tmp_path / "none", "local") == []


TASKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "detect": (planted, {"input": {"size": (64, 32)}}),
    "segment": (planted_masks, {"input": {"size": (64, 32)}}),
    "classify": (mean_colours, {"input": {"size": (32, 32)}, "labels": ("red", "green", "blue")}),
    "semantic": (
        strongest_channel,
        {"input": {"size": (64, 48)}, "labels": ("none", "red", "green", "blue")},
    ),
    "embed": (mean_quarters, {"input": {"size": (32, 32)}}),
}


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_builder_writes_breaks_no_rule(tmp_path: Path, target: Target) -> None:
    calibration = {"images": write_pictures(tmp_path / "pictures")}
    for task, (network, values) in TASKS.items():
        source = network(tmp_path / f"{task}.onnx", size=values["input"]["size"])
        card = card_from_dict(
            {"name": task, "task": task, "source": source, "calibration": calibration, **values}, tmp_path
        )
        repository_from_card(card, tmp_path / "repository", Choices(target=target))
    assert check_repository(tmp_path / "repository", target) == []
    assert len(list((tmp_path / "repository").glob("*/config.pbtxt"))) >= 6 * len(TASKS)


def test_a_response_cache_breaks_no_rule_of_the_release_that_we_serve(tmp_path: Path) -> None:
    source = mean_colours(tmp_path / "colours.onnx", size=(32, 32))
    values = {
        "input": {"size": (32, 32)},
        "labels": ("red", "green", "blue"),
        "engine": {"response_cache": True},
        "calibration": {"images": write_pictures(tmp_path / "pictures")},
    }
    card = card_from_dict({"name": "colours", "task": "classify", "source": source, **values}, tmp_path)
    repository_from_card(card, tmp_path / "repository", Choices(target="server"))
    assert check_repository(tmp_path / "repository", "server") == []
    old = check_repository(tmp_path / "repository", "server", "24.04")
    assert {one.rule for one in old} == {"cache-ensemble"}


def is_repeated(field: Any) -> bool:
    """protobuf 4 has only `label`, which later ones call deprecated."""
    known = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if known is None else known)


def mutate(message: Any, rng: random.Random, depth: int = 0) -> None:
    """Set, clear or append a random field somewhere in the message."""
    if not message.DESCRIPTOR.fields:
        return
    field = rng.choice(message.DESCRIPTOR.fields)
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if rng.random() < 0.3 or is_map:
        message.ClearField(field.name)
    elif field.message_type is not None and depth < 4:
        inner = getattr(message, field.name)
        if is_repeated(field):
            inner = rng.choice(inner) if inner and rng.random() < 0.7 else inner.add()
        else:
            inner.SetInParent()
        mutate(inner, rng, depth + 1)
    elif field.message_type is None:
        value = odd_value(field, rng)
        if is_repeated(field):
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)


def odd_value(field: Any, rng: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice([*field.enum_type.values_by_number, 77])
    if field.type == FieldDescriptor.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(
            ["", "TENSOR", "X", "Y", "first", "pair", "ensemble", "tensorrt_plan", "../x", "\x00"]
        )
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice([0.0, -1.0, 1e30])
    unsigned = field.type in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64)
    return rng.choice([0, 1, 3, 2**31 - 1] if unsigned else [-1, 0, 1, 3, -(2**31), 2**31 - 1])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), target=st.sampled_from(TARGETS), junk=st.binary(max_size=40))
def test_no_configuration_brings_the_checker_down(
    tmp_path_factory: pytest.TempPathFactory, seed: int, target: Target, junk: bytes
) -> None:
    """Whatever stands in the files, the answer is a list of findings."""
    rng = random.Random(seed)
    made = world(gpu=True)
    for _ in range(rng.randint(1, 12)):
        mutate(made.configs[rng.choice(list(made.configs))], rng)
    made.files["plan"]["1/engine.json"] = rng.choice(
        [junk, b'{"options": {"batch": "x", "size": [1, null]}}', b"[]"]
    )
    folder = made.write(tmp_path_factory.mktemp("mutated"))
    (folder / "single" / "config.pbtxt").write_bytes(junk)
    for one in check_repository(folder, target):
        assert one.rule in CHECKS


def test_text_that_nests_without_end_is_a_finding(tmp_path: Path) -> None:
    folder = world().write(tmp_path)
    (folder / "single" / "config.pbtxt").write_text("input { reshape { " * 5000)
    assert [one.rule for one in check_repository(folder, "local")] == ["config-readable"]
    (folder / "single" / "config.pbtxt").write_bytes(b"\xff\xfe name")
    assert [one.rule for one in check_repository(folder, "local")] == ["config-readable"]


def test_the_texts_of_a_world_are_what_triton_reads(tmp_path: Path) -> None:
    folder = world(gpu=True).write(tmp_path)
    for path in folder.glob("*/config.pbtxt"):
        text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
