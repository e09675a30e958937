"""The audit of the poster's claims: which records it reads."""

from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError, Parameters
from alutils.protocol.study import Study
from alutils.studies.profiles import FIGURES, load_study, notebooks


class ClaimsStudy(Parameters):
    """The audit of the poster's claims, on the runs of a profile's notebooks on its figures."""

    def cells(self) -> list[Cell]:
        """The cells of the poster's figures, each once; raises if two would be taken for one."""
        by_key: dict[tuple, Cell] = {}
        for cell in (cell for study in self.related() for cell in study.cells()):
            key = (cell.figure, cell.dataset, cell.arm, cell.seed)
            if by_key.setdefault(key, cell) != cell:
                raise ParameterError(
                    f"the notebooks of {self.profile!r} train {cell.arm} on {cell.dataset} for "
                    f"figure {cell.figure} in two ways, so that no claim can be judged on it: give "
                    "them the same parameters, or each its own dataset"
                )
        return list(by_key.values())

    @property
    def reported(self) -> str:
        """The accuracy that the profile's notebooks report; raises if they differ."""
        kinds = {study.reported for study in self.related()}
        if len(kinds) > 1:
            raise ParameterError(
                f"reported = {' and '.join(sorted(kinds))} in the notebooks of {self.profile!r}: "
                "claims are judged on one kind of accuracy, so set the same in all"
            )
        return kinds.pop() if kinds else "test"

    def related(self) -> list[Study]:
        """The studies of the poster's figures that the profile has."""
        names = notebooks(self.profile)
        return [load_study(self.profile, name) for name in FIGURES if name in names]
