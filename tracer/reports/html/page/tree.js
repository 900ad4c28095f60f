// The tree: only the rows in sight are in the document, so that 50,000 processes scroll as 50 do.

const tree = byId('tree'), space = byId('space'), search = byId('search');
const ROW = 24, INDENT_MOST = 24, OPEN_ROWS = 300;
const children = Array.from({length: total}, () => null), roots = [];
const depth = new Int32Array(total), place_among = new Int32Array(total);
for (let i = 0; i < total; i++) {
  const siblings = parents[i] < 0 ? roots : children[parents[i]] || (children[parents[i]] = []);
  place_among[i] = siblings.push(i);
  depth[i] = parents[i] < 0 ? 0 : depth[parents[i]] + 1;
}
const siblings = i => parents[i] < 0 ? roots : children[parents[i]];

// At first as many generations are open as are not too many rows.
const open = new Uint8Array(total);
(() => {
  let level = roots, rows = roots.length;
  while (level.length) {
    const below = level.flatMap(i => children[i] || []);
    if (rows + below.length > OPEN_ROWS && level !== roots) return;
    for (const i of level) open[i] = 1;
    rows += below.length;
    level = below;
  }
})();

tree.style.setProperty('--all', Math.max(3, total) * ROW + 'px'); // no higher than all of them
let rows = [], hits = null, selected = -1;
const chosen = () => selected < 0 ? -1 : rows[selected];

// What is open, in order; in a search, what was found and what is above it.
function list() {
  const kept = chosen();
  rows = [];
  const stack = roots.slice().reverse();
  while (stack.length) {
    const i = stack.pop();
    if (hits && !hits.near[i]) continue;
    rows.push(i);
    if (children[i] && (open[i] || hits)) for (let k = children[i].length - 1; k >= 0; k--) stack.push(children[i][k]);
  }
  selected = kept < 0 ? -1 : rows.indexOf(kept);
  space.style.height = rows.length * ROW + 'px';
  redraw();
}

const pool = [];
function fresh_row() {
  const row = document.createElement('div');
  row.className = 'row';
  row.setAttribute('role', 'treeitem');
  const made = {row, at: 0};
  for (const name of ['pid', 'how', 'life', 'copied', 'exit', 'name', 'when']) {
    made[name] = document.createElement('span');
    made[name].className = 'c-' + name;
    row.append(made[name]);
  }
  made.twist = document.createElement('i');
  made.text = document.createTextNode('');
  made.name.append(made.twist, made.text);
  made.life_bar = document.createElement('b');
  made.zombie_bar = document.createElement('b');
  made.zombie_bar.className = 'zombie';
  made.when.append(made.zombie_bar, made.life_bar);
  row.addEventListener('click', event => { choose(made.at); if (event.target === made.twist) twist(rows[made.at]); });
  row.addEventListener('dblclick', event => { if (event.target !== made.twist) twist(rows[made.at]); });
  space.append(row);
  return made;
}

function put_bar(bar, from, to) {
  const wide = range.to - range.from, left = (from - range.from) / wide, right = (to - range.from) / wide;
  bar.hidden = right < 0 || left > 1 || to < from;
  bar.style.left = Math.max(0, left) * 100 + '%';
  bar.style.width = Math.max(0, Math.min(1, right) - Math.max(0, left)) * 100 + '%';
}

function draw_tree() {
  const first = Math.max(0, Math.floor(tree.scrollTop / ROW) - 4);
  const shown = Math.min(rows.length - first, Math.ceil(tree.clientHeight / ROW) + 8);
  while (pool.length < shown) pool.push(fresh_row());
  pool.forEach((made, k) => {
    made.row.hidden = k >= shown;
    if (k < shown) fill(made, first + k);
  });
  if (selected >= first && selected < first + shown) tree.setAttribute('aria-activedescendant', 'row' + selected);
  else tree.removeAttribute('aria-activedescendant');
}

function fill(made, at) {
  const i = rows[at], {row} = made, is_open = !!(open[i] || hits);
  made.at = at;
  row.id = 'row' + at;
  row.style.top = at * ROW + 'px';
  row.classList.toggle('on', at === selected);
  row.classList.toggle('hit', !!(hits && hits.own[i]));
  row.setAttribute('aria-level', depth[i] + 1);
  row.setAttribute('aria-setsize', siblings(i).length);
  row.setAttribute('aria-posinset', place_among[i]);
  row.setAttribute('aria-selected', at === selected);
  if (children[i]) row.setAttribute('aria-expanded', is_open); else row.removeAttribute('aria-expanded');
  row.setAttribute('aria-label', [command(i), 'pid ' + (pids[i] ?? 'unknown'), how(i), 'lived ' + duration(life(i)),
    outcome(i)].filter(Boolean).join(', '));
  made.pid.textContent = pids[i] ?? '-';
  made.how.textContent = how(i);
  made.life.textContent = duration(life(i)) + (ends[i] == null && !overs[i] && life(i) != null ? '+' : '');
  made.copied.textContent = copies[i] === 0 ? '' : pages(copies[i]);
  made.exit.textContent = outcome(i);
  made.exit.className = failed(i) ? 'c-exit bad' : 'c-exit';
  made.name.style.paddingLeft = Math.min(depth[i], INDENT_MOST) * 1.1 + 'em';
  made.twist.textContent = children[i] ? is_open ? '▾' : '▸' : '';
  made.text.data = command(i) + (children[i] && !is_open ? `  (${number(children[i].length)})` : '');
  row.title = command(i);
  made.life_bar.className = failed(i) ? 'failed' : '';
  if (unborns[i]) made.life_bar.hidden = true;
  else put_bar(made.life_bar, borns[i], stop(i));
  if (zombies[i] && ends[i] != null) put_bar(made.zombie_bar, ends[i], ends[i] + zombies[i]);
  else made.zombie_bar.hidden = true;
}

function twist(i) {
  if (!children[i] || hits) return;
  open[i] ^= 1;
  list();
}

function choose(at) {
  if (at < 0 || at >= rows.length) return;
  selected = at;
  const y = at * ROW;
  if (y < tree.scrollTop) tree.scrollTop = y;
  else if (y + ROW > tree.scrollTop + tree.clientHeight) tree.scrollTop = y + ROW - tree.clientHeight;
  show_details(rows[at]);
  redraw();
}

// Open what is above it, and go there.
function reveal(i) {
  if (hits && !hits.near[i]) { search.value = ''; find(); }
  for (let above = parents[i]; above >= 0; above = parents[above]) open[above] = 1;
  list();
  choose(rows.indexOf(i));
}

const short = (text, most) => text.length > most ? text.slice(0, most - 1) + '…' : text;

function show_details(i) {
  const box = byId('details'), above = parents[i], {fork, tables, cpu, rss, where} = data;
  const facts = [
    ['command', command(i)], ['pid', pids[i] ?? '-'],
    ['made', how(i) + (above < 0 ? '' : ` by ${pids[above] ?? '-'} ${short(command(above), 60)}`)],
    ['born', how(i) === 'existing' ? 'before' : unborns[i] ? '-' : duration(borns[i])], ['lived', duration(life(i))],
    ['ended', outcome(i) || (codes[i] === 0 ? 'exit 0' : 'running')],
    ['CPU', duration(cpu && cpu[i])], ['most memory', size(rss && rss[i])],
    ['page-table copy', duration(fork && fork[i])],
    ['page tables', size(tables && tables[i])],
    ['copied on write', pages(copies[i])], ['zombie', duration(zombies[i])],
    ['children', number(children[i] ? children[i].length : 0)], ['control group', word(where && where[i])],
  ].filter(([, value]) => value != null && value !== '-');
  box.replaceChildren(...facts.map(([name, value]) => {
    const pair = document.createElement('div'), term = document.createElement('dt'), text = document.createElement('dd');
    term.textContent = name;
    text.textContent = value;
    pair.append(term, text);
    return pair;
  }));
  box.hidden = false;
}

function find() {
  const wanted = search.value.trim().toLowerCase();
  if (!wanted) {
    hits = null;
    byId('found').textContent = '';
  } else {
    const match = data.words.map(text => text.toLowerCase().includes(wanted));
    const own = new Uint8Array(total), near = new Uint8Array(total);
    let found = 0;
    for (let i = total - 1; i >= 0; i--) { // children before parents
      if (match[labels[i]] || String(pids[i]) === wanted || outcome(i).toLowerCase() === wanted || how(i) === wanted) {
        own[i] = near[i] = 1;
        found++;
      }
      if (near[i] && parents[i] >= 0) near[parents[i]] = 1;
    }
    hits = {own, near};
    byId('found').textContent = plural(found, 'process', 'processes');
  }
  list();
  if (hits) {
    tree.scrollTop = 0;
    choose(rows.findIndex(i => hits.own[i]));
  }
}

// The next of those found, or the one before.
function step_hit(by) {
  for (let k = 1; k <= rows.length; k++) {
    const at = (((selected + by * k) % rows.length) + rows.length) % rows.length;
    if (hits.own[rows[at]]) { choose(at); return; }
  }
}

search.addEventListener('input', find);
search.addEventListener('keydown', event => {
  if (event.key === 'Escape') { search.value = ''; find(); tree.focus(); }
  else if (event.key === 'Enter' && hits) step_hit(event.shiftKey ? -1 : 1);
  else if (event.key === 'ArrowDown') tree.focus();
  else return;
  event.preventDefault();
});
tree.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const i = chosen(), page = Math.max(1, Math.floor(tree.clientHeight / ROW) - 1);
  const to = at => choose(Math.max(0, Math.min(rows.length - 1, at)));
  const keys = {
    ArrowDown: () => to(selected + 1), ArrowUp: () => to(selected - 1),
    PageDown: () => to(selected + page), PageUp: () => to(selected - page), Home: () => to(0), End: () => to(rows.length - 1),
    ArrowRight: () => { if (i >= 0 && children[i]) { if (open[i] || hits) to(selected + 1); else twist(i); } },
    ArrowLeft: () => {
      if (i < 0) return;
      if (children[i] && open[i] && !hits) twist(i);
      else if (parents[i] >= 0) to(rows.indexOf(parents[i]));
    },
    Enter: () => { if (i >= 0) twist(i); }, ' ': () => { if (i >= 0) twist(i); },
    '*': () => { if (i >= 0) { for (const k of siblings(i)) open[k] = 1; list(); } },
  };
  if (!keys[event.key]) return;
  keys[event.key]();
  event.preventDefault();
});
tree.addEventListener('scroll', () => redraw(draw_tree));
byId('expand').onclick = () => { open.fill(1); list(); };
byId('collapse').onclick = () => { open.fill(0); list(); };
redraws.push(draw_tree);
