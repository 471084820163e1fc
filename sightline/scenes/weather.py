# SPDX-License-Identifier: Apache-2.0
"""What lies between the street and the picture: glow of lamps, rain, exposure and sensor noise."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.scenes.canvas import Canvas, Lamp
from sightline.scenes.street import Street

_HALO_STEP = 4


class Weather:
    """Noise and rain banks of one scene, sized to its frame."""

    def __init__(self, street: Street) -> None:
        rng = np.random.default_rng([street.seed, 53])
        self._street = street
        shape = (street.height + 64, street.width + 64, 3)
        sigma = float(rng.uniform(3.0, 8.0)) if street.night else float(rng.uniform(0.8, 4.0))
        small = street.width / 1280.0
        sigma *= 0.45 + 0.55 * min(small, 1.0)
        grain = np.random.default_rng([street.seed, 59]).standard_normal(shape, np.float32)
        self._noise = cv2.convertScaleAbs(grain, alpha=sigma, beta=128.0)
        self._gain, self._offset = float(rng.uniform(0.9, 1.1)), float(rng.uniform(-6, 6))
        self._beat = float(rng.uniform(0.1, 0.5))
        self._rain = [self._streaks(rng, layer) for layer in range(2)] if street.rain else []

    def _streaks(self, rng: np.random.Generator, layer: int) -> np.ndarray:
        """A tall strip of falling drops that repeats every frame height."""
        w, h = self._street.width, self._street.height
        strip = np.zeros((h, w, 3), np.uint8)
        slant = float(rng.uniform(-0.12, 0.12))
        length = h * (0.035, 0.075)[layer]
        for x, y, k in rng.uniform(0, 1, (int(260 / (layer + 1)), 3)) * (w, h, 1):
            tone = int((26 if self._street.night else 34) * (0.5 + 0.5 * k))
            end = (round(float(x + slant * length) * 8), round(float(y + length * (0.6 + 0.4 * k)) * 8))
            cv2.line(
                strip,
                (round(float(x) * 8), round(float(y) * 8)),
                end,
                (tone,) * 3,
                max(round(w / 900 * (1 + layer)), 1),
                cv2.LINE_AA,
                3,
            )
        return np.concatenate([strip, strip])

    def glow(self, canvas: Canvas) -> None:
        """Lamp cores, halos, and their streaks on wet roads."""
        image, owners = canvas.image, canvas.owners
        halo = np.zeros((-(-image.shape[0] // _HALO_STEP), -(-image.shape[1] // _HALO_STEP), 3), np.uint8)
        unit = image.shape[1] / 1280.0
        for lamp in canvas.lamps:
            col, row = int(lamp.x / canvas.owner_step), int(lamp.y / canvas.owner_step)
            inside = 0 <= row < owners.shape[0] and 0 <= col < owners.shape[1]
            if not inside or owners[row, col] != lamp.owner:
                continue
            at, radius = (round(lamp.x * 8), round(lamp.y * 8)), max(round(lamp.radius * 8), 6)
            cv2.circle(image, at, radius, lamp.colour, -1, cv2.LINE_AA, 3)
            self._spread(halo, lamp, unit)
        halo = cv2.GaussianBlur(halo, (0, 0), max(6 * unit / _HALO_STEP * 2, 0.8))
        cv2.add(image, cv2.resize(halo, (image.shape[1], image.shape[0])), image)

    def _spread(self, halo: np.ndarray, lamp: Lamp, unit: float) -> None:
        """A lamp's light in the coarse halo picture."""
        x, radius = round(lamp.x / _HALO_STEP), max(round((lamp.radius * 2.6 + 5 * unit) / _HALO_STEP), 1)
        soft = [c * 0.34 * lamp.strength for c in lamp.colour]
        cv2.circle(halo, (x, round(lamp.y / _HALO_STEP)), radius, soft, -1, cv2.LINE_AA)
        drop = lamp.ground_y - lamp.y
        if self._street.rain and drop > 0:
            foot = (x, round((lamp.ground_y + drop) / _HALO_STEP))
            size = (max(round(lamp.radius * 1.1 / _HALO_STEP), 1), max(round(drop * 0.9 / _HALO_STEP), 1))
            streak = [c * 0.3 * lamp.strength for c in lamp.colour]
            cv2.ellipse(halo, foot, size, 0, 0, 360, streak, -1, cv2.LINE_AA)

    def finish(self, image: np.ndarray, t: float) -> np.ndarray:
        """Rain, exposure and noise; deterministic in t."""
        tick = round(t * 1000.0) * 7919 + self._street.seed
        height, width = image.shape[:2]
        for layer, strip in enumerate(self._rain):
            shift = int(t * (2.3 + layer) * height + tick % 97) % height
            cv2.add(image, strip[height - shift : 2 * height - shift], image)
        dy, dx = tick % 61, (tick // 61) % 63
        gain = self._gain * (1.0 + 0.02 * float(np.sin(self._beat * t * 6.28)))
        noise = self._noise[dy : dy + height, dx : dx + width]
        return cv2.addWeighted(image, gain, noise, 1.0, self._offset - 128.0)
