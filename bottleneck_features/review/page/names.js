// Names of classes: add, rename, merge, split, delete.

import { post, Refusal } from "./api.js";
import { button, byId, element, named, number, printable } from "./words.js";

export class Names {
  /** changed: after a change. go: opens a queue. */
  constructor(changed, go) {
    this.dialog = byId("names");
    this.changed = changed;
    this.go = go;
    byId("add-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = byId("add").value;
      byId("add").value = "";
      this.run(() => post("/v1/classes", { name }));
    });
  }

  open(state) {
    this.complain("");
    this.show(state);
    this.dialog.showModal();
  }

  show(state) {
    this.state = state;
    byId("names-list").replaceChildren(...state.classes.map((one, at) => this.line(one, at)));
  }

  line({ name, count }, at) {
    const input = element("input", { type: "text", maxlength: 120, id: `name-${at}`, autocomplete: "off", spellcheck: "false", "aria-label": `New name of ${printable(name)}` });
    input.value = name;
    const others = this.state.classes.filter((one) => one.name !== name);
    const into = element("select", { "aria-label": `Merge ${printable(name)} into` },
      element("option", { value: "" }, "merge into…"),
      ...others.map((one) => element("option", { value: one.name }, printable(one.name))));
    into.addEventListener("change", () => into.value && this.rename(name, into.value));
    const form = element("form", { class: "line" }, input, element("button", {}, "Rename"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value.trim()) this.rename(name, input.value);
    });
    return element("li", {},
      element("p", {}, named(name), element("span", { class: "quiet" }, ` ${number(count)}`)), form, into,
      button("Split: show its pictures", () => {
        this.dialog.close();
        this.go("search", { label: name });
      }),
      button("Delete", () => this.rename(name, ""), { "aria-label": `Delete ${printable(name)}: its pictures have no label then` }));
  }

  rename(old, name) {
    if (name !== old) this.run(() => post("/v1/rename", { old, new: name }));
  }

  async run(job) {
    try {
      await job();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.complain(error.message);
      this.show(this.state); // what was typed or chosen did not come to pass
      return;
    }
    this.complain("");
    this.show(await this.changed());
  }

  complain(words) {
    byId("names-trouble").textContent = words;
    byId("names-trouble").hidden = !words;
  }
}
