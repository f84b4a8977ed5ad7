"""Pictures in memory -> feature rows, in the thread that asks and without the cache: for a service, one at a time."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from featurize.decoding.decode import decode_inputs
from featurize.decoding.memory_gate import MemoryGate
from featurize.engines.engine import Cost
from featurize.extract.forward import WORKERS, Decoder, Picture, Row, rows_of
from featurize.extract.network_extractor import ComputingExtractor
from featurize.pictures.find_images import ImageError


class DirectRows:
    """The networks of an extractor, for threads that each take a picture through all steps.

    Built once for all of them, which loads and compiles the networks. decoder: of `decode_inputs`, or of
    `featurize.decoding.isolation.isolated_decoder`.
    """

    def __init__(self, extractor: ComputingExtractor, decoder: Decoder = decode_inputs):
        self._extractor = extractor
        self.decoder = decoder
        self._memory = MemoryGate(WORKERS)
        self._cost = Cost()
        parts = extractor.parts
        self._inputs = [part.input(self._cost) for part in parts]
        self._networks = [(partial(part.opened(self._cost), cost=self._cost), part.spec.row_dtype) for part in parts]
        self.batch = max(part.engine.batch for part in parts)  # pictures that the networks compute fastest together

    @property
    def forward_passes(self) -> int:
        """Views of pictures that have gone through a network so far."""
        return self._cost.forward_passes

    def decode(self, data: bytes) -> Picture:
        """The bytes of an image file as pixels for each network, or the reason why not. Waits for memory."""
        with self._memory.picture() as reservation:
            try:
                found = self.decoder(data, dict.fromkeys(self._inputs), reservation.picture)
            except ImageError as error:
                return Picture(0, b"", reason=str(error))
            return Picture(0, b"", [found[wanted] for wanted in self._inputs])

    def compute(self, pictures: Sequence[Picture]) -> tuple[np.ndarray, list[str]]:
        """Rows (m, d), of M views (m, M, d), of those of n decoded pictures that have some; why the others have none.

        Reasons are (n,), "" where there is a row.
        """
        numbered = [Picture(number, b"", one.decoded, one.reason) for number, one in enumerate(pictures)]
        rows: list[Row] = sorted(rows_of(numbered, self._networks), key=lambda row: row.position)
        answered = [row for row in rows if not row.reason]
        reasons = [row.reason for row in rows]
        if not answered:
            return np.empty((0, 0), np.float32), reasons
        of_parts = zip(*(self._extractor.features_of(row) for row in answered), strict=True)
        return self._extractor.joined([np.stack(of_part) for of_part in of_parts]), reasons
