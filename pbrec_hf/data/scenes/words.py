"""The vocabulary of the generator: what people call things and places in referring expressions.

Nouns of COCO's 80 categories with the synonyms, hypernyms and short forms that occur in human expressions, and phrase
patterns for position, size, distance, clothing and relations. Repeated entries are likelier. `{n}` stands for the
noun phrase, `{m}` for the other object of a relation, `{c}` and `{d}` for colours.

COCO annotates neither gender nor age: `man`, `lady` and `kid` are names of the category person here.
"""

NOUNS: dict[str, tuple[str, ...]] = {
    "person": (
        *("man",) * 7, *("person",) * 5, *("guy",) * 5, *("woman",) * 5, *("girl",) * 3, *("lady",) * 2,
        *("boy",) * 2, "player", "dude", "kid", "child", "adult", "someone", "young man", "old man", "male", "human",
    ),
    "bicycle": ("bicycle", "bike", "bike", "cycle"),
    "car": ("car", "car", "car", "suv", "sedan", "vehicle"),
    "motorcycle": ("motorcycle", "motorcycle", "motorbike", "bike", "motor cycle"),
    "airplane": ("airplane", "plane", "plane", "jet", "aircraft"),
    "bus": ("bus", "bus", "bus", "vehicle"),
    "train": ("train", "train", "train car", "engine"),
    "truck": ("truck", "truck", "truck", "van", "vehicle"),
    "boat": ("boat", "boat", "ship", "sailboat"),
    "traffic light": ("traffic light", "stoplight", "light", "signal"),
    "fire hydrant": ("fire hydrant", "hydrant"),
    "stop sign": ("stop sign", "sign"),
    "parking meter": ("parking meter", "meter"),
    "bench": ("bench", "bench", "seat"),
    "bird": ("bird", "bird", "animal"),
    "cat": ("cat", "cat", "cat", "kitty", "kitten", "animal"),
    "dog": ("dog", "dog", "dog", "puppy", "animal"),
    "horse": ("horse", "horse", "horse", "animal"),
    "sheep": ("sheep", "sheep", "lamb", "goat", "animal"),
    "cow": ("cow", "cow", "bull", "calf", "animal"),
    "elephant": ("elephant", "elephant", "elephant", "animal"),
    "bear": ("bear", "bear", "animal"),
    "zebra": ("zebra", "zebra", "zebra", "animal"),
    "giraffe": ("giraffe", "giraffe", "giraffe", "giraff", "animal"),
    "backpack": ("backpack", "bag", "back pack"),
    "umbrella": ("umbrella",),
    "handbag": ("handbag", "bag", "purse"),
    "tie": ("tie", "necktie"),
    "suitcase": ("suitcase", "suitcase", "luggage", "bag"),
    "frisbee": ("frisbee", "disc"),
    "skis": ("skis", "ski"),
    "snowboard": ("snowboard", "board"),
    "sports ball": ("ball", "ball", "sports ball"),
    "kite": ("kite",),
    "baseball bat": ("bat", "baseball bat"),
    "baseball glove": ("glove", "baseball glove", "mitt"),
    "skateboard": ("skateboard", "board", "skate board"),
    "surfboard": ("surfboard", "board", "surf board"),
    "tennis racket": ("racket", "tennis racket", "racquet"),
    "bottle": ("bottle", "bottle", "wine bottle"),
    "wine glass": ("wine glass", "glass", "glass"),
    "cup": ("cup", "cup", "mug", "glass", "coffee cup"),
    "fork": ("fork",),
    "knife": ("knife",),
    "spoon": ("spoon",),
    "bowl": ("bowl", "bowl", "dish"),
    "banana": ("banana", "bananas", "fruit", "food"),
    "apple": ("apple", "apple", "fruit", "food"),
    "sandwich": ("sandwich", "sandwich", "sub", "burger", "food"),
    "orange": ("orange", "orange", "fruit", "food"),
    "broccoli": ("broccoli", "broc", "vegetable", "food"),
    "carrot": ("carrot", "carrots", "vegetable", "food"),
    "hot dog": ("hot dog", "hotdog", "food"),
    "pizza": ("pizza", "pizza", "slice", "slice of pizza", "food"),
    "donut": ("donut", "donut", "doughnut", "food"),
    "cake": ("cake", "cake", "piece of cake", "food"),
    "chair": ("chair", "chair", "chair", "seat"),
    "couch": ("couch", "couch", "sofa"),
    "potted plant": ("plant", "plant", "potted plant", "flowers"),
    "bed": ("bed", "bed", "bunk"),
    "dining table": ("table", "table", "desk", "dining table"),
    "toilet": ("toilet", "toilet", "urinal"),
    "tv": ("tv", "television", "monitor", "screen", "tv screen"),
    "laptop": ("laptop", "laptop", "computer", "lap top"),
    "mouse": ("mouse", "computer mouse"),
    "remote": ("remote", "remote", "controller", "remote control"),
    "keyboard": ("keyboard",),
    "cell phone": ("phone", "cell phone", "cellphone"),
    "microwave": ("microwave", "microwave oven"),
    "oven": ("oven", "stove"),
    "toaster": ("toaster",),
    "sink": ("sink", "basin"),
    "refrigerator": ("refrigerator", "fridge"),
    "book": ("book",),
    "clock": ("clock", "watch"),
    "vase": ("vase", "pot"),
    "scissors": ("scissors", "pair of scissors"),
    "teddy bear": ("teddy bear", "teddy", "bear", "stuffed animal", "stuffed bear"),
    "hair drier": ("hair dryer", "blow dryer"),
    "toothbrush": ("toothbrush", "tooth brush", "brush"),
}  # fmt: skip

# Each noun and the categories that it may name.
CATEGORIES_OF: dict[str, frozenset[str]] = {
    noun: frozenset(category for category, nouns in NOUNS.items() if noun in nouns)
    for nouns in NOUNS.values()
    for noun in nouns
}

# Categories that an annotator or a speaker may mix up: the name of one may mean an object of another.
CONFUSABLE: tuple[tuple[str, ...], ...] = (
    ("car", "truck", "bus"),
    ("couch", "chair", "bed", "bench"),
    ("cup", "wine glass", "vase", "bowl"),
    ("handbag", "backpack", "suitcase"),
    ("sandwich", "hot dog"),
    ("laptop", "tv"),
    ("skis", "snowboard"),
    ("cake", "donut"),
    ("bicycle", "motorcycle"),
)

# Hypernyms and loose words, which are safe only where every object of the picture is annotated.
LOOSE_NOUNS = frozenset(
    (
        "vehicle", "animal", "food", "fruit", "vegetable", "bag", "board", "seat", "light", "sign", "glass", "dish",
        "bike", "flowers", "pot", "watch", "brush",
    )
)  # fmt: skip

LEFT = (
    "left {n}", "left {n}", "left {n}", "{n} on left", "{n} on left", "{n} on the left", "{n} on the left", "{n} left",
    "{n} to the left", "{n} on left side", "{n} on the left side", "{n} at left", "left side {n}", "left hand {n}",
    "{n} on the left hand side", "{n} on the left side of the picture", "the left {n}",
)  # fmt: skip
FAR_LEFT = (
    "far left {n}", "{n} on far left", "{n} far left", "leftmost {n}", "left most {n}", "{n} on the far left",
    "very left {n}", "{n} furthest left", "{n} all the way to the left", "{n} farthest to the left",
    "extreme left {n}",
    "first {n} from left", "{n} at far left", "{n} most left", "first {n} on left", "{n} on the very left",
)  # fmt: skip
MIDDLE = (
    "middle {n}", "middle {n}", "{n} in middle", "{n} in the middle", "center {n}", "{n} in center",
    "{n} in the center", "{n} middle", "{n} in between", "central {n}",
)  # fmt: skip
TOP = (
    "top {n}", "{n} on top", "{n} at top", "upper {n}", "{n} at the top", "top most {n}", "topmost {n}", "highest {n}",
    "{n} up top",
)  # fmt: skip
BOTTOM = (
    "bottom {n}", "bottom {n}", "{n} on bottom", "{n} at bottom", "lower {n}", "{n} at the bottom", "bottom most {n}",
    "lowest {n}",
)  # fmt: skip
CORNER = (
    "{v} {h} {n}", "{n} {v} {h}", "{n} on {v} {h}", "{n} in the {v} {h} corner", "{n} in {v} {h} corner",
    "{v} {h} corner {n}",
    "{n} at the {v} {h}",
)  # fmt: skip
NTH = (
    "{o} {n} from {h}", "{o} {n} from the {h}", "{n} {o} from {h}", "{n} {o} from the {h}", "{o} from {h} {n}",
    "{o} {n} on {h}", "{o} {n} in from {h}", "{o} from the {h} {n}",
)  # fmt: skip
ORDINALS = {2: ("second", "second", "2nd"), 3: ("third", "third", "3rd"), 4: ("fourth", "4th")}
BIG = (
    "big {n}", "large {n}", "larger {n}", "bigger {n}", "biggest {n}", "largest {n}", "{n} that is biggest",
    "huge {n}",
    "the largest {n}",
)  # fmt: skip
SMALL = (
    "small {n}", "small {n}", "smaller {n}", "smallest {n}", "little {n}", "tiny {n}", "littlest {n}",
    "the smallest {n}",
)  # fmt: skip
TALL = ("tall {n}", "tallest {n}", "taller {n}")
SHORT = ("short {n}", "shortest {n}", "shorter {n}")
NEAR = (
    "closest {n}", "{n} in front", "{n} in front", "front {n}", "front {n}", "{n} closest to us",
    "{n} closest to camera",
    "{n} closest to the camera", "{n} closest", "nearest {n}", "{n} in the front", "{n} in foreground", "{n} near us",
    "{n} in the foreground", "{n} up front", "{n} close to us", "foreground {n}", "{n} closest to you",
    "{n} nearest to us",
)  # fmt: skip
FAR = (
    "back {n}", "back {n}", "{n} in back", "{n} in back", "{n} in the back", "{n} in background",
    "{n} in the background",
    "farthest {n}", "furthest {n}", "{n} furthest away", "{n} farthest away", "{n} furthest back", "background {n}",
    "{n} far away", "{n} way in back", "{n} furthest from camera", "far back {n}", "{n} in the distance", "rear {n}",
)  # fmt: skip

# Persons named for what they hold or ride.
ROLES: dict[str, frozenset[str]] = {
    "skier": frozenset(["skis"]),
    "snowboarder": frozenset(["snowboard"]),
    "surfer": frozenset(["surfboard"]),
    "skateboarder": frozenset(["skateboard"]),
    "skater": frozenset(["skateboard"]),
    "batter": frozenset(["baseball bat"]),
    "tennis player": frozenset(["tennis racket"]),
    "cyclist": frozenset(["bicycle"]),
    "biker": frozenset(["bicycle", "motorcycle"]),
    "rider": frozenset(["horse", "motorcycle", "bicycle", "elephant"]),
}
BEHIND = (
    "{n} behind {m}",
    "{n} behind {m}",
    "{n} in back of {m}",
    "{n} that is behind {m}",
    "{n} standing behind {m}",
)
BEFORE = ("{n} in front of {m}", "{n} in front of {m}", "{n} that is in front of {m}")
BESIDE = ("{n} next to {m}", "{n} next to {m}", "{n} beside {m}", "{n} by {m}", "{n} near {m}", "{n} closest to {m}")
LEFT_OF = ("{n} left of {m}", "{n} to the left of {m}", "{n} to left of {m}", "{n} on the left of {m}")
ABOVE = ("{n} above {m}", "{n} over {m}", "{n} higher than {m}")
BELOW = ("{n} below {m}", "{n} under {m}", "{n} underneath {m}", "{n} beneath {m}")
ON = ("{n} on {m}", "{n} on top of {m}", "{n} sitting on {m}", "{n} that is on {m}")
RIDING = ("{n} on {m}", "{n} riding {m}", "{n} on top of {m}", "{n} who is on {m}")
WITH = (
    "{n} with {m}", "{n} with {m}", "{n} with {m}", "{n} holding {m}", "{n} holding {m}", "{n} that has {m}",
    "{n} carrying {m}",
    "{n} who is holding {m}", "{n} having {m}", "{m} {n}",
)  # fmt: skip
THING_WITH = ("{n} with {m}", "{n} that has {m}", "{n} with {m} on it")
WITHOUT = (
    "{n} without {m}", "{n} with no {m}", "{n} not holding {m}", "{n} that does not have {m}", "{n} no {m}",
    "{n} not with {m}",
)  # fmt: skip
NEGATED = ("not the {p}", "{n} not {p}", "{n} that is not {p}")

COLORED = (
    "{c} {n}", "{c} {n}", "{c} {n}", "{n} that is {c}", "{c} colored {n}", "the {c} {n}", "{n} which is {c}",
    "{n} in {c}",
    "{c} color {n}",
)  # fmt: skip
TWO_COLORED = ("{c} and {d} {n}", "{n} that is {c} and {d}", "{c} {d} {n}", "{c} / {d} {n}")
CLOTHED = (
    "{n} in {c}", "{n} in {c}", "{n} in {c}", "{n} in {c} shirt", "{n} in {c} shirt", "{n} in a {c} shirt",
    "{n} wearing {c}", "{n} wearing a {c} shirt", "{n} with {c} shirt", "{n} with a {c} shirt", "{c} shirt {n}",
    "{n} {c} shirt", "{n} in {c} jacket", "{n} in {c} top", "{n} in the {c} shirt", "{n} with {c} jacket", "{c} {n}",
    "{n} in {c} coat", "{n} in {c} dress", "{n} wearing {c} shirt", "{n} in {c} sweater", "{n} in {c} t shirt",
)  # fmt: skip
TROUSERED = (
    "{n} in {c} pants", "{n} with {c} pants", "{n} wearing {c} pants", "{c} pants {n}", "{n} in {c} shorts",
    "{n} {c} pants", "{n} in {c} jeans", "{n} with {c} shorts",
)  # fmt: skip
DRESSED = (
    "{n} in {c} shirt and {d} pants", "{n} in a {c} shirt and {d} pants", "{n} with {c} shirt and {d} shorts",
    "{n} wearing a {c} shirt and {d} pants", "{n} in {c} and {d}", "{n} {c} shirt {d} pants",
)  # fmt: skip
CLOTHES_NOUNS = ("{c} shirt", "{c} shirt", "{c} jacket", "{c}", "the {c} shirt", "{c} coat", "{c} top", "one in {c}")

COLOR_SYNONYMS: dict[str, tuple[str, ...]] = {
    "black": ("black", "black", "black", "dark"),
    "gray": ("gray", "gray", "grey", "silver"),
    "brown": ("brown", "brown", "brown", "tan"),
    "white": ("white",) * 5 + ("light",),
}

POSTURES: dict[str, tuple[str, ...]] = {
    "sitting": (
        "{n} sitting", "{n} sitting", "{n} sitting", "sitting {n}", "{n} sitting down", "{n} who is sitting",
        "{n} that is sitting", "seated {n}", "{n} seated",
    ),
    "standing": (
        "{n} standing", "{n} standing", "{n} standing", "standing {n}", "{n} standing up", "{n} who is standing",
        "{n} that is standing", "{n} that stands",
    ),
}  # fmt: skip
# Their words in what people wrote; "stand" is a thing as often.
POSTURE_WORDS = {"sitting": ("sitting", "seated", "sits"), "standing": ("standing", "stands")}

# Words of direction and their mirror images, for mirrored pictures.
MIRRORED: dict[str, str] = {"left": "right", "leftmost": "rightmost", "lefthand": "righthand"}
