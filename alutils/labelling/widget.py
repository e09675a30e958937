"""The page as a JupyterLab widget; ``static/labelling.js`` shows its state, sends requests."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from alutils.labelling.images import FolderImages
from alutils.labelling.page import LabellingPage

STATIC = Path(__file__).parent / "static"
LARGEST_SIDE = 2048
"""Longest side (pixels) of a picture that is sent."""


class LabellingWidget(anywidget.AnyWidget):
    """Images to label, by keyboard, mouse or touch.

    Attributes
    ----------
    state : as ``LabellingPage.state``, updated after every request

    Pictures are sent as separate messages, in WebP, on request by name. In a file's name, bytes
    that are not UTF-8 are replaced by backslash escapes.
    """

    _esm = STATIC / "labelling.js"
    _css = STATIC / "labelling.css"
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, page: LabellingPage, images: FolderImages):
        super().__init__(state=_in_utf8(page.state))
        self.page, self.images = page, images
        self._names = {_in_utf8(name): name for name in images.pool.names if not name.isascii()}
        self.on_msg(self._received)

    def _received(self, _: Any, request: dict[str, Any], __: list[bytes]) -> None:
        image = request.get("image", "")
        image = self._names.get(image, image)
        if request.get("do") == "picture":
            side = min(int(request["side"]), LARGEST_SIDE)
            content = self.images.preview(image, side)
            told = {"picture": request["image"], "side": request["side"]}
            self.send(told, buffers=[content])
            return
        with self.page.lock:  # so that an older state does not come after this one
            self.page.handle(request | {"image": image})
            state = _in_utf8(self.page.state)
            if state == self.state:
                self.send_state("state")  # the page may lack it if a message was lost
            self.state = state


def _in_utf8(value: Any) -> Any:
    """A JSON value in which bytes of text that are not UTF-8 are backslash-escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_in_utf8(each) for each in value]
    if isinstance(value, dict):
        return {key: _in_utf8(each) for key, each in value.items()}
    return value
