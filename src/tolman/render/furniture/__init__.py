"""Furniture by category: `build` draws one item into its kit."""

from __future__ import annotations

from collections.abc import Callable

from tolman.render.furniture import devices, fittings, kitchen_bath, seats, storage, things
from tolman.render.parts import Kit

__all__ = ["MODELS", "SYNONYMS", "build", "canonical"]

MODELS: dict[str, Callable[[Kit], None]] = {
    "chair": seats.chair,
    "armchair": seats.sofa,
    "stool": seats.stool,
    "bench": seats.bench,
    "sofa": seats.sofa,
    "bed": seats.bed,
    "mattress": seats.mattress,
    "cushion": seats.cushion,
    "pillow": seats.pillow,
    "blanket": seats.blanket,
    "table": storage.table,
    "desk": storage.desk,
    "cabinet": storage.cabinet,
    "closet": storage.wardrobe,
    "dresser": storage.dresser,
    "nightstand": storage.nightstand,
    "tv stand": storage.tv_stand,
    "bookshelf": storage.bookshelf,
    "shoe rack": storage.shoe_rack,
    "counter": storage.counter,
    "coat hanger": storage.coat_hanger,
    "refrigerator": kitchen_bath.refrigerator,
    "stove": kitchen_bath.stove,
    "oven": kitchen_bath.oven,
    "microwave": kitchen_bath.microwave,
    "dishwasher": kitchen_bath.dishwasher,
    "washer": kitchen_bath.washer,
    "sink": kitchen_bath.sink,
    "toilet": kitchen_bath.toilet,
    "bathtub": kitchen_bath.bathtub,
    "towel": kitchen_bath.towel,
    "cup": kitchen_bath.cup,
    "bowl": kitchen_bath.bowl,
    "pan": kitchen_bath.pan,
    "kettle": kitchen_bath.kettle,
    "cutting board": kitchen_bath.cutting_board,
    "tv": devices.tv,
    "monitor": devices.monitor,
    "laptop": devices.laptop,
    "keyboard": devices.keyboard,
    "computer mouse": devices.computer_mouse,
    "computer tower": devices.computer_tower,
    "printer": devices.printer,
    "telephone": devices.telephone,
    "headphones": devices.headphones,
    "power strip": devices.power_strip,
    "lamp": devices.lamp,
    "table lamp": devices.lamp,
    "ceiling light": devices.ceiling_light,
    "fan": devices.fan,
    "exhaust fan": devices.exhaust_fan,
    "door": fittings.door,
    "window": fittings.window,
    "mirror": fittings.mirror,
    "whiteboard": fittings.whiteboard,
    "picture": fittings.picture,
    "clock": fittings.clock,
    "radiator": fittings.radiator,
    "fireplace": fittings.fireplace,
    "curtain": fittings.curtain,
    "rug": fittings.rug,
    "plant": things.plant,
    "trash bin": things.trash_bin,
    "bucket": things.bucket,
    "basket": things.basket,
    "crate": things.crate,
    "box": things.carton,
    "paper bag": things.paper_bag,
    "backpack": things.backpack,
    "suitcase": things.suitcase,
    "shoes": things.shoes,
    "bottle": things.bottle,
    "piano": things.piano,
    "guitar": things.guitar,
}
"""What each category looks like."""

SYNONYMS = {
    "couch": "sofa",
    "trash can": "trash bin",
    "heater": "radiator",
    "washing machine": "washer",
    "wardrobe": "closet",
    "shelf": "bookshelf",
    "fridge": "refrigerator",
    "floor lamp": "lamp",
    "tv monitor": "tv",
    "television": "tv",
    "potted plant": "plant",
    "bathroom sink": "sink",
    "kitchen counter": "counter",
    "coffee table": "table",
    "dining table": "table",
    "office chair": "chair",
    "bin": "trash bin",
    "carpet": "rug",
    "painting": "picture",
}
"""Categories drawn as another one; their boxes, ids and names stay their own."""

_GENERIC = {
    "banded": things.banded,
    "panelled": things.panelled,
    "capped": things.capped,
    "round": things.rounded,
}


def canonical(category: str) -> str:
    """The category whose model and colours `category` gets: a synonym's, or its own."""
    return SYNONYMS.get(category, category)


def build(category: str, kit: Kit) -> None:
    """Draw an item of any category: its model, or a plain one that the category's name always gets."""
    model = MODELS.get(canonical(category))
    (model or _GENERIC[things.generic(category)])(kit)
