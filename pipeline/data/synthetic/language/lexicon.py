"""The words of captions. Every entry lists paraphrases, the usual one first; no phrase has two
meanings."""

Paraphrases = dict[str, tuple[str, ...]]  # phrases by meaning
SHAPES: Paraphrases = {
    "circle": ("circle", "disc"),
    "square": ("square", "block"),
    "triangle": ("triangle", "wedge"),
    "diamond": ("diamond", "rhombus"),
    "star": ("star",),
    "heart": ("heart",),
    "cross": ("cross", "plus sign"),
    "ring": ("ring", "hoop"),
    "moon": ("moon", "crescent"),
    "flower": ("flower", "blossom"),
}
COLORS: Paraphrases = {
    "red": ("red", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "white": ("white", "ivory"),
    "black": ("black", "inky"),
}
TEXTURES: Paraphrases = {
    "plain": ("plain", "smooth"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "checked": ("checked", "chequered"),
}
TEXTURE_ENDINGS = {"striped": "with stripes", "dotted": "with dots", "checked": "with checks"}
SIZES: Paraphrases = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "middling"),
    "large": ("large", "big", "huge"),
}
THINGS = ("shape", "object", "toy")  # when the shape is not mentioned

# A preposition and a place, which alone names the background.
BACKGROUNDS = {
    "meadow": (("on", "the meadow"), ("on", "green grass"), ("in", "a grassy field")),
    "beach": (("on", "the beach"), ("at", "the seaside"), ("on", "a sandy shore")),
    "desert": (("in", "the desert"), ("among", "the dunes"), ("on", "hot sand")),
    "snow": (("in", "the snow"), ("in", "a snowy field"), ("in", "a winter landscape")),
    "night": (("in", "the night sky"), ("under", "the stars of night"), ("in", "the dark sky")),
    "bricks": (("on", "a brick wall"), ("against", "the bricks"), ("in front of", "the old wall")),
    "sea": (("on", "the sea"), ("in", "the water"), ("among", "the waves")),
    "wood": (("on", "a wooden floor"), ("on", "the planks"), ("on", "a wooden table")),
    "sunset": (("at", "sunset"), ("in", "the evening sky"), ("under", "a glowing sky")),
    "mountains": (
        ("in", "the mountains"),
        ("before", "snowy peaks"),
        ("near", "the mountain range"),
    ),
}

# Relations of two things; `next to` leaves the side open.
RELATIONS: Paraphrases = {
    "left": ("to the left of", "on the left of", "left of"),
    "right": ("to the right of", "on the right of", "right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "lower than"),
    "inside": ("inside", "within"),
    "around": ("around", "surrounding"),
    "front": ("in front of", "partly covering"),
    "behind": ("behind", "half hidden by"),
}
NEXT_TO = ("next to", "beside")

# Positions of a thing in the image.
POSITIONS: Paraphrases = {
    "left": ("on the left", "at the left side"),
    "right": ("on the right", "at the right side"),
    "top": ("at the top", "high up"),
    "bottom": ("at the bottom", "low down"),
    "middle": ("in the middle", "at the centre"),
    "top left": ("at the top left", "in the upper left corner"),
    "top right": ("at the top right", "in the upper right corner"),
    "bottom left": ("at the bottom left", "in the lower left corner"),
    "bottom right": ("at the bottom right", "in the lower right corner"),
}
NUMBERS = {1: ("only one", "a single"), 2: ("two", "a pair of"), 3: ("three",), 4: ("four",)}
