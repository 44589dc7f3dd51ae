// A page that comes back by itself from a server which was restarted says so; "SERVER" is another with each.
(() => {
  const before = sessionStorage.getItem("lpnsr-server");
  sessionStorage.setItem("lpnsr-server", "SERVER");
  if (before === null || before === "SERVER") return;
  const told = document.createElement("div");
  told.id = "restarted";
  told.className = "lp-problem";
  told.setAttribute("role", "alert");
  told.textContent =
    "The server was restarted. Running jobs and the results on this page are lost. Drop your photograph again. ";
  const close = document.createElement("button");
  close.textContent = "Close";
  close.onclick = () => told.remove();
  told.append(close);
  document.body.prepend(told);
})();
// Where the browser cannot show the photograph, the style has a sentence instead of the sign for a broken picture.
for (const [event, unshown] of [["error", true], ["load", false]]) {
  document.addEventListener(
    event,
    ({ target }) => target instanceof HTMLImageElement && target.closest(".lp-photo") && target.toggleAttribute("data-unshown", unshown),
    true,
  );
}
// Before and after: the line follows the pointer and the slider; at 100% the pointer moves the pictures instead.
(() => {
  const around = (target) => target instanceof Element && target.closest(".lp-compare");
  const move = (compare, share) => {
    const at = Math.min(100, Math.max(0, share));
    compare.querySelector(".lp-pair").style.setProperty("--at", `${at}%`);
    compare.querySelector("input").value = at;
  };
  let held = null;
  document.addEventListener("pointerdown", (event) => {
    held = event.target instanceof Element && event.target.closest(".lp-pair");
    if (held) held.dispatchEvent(new PointerEvent("pointermove", event));
  });
  document.addEventListener("pointermove", (event) => {
    if (!held || !held.isConnected) return;
    const compare = around(held);
    if (compare.classList.contains("lp-full")) {
      compare.querySelector(".lp-view").scrollBy(-event.movementX, -event.movementY);
    } else {
      const box = held.getBoundingClientRect();
      move(compare, (100 * (event.clientX - box.left)) / box.width);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => (held = null));
  document.addEventListener("input", ({ target }) => around(target) && move(around(target), target.valueAsNumber));
  document.addEventListener("click", ({ target }) => {
    const compare = around(target);
    if (!compare || target.tagName !== "BUTTON") return;
    compare.style.setProperty("--dots", devicePixelRatio);
    const full = compare.classList.toggle("lp-full"), view = compare.querySelector(".lp-view");
    target.setAttribute("aria-pressed", full);
    view.scrollTo((view.scrollWidth - view.clientWidth) / 2, (view.scrollHeight - view.clientHeight) / 2);
  });
  document.addEventListener("load", ({ target }) => target.matches?.(".lp-pair .after") && around(target).scrollIntoView({ block: "nearest" }), true);
})();
