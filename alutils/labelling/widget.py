"""The desk as a widget of JupyterLab; ``static/labelling.js`` shows its state, sends requests."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from alutils.labelling.desk import Desk
from alutils.labelling.images import FolderImages

STATIC = Path(__file__).parent / "static"
LARGEST_SIDE = 2048
"""Pixels of a side that a picture is sent with at most."""


class LabellingWidget(anywidget.AnyWidget):
    """Images to label, by keyboard, mouse or touch.

    Attributes
    ----------
    state : as ``Desk.state``, renewed after every request

    Pictures go out as messages of their own, in WebP, to whoever asks for them by name.
    """

    _esm = STATIC / "labelling.js"
    _css = STATIC / "labelling.css"
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, desk: Desk, images: FolderImages):
        super().__init__(state=desk.state)
        self.desk, self.images = desk, images
        self.on_msg(self._received)

    def _received(self, _: Any, request: dict[str, Any], __: list[bytes]) -> None:
        if request.get("do") == "picture":
            side = min(int(request["side"]), LARGEST_SIDE)
            content = self.images.preview(request["image"], side)
            told = {"picture": request["image"], "side": request["side"]}
            self.send(told, buffers=[content])
            return
        self.desk.handle(request)
        self.state = self.desk.state
