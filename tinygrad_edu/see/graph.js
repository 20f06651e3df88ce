// A click on a folded module shows what is inside; Escape, or its name at the top, leads back.
(function () {
  const svg = document.currentScript.closest("svg");
  const views = [...svg.querySelectorAll("g[data-size]")];
  const trail = ["view0"];
  function show() {
    for (const view of views) {
      const now = view.id === trail[trail.length - 1];
      view.setAttribute("display", now ? "inline" : "none");
      if (!now) continue;
      const [width, height] = view.dataset.size.split(" ");
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("width", width);
      svg.setAttribute("height", height);
    }
  }
  function back() {
    if (trail.length > 1) trail.pop();
    show();
  }
  svg.addEventListener("click", (event) => {
    const box = event.target.closest("[data-opens]");
    if (box) {
      trail.push(box.dataset.opens);
      show();
    } else if (event.target.closest(".back")) back();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") back();
    const box = document.activeElement && document.activeElement.closest("[data-opens]");
    if (event.key === "Enter" && box && svg.contains(box)) {
      trail.push(box.dataset.opens);
      show();
    }
  });
})();
