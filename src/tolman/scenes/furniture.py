"""What can stand in a procedural room: sizes in metres, where it goes, how many.

Orientation, relied on by the generator and the renderer: an item's own x is its width, its own y its depth
and its own z is up; the rows of `box.axes` are these three directions in the room. The FRONT of an item (the
side one sits down on, opens or looks at) faces its own -y, so `-box.axes[1]`; its back stands to the wall.

A box is drawn full where something stands on it: every category named in some item's `supports` has a flat
top.

Names are those of VSI-Bench's scan metadata. Size ranges start from the 15th to 85th percentile of the
boxes of that category there and are widened, so that a size cannot be told from the category alone. Where
scans annotate only a part, the range is that of the whole object (a scanned counter is a slab and a stove a
cooktop; here both stand on the floor); a category with fewer than five scanned boxes has a range of
ordinary household sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]

ROOM_KINDS = ("bedroom", "living", "kitchen", "bathroom", "office", "hall")
PLACES = ("floor", "wall", "hung", "top", "ceiling")


@dataclass(frozen=True)
class Furniture:
    """One category. Lengths in metres, each range is (least, most), drawn uniformly."""

    category: str
    width: Range
    """Along the item's own x."""
    depth: Range
    """Along the item's own y, front (-y) to back."""
    height: Range
    """Along z."""
    places: tuple[str, ...]
    """Any of PLACES; one is drawn per item. floor: free-standing; wall: on the floor with its back to a
    wall; hung: on a wall, its underside at `elevation`; top: on one of `supports`; ceiling: hanging from
    the ceiling."""
    rooms: tuple[str, ...]
    """Kinds of room where it is at home (ROOM_KINDS); it may turn up elsewhere, less often."""
    most: int = 1
    """Most items of the category in one room."""
    big: bool = False
    """Whether it is a large piece that is easily seen from anywhere in the room."""
    supports: tuple[str, ...] = ()
    """Categories it can stand on."""
    gathers: tuple[str, ...] = ()
    """Categories it is drawn up to, facing them (a chair to a table)."""
    elevation: Range = (0.0, 0.0)
    """Underside over the floor, for hung items."""
    clear: float = 0.0
    """Free floor kept before its front."""
    kin: str = ""
    """At most one category of a kin per room: two names of one thing would make questions ambiguous."""


_HOME = ("bedroom", "living", "office", "hall")
_WET = ("kitchen", "bathroom")
_ANY = ROOM_KINDS
_TABLES = ("table", "nightstand", "counter")

# fmt: off
_BIG = (
    Furniture("table", (0.6, 2.0), (0.5, 1.1), (0.4, 0.85), ("floor", "wall"), _ANY, 4, True),
    Furniture("chair", (0.4, 0.65), (0.4, 0.65), (0.72, 1.05), ("floor", "wall"), (*_HOME, "kitchen"), 8,
              True, gathers=("table",)),
    Furniture("sofa", (1.0, 2.5), (0.75, 1.1), (0.65, 0.95), ("wall", "floor"), ("living", "office"), 3,
              True),
    Furniture("bed", (0.9, 1.9), (1.9, 2.2), (0.4, 0.7), ("wall",), ("bedroom",), 3, True),
    Furniture("refrigerator", (0.5, 0.95), (0.5, 0.75), (0.85, 1.95), ("wall",), ("kitchen",), 2, True,
              clear=0.4),
    Furniture("bookshelf", (0.6, 1.6), (0.28, 0.45), (0.9, 2.15), ("wall",), _HOME, 4, True, clear=0.3),
    Furniture("closet", (0.7, 2.2), (0.4, 0.65), (1.6, 2.2), ("wall",), ("bedroom", "hall"), 2, True,
              clear=0.4),
    Furniture("bathtub", (1.4, 1.8), (0.65, 0.85), (0.48, 0.65), ("wall",), ("bathroom",), 1, True,
              clear=0.3),
    Furniture("toilet", (0.36, 0.48), (0.55, 0.75), (0.65, 0.85), ("wall",), ("bathroom",), 2, True,
              clear=0.4),
    Furniture("stove", (0.5, 0.95), (0.5, 0.65), (0.82, 0.98), ("wall",), ("kitchen",), 2, True, clear=0.4),
    Furniture("washer", (0.45, 0.7), (0.45, 0.68), (0.8, 1.0), ("wall",), ("bathroom", "hall"), 3, True,
              clear=0.3, kin="washer"),
    Furniture("dishwasher", (0.45, 0.66), (0.55, 0.65), (0.8, 0.92), ("wall",), ("kitchen",), 1, True,
              clear=0.4),
    Furniture("oven", (0.55, 0.9), (0.5, 0.65), (0.6, 1.2), ("wall",), ("kitchen",), 1, True, clear=0.4),
    Furniture("fireplace", (1.1, 1.9), (0.3, 0.75), (0.95, 1.45), ("wall",), ("living",), 1, True, clear=0.4),
    Furniture("counter", (1.0, 3.0), (0.55, 0.75), (0.82, 1.05), ("wall", "floor"), ("kitchen", "office"), 3,
              True),
    Furniture("piano", (1.3, 1.6), (0.5, 0.75), (0.95, 1.3), ("wall",), ("living",), 1, True, clear=0.3),
    Furniture("nightstand", (0.35, 0.75), (0.35, 0.55), (0.4, 0.75), ("wall",), ("bedroom",), 4, True),
    Furniture("door", (0.7, 1.2), (0.05, 0.12), (1.9, 2.2), ("hung",), _ANY, 4, True, clear=0.5),
    Furniture("window", (0.6, 2.2), (0.05, 0.2), (0.6, 1.5), ("hung",), _ANY, 5, True, elevation=(0.6, 1.1)),
    Furniture("whiteboard", (0.9, 2.5), (0.03, 0.1), (0.8, 1.4), ("hung",), ("office",), 2, True,
              elevation=(0.7, 1.0)),
)

_STANDING = (
    Furniture("stool", (0.3, 0.6), (0.3, 0.5), (0.33, 0.75), ("floor", "wall"), _ANY, 6, gathers=("counter",
              "table")),
    Furniture("trash bin", (0.24, 0.5), (0.22, 0.4), (0.28, 0.8), ("floor", "wall"), _ANY, 4, kin="bin"),
    Furniture("trash can", (0.24, 0.42), (0.24, 0.38), (0.28, 0.6), ("floor", "wall"), _ANY, 3, kin="bin"),
    Furniture("plant", (0.2, 0.65), (0.2, 0.65), (0.25, 1.6), ("floor", "wall", "top"), _HOME, 5,
              supports=("table", "nightstand", "counter")),
    Furniture("radiator", (0.6, 1.8), (0.08, 0.2), (0.4, 0.8), ("hung",), _ANY, 3, elevation=(0.08, 0.2),
              kin="heat"),
    Furniture("heater", (0.6, 1.7), (0.08, 0.24), (0.4, 0.7), ("hung",), _ANY, 3, elevation=(0.08, 0.2),
              kin="heat"),
    Furniture("washing machine", (0.5, 0.8), (0.5, 0.66), (0.8, 0.95), ("wall",), ("bathroom",), 2, clear=0.3,
              kin="washer"),
    Furniture("computer tower", (0.18, 0.26), (0.4, 0.55), (0.36, 0.5), ("floor", "wall"), ("office",), 4),
    Furniture("suitcase", (0.4, 0.7), (0.2, 0.45), (0.3, 0.75), ("floor", "wall"), ("bedroom", "hall"), 3),
    Furniture("backpack", (0.25, 0.5), (0.2, 0.4), (0.3, 0.55), ("floor", "wall"), _HOME, 4),
    Furniture("basket", (0.3, 0.5), (0.25, 0.4), (0.2, 0.5), ("floor", "wall"), _ANY, 3),
    Furniture("bucket", (0.22, 0.34), (0.22, 0.34), (0.22, 0.4), ("floor",), (*_WET, "hall"), 3),
    Furniture("crate", (0.33, 0.5), (0.25, 0.4), (0.2, 0.4), ("floor", "wall"), ("kitchen", "hall"), 4),
    Furniture("shoe rack", (0.6, 1.0), (0.25, 0.38), (0.4, 0.9), ("wall",), ("hall", "bedroom"), 1),
    Furniture("coat hanger", (0.35, 0.55), (0.35, 0.55), (1.5, 1.85), ("floor", "wall"), ("hall", "office"),
              2),
    Furniture("fan", (0.3, 0.5), (0.25, 0.4), (0.7, 1.25), ("floor",), _HOME, 2),
    Furniture("guitar", (0.35, 0.45), (0.12, 0.2), (0.9, 1.1), ("wall",), ("bedroom", "living"), 2),
    Furniture("power strip", (0.2, 0.38), (0.05, 0.08), (0.04, 0.08), ("floor", "wall"), ("office",), 3),
    Furniture("shoes", (0.24, 0.34), (0.18, 0.3), (0.09, 0.25), ("floor", "wall"), ("hall", "bedroom"), 4),
)

_SMALL = (
    Furniture("tv", (0.6, 1.5), (0.04, 0.12), (0.4, 0.9), ("hung", "top"), ("living", "bedroom", "office"), 2,
              supports=("table", "counter"), elevation=(0.7, 1.2)),
    Furniture("monitor", (0.45, 0.75), (0.1, 0.25), (0.36, 0.56), ("top",), ("office",), 6,
              supports=("table",)),
    Furniture("keyboard", (0.38, 0.5), (0.12, 0.22), (0.02, 0.05), ("top",), ("office",), 4,
              supports=("table",)),
    Furniture("computer mouse", (0.06, 0.08), (0.09, 0.13), (0.03, 0.045), ("top",), ("office",), 3,
              supports=("table",)),
    Furniture("laptop", (0.3, 0.42), (0.22, 0.32), (0.03, 0.26), ("top",), ("office", "living", "bedroom"), 3,
              supports=("table", "bed", "counter")),
    Furniture("printer", (0.38, 0.65), (0.32, 0.55), (0.2, 0.55), ("top", "wall"), ("office",), 2,
              supports=("table", "counter")),
    Furniture("telephone", (0.16, 0.3), (0.12, 0.26), (0.06, 0.22), ("top",), ("office", "hall", "living"), 2,
              supports=_TABLES),
    Furniture("lamp", (0.2, 0.45), (0.2, 0.45), (0.3, 0.8), ("top", "floor"), _HOME, 4, supports=_TABLES,
              kin="lamp"),
    Furniture("table lamp", (0.15, 0.4), (0.15, 0.35), (0.3, 0.65), ("top",), _HOME, 3, supports=_TABLES,
              kin="lamp"),
    Furniture("microwave", (0.42, 0.6), (0.3, 0.45), (0.25, 0.4), ("top",), ("kitchen",), 2,
              supports=("counter", "table", "refrigerator")),
    Furniture("kettle", (0.16, 0.24), (0.13, 0.2), (0.18, 0.28), ("top",), ("kitchen", "office"), 2,
              supports=("counter", "table", "stove")),
    Furniture("pan", (0.3, 0.48), (0.24, 0.32), (0.06, 0.14), ("top",), ("kitchen",), 3, supports=("stove",
              "counter", "table")),
    Furniture("cutting board", (0.3, 0.5), (0.2, 0.35), (0.02, 0.05), ("top",), ("kitchen",), 2,
              supports=("counter", "table")),
    Furniture("bowl", (0.13, 0.26), (0.13, 0.26), (0.05, 0.1), ("top",), ("kitchen", "living"), 4,
              supports=("table", "counter")),
    Furniture("cup", (0.08, 0.13), (0.07, 0.1), (0.08, 0.14), ("top",), (*_HOME, "kitchen"), 5,
              supports=_TABLES),
    Furniture("pillow", (0.4, 0.75), (0.25, 0.48), (0.1, 0.25), ("top",), ("bedroom",), 4, supports=("bed",),
              kin="pillow"),
    Furniture("cushion", (0.35, 0.5), (0.3, 0.45), (0.1, 0.18), ("top", "floor"), ("living", "bedroom"), 4,
              supports=("bed",), kin="pillow"),
    Furniture("blanket", (0.5, 1.3), (0.4, 1.0), (0.1, 0.3), ("top",), ("bedroom",), 2, supports=("bed",)),
    Furniture("headphones", (0.17, 0.28), (0.1, 0.2), (0.07, 0.2), ("top",), ("office", "bedroom"), 2,
              supports=("table", "nightstand")),
    Furniture("paper bag", (0.18, 0.35), (0.12, 0.2), (0.25, 0.42), ("floor", "top"), ("kitchen", "hall"), 3,
              supports=("table", "counter")),
    Furniture("clock", (0.22, 0.45), (0.03, 0.08), (0.22, 0.45), ("hung",), _ANY, 2, elevation=(1.5, 2.0)),
    Furniture("mirror", (0.4, 1.3), (0.02, 0.1), (0.4, 1.2), ("hung",), ("bathroom", "bedroom", "hall"), 3,
              elevation=(0.7, 1.2)),
    Furniture("towel", (0.25, 0.55), (0.05, 0.14), (0.35, 0.85), ("hung",), ("bathroom",), 5, elevation=(0.7,
              1.2)),
    Furniture("exhaust fan", (0.2, 0.5), (0.05, 0.3), (0.15, 0.35), ("hung",), _WET, 1, elevation=(1.85,
              2.0)),
    Furniture("ceiling light", (0.3, 1.4), (0.2, 0.6), (0.08, 0.25), ("ceiling",), _ANY, 6),
)

# fmt: on

CATALOGUE: dict[str, Furniture] = {item.category: item for item in _BIG + _STANDING + _SMALL}
"""Category name → its furniture, in a fixed order (the generator's draws depend on it)."""

STARTERS = (
    "table", "chair", "sofa", "bed", "refrigerator", "bookshelf", "bathtub", "toilet", "stove", "washer",
)  # fmt: skip
"""The ten large categories of difficulty 0."""
