"""The script's rows, phase by phase, in one stream."""

import runpy
from collections import Counter
from itertools import islice

from common import FOLDER, answer, phases

script = runpy.run_path(str(FOLDER / "torchdata_mixture.py"))
stream = script["build"](lambda name, _path: iter([name] * 300), rank=0, world_size=1)
drawn = [Counter(islice(stream, phase["sequences"])) for _, phase in phases()]
assert next(stream, None) is None
answer(drawn)
