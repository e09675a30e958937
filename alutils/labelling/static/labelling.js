// Images to label, as the page object in Python has them: shows its state, sends requests.
// Nothing counts as saved before the state names the request among those that are answered.

const LATE_MS = 4000; // after which an answer that is not saved is told of
const LOOK_MS = 1000; // between looks at a training that runs
const AGAIN_MS = 5000; // until what was not answered is asked for again, then twice as long
const TYPING_MS = 1000; // between two keys of one name that is typed
const DOUBLE_MS = 300; // between the clicks of a double click
const KEPT_PICTURES = 150;
const SIDES = { tile: 320, one: 768, zoom: 2048 };
const COMPLETE =
  "Every image on this page is answered: press Enter for the next images, or change an answer.";
const ONE_COMPLETE = "This image is answered: press Enter for the next one, or change the answer.";
const UNDOING = "an answer is being taken back: press again";
const SAVING = "an answer is being saved: press again";
const ADDING = "a class is being added: pause, then press again";
const KEYS = [
  ["1 to 9", "one of the first nine classes"],
  ["letters", "a class, by the first letters of its name; Enter if another name begins with it"],
  ["Space", "skip: ask again at the end"],
  ["-", "none of these"],
  ["Backspace", "undo"],
  ["?", "show or hide the model's guess"],
  ["+", "new class"],
  ["Enter", "zoom; next images once all are answered"],
  ["/", "switch between a page of images and one at a time"],
  ["arrows", "move to another image"],
];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Send what is due again, as where a message was lost, or the kernel was restarted meanwhile. */
function ask_again(model, sent) {
  for (const one of sent) {
    if (Date.now() < one.due) continue;
    one.due = Date.now() + one.again;
    one.again *= 2; // a busy kernel answers all of them in the end
    model.send(one.request);
  }
}

/** The pictures that came by now, as addresses; the oldest go where there are too many. */
class Pictures {
  constructor(model) {
    this.model = model;
    this.addresses = new Map();
    this.wanted = new Map();
    this.receive = (told, buffers) => {
      const key = `${told.side} ${told.picture}`;
      if (!this.wanted.has(key)) return; // another view's, or it was asked for twice
      const address = URL.createObjectURL(new Blob([buffers[0]], { type: "image/webp" }));
      this.addresses.set(key, address);
      for (const done of this.wanted.get(key).waiting) done(address);
      this.wanted.delete(key);
      if (this.addresses.size > KEPT_PICTURES) {
        const [oldest, old] = this.addresses.entries().next().value;
        URL.revokeObjectURL(old);
        this.addresses.delete(oldest);
      }
    };
    model.on("msg:custom", this.receive);
  }

  get(image, side, done) {
    const key = `${side} ${image}`;
    if (this.addresses.has(key)) return done(this.addresses.get(key));
    if (this.wanted.has(key)) return void this.wanted.get(key).waiting.push(done);
    const request = { do: "picture", image, side };
    this.wanted.set(key, { request, waiting: [done], due: 0, again: AGAIN_MS });
    this.ask_again();
  }

  ask_again() {
    ask_again(this.model, this.wanted.values());
  }

  close() {
    this.model.off("msg:custom", this.receive);
    for (const address of this.addresses.values()) URL.revokeObjectURL(address);
  }
}

/** An image's name without its folders, which may tell its class. */
function file_name(image) {
  return image.split("/").pop();
}

/** A class's name, or a key, as names are compared: in small letters and one form of Unicode. */
function folded(text) {
  return text.normalize("NFC").toLowerCase();
}

/** By class, the shortest beginning of its name that is no other's; all of it where there is none. */
function beginnings(names) {
  const lower = names.map(folded);
  return lower.map((name) => {
    for (let length = 1; length < name.length; length++) {
      const start = name.slice(0, length);
      if (lower.filter((other) => other.startsWith(start)).length === 1) return start;
    }
    return name;
  });
}

class View {
  constructor(model, root) {
    this.model = model;
    this.root = root;
    this.pictures = new Pictures(model);
    this.pending = new Map(); // by id, requests that the state does not name as answered
    this.focused = ""; // image that keys are about; none where all are answered
    this.typed = "";
    this.over = null; // a name that was taken or refused, of which more may be typed
    this.count = 0;
    this.name = Math.random().toString(36).slice(2);
    this.build();
    this.changed = () => this.take();
    model.on("change:state", this.changed);
    this.clock = setInterval(() => this.tick(), LOOK_MS);
    this.take();
  }

  close() {
    clearInterval(this.clock);
    this.model.off("change:state", this.changed);
    this.pictures.close();
  }

  get state() {
    return this.model.get("state");
  }

  // What is on the page

  build() {
    const button = (label, key, act) =>
      element(
        "button",
        { type: "button", class: "al-tool", onclick: act, "aria-keyshortcuts": key.at(-1) },
        label,
        ...key.slice(0, 1).map((sign) => element("kbd", { "aria-hidden": "true" }, sign))
      );
    this.counts = element("p", { class: "al-counts" });
    const hint = "Click an image to begin, then answer with the keyboard.";
    this.hint = element("p", { class: "al-hint" }, hint);
    this.status = element("p", { class: "al-status", role: "status" });
    this.problem = element("p", { class: "al-problem", role: "alert" });
    this.images = element("ul", { class: "al-images", "aria-label": "Images" });
    this.next = element(
      "button",
      { type: "button", class: "al-next", onclick: () => this.send({ do: "next" }) },
      "Next images"
    );
    this.classes = element("div", { class: "al-classes", role: "group", "aria-label": "Classes" });
    this.tools = {
      undo: button("Undo", ["⌫", "Backspace"], (event) => this.click(event, "undo")),
      skip: button("Skip", ["Space"], (event) => this.click(event, "skip")),
      none: button("None of these", ["-"], (event) => this.click(event, "none-of-these")),
      guess: button("Guess", ["?"], () => this.guess()),
      zoom: button("Zoom", ["⏎", "Enter"], () => this.zoom()),
      page: button("One at a time", ["/"], () => this.turn()),
      add: button("New class", ["+"], () => this.ask_name()),
      export: button("Export", [], () => this.send({ do: "export" })),
    };
    const tools = element("div", { class: "al-tools", role: "group", "aria-label": "Tools" });
    tools.append(...Object.values(this.tools));
    this.input = element("input", { type: "text", "aria-label": "Name of the new class" });
    this.form = element(
      "div",
      { class: "al-new", hidden: true, role: "group", "aria-label": "New class" },
      this.input,
      element("button", { type: "button", onclick: () => this.add() }, "Add"),
      element("button", { type: "button", onclick: () => this.close_form() }, "Cancel")
    );
    this.large = element("img", { alt: "" });
    this.dialog = element(
      "dialog",
      { class: "al-zoom", "aria-label": "The image, enlarged", onclick: () => this.dialog.close() },
      this.large,
      (this.caption = element("p"))
    );
    this.dialog.addEventListener("close", () => {
      this.enlarge("");
      this.focus();
    });
    this.advice = element("div", { class: "al-advice" });
    const rows = KEYS.map(([key, what]) =>
      element("li", {}, element("kbd", {}, key), element("span", {}, what))
    );
    const help = element("details", { class: "al-keys" }, element("summary", {}, "Keys"));
    help.append(element("ul", {}, ...rows));
    this.root.setAttribute("data-lm-suppress-shortcuts", "true"); // keys are ours, not the lab's
    this.root.setAttribute("role", "region");
    this.root.setAttribute("aria-label", "Labelling images");
    this.root.classList.add("al");
    this.root.tabIndex = -1; // so that keys are heard where there is no image
    this.root.addEventListener("keydown", (event) => this.key(event));
    const bar = element("div", { class: "al-bar" }, this.next, this.classes, tools, this.form);
    const told = element("div", { class: "al-told" }, this.status, this.problem);
    this.root.append(this.counts, this.hint, told, this.images, bar, this.advice, help, this.dialog);
  }

  /** Take the state as it is by now. */
  take() {
    const state = this.state;
    for (const id of state.answered) this.pending.delete(id);
    const before = this.active;
    const on_page = (image) => state.tiles.some((tile) => tile.image === image);
    const sent_back = state.focus && state.focus !== this.asked_focus;
    if (sent_back) this.focused = state.focus;
    this.asked_focus = state.focus;
    if (!on_page(this.focused)) this.focused = this.first_open() ?? "";
    this.show_images();
    this.show_classes();
    this.show_facts();
    const lost = before && !this.active;
    const free = before === this.root || before?.closest(".al-tile");
    if (before && (sent_back || lost || free)) this.focus();
    for (const image of state.ahead) this.pictures.get(image, this.side, () => {});
  }

  /** The element here that has the keyboard's focus, if one has. */
  get active() {
    const one = this.root.getRootNode().activeElement;
    return this.root.contains(one) ? one : null;
  }

  get side() {
    return this.state.page === 1 ? SIDES.one : SIDES.tile;
  }

  show_images() {
    const { tiles, page, complete, finished } = this.state;
    const shown = new Map([...this.images.children].map((item) => [item.dataset.image, item]));
    const items = tiles.map((tile, i) => {
      const kept = shown.get(tile.image);
      const item = kept?.dataset.side === String(this.side) ? kept : this.item(tile.image);
      this.fill(item, tile, i);
      return item;
    });
    const same = items.length === shown.size && items.every((x, i) => x === this.images.children[i]);
    if (!same) this.images.replaceChildren(...items);
    this.images.classList.toggle("al-one", page === 1);
    this.next.hidden = !complete || finished;
    this.hint.hidden = finished;
  }

  item(image) {
    const picture = element("img", { alt: "" });
    picture.addEventListener("load", () => item.classList.add("al-there"));
    const tile = element(
      "button",
      {
        type: "button",
        class: "al-tile",
        title: file_name(image),
        onclick: () => this.go_and_focus(image),
        ondblclick: () => this.zoom(),
        onfocus: () => this.go(image),
      },
      picture,
      element("span", { class: "al-label" }),
      element("span", { class: "al-guess" })
    );
    const item = element("li", { "data-image": image, "data-side": this.side }, tile);
    this.pictures.get(image, this.side, (address) => {
      picture.src = address;
    });
    return item;
  }

  fill(item, tile, i) {
    const waits = this.waiting(tile.image);
    const answers = { label: tile.label, skip: "skipped", "none-of-these": "none of these" };
    const said = waits ? `${waits.said} …` : answers[tile.answer] ?? "";
    const button = item.firstChild;
    item.classList.toggle("al-answered", Boolean(tile.answer) && !waits);
    item.classList.toggle("al-waits", Boolean(waits));
    item.classList.toggle("al-focused", tile.image === this.focused);
    button.tabIndex = tile.image === this.focused ? 0 : -1;
    button.children[1].textContent = said;
    button.children[2].textContent = tile.guess ? `guess: ${tile.guess}` : "";
    const where = `Image ${i + 1} of ${this.state.tiles.length}`;
    const guess = tile.guess ? `, guess ${tile.guess}` : "";
    button.setAttribute("aria-label", `${where}, ${said || "no answer yet"}${guess}`);
  }

  show_classes() {
    const names = this.state.classes.map((one) => one.name);
    if (names.join("\n") !== this.named) this.name_classes(names);
    this.named = names.join("\n");
    this.state.classes.forEach(({ name, labels }, i) => {
      const button = this.classes.children[i];
      const fits = Boolean(this.typed) && folded(name).startsWith(this.typed);
      button.classList.toggle("al-fits", fits);
      button.lastChild.textContent = labels.toLocaleString();
    });
  }

  name_classes(names) {
    const starts = beginnings(names);
    this.numbers = !names.some((name) => /^\d/.test(name)); // else digits begin their names
    const buttons = names.map((name, i) => {
      const start = starts[i].length;
      return element(
        "button",
        { type: "button", class: "al-class", onclick: (event) => this.click(event, "label", name) },
        ...(this.numbers && i < 9 ? [element("kbd", { "aria-hidden": "true" }, String(i + 1))] : []),
        element("span", {}, element("u", {}, name.slice(0, start)), name.slice(start)),
        " ",
        element("small", { title: "labels" })
      );
    });
    this.classes.replaceChildren(...buttons);
    if (!buttons.length) this.classes.append("No class yet: press + and name one.");
  }

  show_facts() {
    const s = this.state;
    const number = (n) => n.toLocaleString();
    const parts = [
      `${number(s.labels)} label${s.labels === 1 ? "" : "s"} of ${number(s.images)} images`,
      `${number(s.skipped)} skipped`,
      `${number(s.none)} of no class`,
      s.trained_on ? `model trained on ${number(s.trained_on)} labels` : "no model yet",
    ];
    if (s.training) parts.push("training …");
    this.counts.textContent = parts.join(" · ");
    this.tools.undo.disabled = !s.can_undo;
    this.tools.export.hidden = !s.can_export;
    this.tools.page.firstChild.textContent = s.page === 1 ? "A page" : "One at a time";
    const lines = [s.told, ...(s.finished ? ["Every image has an answer."] : [])];
    if (s.complete && !s.finished) lines.push(s.page > 1 ? COMPLETE : ONE_COMPLETE);
    this.say(lines.filter(Boolean).join(" "));
    this.tell_problem();
    const facts = [...Object.entries(s.advice), ...s.notes.map((note) => ["Note", note])];
    const lines_of = facts.map(([what, text]) => element("p", {}, element("b", {}, what), ` ${text}`));
    this.advice.replaceChildren(...lines_of);
  }

  say(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  /** What went wrong, and what is not saved although it was sent a while ago. */
  tell_problem() {
    const late = [...this.pending.values()].filter((one) => Date.now() - one.sent > LATE_MS);
    const answers = late.filter((one) => one.said).length;
    const lost =
      `${answers ? `${answers} not saved yet: the` : "The"} kernel is busy, or gone. If it was ` +
      "restarted, run the cells again: labelling continues after the last saved answer.";
    const text = [this.state.problem, ...(late.length ? [lost] : [])].filter(Boolean).join(" ");
    if (this.problem.textContent !== text) this.problem.textContent = text;
  }

  // What a person does

  key(event) {
    if (event.isComposing || event.keyCode === 229) return; // an input method's, which it confirms
    if (event.target.closest("input, dialog, summary")) {
      if (event.target === this.input && event.key === "Enter") this.add();
      if (event.target === this.input && event.key === "Escape") this.close_form();
      return;
    }
    const undo = event.key === "z" && (event.ctrlKey || event.metaKey);
    if (undo) event.preventDefault(), this.undo();
    if (undo || event.ctrlKey || event.metaKey || event.altKey) return;
    const on_tile = event.target.closest(".al-tile") || event.target === this.root;
    const rest = this.is_rest(event.key, event.timeStamp);
    const act = rest ? () => {} : this.acts(event.key, Boolean(on_tile));
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat && !event.key.startsWith("Arrow")) return;
    if (!rest) this.over = null;
    act();
    if (this.over) this.over.at = event.timeStamp;
  }

  /** Whether a key goes on with a name that was taken, or with any that was refused. */
  is_rest(key, now) {
    if (!this.over || now - this.over.at > TYPING_MS) return false;
    const { rest, typed_on } = this.over;
    if (rest === undefined) return key === "Backspace" || (key.length === 1 && key !== "+");
    const ends = typed_on && key === "Enter";
    if (!ends && !rest.startsWith(folded(key))) return false;
    this.over = ends ? { rest: "" } : { rest: rest.slice(1), typed_on: true };
    return true;
  }

  /** What a key does; nothing for one that the button in focus takes, or that means nothing. */
  acts(key, on_tile) {
    if (this.typed && key === "Enter") return () => this.take_typed();
    if (this.typed && key === "Backspace") return () => this.type(this.typed.slice(0, -1));
    if (key === "Escape") return () => this.type("");
    if (!on_tile && (key === "Enter" || key === " ")) return undefined;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    if (key in step) return () => this.move(step[key]);
    const fixed = {
      Enter: () => (this.may_turn ? this.send({ do: "next" }) : this.zoom()),
      " ": () => this.answer("skip"),
      "-": () => this.answer("none-of-these"),
      Backspace: () => this.undo(),
      "?": () => this.guess(),
      "+": () => this.ask_name(),
      "/": () => this.turn(),
      Home: () => this.move(-Infinity),
      End: () => this.move(Infinity),
    };
    if (!this.typed && key in fixed) return fixed[key];
    if (!this.typed && this.numbers && /^[1-9]$/.test(key)) {
      const chosen = this.state.classes[key - 1];
      if (this.adding) return () => this.say(ADDING);
      return () => (chosen ? this.answer("label", chosen.name) : this.say(`there is no class ${key}`));
    }
    return key.length === 1 ? () => this.type(this.typed + folded(key)) : undefined;
  }

  /** Take the beginning of a class's name: at once where it is one class's alone. */
  type(typed) {
    const names = this.state.classes.map((one) => one.name);
    const fits = names.filter((name) => folded(name).startsWith(typed));
    this.typed = "";
    if (!typed) this.say("");
    else if (this.adding) {
      this.over = {};
      this.say(ADDING);
    } else if (!fits.length) {
      this.over = {};
      this.say(`no class begins with “${typed}”: pause, then type again`);
    } else if (fits.length === 1) {
      this.over = { rest: folded(fits[0]).slice(typed.length) };
      return this.answer("label", fits[0]);
    } else {
      this.typed = typed;
      this.say(`${typed} …: ${fits.slice(0, 9).join(", ")}`);
    }
    this.show_classes();
  }

  /** Take the class that is called as was typed, or else say that there are several. */
  take_typed() {
    const typed = this.typed;
    const exact = this.state.classes.find((one) => folded(one.name) === typed);
    if (!exact) return this.say(`several classes begin with “${typed}”: keep typing`);
    this.answer("label", exact.name);
  }

  /** Answer the image in focus, once it can be seen, its last answer is saved and no undo awaited. */
  answer(what, label = "") {
    this.typed = "";
    if (this.undoing) return this.say(UNDOING);
    const item = this.item_of(this.focused);
    if (!item) return this.say(this.next.hidden ? "" : COMPLETE);
    if (this.waiting(this.focused)) return;
    if (!item.classList.contains("al-there")) return this.say("the image has not loaded yet");
    const said = label || { skip: "skipped", "none-of-these": "none of these" }[what];
    const image = this.focused;
    this.send({ do: what, image, label }, said);
    this.focused = this.first_open(image) ?? "";
    this.show_images();
    this.show_classes();
    this.focus();
  }

  /** Answer by a click, or undo; the second one of a double click is about no other image. */
  click(event, what, label) {
    if (event.detail > 1 && event.timeStamp - this.clicked < DOUBLE_MS) return;
    this.clicked = event.timeStamp;
    if (what === "undo") this.undo();
    else this.answer(what, label);
  }

  /** Take back the latest answer or class, once it is saved: one that got lost would come later. */
  undo() {
    if (this.undoing) return this.say(UNDOING);
    if (this.adding) return this.say(ADDING);
    if ([...this.pending.values()].some((one) => one.said)) return this.say(SAVING);
    this.asked_focus = "";
    if (this.state.can_undo) this.send({ do: "undo" });
  }

  guess() {
    if (this.focused) this.send({ do: "guess", image: this.focused });
  }

  turn() {
    this.send({ do: "page", size: this.state.page === 1 ? this.state.many : 1 });
  }

  zoom() {
    if (!this.focused) return;
    const image = this.focused;
    this.enlarge(image);
    this.pictures.get(image, SIDES.zoom, (address) => {
      if (image === this.enlarged) this.large.src = address; // another one may be by now
    });
    this.dialog.showModal();
  }

  /** Have a place for an image's large picture, or for none. */
  enlarge(image) {
    this.enlarged = image;
    this.caption.textContent = file_name(image);
    this.large.removeAttribute("src");
  }

  ask_name() {
    this.form.hidden = false;
    this.input.focus();
  }

  add() {
    const name = this.input.value.trim();
    if (name && this.undoing) return this.say(UNDOING);
    if (name) this.send({ do: "add-class", label: name });
    this.close_form();
  }

  close_form() {
    this.input.value = "";
    this.form.hidden = true;
    this.focus();
  }

  // Focus, and requests on their way

  get columns() {
    const tops = [...this.images.children].map((item) => item.offsetTop);
    return tops.filter((top) => top === tops[0]).length || 1;
  }

  item_of(image) {
    return [...this.images.children].find((item) => item.dataset.image === image);
  }

  move(by) {
    const names = this.state.tiles.map((tile) => tile.image);
    const before = this.focused ? names.indexOf(this.focused) : by < 0 ? names.length : -1;
    const at = before + by;
    this.go_and_focus(names[Math.min(Math.max(at, 0), names.length - 1)] ?? "");
  }

  go_and_focus(image) {
    this.go(image);
    this.focus();
  }

  go(image) {
    if (image === this.focused) return;
    this.focused = image;
    this.typed = "";
    this.show_images();
  }

  /** Put the keyboard's focus on the image that keys are about, or else where they are heard. */
  focus() {
    const target = this.item_of(this.focused)?.firstChild;
    (target ?? (this.next.hidden ? this.root : this.next)).focus();
  }

  /** The first image without an answer after another one, or from the beginning. */
  first_open(after = "") {
    const { tiles } = this.state;
    const start = tiles.findIndex((tile) => tile.image === after) + 1;
    const turned = [...tiles.slice(start), ...tiles.slice(0, start)];
    const open = turned.find((t) => !t.answer && !this.waiting(t.image) && t.image !== after);
    return open?.image;
  }

  /** Whether an undo is on its way, after which another image may be in focus. */
  get undoing() {
    return [...this.pending.values()].some((one) => one.request.do === "undo");
  }

  /** Whether a class is on its way, whose name may begin like others'. */
  get adding() {
    return [...this.pending.values()].some((one) => one.request.do === "add-class");
  }

  /** Whether Enter turns the page: none is in focus, or the only one, which has an answer. */
  get may_turn() {
    return !this.focused || (this.state.complete && this.state.page === 1);
  }

  waiting(image) {
    return [...this.pending.values()].find((one) => one.request.image === image && one.said);
  }

  send(request, said = "") {
    const id = `${this.name} ${(this.count += 1)}`;
    const numbered = { ...request, id };
    const sent = Date.now();
    const due = sent + AGAIN_MS;
    this.pending.set(id, { request: numbered, said, sent, due, again: 2 * AGAIN_MS });
    this.model.send(numbered);
  }

  tick() {
    this.tell_problem();
    this.pictures.ask_again();
    ask_again(this.model, this.pending.values()); // Python handles no request twice
    if (this.pending.size) return;
    if (this.state.training || this.state.advising) this.send({ do: "look" });
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  return () => view.close();
}

export default { render };
