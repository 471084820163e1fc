# SPDX-License-Identifier: Apache-2.0
"""The table of checks, in the order of the report."""

from __future__ import annotations

from sightline.deploy.doctor import machine, serving, watching
from sightline.deploy.doctor.check import Check, imported, package

_AV = (
    "import av; print(av.__version__, 'with', ', '.join(k + ' ' + '.'.join(map(str, v)) "
    "for k, v in av.library_versions.items() if k in ('libavcodec', 'libavformat')))"
)
_OPENVINO = "import openvino; print(openvino.__version__.split('-')[0], openvino.Core().available_devices)"
_CORE = "from sightline.preprocess_ext import version; print(version())"

CHECKS: tuple[Check, ...] = (
    Check("machine", "Python", True, machine.python),
    Check("machine", "processor", True, machine.processor),
    Check("machine", "memory", True, machine.memory),
    Check("machine", "disk", True, machine.disk),
    Check("machine", "shared memory", True, machine.shared_memory),
    Check("machine", "open files", False, machine.open_files),
    Check("machine", "GPU", False, machine.gpu),
    Check("machine", "Jetson", False, machine.jetson),
    Check("build", "native core", True, imported("", _CORE)),
    Check("build", "onnx", True, package("onnx")),
    Check("build", "OpenVINO", True, imported("openvino", _OPENVINO)),
    Check("build", "TensorRT", False, serving.tensorrt),
    Check("build", "DALI", False, serving.dali),
    Check("serve", "Triton", True, serving.triton),
    Check("serve", "numpy", True, serving.numpy),
    Check("serve", "tritonclient", True, package("tritonclient")),
    Check("serve", "Docker", False, serving.docker),
    Check("serve", "port 8000", False, machine.port(8000, "HTTP of sightline serve", "--http-port")),
    Check("serve", "port 8001", False, machine.port(8001, "gRPC of sightline serve", "--grpc-port")),
    Check("serve", "port 8002", False, machine.port(8002, "metrics of sightline serve", "--metrics-port")),
    Check("watch", "PyAV", True, imported("av", _AV)),
    Check("watch", "page", True, package("starlette", purpose="the live page needs it")),
    Check("watch", "port 8080", False, machine.port(8080, "page of sightline watch", "--page")),
    Check("watch", "FFmpeg program", False, watching.ffmpeg_program),
    Check("test and measure", "RTSP server", False, watching.rtsp_server),
    Check("test and measure", "port 8554", False, machine.port(8554, "sightline cameras", "--port")),
    Check("test and measure", "browser", False, watching.browser),
    Check("test and measure", "playwright", False, package("playwright")),
    Check("test and measure", "perf_analyzer", False, serving.perf_analyzer),
)
