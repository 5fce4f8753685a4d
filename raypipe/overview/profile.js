"use strict";
(() => {
  const search = document.getElementById("search"), found = document.getElementById("found");
  const named = [...document.querySelectorAll("[data-name]")];
  const rows = [...document.querySelectorAll("#columns tbody tr")];
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const it of named) it.hidden = !words.every((word) => it.dataset.name.includes(word));
    const shown = rows.filter((it) => !it.hidden).length;
    found.textContent = words.length ? `${shown} of ${rows.length}` : "";
  });

  const heads = [...document.querySelectorAll("#columns th")];
  const number = (text) => (text !== "" && !Number.isNaN(Number(text)) ? Number(text) : null);
  const compare = (a, b) => {
    const x = number(a), y = number(b);
    if (x !== null && y !== null) return x - y;
    return x !== null ? -1 : y !== null ? 1 : a.localeCompare(b);
  };
  heads.forEach((head, place) => head.querySelector("button")?.addEventListener("click", () => {
    const text = place === 0 || (heads.length > 0 && head.textContent === "Type");
    const was = head.getAttribute("aria-sort");
    const order = was ? (was === "ascending" ? "descending" : "ascending") : text ? "ascending" : "descending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => row.children[place].dataset.v ?? "";
    rows.sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * compare(x, y);
    });
    rows[0]?.parentNode.append(...rows);
  }));

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.tagName === "DETAILS") { target.hidden = false; target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
