// Figures of the class "zoom": buttons, dragging and keys enlarge and move them. Without scripts they just stand there.
for (const frame of document.querySelectorAll(".zoom")) {
  const drawing = frame.querySelector("svg");
  const name = drawing.getAttribute("aria-label");
  let scale = 1, x = 0, y = 0, from = null;
  const show = () => {
    const room = 1 - scale;
    x = Math.min(0, Math.max(room * frame.clientWidth, x));
    y = Math.min(0, Math.max(room * frame.clientHeight, y));
    drawing.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    frame.classList.toggle("moved", scale > 1);
    frame.dataset.scale = scale;
  };
  const zoom = (factor, at) => {
    const next = Math.min(16, Math.max(1, scale * factor));
    const [px, py] = at ?? [frame.clientWidth / 2, frame.clientHeight / 2];
    x = px - (px - x) * next / scale;
    y = py - (py - y) * next / scale;
    scale = next;
    show();
  };
  const place = (event) => {
    const box = frame.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const move = (dx, dy) => { x += dx; y += dy; show(); };
  const reset = () => { scale = 1; x = 0; y = 0; show(); };
  const tools = document.createElement("div");
  tools.className = "tools";
  for (const [sign, label, act] of [["+", "Enlarge", () => zoom(1.5)], ["−", "Reduce", () => zoom(1 / 1.5)], ["○", "Whole figure", reset]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = sign;
    button.title = label;
    button.setAttribute("aria-label", `${label}: ${name}`);
    button.addEventListener("click", act);
    tools.append(button);
  }
  frame.after(tools);
  frame.tabIndex = 0;
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", `${name} Plus and minus enlarge and reduce, arrows move, 0 shows all.`);
  const keys = {
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "0": reset,
    ArrowLeft: () => move(40, 0), ArrowRight: () => move(-40, 0), ArrowUp: () => move(0, 40), ArrowDown: () => move(0, -40),
  };
  frame.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || (scale === 1 && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    keys[event.key]();
  });
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // an ordinary wheel scrolls the page
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, place(event));
  }, { passive: false });
  frame.addEventListener("dblclick", (event) => zoom(2, place(event)));
  frame.addEventListener("pointerdown", (event) => {
    if (scale === 1) return;
    from = [event.clientX, event.clientY];
    frame.setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", (event) => {
    if (!from) return;
    move(event.clientX - from[0], event.clientY - from[1]);
    from = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, () => { from = null; });
  show();
}
