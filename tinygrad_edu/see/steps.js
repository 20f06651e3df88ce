// Shows one step of the walk at a time; step 0 is the moment before the first.
(function () {
  const steps = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const slider = by("slider");
  const boxes = [...document.querySelectorAll("#picture [data-nodes]")].map((box) => ({
    box,
    nodes: new Set(box.dataset.nodes.split(" ").map(Number)),
  }));
  const frame = (box) => box.classList.contains("frame");
  let timer = null;

  function element(tag, text, kind) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  const number = (v) => (v === null ? "not finite" : String(Number(v.toPrecision(4))));

  function words(g) {
    if (!g) return "nothing";
    if (g.values) return `${g.shape}  [${g.values.map(number).join(", ")}]`;
    return `${g.shape}  |g| ${number(g.norm)}`;
  }

  // Red for positive, blue for negative, white for zero, black for what is not finite.
  function heat(g) {
    const canvas = element("canvas");
    const rows = g.cells.length, columns = rows ? g.cells[0].length : 0;
    canvas.width = columns;
    canvas.height = rows;
    canvas.style.width = `${columns * 14}px`;
    canvas.style.height = `${rows * 14}px`;
    const most = Math.max(...g.cells.flat().map((v) => Math.abs(v || 0)), 0) || 1;
    const pen = canvas.getContext("2d");
    g.cells.forEach((row, r) => row.forEach((value, c) => {
      const share = value === null ? 1 : Math.abs(value) / most;
      const full = value === null ? [0, 0, 0] : value > 0 ? [192, 57, 43] : [41, 98, 192];
      pen.fillStyle = `rgb(${full.map((f) => Math.round(255 + (f - 255) * share)).join(",")})`;
      pen.fillRect(c, r, 1, 1);
    }));
    canvas.title = "red: positive, blue: negative";
    return canvas;
  }

  function describe(step, panel) {
    panel.append(element("h1", step.name + (step.path ? ` in ${step.path}` : "")));
    panel.append(element("h2", "arrives"));
    for (const g of step.arrives) {
      panel.append(element("pre", words(g), "arrives"));
      if (g && g.cells.length) panel.append(heat(g));
    }
    panel.append(element("h2", "rule"));
    for (const [argument, formula] of step.rules) {
      panel.append(element("pre", `${argument}: ${formula}`, "rule"));
    }
    panel.append(element("h2", "goes on"));
    for (const share of step.shares) {
      panel.append(element("pre", `${share.argument} → ${share.name}: ${words(share.gradient)}`, "share"));
      if (share.gradient.cells.length) panel.append(heat(share.gradient));
      if (share.summed) panel.append(element("div", "summed down to the argument's shape", "note"));
      if (share.added) panel.append(element("div", "added to what had arrived there before", "note"));
    }
    if (step.freed !== "0 B") panel.append(element("h2", "freed"), element("pre", step.freed, "freed"));
  }

  function show(place) {
    place = Math.min(Math.max(place, 0), steps.length);
    slider.value = place;
    by("place").textContent = `${place} / ${steps.length}`;
    const step = steps[place - 1];
    const done = new Set(steps.slice(0, Math.max(place - 1, 0)).map((s) => s.number));
    const reached = new Set(steps.slice(0, place).flatMap((s) => s.shares.map((one) => one.to)));
    const panel = by("step");
    panel.replaceChildren();
    if (step) describe(step, panel);
    else {
      panel.append(element("h1", "Before the first step"));
      panel.append(element("p", "The loss is the youngest node. The walk goes from the youngest to the oldest: when a node's turn comes, all that used its output has been dealt with."));
    }
    const over = new Set(), going = new Set();
    for (const { box, nodes } of boxes) {
      if (frame(box)) continue;
      const now = Boolean(step) && nodes.has(step.number);
      const gone = !now && [...nodes].every((n) => done.has(n));
      const waiting = !now && !gone && [...nodes].some((n) => reached.has(n));
      box.classList.toggle("now", now);
      box.classList.toggle("done", gone);
      box.classList.toggle("waiting", waiting);
      if (gone) over.add(box.dataset.key);
      if (now) {
        going.add(box.dataset.key);
        box.scrollIntoView({ block: "center", inline: "center" });
      }
    }
    for (const edge of document.querySelectorAll("#picture .edge")) {
      edge.classList.toggle("lit", going.has(edge.dataset.to));
      edge.classList.toggle("done", over.has(edge.dataset.to));
    }
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    by("play").textContent = "play";
  }
  function play() {
    if (timer) return pause();
    if (Number(slider.value) === steps.length) show(0);
    by("play").textContent = "pause";
    timer = setInterval(() => {
      show(Number(slider.value) + 1);
      if (Number(slider.value) === steps.length) pause();
    }, 900);
  }
  const move = (by) => { pause(); show(Number(slider.value) + by); };
  slider.addEventListener("input", () => { pause(); show(Number(slider.value)); });
  by("back").addEventListener("click", () => move(-1));
  by("on").addEventListener("click", () => move(1));
  by("play").addEventListener("click", play);
  document.addEventListener("keydown", (event) => {
    const act = {
      ArrowLeft: () => move(-1), ArrowRight: () => move(1), Home: () => show(0),
      End: () => show(steps.length), " ": play,
    }[event.key];
    if (act && !(event.key === " " && event.target.tagName === "BUTTON")) {
      event.preventDefault();
      act();
    }
  });
  document.querySelector("#picture").addEventListener("click", (event) => {
    const box = event.target.closest(".box");
    if (!box || box.dataset.opens) return;
    const nodes = new Set(box.dataset.nodes.split(" ").map(Number));
    const place = steps.findIndex((s) => nodes.has(s.number));
    if (place >= 0) { pause(); show(place + 1); }
  });
  show(0);
})();
