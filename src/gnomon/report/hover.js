(function () {
  // Every mark of a figure carries its words in a <title>; they are shown beside the mark nearest to the pointer.
  var tip = document.getElementById("tip"), lit = null;
  function hide() { if (lit) lit.classList.remove("lit"); lit = null; tip.hidden = true; }
  function place(mark) {
    var box = mark.getBoundingClientRect();
    return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  }
  function show(mark) {
    if (lit === mark) return;
    hide();
    lit = mark;
    mark.classList.add("lit");
    tip.textContent = mark.words;
    tip.hidden = false;
    var at = place(mark), wide = tip.offsetWidth, tall = tip.offsetHeight;
    var left = Math.min(Math.max(at.x - wide / 2, 12), document.documentElement.clientWidth - wide - 12);
    var top = at.y - tall - 14 < 4 ? at.y + 14 : at.y - tall - 14;
    tip.style.left = left + scrollX + "px";
    tip.style.top = top + scrollY + "px";
  }
  document.querySelectorAll("svg.figure").forEach(function (figure) {
    var marks = [];
    figure.querySelectorAll("title").forEach(function (title) {
      var mark = title.parentNode;
      mark.words = title.textContent;
      mark.setAttribute("aria-label", title.textContent);
      title.remove();
      marks.push(mark);
    });
    function nearest(event) {
      var best = null, least = 32 * 32;
      marks.forEach(function (mark) {
        var at = place(mark), dx = at.x - event.clientX, dy = at.y - event.clientY;
        var far = dx * dx + dy * dy + (mark.classList.contains("reader") ? 120 : 0);
        if (far < least) { best = mark; least = far; }
      });
      if (best) show(best); else hide();
    }
    figure.addEventListener("pointermove", nearest);
    figure.addEventListener("pointerdown", nearest);
    figure.addEventListener("pointerleave", hide);
    figure.setAttribute("tabindex", "0");
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", function (event) {
      var step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      var order = marks.slice().sort(function (a, b) { return place(a).x - place(b).x; });
      var index = order.indexOf(lit);
      show(order[index < 0 ? (step > 0 ? 0 : order.length - 1) : Math.min(Math.max(index + step, 0), order.length - 1)]);
    });
  });
  addEventListener("resize", hide);
})();
