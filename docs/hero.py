"""Draw docs/hero.svg: a frame of a filmed room beside the map the model drew and the true map.

`python docs/hero.py RUN` takes the run folder of a quickstart; the picture is the held-out clip whose drawn
map after training is the median one by the share of things in the right place, drawn and true, so that it
shows neither luck nor misfortune.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path

from tolman.bench.maps import map_figures
from tolman.cogmap import CognitiveMap, draw_map, extract_map_text, parse_map
from tolman.data.scene_io import read_scenes
from tolman.render.film import film
from tolman.report.png import data_uri, png_bytes

SIDE, GAP, TOP = 300, 24, 34


def drawn_maps(run: Path) -> list[tuple[float, str, CognitiveMap, CognitiveMap]]:
    """(share in the right place, scene, drawn, truth) of one prediction per held-out clip whose map can be
    read, worst first."""
    found: dict[str, tuple[float, str, CognitiveMap, CognitiveMap]] = {}
    for line in (run / "predictions_after.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        text = extract_map_text(row["raw"] or "").text
        drawn = parse_map(text).map if text else None
        if drawn is None or row["scene"] in found:
            continue
        truth = CognitiveMap.of(row["cognitive_map"])
        figures = map_figures([row], [row["scene"]])
        if figures is not None:
            right = 2 * truth.size * figures.placed / (drawn.size + truth.size)
            found[row["scene"]] = (right, row["scene"], drawn, truth)
    return sorted(found.values(), key=lambda entry: entry[:2])


def main(run: Path) -> None:
    """Write the picture."""
    maps = drawn_maps(run)
    _, scene_id, drawn, truth = maps[len(maps) // 2]
    scene = next(one for one in read_scenes(run / "rooms" / "held-out") if one.id == scene_id)
    shot = film(scene, int(scene.meta["seed"]), 4, (SIDE * 2, SIDE * 2), "survey", 2)
    widest = int((shot.sightings.pixels_TI > 60).sum(axis=1).argmax())
    frame = data_uri(png_bytes(shot.rgb_THWC[widest]))
    maps_svg = draw_map(drawn, truth, size=SIDE)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', maps_svg)
    assert size is not None
    wide, tall = (float(edge) for edge in size.groups())
    code = base64.b64encode(maps_svg.encode()).decode()
    parts = [
        f'<image y="{TOP}" width="{SIDE}" height="{SIDE}" href="{frame}"/>',
        f'<image x="{SIDE + GAP}" width="{wide}" height="{tall}" href="data:image/svg+xml;base64,{code}"/>',
    ]
    whole = f'viewBox="0 0 {SIDE + GAP + wide:g} {max(tall, SIDE + TOP):g}"'
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" {whole}>{"".join(parts)}</svg>\n'
    (Path(__file__).parent / "hero.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
