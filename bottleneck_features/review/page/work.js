// Train and save, labels that the folders say, folders of classes.

import { get, post, Refusal } from "./api.js";
import { byId, count, element, named, percent } from "./words.js";

const PAUSE = 700; // milliseconds between looks at a training

export class Work {
  /** changed: after labels were taken over. */
  constructor(changed) {
    this.dialog = byId("work");
    this.changed = changed;
    byId("train").addEventListener("click", () => this.run("train-state", () => post("/v1/train")));
    byId("adopt").addEventListener("click", () => this.run("adoptable", async () => {
      await post("/v1/adopt");
      await this.changed();
    }));
    byId("export-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const kind = byId("export-form").elements.kind.value;
      byId("exported").textContent = "writing…";
      this.run("exported", async () => {
        const done = await post("/v1/export", { folder: byId("export-folder").value, kind });
        const gone = done.missing ? `; ${count(done.missing)} are gone` : "";
        byId("exported").textContent = `${count(done.written)} in folders of classes${gone}.`;
      });
    });
  }

  async open() {
    this.dialog.showModal();
    await this.run("train-state", () => null);
  }

  async run(where, job) {
    try {
      await job();
      this.show(await get("/v1/work"));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      byId(where).textContent = error.message;
    }
  }

  show({ command, adoptable, training }) {
    byId("command").textContent = command;
    byId("adoptable").textContent = adoptable
      ? `The folders of ${count(adoptable)} without label say what they show.`
      : "The folders say nothing of pictures without label.";
    byId("adopt").hidden = !adoptable;
    byId("train").disabled = training.running;
    const stages = { training: `training on ${count(training.of, "label")}…`, report: "writing the report…" };
    byId("train-state").textContent = training.error || (training.running ? stages[training.stage] : "");
    byId("train-result").hidden = !training.result || Boolean(training.error);
    if (training.result) this.showResult(training);
    clearTimeout(this.timer);
    if (training.running) this.timer = setTimeout(() => this.run("train-state", () => null), PAUSE);
  }

  showResult({ result, report, of, together }) {
    const [low, high] = result.accuracy_interval ?? [];
    const interval = low === undefined ? "" : `, 95% interval ${percent(low)} to ${percent(high)}`;
    const left = result.left_out_classes.length
      ? [element("p", { class: "small" }, "Left out, with a single picture: ", named(result.left_out_classes.join(", ")))] : [];
    const many = together ? [element("p", { class: "small" },
      `${count(together, "label")} of these were given to many pictures at once: where one is wrong, the accuracy is too high. Ask shows some of them again.`)] : [];
    const link = element("a", { href: report, target: "_blank", rel: "noopener" }, "Open the report");
    byId("train-result").replaceChildren(
      element("p", { class: "large" }, `${percent(result.accuracy)} right`),
      element("p", { class: "quiet small" },
        `On ${count(result.tested, "held-out picture")}${interval}. Trained on ${count(of, "label")}, saved as `, named(result.model), "."),
      ...many, ...left, ...(report ? [element("p", {}, link)] : []));
  }
}
