// What all of the page shares: the columns of the data, and figures as text.
// Nothing that a trace says is ever taken as HTML: it goes in by textContent.

const byId = id => document.getElementById(id);
const data = JSON.parse(byId('data').textContent);
const total = data.pid.length;

// A column in which nothing is known is left out of the data. parent[i] < i, or -1.
const column = name => data[name] || new Array(total).fill(null);
const pids = data.pid, parents = data.parent, borns = data.born, labels = data.label;
const ends = column('end'), codes = column('code'), signals = column('signal'), copies = column('copies');
const zombies = column('zombie'), overs = column('over'), lives = column('life'), unborns = column('unborn');
const span = data.span; // microseconds, as all times here

const word = number => number == null ? null : data.words[number];
const command = i => word(labels[i]);
const how = i => data.hows[data.how[i]];
const born_here = i => !unborns[i] && how(i) !== 'root' && how(i) !== 'existing' && how(i) !== '-';
const stop = i => ends[i] != null ? ends[i] : overs[i] ? borns[i] : span;
const life = i => lives[i] != null ? lives[i] : overs[i] || unborns[i] ? null : stop(i) - borns[i];
const failed = i => signals[i] != null || codes[i] > 0;

function outcome(i) {
  if (signals[i] != null) return word(signals[i]);
  if (codes[i] != null) return codes[i] ? 'exit ' + codes[i] : '';
  return ends[i] != null || overs[i] ? '-' : how(i) === 'existing' ? '' : 'running';
}

const digits = value => value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
const number = value => value == null ? '-' : value.toLocaleString('en');

function duration(us) {
  if (us == null) return '-';
  if (us < 0.9995) return Math.round(us * 1000) + ' ns';
  if (us < 999.5) return digits(us) + ' µs';
  if (us < 999500) return digits(us / 1e3) + ' ms';
  if (us < 59995000) return digits(us / 1e6) + ' s';
  const s = Math.round(us / 1e6);
  const two = (big, b, small, a) => big + ' ' + b + (small ? ' ' + small + ' ' + a : '');
  if (s < 3600) return two(Math.floor(s / 60), 'min', s % 60, 's');
  if (s < 86400) return two(Math.floor(s / 3600), 'h', Math.floor(s % 3600 / 60), 'min');
  return two(number(Math.floor(s / 86400)), 'd', Math.floor(s % 86400 / 3600), 'h');
}

function size(bytes) {
  if (bytes == null) return '-';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes, unit = 0;
  while (value >= 999.5 && unit < units.length - 1) { value /= 1024; unit++; }
  return (Number.isInteger(value) ? value : digits(value)) + ' ' + units[unit];
}

const pages = n => size(n == null || data.page == null ? null : n * data.page);
const plural = (n, one, many) => number(n) + ' ' + (n === 1 ? one : many);

// What is shown of time, by both the time line and the bars of the tree.
const range = {from: 0, to: span};
const redraws = [];
const due = new Set();
function redraw(only) { // all, or one of them: who scrolls the tree does not wait for 20,000 bars
  if (!due.size) requestAnimationFrame(() => { const now = [...due]; due.clear(); now.forEach(draw => draw()); });
  for (const draw of only ? [only] : redraws) due.add(draw);
}
