'use strict';
(() => {
  // Columns: words[label[i]] is the command of process i; parent[i] < i, or -1. Times in microseconds from the beginning.
  const d = JSON.parse(document.getElementById('data').textContent);
  const n = d.pid.length, ROW = 24, $ = id => document.getElementById(id);
  const kids = Array.from({length: n}, () => null), roots = [];
  for (let i = 0; i < n; i++) { const p = d.parent[i]; if (p < 0) roots.push(i); else (kids[p] || (kids[p] = [])).push(i); }
  const depth = new Int32Array(n);
  for (let i = 0; i < n; i++) depth[i] = d.parent[i] < 0 ? 0 : depth[d.parent[i]] + 1;
  const open = new Uint8Array(n).fill(1);
  let rows = [], hits = null, selected = -1, from = 0, to = d.span || 1;
  const whole = [0, to];

  const time = us => us == null ? '-' : us >= 6e7 ? (us / 6e7).toFixed(1) + ' min' : us >= 1e6 ? (us / 1e6).toFixed(2) + ' s' :
    us >= 1e3 ? (us / 1e3).toFixed(2) + ' ms' : us.toFixed(0) + ' µs';
  const size = pages => { if (pages == null) return '-'; let v = pages * 4096, u = 0; const U = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    while (v >= 1000 && u < 4) { v /= 1024; u++; } return (Number.isInteger(v) ? v : v.toPrecision(3)) + ' ' + U[u]; };
  const end = i => d.end[i] == null ? whole[1] : d.end[i];
  const exit = i => d.signal[i] != null ? d.words[d.signal[i]] : d.code[i] == null ? (d.end[i] == null ? 'lives' : '-') : d.code[i] ? 'exit ' + d.code[i] : '';
  const name = i => d.words[d.label[i]];

  function list() {
    rows = [];
    const stack = roots.slice().reverse();
    while (stack.length) {
      const i = stack.pop();
      if (hits && !hits.near[i]) continue;
      rows.push(i);
      if (kids[i] && (open[i] || hits)) for (let k = kids[i].length - 1; k >= 0; k--) stack.push(kids[i][k]);
    }
    $('space').style.height = rows.length * ROW + 'px';
    draw();
  }

  const pool = [];
  function cell(row, cls) { const s = document.createElement('span'); s.className = cls; row.append(s); return s; }
  function fresh() {
    const row = document.createElement('div'); row.className = 'row'; row.setAttribute('role', 'treeitem');
    const made = {row, pid: cell(row, 'c-pid'), how: cell(row, 'c-how dim'), life: cell(row, 'c-life'), cow: cell(row, 'c-cow'), exit: cell(row, 'c-exit'), name: cell(row, 'c-name'), bar: cell(row, 'c-bar')};
    made.twist = document.createElement('i'); made.text = document.createTextNode(''); made.name.append(made.twist, made.text);
    made.life1 = document.createElement('b'); made.life2 = document.createElement('b'); made.life2.className = 'zombie'; made.bar.append(made.life1, made.life2);
    row.addEventListener('click', e => { choose(made.at); if (e.target === made.twist) twist(rows[made.at]); });
    row.addEventListener('dblclick', () => twist(rows[made.at]));
    $('space').append(row); return made;
  }
  function place(b, a, z) {
    const w = to - from, l = Math.max(0, (a - from) / w), r = Math.min(1, (z - from) / w);
    b.style.display = r < 0 || l > 1 || z < a ? 'none' : ''; b.style.left = l * 100 + '%'; b.style.width = Math.max(0, r - l) * 100 + '%';
  }
  function draw() {
    const tree = $('tree'), first = Math.max(0, Math.floor(tree.scrollTop / ROW) - 4), count = Math.min(rows.length - first, Math.ceil(tree.clientHeight / ROW) + 8);
    while (pool.length < count) pool.push(fresh());
    for (let k = 0; k < pool.length; k++) {
      const m = pool[k], at = first + k;
      if (k >= count) { m.row.style.display = 'none'; continue; }
      const i = rows[at]; m.at = at;
      m.row.style.display = ''; m.row.style.top = at * ROW + 'px';
      m.row.classList.toggle('on', at === selected); m.row.classList.toggle('hit', !!(hits && hits.own[i]));
      m.row.id = 'p' + at; m.row.setAttribute('aria-level', depth[i] + 1); m.row.setAttribute('aria-selected', at === selected);
      if (kids[i]) m.row.setAttribute('aria-expanded', !!(open[i] || hits)); else m.row.removeAttribute('aria-expanded');
      m.pid.textContent = d.pid[i]; m.how.textContent = d.hows[d.how[i]]; m.life.textContent = time(d.end[i] == null ? null : d.end[i] - d.born[i]);
      m.cow.textContent = d.copies[i] == null ? '-' : d.copies[i] ? size(d.copies[i]) : ''; m.exit.textContent = exit(i);
      m.exit.className = 'c-exit' + (d.signal[i] != null || d.code[i] ? ' bad' : ' dim');
      m.name.style.paddingLeft = Math.min(depth[i], 24) * 1.1 + 'em'; m.twist.textContent = kids[i] ? (open[i] || hits ? '▾' : '▸') : ''; m.text.data = name(i);
      m.row.title = name(i);
      place(m.life1, d.born[i], end(i)); place(m.life2, d.end[i] == null || !d.zombie[i] ? 1 : d.end[i], d.end[i] == null || !d.zombie[i] ? 0 : d.end[i] + d.zombie[i]);
    }
    if (selected >= 0) $('tree').setAttribute('aria-activedescendant', 'p' + selected);
  }
  function twist(i) { if (kids[i]) { open[i] ^= 1; list(); } }
  function choose(at) {
    if (at < 0 || at >= rows.length) return;
    selected = at; const tree = $('tree'), y = at * ROW;
    if (y < tree.scrollTop) tree.scrollTop = y; else if (y + ROW > tree.scrollTop + tree.clientHeight) tree.scrollTop = y + ROW - tree.clientHeight;
    const i = rows[at], p = d.parent[i], box = $('details');
    box.hidden = false;
    box.textContent = `pid ${d.pid[i]}, ${d.hows[d.how[i]]}${p < 0 ? '' : ' of ' + d.pid[p]}: ${name(i)} · born ${time(d.born[i])}, lived ${time(d.end[i] == null ? null : d.end[i] - d.born[i])}, ${exit(i) || 'exit 0'}` +
      ` · page tables ${time(d.fork[i])}, copied ${size(d.copies[i])}, CPU ${time(d.cpu[i])}${d.zombie[i] ? ', zombie ' + time(d.zombie[i]) : ''}${d.where[i] == null ? '' : ' · ' + d.words[d.where[i]]}`;
    draw();
  }
  function search() {
    const q = $('search').value.trim().toLowerCase();
    if (!q) { hits = null; $('found').textContent = ''; selected = -1; list(); return; }
    const match = d.words.map(w => w.toLowerCase().includes(q)), own = new Uint8Array(n), near = new Uint8Array(n); let count = 0;
    for (let i = n - 1; i >= 0; i--) {
      if (match[d.label[i]] || String(d.pid[i]) === q || exit(i).toLowerCase() === q) { own[i] = near[i] = 1; count++; }
      if (near[i] && d.parent[i] >= 0) near[d.parent[i]] = 1;
    }
    hits = {own, near}; selected = -1; $('found').textContent = count === 1 ? '1 process' : count.toLocaleString('en') + ' processes';
    list(); $('tree').scrollTop = 0; const first = rows.findIndex(i => own[i]); if (first >= 0) choose(first);
  }

  function overview() {
    const c = $('overview'), ratio = window.devicePixelRatio || 1, w = c.clientWidth, h = c.clientHeight;
    c.width = w * ratio; c.height = h * ratio;
    const g = c.getContext('2d'), style = getComputedStyle(document.documentElement), colour = v => style.getPropertyValue(v).trim();
    g.scale(ratio, ratio);
    const cols = Math.max(1, Math.floor(w / 3)), births = new Float64Array(cols), change = new Float64Array(cols + 1), span = to - from;
    for (let i = 0; i < n; i++) {
      const b = d.born[i], e = end(i);
      if (d.fresh[i] && b >= from && b < to) births[Math.min(cols - 1, Math.floor((b - from) / span * cols))]++;
      if (e >= from && b < to) { change[Math.max(0, Math.floor((Math.max(b, from) - from) / span * cols))]++; if (e < to) change[Math.min(cols, Math.floor((e - from) / span * cols) + 1)]--; }
    }
    let most = 1, alive = 0, peak = 1; const line = [];
    for (let x = 0; x < cols; x++) { most = Math.max(most, births[x]); alive += change[x]; line.push(alive); peak = Math.max(peak, alive); }
    g.fillStyle = colour('--bar');
    for (let x = 0; x < cols; x++) if (births[x]) { const y = Math.max(1, births[x] / most * (h - 18)); g.fillRect(x * w / cols, h - y, Math.max(1, w / cols - 1), y); }
    g.strokeStyle = colour('--mark'); g.lineWidth = 1.5; g.beginPath();
    line.forEach((v, x) => { const y = h - 1 - v / peak * (h - 20); if (x) g.lineTo((x + .5) * w / cols, y); else g.moveTo((x + .5) * w / cols, y); });
    g.stroke();
    $('overview-text').textContent = `Bars: births, at most ${most.toLocaleString('en')} in ${time(span / cols)}. Line: processes that live, at most ${peak.toLocaleString('en')}.`;
    $('range').textContent = `${time(from)} to ${time(to)}`;
    if (drag) { g.fillStyle = colour('--mark'); g.globalAlpha = .2; g.fillRect(Math.min(drag[0], drag[1]), 0, Math.abs(drag[1] - drag[0]), h); g.globalAlpha = 1; }
  }
  let drag = null, due = false;
  function later(what) { if (!due) { due = true; requestAnimationFrame(() => { due = false; overview(); draw(); }); } }
  function range(a, z) { const w = Math.max(10, Math.min(z - a, whole[1])); from = Math.max(0, Math.min(a, whole[1] - w)); to = from + w; later(); }
  const zoom = f => { const m = (from + to) / 2, w = (to - from) * f / 2; range(m - w, m + w); };
  const move = f => range(from + (to - from) * f, to + (to - from) * f);

  const c = $('overview'), x = e => e.clientX - c.getBoundingClientRect().left;
  c.addEventListener('pointerdown', e => { drag = [x(e), x(e)]; c.setPointerCapture(e.pointerId); });
  c.addEventListener('pointermove', e => { if (drag) { drag[1] = x(e); later(); } });
  c.addEventListener('pointerup', () => { if (!drag) return; const [a, z] = [Math.min(...drag), Math.max(...drag)], w = to - from; drag = null; if (z - a > 4) range(from + a / c.clientWidth * w, from + z / c.clientWidth * w); else later(); });
  c.addEventListener('wheel', e => { e.preventDefault(); zoom(e.deltaY < 0 ? .8 : 1.25); }, {passive: false});
  $('zoom-in').onclick = () => zoom(.5); $('zoom-out').onclick = () => zoom(2); $('earlier').onclick = () => move(-.5); $('later').onclick = () => move(.5); $('whole').onclick = () => range(...whole);
  $('expand').onclick = () => { open.fill(1); list(); }; $('collapse').onclick = () => { open.fill(0); selected = -1; list(); };
  $('search').addEventListener('input', search);
  $('tree').addEventListener('scroll', () => later());
  window.addEventListener('resize', () => later());
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => later());
  document.addEventListener('keydown', e => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const typing = e.target.tagName === 'INPUT';
    if (typing) { if (e.key === 'Escape') { $('search').value = ''; search(); $('tree').focus(); } else if (e.key === 'Enter') $('tree').focus(); return; }
    const timely = {'+': () => zoom(.5), '=': () => zoom(.5), '-': () => zoom(2), ',': () => move(-.5), '.': () => move(.5), '0': () => range(...whole)};
    if (timely[e.key]) { timely[e.key](); e.preventDefault(); return; }
    if (e.key === '/') { $('search').focus(); e.preventDefault(); return; }
    if (document.activeElement !== $('tree')) return;
    const i = rows[selected], page = Math.max(1, Math.floor($('tree').clientHeight / ROW) - 1);
    const steps = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page};
    if (e.key in steps) choose(Math.max(0, Math.min(rows.length - 1, selected + steps[e.key])));
    else if (e.key === 'Home') choose(0); else if (e.key === 'End') choose(rows.length - 1);
    else if (e.key === 'ArrowRight' && i != null) { if (kids[i] && !open[i]) twist(i); else if (kids[i]) choose(selected + 1); }
    else if (e.key === 'ArrowLeft' && i != null) { if (kids[i] && open[i] && !hits) twist(i); else if (d.parent[i] >= 0) choose(rows.indexOf(d.parent[i])); }
    else if ((e.key === 'Enter' || e.key === ' ') && i != null) twist(i);
    else return;
    e.preventDefault();
  });
  list(); overview();
})();
