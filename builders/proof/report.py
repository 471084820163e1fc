# SPDX-License-Identifier: Apache-2.0
"""The proof as one HTML page that needs nothing else: verdict, measures, where it drifted, pictures side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from sightline.builders.proof.measures import Pair
from sightline.builders.proof.subject import Measure, Proof, ProofSubject, StageDrift
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

Picture = NDArray[np.uint8]
SIDE_PIXELS = 420
_QUALITY = 82


@dataclass(frozen=True)
class Shown:
    """A picture and its two answers."""

    picture: Picture
    pair: Pair

    @property
    def content(self) -> int:
        """How much there is to see."""
        result = self.pair.source
        if isinstance(result, ClassMap):
            return len(np.unique(result.classes))
        return len(result) if isinstance(result, (Detections, Classification)) else 0


def report_page(subject: ProofSubject, proof: Proof, shown: Sequence[Shown]) -> bytes:
    """The page, UTF-8."""
    style = resources.files("sightline.builders.proof").joinpath("report.css").read_text(encoding="utf-8")
    title = f"{subject.card.name}, version {subject.number}"
    body = "\n".join(
        (
            _header(subject, proof, title),
            _measures(proof.measures),
            _stages(proof.stages),
            _pictures(subject, shown),
            _facts(subject, proof),
        )
    )
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Proof of {escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )
    return page.encode()


def _header(subject: ProofSubject, proof: Proof, title: str) -> str:
    kind = "good" if proof.passed else "bad"
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in (*proof.failures, *proof.notes))
    return (
        f'<header class="{kind}"><p class=task>{escape(subject.card.task)}</p><h1>{escape(title)}</h1>'
        f"<p class=verdict><b>{'✓' if proof.passed else '✗'}</b> {escape(proof.verdict)}</p>"
        f"<p class=sub>{escape(subject.origin)} against {escape(proof.served_by)}, {escape(proof.data)}</p>{notes}</header>"
    )


def _measures(measures: Sequence[Measure]) -> str:
    rows = "".join(_measure(measure) for measure in measures)
    return f"<section><h2>Measures</h2><div class=measures>{rows}</div></section>"


def _measure(measure: Measure) -> str:
    """A bar that is full where the value is perfect, with the threshold as a mark."""
    if measure.higher_is_better:
        filled, mark = measure.value, measure.threshold
    else:
        room = max(measure.threshold * 2, measure.value, 1e-12)
        filled, mark = measure.value / room, measure.threshold / room
    sign = "≥" if measure.higher_is_better else "≤"
    kind = "good" if measure.passed else "bad"
    return (
        f'<div class="measure {kind}"><span class=name>{escape(measure.what)}</span>'
        f"<span class=value>{_number(measure.value)}</span>"
        f'<div class=bar><i style="width:{_percent(filled)}"></i><u style="left:{_percent(mark)}"></u></div>'
        f"<span class=sub>card asks {sign} {measure.threshold:g} · compared: {measure.counted:,}</span></div>"
    )


def _stages(stages: Sequence[StageDrift]) -> str:
    rows = "".join(
        f'<tr class="{"good" if stage.passed else "bad"}"><td>{escape(stage.stage)}</td>'
        f"<td class=n>{_number(stage.mean)}</td><td class=n>{_number(stage.largest)}</td>"
        f"<td class=n>{_number(stage.allowed)}</td><td class=sub>{escape(stage.what)}</td></tr>"
        for stage in stages
    )
    return (
        "<section><h2>Where it drifts</h2><p class=sub>Each stage with the same input as its reference.</p>"
        "<div class=wide><table><thead><tr><th>stage<th class=n>mean<th class=n>largest<th class=n>explained by rounding"
        f"<th>in</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _pictures(subject: ProofSubject, shown: Sequence[Shown]) -> str:
    if subject.card.task == "embed":
        return _likeness(shown)
    rows = "".join(
        f"<div class=pair>{_figure(one.picture, one.pair.source, 'source')}"
        f"{_figure(one.picture, one.pair.served, 'served')}</div>"
        for one in shown
    )
    return f"<section><h2>Side by side</h2>{rows}</section>"


def _figure(picture: Picture, result: Result, who: str) -> str:
    from sightline.clients.draw import draw_result

    drawn = np.array(_small(picture)) if not isinstance(result, (Detections, ClassMap)) else np.array(picture)
    if not isinstance(result, Classification):
        draw_result(drawn, result)
    said = f"<ol>{''.join(map(_class_row, result))}</ol>" if isinstance(result, Classification) else ""
    caption = f"{who}{_count(result)}"
    image = f'<img alt="{escape(caption)}" src="{_inline(drawn)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption>{said}</figure>"


def _class_row(found: object) -> str:
    label, score = getattr(found, "label", ""), float(getattr(found, "score", 0.0))
    return (
        f'<li><span>{escape(str(label))}</span><i style="width:{_percent(score)}"></i><b>{score:.1%}</b></li>'
    )


def _count(result: Result) -> str:
    if isinstance(result, Detections):
        return f": {len(result)} object{'' if len(result) == 1 else 's'}"
    if isinstance(result, ClassMap):
        return f": {len(result.areas())} classes"
    return ""


def _likeness(shown: Sequence[Shown]) -> str:
    """Embeddings: how alike the pictures are to each other by the source and by the server."""
    heads = "".join(f'<th><img alt="picture" src="{_inline(_small(one.picture, 84))}"></th>' for one in shown)
    rows = []
    for one in shown:
        cells = "".join(_cosines(one.pair, other.pair) for other in shown)
        rows.append(f'<tr><th><img alt="picture" src="{_inline(_small(one.picture, 84))}"></th>{cells}</tr>')
    return (
        "<section><h2>Likeness of the pictures</h2><p class=sub>Cosine by the source, and by the server below it.</p>"
        f"<div class=wide><table class=likeness><tr><th></th>{heads}</tr>{''.join(rows)}</table></div></section>"
    )


def _cosines(one: Pair, other: Pair) -> str:
    source, served = (_cosine(a, b) for a, b in ((one.source, other.source), (one.served, other.served)))
    strength = max(min(source, 1.0), 0.0)
    return f'<td style="--s:{strength:.2f}">{source:.3f}<br>{served:.3f}</td>'


def _cosine(a: Result, b: Result) -> float:
    return a.cosine(b) if isinstance(a, Embedding) and isinstance(b, Embedding) else 0.0


def _facts(subject: ProofSubject, proof: Proof) -> str:
    width, height = subject.card.input.size
    facts = {
        "model": subject.card.name,
        "version": str(subject.number),
        "source": subject.origin,
        "source SHA-256": subject.source.sha256,
        "input": f"{width}x{height} pixels, {subject.card.input.resize}",
        "head": subject.network.plan.why,
        **subject.facts,
        "proven": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC in {proof.seconds:.1f} s",
    }
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items())
    return f"<section><h2>What was compared</h2><div class=wide><table class=facts>{rows}</table></div></section>"


def _small(picture: Picture, side: int = SIDE_PIXELS) -> Picture:
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def _inline(picture: Picture) -> str:
    """The picture inside the page."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_small(picture, 2 * SIDE_PIXELS)).save(file, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _number(value: float) -> str:
    return f"{value:.3f}" if value >= 0.01 or value == 0 else f"{value:.1e}"


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.1f}%"
