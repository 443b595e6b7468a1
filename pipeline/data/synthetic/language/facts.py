"""Common knowledge about shapes, colors, textures and backgrounds, for the encyclopedia and the
books."""

from pipeline.data.synthetic.world import World

Sentences = dict[str, tuple[str, ...]]  # by subject
SHAPES: Sentences = {
    "circle": (
        "A circle is perfectly round and has no corners.",
        "Every point of its edge is equally far from the centre.",
        "Wheels, coins and plates are circles, and so is the sun at noon.",
    ),
    "square": (
        "A square has four equal sides and four right angles.",
        "Tiles, chess boards and windows are often squares.",
        "Turned by an eighth, a square stands on one corner.",
    ),
    "triangle": (
        "A triangle has three sides and three corners.",
        "It stands firmly on its base and points upwards.",
        "Roofs, tents and sails are triangles.",
    ),
    "diamond": (
        "A diamond has four sides and stands on a sharp corner.",
        "It is taller than it is wide.",
        "Kites and playing cards show diamonds.",
    ),
    "star": (
        "A star has five points and five notches.",
        "Sailors used to steer by a star.",
        "Stars are hung on trees in winter and painted on flags.",
    ),
    "heart": (
        "A heart has two round lobes above and a tip below.",
        "It stands for love and friendship.",
        "Bakers make a heart of gingerbread at every fair.",
    ),
    "cross": (
        "A cross has four arms of the same length.",
        "The sign for adding numbers is a cross.",
        "Nurses and crossroads are marked with a cross.",
    ),
    "ring": (
        "A ring is a circle with a round hole in it.",
        "What lies behind a ring can be seen through the hole.",
        "Swimmers hold on to a ring, and jewellers wear one on a finger.",
    ),
    "moon": (
        "A moon is a thin crescent that is open to the right.",
        "It has two sharp horns.",
        "In the night sky the moon grows for two weeks and then wanes.",
    ),
    "flower": (
        "A flower has five round petals.",
        "Bees visit every flower from spring to autumn.",
        "A flower wilts without water.",
    ),
}
COLORS: Sentences = {
    "red": (
        "Red is the colour of ripe tomatoes, cherries and fire engines.",
        "A deep red is called scarlet.",
        "Drivers stop when the light is red.",
    ),
    "orange": (
        "Orange lies between red and yellow.",
        "Pumpkins, carrots and foxes are orange, and a tangerine gave its name to a shade of it.",
    ),
    "yellow": (
        "Yellow is the colour of lemons, canaries and butter.",
        "Cornfields turn golden yellow in August.",
    ),
    "green": ("Green is the colour of leaves, frogs and limes.", "An emerald is a green stone."),
    "blue": (
        "Blue is the colour of cornflowers and of a clear sky.",
        "Painters call a bright blue azure.",
    ),
    "purple": (
        "Purple is made of red and blue.",
        "Plums and aubergines are purple, and a violet is a purple blossom.",
    ),
    "pink": ("Pink is red with much white.", "Flamingos, piglets and rosy cheeks are pink."),
    "white": (
        "White is the colour of milk, chalk and swans.",
        "Piano keys used to be made of ivory, which is nearly white.",
    ),
    "black": (
        "Black is the colour of coal, ravens and inky water.",
        "Nothing is darker than black.",
        "A black thing is hard to find in the dark.",
    ),
}
TEXTURES: Sentences = {
    "plain": (
        "A plain thing has one colour all over.",
        "It is also called smooth.",
        "Plain cloth is cheap to weave.",
    ),
    "striped": (
        "A striped thing has bands of two tones.",
        "Zebras, bees and deck chairs are striped.",
        "Stripes lie across the thing.",
    ),
    "dotted": (
        "A dotted thing is covered with dots.",
        "Ladybirds, dice and leopards are spotted.",
        "Dots are round and lie in rows.",
    ),
    "checked": (
        "A checked thing is divided into little squares of two tones.",
        "Chess boards and tablecloths are chequered.",
        "Checks are as wide as they are high.",
    ),
}
BACKGROUNDS: Sentences = {
    "meadow": (
        "A meadow is a grassy field under a pale sky.",
        "Sheep graze on the green grass.",
        "After rain the meadow smells of clover and thyme.",
    ),
    "beach": (
        "A beach is a sandy shore beside shallow water.",
        "Children dig holes and build castles at the seaside.",
        "The tide leaves shells, driftwood and foam on the beach.",
    ),
    "desert": (
        "A desert is a dry land of dunes.",
        "The wind moves the dunes slowly from west to east.",
        "Camels cross the desert at night because the hot sand burns their feet.",
    ),
    "snow": (
        "Snow covers the fields from December to March.",
        "A snowy field is nearly white and very quiet.",
        "Hares and owls change their coat in a winter landscape.",
    ),
    "night": (
        "At night the dark sky is full of tiny lights.",
        "Astronomers work while everybody else is asleep.",
        "The night is longest in December.",
    ),
    "bricks": (
        "A brick wall is built of baked clay and pale mortar.",
        "Each row of bricks is shifted by half a brick.",
        "Ivy, posters and cats are found on the old wall.",
    ),
    "sea": (
        "The sea is salty and deep blue.",
        "Bright waves run over the water in rows.",
        "Fishermen know the sea by its smell.",
    ),
    "wood": (
        "A wooden floor is made of long planks.",
        "The rings of the tree show as wavy lines in the planks.",
        "A wooden table should be oiled once a year.",
    ),
    "sunset": (
        "At sunset the sky glows in purple, rose and gold.",
        "The hills below the evening sky are dark.",
        "A glowing sky often promises fair weather.",
    ),
    "mountains": (
        "The mountains are grey, steep and topped with snow.",
        "Eagles nest near the mountain range.",
        "Snowy peaks can be seen from a distance of two days on foot.",
    ),
}


def about(world: World) -> dict[str, Sentences]:
    """The sentences about what the world consists of, by kind of subject."""
    return {
        "shape": {name: SHAPES[name] for name in world.shapes},
        "colour": {name: COLORS[name] for name in world.colors},
        "texture": {name: TEXTURES[name] for name in world.textures},
        "place": {name: BACKGROUNDS[name] for name in world.backgrounds},
    }
