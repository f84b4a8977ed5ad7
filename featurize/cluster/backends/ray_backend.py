"""joblib's Ray backend, whose answers come one by one, and whose actors stay for the next run."""

from typing import Any

from joblib import Parallel
from ray.util.joblib.ray_backend import RayBackend


class WarmRay(RayBackend):
    """A backend that starts its actors once, and not for each call of `Parallel`; `end` lets them go.

    A new actor imports this project and opens the network again, which takes seconds. Ray's backend can hand answers on
    as they come, but for saying so.
    """

    supports_return_generator = True

    def configure(self, n_jobs: int = 1, parallel: Parallel | None = None, **settings: Any) -> int:
        """As Ray's, with the actors that are there."""
        if self._pool is None:
            return int(super().configure(n_jobs, parallel, **settings))
        self.parallel = parallel
        return int(self.effective_n_jobs(n_jobs))

    def terminate(self) -> None:
        """The end of one call of `Parallel`."""
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """After an error, such as the death of an actor: the next call has new ones."""
        self.end()
        super().abort_everything(ensure_ready)

    def end(self) -> None:
        """Let the actors go."""
        super().terminate()
