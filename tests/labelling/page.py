"""The labelling widget alone on a page, without JupyterLab; its Python side is in this process."""

import base64
import json

from playwright.sync_api import Page

from alutils.labelling.widget import STATIC, LabellingWidget

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Labelling</title>
<meta name="viewport" content="width=device-width">
<main><h1>Labelling</h1><div id="first"></div><div id="second"></div></main></html>
"""
START = """async (source) => {
  const listeners = { "msg:custom": new Set(), "change:state": new Set() };
  let state = JSON.parse(await window.ask("{}")).state;
  let last = Promise.resolve();
  const receive = (reply) => {
    for (const [told, content] of reply.sent) {
      const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
      listeners["msg:custom"].forEach((hear) => hear(told, [new DataView(bytes.buffer)]));
    }
    if (window.deaf || JSON.stringify(reply.state) === JSON.stringify(state)) return;
    state = reply.state;
    listeners["change:state"].forEach((hear) => hear());
  };
  const model = {
    get: () => state,
    on: (name, hear) => listeners[name].add(hear),
    off: (name, hear) => listeners[name].delete(hear),
    send: (message) => {
      if (window.gone) return;
      last = last.then(() => window.ask(JSON.stringify(message))).then(JSON.parse).then(receive);
    },
  };
  const script = new Blob([source], { type: "text/javascript" });
  const widget = await import(URL.createObjectURL(script));
  window.last = () => last;
  window.again = () => widget.default.render({ model, el: document.getElementById("second") });
  widget.default.render({ model, el: document.getElementById("first") });
}"""


def show(page: Page, widget: LabellingWidget) -> None:
    """Put a widget on an empty page.

    There ``window.gone`` is a kernel that is gone, once it is set, and ``window.deaf`` a page that
    no state reaches; ``window.last()`` waits for what was sent so far; ``window.again()`` shows the
    widget a second time.
    """
    sent: list = []
    widget.send = lambda told, buffers: sent.append((told, buffers[0]))

    def ask(text: str) -> str:
        if request := json.loads(text):
            widget._received(widget, request, [])
        told = [(what, base64.b64encode(content).decode()) for what, content in sent]
        sent.clear()
        return json.dumps({"sent": told, "state": widget.state})

    page.set_content(PAGE)
    page.add_style_tag(path=STATIC / "labelling.css")
    page.expose_function("ask", ask)
    page.evaluate(START, (STATIC / "labelling.js").read_text(encoding="utf-8"))
    page.wait_for_selector(".al-there")
