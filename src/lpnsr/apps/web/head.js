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
    "The server was restarted: what was at work here and what this page showed are gone. Drop your photograph again. ";
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
