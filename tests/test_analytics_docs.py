# SPDX-License-Identifier: Apache-2.0
"""docs/rules.md is true: its YAML is valid, and each rule, field, event and counter is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from sightline.clients.analytics import settings as kinds
from sightline.clients.analytics.rule_set import STATES
from sightline.clients.analytics.settings import Analytics
from sightline.clients.config.watch_file import WatchFile
from tests.analytics_parts import state_of

TEXT = (Path(__file__).parents[1] / "docs" / "rules.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
RULES = get_args(get_args(kinds.Rule)[0])
SOURCE = Path(kinds.__file__).parent


def kind_of(rule: Any) -> str:
    return str(get_args(rule.model_fields["kind"].annotation)[0])


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: ",".join(block))
def test_every_example_is_valid(block: dict[str, Any]) -> None:
    (WatchFile if "cameras" in block else Analytics).model_validate(block)


def test_every_kind_of_rule_has_a_section_with_an_example_of_all_its_fields() -> None:
    assert {kind_of(rule) for rule in RULES} == {kind_of(rule) for rule in STATES}
    shared = set(kinds._Rule.model_fields)
    for rule in RULES:
        text = section(kind_of(rule))
        assert f"kind: {kind_of(rule)}" in text
        missing = [name for name in set(rule.model_fields) - shared if not re.search(rf"\b{name}\b", text)]
        assert not missing, (kind_of(rule), missing)


@pytest.mark.parametrize(
    "model",
    [
        kinds._Rule,
        kinds.Schedule,
        kinds.ObjectFilter,
        kinds.Tracking,
        kinds.Ground,
        kinds.SecondStage,
        kinds.ReIdentification,
        kinds.Privacy,
        kinds.Analytics,
    ],
)
def test_every_field_is_in_an_example(model: Any) -> None:
    yaml_text = "\n".join(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
    missing = [name for name in model.model_fields if not re.search(rf"\b{name}:", yaml_text)]
    assert not missing


def test_every_event_and_what_it_holds_is_described() -> None:
    code = "\n".join(path.read_text() for path in sorted(SOURCE.glob("rule_*.py")))
    types = set(re.findall(r'Happening\(\s*"([a-z_.]+)"', code))
    assert len(types) == 12
    for name in types:
        assert f"`sightline.{name}`" in TEXT, name
    fields = set(re.findall(r'^\s+"([a-z_]+)": ', code, re.MULTILINE)) | {"reason"}
    for name in fields:
        assert f"`{name}`" in TEXT, name


def test_every_counter_is_described() -> None:
    extras: dict[str, dict[str, Any]] = {
        "speed": {"ground": BLOCKS[[("ground" in block) for block in BLOCKS].index(True)]["ground"]},
        "attribute": {"stages": [{"name": "helmet", "model": "m"}]},
    }
    for block in BLOCKS:
        for rule in block.get("rules", []):
            counts = state_of(rule, **extras.get(rule["kind"], {})).counts()
            for name in counts:
                assert f"`{name}`" in section(rule["kind"]) or name in rule.get("values", ()), (rule, name)
