"""How images are chosen for labelling; nothing here imports torch."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from alutils.protocol.arms import ARMS, BUILT_IN, CUSTOM_ARMS, LARGEST_BATCHBALD, ORACLES
from alutils.protocol.parameters import ParameterError, check_choice

LARGEST_PAGE = 60
"""Maximum number of images that are shown at once."""


@dataclass(frozen=True)
class Settings:
    """How images are chosen; the same for an entire ledger.

    Attributes
    ----------
    arm : chooses what is asked for once two classes have labels
    batch : answers from one training to the next, and images that the arm chooses then
    share : part of the images, once there is a model, drawn at random for the running accuracy
    seed : of everything that is random
    candidates : images drawn at random among which an arm chooses; 0 for all
    mc_passes, clusters : settings of the arms that have passes or clusters; there are at most as
        many clusters as candidates

    Raises ``ParameterError``.
    """

    arm: str = "uherding"
    batch: int = 10
    share: float = 0.2
    seed: int = 0
    candidates: int = 2500
    mc_passes: int = 20
    clusters: int = 12

    def __post_init__(self):
        arms = [arm for arm in (*BUILT_IN, *CUSTOM_ARMS) if arm not in ORACLES]
        check_choice("arm", self.arm, arms, ParameterError)
        if not 0 <= self.share < 1:
            raise ParameterError(f"share = {self.share} is no share: give 0 to below 1")
        if self.batch < 1:
            raise ParameterError(f"batch = {self.batch} asks for nothing: give 1 or more")
        if self.arm == "batchbald" and self.batch > LARGEST_BATCHBALD:
            raise ParameterError(
                f"batch = {self.batch} is more than the {LARGEST_BATCHBALD} images that the "
                "batchbald arm can choose at once: lower it, or use power-bald"
            )
        if self.arm in ARMS and ARMS[self.arm].needs_mc_passes and self.mc_passes < 2:
            raise ParameterError(
                f"mc_passes = {self.mc_passes} gives the {self.arm} arm nothing to compare: raise "
                "it"
            )
        if self.candidates and self.candidates < self.batch:
            raise ParameterError(
                f"candidates = {self.candidates} is fewer than batch = {self.batch}: raise it, or "
                "set 0 for all"
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What a ledger records: the settings, and the source of a user's own arm."""
        return asdict(self) | {"arm_source": CUSTOM_ARMS.get(self.arm, "")}


NEUTRAL = {field.name: field.default for field in fields(Settings)}
"""Values of settings that a ledger lacks because they were introduced after its start."""
