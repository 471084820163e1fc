# SPDX-License-Identifier: Apache-2.0
"""Files and names of PyTorch sources: weights, TorchScript, checkpoints, and what is refused without being run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.builders.sources import ExportedModel, export_source, source_defaults
from sightline.builders.sources.files import file_kind
from sightline.card import ModelCard, card_from_dict
from sightline.errors import BuildError, CardError, ModelFileError, SightlineError
from tests.needs import needs

needs("torch", "torchvision", "timm", "transformers", "ultralytics", "safetensors", "openvino")

TOWER = "python:tests.torch_factories:tower"


def make_card(source: object, task: str = "embed", **values: Any) -> ModelCard:
    values.setdefault("input", {"size": [32, 32]})
    return card_from_dict({"name": "model", "task": task, "source": str(source), **values}, Path.cwd())


def outputs(exported: ExportedModel, seed: int = 0) -> Any:
    assert exported.reference is not None
    images = np.random.default_rng(seed).normal(size=(2, 3, 32, 32)).astype(np.float32)
    return exported.reference(images)[0]


@pytest.fixture
def trained() -> Any:
    """A tower whose weights are not those of the card's seed."""
    import torch

    from tests.torch_factories import tower

    torch.manual_seed(11)
    return tower().eval()


def expected(module: Any, seed: int = 0) -> Any:
    import torch

    images = np.random.default_rng(seed).normal(size=(2, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        return module(torch.from_numpy(images)).numpy()


def _save_safetensors(module: Any, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(module.state_dict(), path)


def _save(value: Callable[[Any], Any], **options: Any) -> Callable[[Any, Path], None]:
    def write(module: Any, path: Path) -> None:
        import torch

        torch.save(value(module), path, **options)

    return write


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "safetensors": _save_safetensors,
    "state_dict": _save(lambda module: module.state_dict()),
    "old pickle": _save(lambda module: module.state_dict(), _use_new_zipfile_serialization=False),
    "checkpoint": _save(
        lambda module: {"epoch": 3, "state_dict": module.state_dict(), "optimizer": {"lr": 0.1}}
    ),
    "data parallel": _save(lambda module: {f"module.{k}": v for k, v in module.state_dict().items()}),
    "whole module": _save(lambda module: module),
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_weights_are_read_and_all_must_fit(name: str, trained: Any, tmp_path: Path) -> None:
    from sightline.builders.sources.torch_weights import load_weights
    from tests.torch_factories import tower

    path = tmp_path / "weights.bin"  # the ending says nothing
    WRITERS[name](trained, path)
    fresh = tower().eval()
    load_weights(fresh, path)
    assert np.array_equal(expected(fresh), expected(trained))
    with pytest.raises(BuildError, match=r"of another shape \(embed\.weight .*num_classes"):
        load_weights(tower(size=7), path)


@pytest.fixture(scope="module")
def untrained() -> ExportedModel:
    """The tower with the weights of the card's seed."""
    return export_source(make_card(TOWER))


def test_a_card_with_weights_serves_them(trained: Any, untrained: ExportedModel, tmp_path: Path) -> None:
    _save_safetensors(trained, tmp_path / "tower.safetensors")
    steps: list[str] = []
    card = make_card(TOWER, weights=tmp_path / "tower.safetensors")
    exported = export_source(card, steps.append)
    assert np.allclose(outputs(exported), expected(trained), atol=1e-6)
    assert "weights from tower.safetensors" in exported.origin
    assert "RANDOM" not in exported.origin
    assert steps[0].startswith("load")
    assert any("export" in step for step in steps)
    assert untrained.sha256 != exported.sha256


class Payload:
    """Runs a command when it is unpickled by a reader that is not careful."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("role", ["source", "weights"])
def test_pickled_code_never_runs(role: str, legacy: bool, tmp_path: Path) -> None:
    import torch

    witness, path = tmp_path / "witness", tmp_path / "evil.pt"
    content = {"model": Payload(witness), "state_dict": {"a": torch.zeros(1)}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    card = make_card(path) if role == "source" else make_card(TOWER, weights=path)
    with pytest.raises(ModelFileError) as caught:
        export_source(card)
    assert not witness.exists()
    assert "safetensors" in str(caught.value) or "'source'" in str(caught.value)


def test_raw_pickles_and_their_opcodes_never_run(tmp_path: Path) -> None:
    from sightline.builders.sources.torch_pickle import read_archive

    witness = tmp_path / "witness"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"evil{protocol}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(
                "archive/data.pkl", pickle.dumps([Payload(witness), print, Path], protocol=protocol)
            )
        first, second, third = read_archive(path)
        assert (first.name, second.name) == (
            f"{os.system.__module__}.system",
            "builtins.print",
        ) or protocol < 3
        assert third is not Path
    assert not witness.exists()


def test_weights_alone_as_source_say_what_is_missing(trained: Any, tmp_path: Path) -> None:
    for name in ("safetensors", "state_dict", "old pickle"):
        WRITERS[name](trained, tmp_path / "weights")
        with pytest.raises(ModelFileError, match=r"no architecture.*python:.*'weights'"):
            export_source(make_card(tmp_path / "weights"))
    WRITERS["whole module"](trained, tmp_path / "model.pt")
    with pytest.raises(
        ModelFileError, match=r"tests\.torch_factories\.Tower.*whose code Sightline does not run"
    ):
        export_source(make_card(tmp_path / "model.pt"))


TINY_YOLO = """
nc: 4
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, C2f, [8, True]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[1, 2], 1, Detect, [nc]]
"""


def _ultralytics_checkpoint(path: Path) -> Any:
    """As Ultralytics' trainer writes it: a pickled module in half precision and much beside it."""
    import torch

    from sightline.builders.sources.torch_ultralytics import model_of, read_description

    torch.manual_seed(5)
    description = path.with_name("tiny.yaml")
    description.write_text(TINY_YOLO)
    model = model_of(read_description(str(description)), {"nc": 2}).eval()
    description.unlink()  # the checkpoint has it
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    model.names = {0: "car", 1: "van"}
    model.args = {"imgsz": 320}
    content = {
        "epoch": 4, "model": None, "ema": model.half(), "optimizer": None, "train_args": {"imgsz": 320},
        "version": "8.4.0", "date": "2026-01-01", "best_fitness": np.float64(0.5), "where": Path("/tmp"),
    }  # fmt: skip
    torch.save(content, path)
    return model.float()


def test_an_ultralytics_checkpoint_is_rebuilt_from_its_description(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "best.pt"
    model = _ultralytics_checkpoint(path)
    defaults = source_defaults(str(path))
    assert defaults["labels"] == ("car", "van")
    assert defaults["input"]["size"] == (320, 320)
    exported = export_source(make_card(path, "detect"))
    assert exported.reference is not None
    images = np.random.default_rng(1).uniform(0, 1, (1, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        wanted = model(torch.from_numpy(images))[0].numpy()
    assert np.allclose(exported.reference(images)[0], wanted, rtol=1e-3, atol=1e-3)
    assert "8.4.0" in exported.origin


def test_an_ultralytics_description_runs_no_python(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    plain = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [[0], 1, Detect, [nc]]\n"
    wrong = {
        "activation": f"activation: \"__import__('os').system('touch {witness}')\"\n{plain}",
        "the layer 'torch_load'": plain.replace("Conv", "torch_load"),
        "the layer 'nn.functional'": plain.replace("Conv", "nn.functional"),
        "the layer 'TorchVision'": plain.replace("Conv", "TorchVision"),
        "ends in Pose": plain.replace("Detect", "Pose"),
        "'backbone' and 'head'": "nc: 2\n",
        "cannot be read": "a: &a [*a]\n",
    }
    for message, text in wrong.items():
        (tmp_path / "net.yaml").write_text(text)
        with pytest.raises(CardError, match=message):
            export_source(make_card(f"ultralytics:{tmp_path / 'net.yaml'}", "detect"))
    assert not witness.exists()


def _script(module: Any, path: Path, trace: bool = False) -> None:
    import torch

    scripted = torch.jit.trace(module, torch.zeros(1, 3, 32, 32)) if trace else torch.jit.script(module)
    torch.jit.save(scripted, str(path))


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize("trace", [True, False])
def test_torchscript_with_an_open_batch(trace: bool, trained: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.ts"
    _script(trained, path, trace)
    assert file_kind(path) == "torchscript"
    exported = export_source(make_card(path))
    assert np.allclose(outputs(exported), expected(trained), atol=1e-6)
    assert "open batch" in exported.origin
    with pytest.raises(ModelFileError, match="TorchScript archive: name it as 'source'"):
        export_source(make_card(TOWER, weights=path))


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_torchscript_that_reaches_for_files_is_refused(tmp_path: Path) -> None:
    import torch

    witness = tmp_path / "witness"

    class Saves(torch.nn.Module):
        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if images.shape[0] > 0:
                torch.serialization.save(images, self.path)  # as torch.save, which Ultralytics replaces
            return images.mean((2, 3))

    class Wakes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = 1

        @torch.jit.export
        def __getstate__(self) -> tuple[int, bool]:
            return self.value, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[int, bool]) -> None:
            self.value = state[0]
            self.training = state[1]

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3)) * self.value

    for module, message in ((Saves(str(witness)), "aten::save"), (Wakes(), "__setstate__")):
        _script(module, tmp_path / "model.pt")
        with pytest.raises(ModelFileError, match=message):
            export_source(make_card(tmp_path / "model.pt"))
    assert not witness.exists()


def test_a_huggingface_folder_with_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit", "auto_map": {"AutoModel": "evil.Model"}}')
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'witness')!r}, 'w')")
    with pytest.raises(ModelFileError, match="auto_map"):
        export_source(make_card(f"huggingface:{tmp_path}"))
    assert not (tmp_path / "witness").exists()
    with pytest.raises(CardError, match="no local folder"):
        export_source(make_card("huggingface:google/vit-base-patch16-224"))


def test_damaged_files_are_named(trained: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    for name in ("safetensors", "state_dict", "old pickle", "whole module"):
        WRITERS[name](trained, path)
        content = path.read_bytes()
        for part in (content[: len(content) // 2], content[:40], content[:-9]):
            path.write_bytes(part)
            with pytest.raises(SightlineError) as caught:
                export_source(make_card(TOWER, weights=path))
            assert str(path) in str(caught.value)


def test_tensors_outside_their_storage_are_refused(tmp_path: Path) -> None:
    import torch

    from sightline.builders.sources.torch_pickle import read_archive

    path = tmp_path / "whole.pt"
    torch.save([torch.arange(4.0)], path)
    assert torch.equal(read_archive(path)[0], torch.arange(4.0))
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in entries if name.endswith("data.pkl"))
    for before, after in ((b"K\x04\x85", b"K\x09\x85"), (b"K\x01\x85", b"K\x02\x85")):  # size, then stride
        assert before in entries[name]
        with zipfile.ZipFile(path, "w") as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content.replace(before, after) if entry == name else content)
        with pytest.raises(ModelFileError, match="outside its storage"):
            read_archive(path)


@pytest.mark.parametrize(
    ("source", "values", "message"),
    [
        ("torchvision:resnet19", {}, "similar: .*resnet18"),
        ("torchvision:raft_large", {}, "not supported"),
        ("torchvision:resnet18", {"source_args": {"weights": "DEFAULT"}}, "nothing is downloaded"),
        ("torchvision:resnet18", {"source_args": {"legs": 4}}, "legs"),
        ("timm:vit_tinny", {}, "similar: "),
        ("timm:hf-hub:timm/resnet18", {}, "no network"),
        ("timm:resnet18", {"source_args": {"pretrained": True}}, "nothing is downloaded"),
        ("ultralytics:yolo99z.yaml", {}, "no network"),
        ("ultralytics:https://example.com/yolov8n.yaml", {}, "no network"),
        ("python:tests.torch_factories", {}, "python:package.module:factory"),
        ("python:tests.no_such_module:f", {}, "cannot be imported"),
        ("python:tests.torch_factories:no_such", {}, "no function or class 'no_such'"),
        ("python:tests.torch_factories:not_a_module", {}, "must give a torch.nn.Module"),
        ("python:tests.torch_factories:siamese", {"branch": "towel"}, "submodules are tower"),
        ("python:tests.torch_factories:tower", {"source_args": {"legs": 4}}, "legs"),
    ],
)
def test_names_that_do_not_exist(source: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(CardError, match=message):
        export_source(make_card(source, **values))


def test_a_network_that_does_not_fit_the_input_is_explained() -> None:
    card = make_card("python:tests.torch_factories:siamese")
    with pytest.raises(BuildError, match=r"does not run on an input of shape \(2, 3, 32, 32\).*input.size"):
        export_source(card)


def test_an_export_that_differs_is_refused(untrained: ExportedModel) -> None:
    from sightline.builders.sources.torch_onnx import compare_with

    images = np.zeros((1, 3, 32, 32), np.float32)
    assert untrained.reference is not None
    right = untrained.reference(images)
    assert compare_with(untrained.content, images, right) < 1e-3
    with pytest.raises(BuildError, match="output RAW differs by"):
        compare_with(untrained.content, images, [right[0] + np.float32(0.1)])


def test_defaults_are_known_before_the_export(tmp_path: Path) -> None:
    resnet = source_defaults("torchvision:resnet18")
    assert resnet["input"] == {
        "size": (224, 224), "resize": "crop", "short_side": 256, "filter": "triangle",
        "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375),
    }  # fmt: skip
    assert len(resnet["labels"]) == 1000
    assert "labels" not in source_defaults("torchvision:resnet18", {"num_classes": 3})
    assert source_defaults("torchvision:ssd300_vgg16")["input"]["std"] == (1.0, 1.0, 1.0)
    assert source_defaults("torchvision:maskrcnn_resnet50_fpn")["task"] == "segment"
    assert len(source_defaults("torchvision:retinanet_resnet50_fpn")["labels"]) == 90
    assert source_defaults("timm:mobilenetv3_small_100")["input"]["short_side"] == 256
    assert source_defaults("timm:resnet18", {"num_classes": 0})["task"] == "embed"
    assert source_defaults("ultralytics:yolov10n.yaml")["head"] == {"kind": "end_to_end"}
    assert source_defaults(TOWER) == {}
    for task in ("classify", "semantic"):
        name = "resnet18" if task == "classify" else "lraspp_mobilenet_v3_large"
        values = {"name": "m", "source": f"torchvision:{name}", **source_defaults(f"torchvision:{name}")}
        assert card_from_dict(values, Path.cwd()).task == task


def test_kinds_of_files(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")
    wanted = {
        b"\x89HDF\r\n\x1a\n": "hdf5",
        b"\x1c\0\0\0TFL3": "tflite",
        b"\x80\x02}q\0.": "pickle",
        b"\x08\x09": "onnx",
        b"": "unknown",
        buffer.getvalue(): "keras",
    }
    for number, (content, kind) in enumerate(wanted.items()):
        (tmp_path / str(number)).write_bytes(content)
        assert file_kind(tmp_path / str(number)) == kind
    (tmp_path / "cut").write_bytes(buffer.getvalue()[:30])
    with pytest.raises(ModelFileError, match="damaged or cut off archive"):
        file_kind(tmp_path / "cut")
    with pytest.raises(ModelFileError, match="cannot be read"):
        file_kind(tmp_path / "missing")
    with pytest.raises(ModelFileError, match=r"saved_model\.pb"):
        file_kind(tmp_path)
