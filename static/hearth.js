// What the console does in the browser beyond htmx. Every page works without this file; it only makes things quicker.
(() => {
  "use strict";
  const root = document.documentElement;
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const say = (name) => $("#texts")?.getAttribute(`data-${name}`) ?? "";
  const on = (event, selector, handle) => document.addEventListener(event, (e) => {
    const target = e.target instanceof Element && e.target.closest(selector);
    if (target) handle(target, e);
  });
  const shape = (id) => $(id).content.firstElementChild.cloneNode(true);
  const announce = (text) => { const box = $("#announce"); if (box && text) box.textContent = text; };

  // --- theme: the server reads the cookie, so that no page flashes
  on("click", "[data-set-theme]", (button) => {
    const theme = button.dataset.setTheme;
    root.dataset.theme = theme;
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `hearth_theme=${theme}; path=/; max-age=31536000; samesite=lax${secure}`;
    $$("[data-set-theme]").forEach((b) => b.setAttribute("aria-pressed", String(b === button || b.dataset.setTheme === theme)));
  });

  // --- the drawer of narrow screens (without scripts :target opens it)
  const drawer = (open) => {
    const was = root.dataset.menu === "open";
    if (open) root.dataset.menu = "open"; else delete root.dataset.menu;
    const page = $(".page");
    if (page) page.inert = open;
    if (open) $(".nav-close")?.focus(); else if (was) $("[data-menu-open]")?.focus();
  };
  on("click", "[data-menu-open]", (_, e) => { e.preventDefault(); drawer(true); });
  on("click", "[data-menu-close]", (_, e) => { e.preventDefault(); if (location.hash === "#menu") history.replaceState(null, "", location.pathname + location.search); drawer(false); });
  matchMedia("(min-width: 961px)").addEventListener("change", (e) => { if (e.matches) drawer(false); });

  // --- details used as menus close when one looks elsewhere
  const closeMenus = (except) => $$("details.menu[open]").forEach((menu) => { if (menu !== except) menu.open = false; });
  document.addEventListener("click", (e) => closeMenus(e.target.closest?.("details.menu")));

  // --- dialogs
  on("click", "[data-open]", (button) => { closeMenus(); document.getElementById(button.dataset.open)?.showModal(); });
  on("click", "[data-close]", (button) => button.closest("dialog").close());
  on("click", "dialog", (dialog, e) => { if (e.target === dialog) dialog.close(); });
  on("click", "dialog [data-cancel]", (link, e) => { e.preventDefault(); link.closest("dialog").close(); });
  on("click", "a[data-dialog]", async (link, e) => {
    if (e.metaKey || e.ctrlKey || e.shiftKey) return;
    e.preventDefault();
    closeMenus();
    try {
      const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
      const form = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-confirm]");
      if (!answer.ok || !form) throw new Error("no form");
      form.setAttribute("action", new URL(form.getAttribute("action") || answer.url, answer.url).href);
      const dialog = shape("#dialog-shape");
      const title = $("h2", dialog);
      title.textContent = form.dataset.confirm || link.textContent.trim();
      title.id = "dialog-title";
      dialog.setAttribute("aria-labelledby", title.id);
      const inner = $("h2", form);
      if (inner) { title.textContent = inner.textContent; inner.remove(); }
      $(".dialog-body", dialog).append(document.importNode(form, true));
      document.body.append(dialog);
      dialog.addEventListener("close", () => { dialog.remove(); if (document.activeElement === document.body) link.focus(); });
      prepare(dialog);
      dialog.showModal();
      $("input:not([type=hidden])", dialog)?.focus();
    } catch { location.href = link.href; }
  });

  // --- typed confirmation: the button waits for the word
  const checkWord = (input) => {
    const button = $("button:not([type=button])", input.form);
    if (button) button.disabled = input.value.trim() !== input.dataset.word;
  };
  on("input", "[data-word]", checkWord);

  // --- toasts
  const dismiss = (toast) => { toast.classList.add("leaving"); setTimeout(() => toast.remove(), 260); };
  const runToast = (toast) => {
    if (toast.dataset.toast === "stay") return;
    let timer;
    const start = () => { timer = setTimeout(() => dismiss(toast), 3000 + 60 * toast.textContent.trim().length); };
    const stop = () => clearTimeout(timer);
    toast.addEventListener("pointerenter", stop);
    toast.addEventListener("focusin", stop);
    toast.addEventListener("pointerleave", start);
    toast.addEventListener("focusout", start);
    start();
  };
  const toast = (text, tone = "info") => {
    const box = $("#toasts");
    if (!box || !text) return;
    const item = shape("#toast-shape");
    item.classList.add(tone);
    item.dataset.toast = tone === "bad" ? "stay" : "";
    $("p", item).textContent = text;
    box.append(item);
    runToast(item);
  };
  on("click", "[data-dismiss]", (button) => dismiss(button.closest(".toast, .alert")));
  document.addEventListener("toast", (e) => toast(e.detail.text ?? e.detail.value, e.detail.tone));

  // --- copy
  const copyText = async (text) => {
    if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
    const area = Object.assign(document.createElement("textarea"), { value: text, className: "sr", readOnly: true });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("copy refused");
  };
  on("click", "[data-copy], [data-copy-from]", async (button) => {
    const text = button.dataset.copy ?? $(button.dataset.copyFrom, button.parentElement).textContent;
    try {
      await copyText(text);
    } catch { return toast(say("failed"), "bad"); }
    announce(say("copied"));
    if (button.dataset.done !== undefined) return;
    const icon = $(".icon", button);
    const tick = shape("#check-shape");
    button.dataset.done = "";
    icon?.replaceWith(tick);
    setTimeout(() => { delete button.dataset.done; if (icon) tick.replaceWith(icon); }, 1500);
  });

  // --- passwords: show, make, and how strong
  const showPassword = (button, shown) => {
    document.getElementById(button.dataset.reveal).type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
    button.setAttribute("aria-label", say(shown ? "hide" : "show"));
  };
  on("click", "[data-reveal]", (button) => showPassword(button, button.getAttribute("aria-pressed") !== "true"));
  const SYLLABLES = "abcdefghijkmnpqrstuvwxyz23456789"; // 32 signs without look-alikes: 5 bits each
  const makePassword = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(20));
    return [...bytes].map((b) => SYLLABLES[b % 32]).join("").replace(/(.{5})(?=.)/g, "$1-");
  };
  on("click", "[data-generate]", (button) => {
    const first = document.getElementById(button.dataset.generate);
    const word = makePassword();
    $$("input[autocomplete='new-password'], input[type=password]", first.form).concat(first).forEach((input) => {
      if (input !== first && !/password|confirm|repeat/i.test(input.name)) return;
      if (/current|old/i.test(input.name)) return;
      input.value = word;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    });
    const reveal = $(`[data-reveal="${CSS.escape(first.id)}"]`);
    if (reveal) showPassword(reveal, true);
    first.select();
  });
  const COMMON = ("password passwort passw0rd qwerty qwertz azerty letmein welcome admin administrator root login master dragon monkey football " +
    "baseball iloveyou sunshine princess shadow superman batman trustno1 secret server hearth xmpp jabber test guest user default changeme " +
    "abc123 hello freedom whatever starwars computer internet summer winter spring autumn flower hunter").split(" ");
  const ROWS = ["abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm"];
  const strength = (text, context) => {
    // Bits of a guess that knows words, runs and repeats: each of these counts as about one sign.
    let rest = text.toLowerCase().replace(/[@4]/g, "a").replace(/[3]/g, "e").replace(/[0]/g, "o").replace(/[$5]/g, "s").replace(/[1!]/g, "i");
    let units = 0;
    for (const word of [...context, ...COMMON].filter((w) => w.length > 2)) {
      const at = rest.indexOf(word);
      if (at >= 0) { rest = `${rest.slice(0, at)}\u0000${rest.slice(at + word.length)}`; }
    }
    const plain = rest.length === text.length ? text.toLowerCase() : rest;
    for (let i = 0; i < plain.length; i++) {
      const pair = plain.slice(i - 1, i + 1);
      const run = i > 0 && (plain[i] === plain[i - 1] || ROWS.some((row) => row.includes(pair) || [...row].reverse().join("").includes(pair)));
      units += run ? 0.25 : plain[i] === "\u0000" ? 1.5 : 1;
    }
    const kinds = (/[a-z]/.test(text) ? 26 : 0) + (/[A-Z]/.test(text) ? 26 : 0) + (/[0-9]/.test(text) ? 10 : 0) + (/[\x20-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]/.test(text) ? 33 : 0) + (/[^\x00-\x7f]/.test(text) ? 200 : 0);
    const bits = units * Math.log2(Math.max(kinds, 2));
    return text.length < 8 || bits < 28 ? (bits < 20 ? 0 : 1) : bits < 40 ? 1 : bits < 56 ? 2 : bits < 76 ? 3 : 4;
  };
  on("input", "[data-meter]", (input) => {
    const meter = document.getElementById(input.dataset.meter);
    if (!meter) return;
    const context = $$("input[name]", input.form).filter((i) => /user|name|mail|domain/.test(i.name)).flatMap((i) => i.value.toLowerCase().split(/[\s@.]+/));
    const score = input.value ? strength(input.value, context) : -1;
    meter.dataset.score = input.value ? Math.max(score, 1) : 0;
    const text = document.getElementById(`${input.dataset.meter}_text`);
    if (text) text.textContent = score < 0 ? "" : say(`strength-${score}`);
  });

  // --- keyboard
  const keysOn = () => { try { return localStorage.getItem("hearth.keys") !== "off"; } catch { return true; } };
  on("change", "[data-keys-on]", (box) => { try { localStorage.setItem("hearth.keys", box.checked ? "on" : "off"); } catch { /* private mode */ } });
  let chord = 0;
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") {
      if (root.dataset.menu === "open") return drawer(false);
      const menu = $("details.menu[open]");
      if (menu) { menu.open = false; return $("summary", menu).focus(); }
      if (e.target.matches?.("input, textarea, select") && !e.target.closest("dialog")) e.target.blur();
      return;
    }
    if ((e.ctrlKey || e.metaKey) && !e.altKey && e.key.toLowerCase() === "k" && $("[data-global-search]")) { e.preventDefault(); return $("[data-global-search]").select(); }
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || !keysOn() || $("dialog[open]") || e.target.matches?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]")) return;
    const link = Date.now() - chord < 1500 && $(`a[data-key="g ${CSS.escape(e.key)}"]`);
    if (link) { chord = 0; e.preventDefault(); return link.click(); }
    chord = e.key === "g" ? Date.now() : 0;
    if (e.key === "/") { e.preventDefault(); ($("[data-search]") ?? $("[data-global-search]"))?.select(); }
    else if (e.key === "?") { e.preventDefault(); $("#keys")?.showModal(); }
    else if (e.key === "n") { const make = $("a[data-new]"); if (make) { e.preventDefault(); make.click(); } }
  });

  // --- tables whose rows can be ticked
  const countTicks = (all) => {
    const boxes = $$(`input[name="${all.dataset.checkAll}"]`, all.closest(".card"));
    const ticked = boxes.filter((box) => box.checked).length;
    all.checked = ticked > 0 && ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
    const place = $("[data-check-count]", all.closest(".card"));
    if (place) place.textContent = ticked ? say("ticked").replace("{n}", ticked) : "";
  };
  on("change", "input[type=checkbox]", (box) => {
    const all = box.matches("[data-check-all]") ? box : $("[data-check-all]", box.closest(".card") ?? document);
    if (!all || (box !== all && box.name !== all.dataset.checkAll)) return;
    if (box === all) $$(`input[name="${all.dataset.checkAll}"]`, all.closest(".card")).forEach((other) => { other.checked = all.checked; });
    countTicks(all);
  });

  // --- forms: send once
  document.addEventListener("submit", (e) => {
    const form = e.target;
    if (e.defaultPrevented || form.method !== "post" || form.dataset.sent !== undefined) { if (form.dataset.sent !== undefined) e.preventDefault(); return; }
    if ([...form.attributes].some((a) => a.name.startsWith("hx-"))) return;
    form.dataset.sent = "";
    root.dataset.busy = "";
    setTimeout(() => { delete form.dataset.sent; delete root.dataset.busy; }, 5000); // the answer may be a file, which leaves this page standing
  });
  addEventListener("pageshow", () => { $$("[data-check-all]").forEach(countTicks); $$("form[data-sent]").forEach((f) => delete f.dataset.sent); delete root.dataset.busy; });

  // --- htmx
  let running = 0;
  const busy = (step) => { running = Math.max(0, running + step); if (running) root.dataset.busy = ""; else delete root.dataset.busy; };
  // A toolbar searches within the order and page size that are shown now, and leaves empty filters out of the address.
  document.addEventListener("htmx:configRequest", (e) => {
    if (!e.target.matches("form.toolbar")) return;
    const data = e.detail.formData;
    const shown = new URLSearchParams(location.search);
    for (const name of ["sort", "size"]) if (shown.get(name)) data.set(name, shown.get(name));
    for (const name of new Set(data.keys())) if (data.getAll(name).every((value) => value === "")) data.delete(name);
  });
  document.addEventListener("htmx:beforeSend", (e) => { if (!e.target.hasAttribute("data-quiet")) busy(1); });
  document.addEventListener("htmx:afterRequest", (e) => { if (!e.target.hasAttribute("data-quiet")) busy(-1); });
  document.addEventListener("htmx:afterSwap", (e) => {
    if (!e.detail.requestConfig?.elt?.hasAttribute("data-quiet")) announce($("[data-announce]", e.detail.target.isConnected ? e.detail.target : document)?.textContent);
  });
  // A part that was asked for and answered by another page (signed out meanwhile): show that page instead.
  document.addEventListener("htmx:beforeSwap", (e) => {
    const { xhr, requestConfig } = e.detail;
    if (requestConfig.verb !== "get" || new URL(xhr.responseURL || location.href).pathname === new URL(requestConfig.path, location.href).pathname) return;
    e.detail.shouldSwap = false;
    location.reload();
  });
  document.addEventListener("htmx:load", (e) => prepare(e.detail.elt));
  document.addEventListener("htmx:responseError", (e) => { if (e.detail.xhr.status === 401 || e.detail.xhr.status === 403) location.reload(); else if (!e.target.hasAttribute("data-quiet")) toast(say("failed"), "bad"); });
  document.addEventListener("htmx:sendError", (e) => { if (!e.target.hasAttribute("data-quiet")) toast(say("failed"), "bad"); });
  // A live refetch must not steal what someone is doing inside the part that it would replace.
  document.addEventListener("htmx:beforeRequest", (e) => {
    const part = e.target;
    if (!part.hasAttribute("data-quiet")) return;
    const place = e.detail.target ?? part;
    if (document.hidden || place.querySelector("input:focus, select:focus, textarea:focus, details[open], input:checked:not([data-kept])")) e.preventDefault();
  });

  // --- live: a hint from the server becomes an event that parts of the page listen to
  const live = (path) => {
    let wait = 1000, poll = 0;
    const show = (state) => {
      const mark = $("[data-live-state]");
      if (!mark) return;
      mark.dataset.state = state;
      mark.title = say(`live-${state}`);
      const text = $("[data-live-text]");
      if (text) text.textContent = say(`live-${state}`);
    };
    const fire = (topic) => document.body.dispatchEvent(new CustomEvent(`live:${topic}`));
    const connect = () => {
      const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
      socket.addEventListener("open", () => { if (poll) { clearInterval(poll); poll = 0; fire("poll"); } wait = 1000; show("on"); });
      socket.addEventListener("message", (e) => {
        let news;
        try { news = JSON.parse(e.data); } catch { return; }
        for (const topic of [news.changed ?? []].flat()) fire(topic);
      });
      socket.addEventListener("close", () => {
        show("off");
        poll ||= setInterval(() => fire("poll"), 15000);
        setTimeout(connect, wait * (0.75 + Math.random() / 2));
        wait = Math.min(wait * 2, 30000);
      });
    };
    document.addEventListener("visibilitychange", () => { if (!document.hidden) fire("poll"); });
    connect();
  };

  // --- a page or a part of one has arrived
  const prepare = (part) => {
    $$("[data-word]", part).forEach(checkWord);
    $$("[data-check-all]", part).forEach(countTicks);
    $$(".toast[data-toast]", part).forEach((item) => { if (!item.dataset.running) { item.dataset.running = "1"; runToast(item); } });
  };
  prepare(document);
  $$("[data-keys-on]").forEach((box) => { box.checked = keysOn(); });
  $("[data-focus]")?.focus();
  $(".tab[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  if (location.hash === "#menu") drawer(true);
  if (document.body.dataset.live) live(document.body.dataset.live);
})();
