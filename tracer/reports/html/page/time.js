// The time line: forks a second, processes that live, pages copied, and every life as a bar, above one axis.

const canvas = byId('time');
const LABELS = 18, FORKS = 74, ALIVE = 54, COPIED = 54, AXIS = 22;
const has_copies = data.curve ? data.curve.copied.some(n => n) : copies.some(n => n);
const LANE_MOST = 12, LIVES_MOST = 260;

// Each life in the lowest lane that is free when it begins. Who was there before and stayed has none.
const lanes = new Int32Array(total).fill(-1);
const by_birth = Array.from({length: total}, (_, i) => i).sort((a, b) => borns[a] - borns[b] || a - b);
let lane_count = 0;
(() => {
  const busy = []; // a heap of [end, lane], the first to end on top
  const free = []; // a heap of lanes, the lowest on top
  const push = (heap, item, less) => {
    let at = heap.push(item) - 1;
    for (let up; at && less(heap[at], heap[up = (at - 1) >> 1]); at = up) [heap[at], heap[up]] = [heap[up], heap[at]];
  };
  const pop = (heap, less) => {
    const top = heap[0], last = heap.pop();
    if (!heap.length) return top;
    heap[0] = last;
    for (let at = 0, low; (low = 2 * at + 1) < heap.length; at = low) {
      if (low + 1 < heap.length && less(heap[low + 1], heap[low])) low++;
      if (!less(heap[low], heap[at])) break;
      [heap[at], heap[low]] = [heap[low], heap[at]];
    }
    return top;
  };
  const sooner = (a, b) => a[0] < b[0], lower = (a, b) => a < b;
  for (const i of by_birth) {
    if (unborns[i] || how(i) === 'existing' && ends[i] == null) continue;
    while (busy.length && busy[0][0] <= borns[i]) push(free, pop(busy, sooner)[1], lower);
    const lane = free.length ? pop(free, lower) : lane_count++;
    lanes[i] = lane;
    push(busy, [stop(i) + (zombies[i] || 0), lane], sooner);
  }
})();
const lane_height = Math.min(LANE_MOST, LIVES_MOST / Math.max(1, lane_count));
const lives_height = Math.ceil(Math.max(LANE_MOST, lane_height * lane_count));
const bands = [
  {name: 'forks', height: FORKS}, {name: 'alive', height: ALIVE},
  ...(has_copies ? [{name: 'copied', height: COPIED}] : []), {name: 'lives', height: lives_height},
];
let place = AXIS;
for (const band of bands) { band.top = place + LABELS; place = band.top + band.height; }
canvas.style.height = place + 6 + 'px';

const births = Float64Array.from(by_birth.filter(born_here), i => borns[i]);
const begins = Float64Array.from(by_birth.filter(i => !overs[i] && !unborns[i]), i => borns[i]);
const finishes = Float64Array.from(Array.from({length: total}, (_, i) => i).filter(i => ends[i] != null && !unborns[i]), i => ends[i]).sort();
const copied = Array.from({length: total}, (_, i) => i).filter(i => copies[i]).sort((a, b) => stop(a) - stop(b));

// The first place in a sorted array that is not below `value`.
function lower_bound(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) { const middle = (low + high) >> 1; if (sorted[middle] < value) low = middle + 1; else high = middle; }
  return low;
}

// Figures for `n` equal parts of the range. Of a trace that is not here whole, from the curves of all of it.
function series(n) {
  const {from, to} = range, step = (to - from) / n;
  const made = {forks: new Float64Array(n), alive: new Float64Array(n), copied: new Float64Array(n), step};
  if (data.curve) {
    const parts = data.curve.forks.length, each = span / parts;
    made.step = Math.max(step, each);
    for (let k = 0; k < n; k++) {
      const first = Math.min(parts - 1, Math.floor((from + k * step) / each));
      const last = Math.max(first, Math.min(parts, Math.ceil((from + (k + 1) * step) / each - 1e-9)) - 1);
      for (let p = first; p <= last; p++) {
        made.forks[k] += data.curve.forks[p];
        made.alive[k] = Math.max(made.alive[k], data.curve.alive[p]);
        made.copied[k] += data.curve.copied[p];
      }
    }
    return made;
  }
  const part = at => Math.min(n - 1, Math.floor((at - from) / step));
  const inside = at => at >= from && (at < to || to >= span);
  for (let k = lower_bound(births, from); k < births.length && inside(births[k]); k++) made.forks[part(births[k])]++;
  for (const i of copied) if (inside(stop(i))) made.copied[part(stop(i))] += copies[i];
  let come = lower_bound(begins, from), gone = lower_bound(finishes, from), live = come - gone;
  for (let k = 0; k < n; k++) {
    const until = k + 1 === n ? Infinity : from + (k + 1) * step;
    let most = live;
    for (;;) {
      const begin = come < begins.length ? begins[come] : Infinity, end = gone < finishes.length ? finishes[gone] : Infinity;
      if (Math.min(begin, end) >= until || (k + 1 === n && Math.min(begin, end) > to)) break;
      if (end <= begin) { live--; gone++; } else { live++; come++; most = Math.max(most, live); }
    }
    made.alive[k] = most;
  }
  return made;
}

// A round step for about `most` marks within `wide` microseconds.
function tick_step(wide, most) {
  const rough = wide / most, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map(m => m * power).find(s => s >= rough);
}

const x_of = (at, width) => (at - range.from) / (range.to - range.from) * width;
const at_x = x => range.from + x / canvas.clientWidth * (range.to - range.from);
let drag = null, pointed = -1;

function draw_time() {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext('2d'), style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  const ink = {soft: colour('--soft'), line: colour('--line'), bar: colour('--bar'), mark: colour('--mark'),
    bad: colour('--bad'), warn: colour('--warn'), fg: colour('--fg'), copied: colour('--copied')};
  pen.scale(ratio, ratio);
  pen.font = '12px system-ui, sans-serif';

  // the axis
  const step = tick_step(range.to - range.from, Math.max(2, Math.floor(width / 110)));
  pen.textBaseline = 'top';
  const first = Math.ceil(range.from / step), last = Math.min(first + 200, Math.floor(range.to / step));
  for (let k = first; k <= last; k++) { // by number: at a very late time, adding a small step changes nothing
    const at = k * step;
    const x = Math.round(x_of(at, width)) + .5;
    pen.fillStyle = ink.line;
    pen.fillRect(x, AXIS - 4, 1, height - AXIS);
    pen.fillStyle = ink.soft;
    if (x < width - 50) pen.fillText(at ? duration(at) : '0', x + 4, 4);
  }

  const parts = Math.max(1, Math.floor(width / 3)), made = series(parts);
  const said = {
    forks: most => `forks: at most ${number(most)} in ${duration(made.step)}`,
    alive: most => `alive: at most ${number(most)}`,
    copied: most => `copied, as processes end: at most ${pages(most)} in ${duration(made.step)}`,
    lives: () => 'lives',
  };
  const texts = [];
  for (const band of bands) {
    const bottom = band.top + band.height;
    let most = 0;
    if (band.name === 'lives') draw_lives(pen, band, width, ink);
    else {
      const values = made[band.name];
      for (const value of values) most = Math.max(most, value);
      const y = value => bottom - value / (most || 1) * (band.height - 2);
      pen.fillStyle = band.name === 'copied' ? ink.copied : ink.bar;
      for (let k = 0; k < parts; k++) {
        if (!values[k]) continue;
        const left = k * width / parts, top = Math.min(bottom - 1, y(values[k]));
        pen.fillRect(left, top, band.name === 'alive' ? width / parts + .5 : Math.max(1, width / parts - .5), bottom - top);
      }
      pen.fillStyle = ink.line;
      pen.fillRect(0, bottom, width, 1);
    }
    const text = said[band.name](most);
    texts.push(text);
    pen.fillStyle = ink.soft;
    pen.fillText(text, 4, band.top - LABELS + 3);
  }
  if (drag && Math.abs(drag.to - drag.from) > 3) {
    pen.globalAlpha = .18;
    pen.fillStyle = ink.mark;
    pen.fillRect(Math.min(drag.from, drag.to), AXIS, Math.abs(drag.to - drag.from), height - AXIS);
    pen.globalAlpha = 1;
  }
  byId('range').textContent = `${range.from ? duration(range.from) : '0'} to ${duration(range.to)}`;
  byId('time-text').textContent = `From ${byId('range').textContent}. ${texts.join('. ')}.`;
}

function draw_lives(pen, band, width, ink) {
  const tall = Math.max(.5, lane_height - (lane_height > 3 ? 1 : 0));
  const bar = (i, from, to, paint, wide, part) => { // `part`: of the lane's height
    const left = Math.max(0, x_of(from, width)), right = Math.min(width, x_of(to, width));
    if (right < 0 || left > width || to < range.from || from > range.to) return;
    pen.fillStyle = paint;
    const top = band.top + lanes[i] * lane_height + tall * (1 - part) / 2;
    pen.fillRect(left, top, Math.max(wide, right - left), tall * part);
  };
  for (let i = 0; i < total; i++) {
    if (lanes[i] < 0) continue;
    if (zombies[i] && ends[i] != null) bar(i, ends[i], ends[i] + zombies[i], ink.warn, 0, tall > 3 ? .3 : 1);
    bar(i, borns[i], stop(i), failed(i) ? ink.bad : ink.bar, 1.5, 1);
  }
  for (const i of new Set([pointed, chosen()])) {
    if (i == null || i < 0 || lanes[i] < 0) continue;
    const left = Math.max(0, x_of(borns[i], width)), right = Math.min(width, x_of(stop(i), width));
    pen.strokeStyle = ink.fg;
    pen.lineWidth = 1.5;
    pen.strokeRect(left - 1, band.top + lanes[i] * lane_height - 1, Math.max(3, right - left + 2), tall + 2);
  }
}

// Whose bar is there, or just beside it.
function life_at(x, y) {
  const band = bands[bands.length - 1];
  if (y < band.top || y > band.top + band.height) return -1;
  const slack = 3 * (range.to - range.from) / canvas.clientWidth, at = at_x(x);
  const lane = Math.floor((y - band.top) / lane_height), near = Math.ceil(2 / lane_height);
  let best = -1, least = Infinity;
  for (let i = 0; i < total; i++) {
    const off = Math.abs(lanes[i] - lane);
    if (lanes[i] < 0 || off > near || at < borns[i] - slack || at > stop(i) + (zombies[i] || 0) + slack) continue;
    const far = off + (at < borns[i] || at > stop(i) ? .5 : 0);
    if (far < least) { least = far; best = i; }
  }
  return best;
}

function show_range(from, to) {
  const wide = Math.max(Math.min(1, span), Math.min(to - from, span));
  range.from = Math.max(0, Math.min(from, span - wide));
  range.to = range.from + wide;
  redraw();
}
function zoom(factor, around = (range.from + range.to) / 2) {
  show_range(around - (around - range.from) * factor, around + (range.to - around) * factor);
}
const move = part => show_range(range.from + (range.to - range.from) * part, range.to + (range.to - range.from) * part);
const whole = () => show_range(0, span);

const x_in = event => event.clientX - canvas.getBoundingClientRect().left;
canvas.addEventListener('pointerdown', event => {
  drag = {from: x_in(event), to: x_in(event)};
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener('pointermove', event => {
  if (drag) drag.to = x_in(event);
  const i = drag ? -1 : life_at(x_in(event), event.clientY - canvas.getBoundingClientRect().top);
  if (i === pointed && !drag) return;
  pointed = i;
  canvas.title = i < 0 ? '' : `${pids[i]} ${command(i)}, ${duration(life(i))}${outcome(i) ? ', ' + outcome(i) : ''}`;
  redraw();
});
canvas.addEventListener('pointerleave', () => { pointed = -1; redraw(); });
canvas.addEventListener('pointercancel', () => { drag = null; redraw(); });
canvas.addEventListener('pointerup', event => {
  if (!drag) return;
  const [left, right] = [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
  drag = null;
  if (right - left > 3) { show_range(at_x(left), at_x(right)); return; }
  const i = life_at(left, event.clientY - canvas.getBoundingClientRect().top);
  if (i >= 0) reveal(i);
  redraw();
});
canvas.addEventListener('dblclick', whole);
canvas.addEventListener('wheel', event => { // alone it scrolls the page, as everywhere
  if (event.ctrlKey || event.metaKey) zoom(event.deltaY < 0 ? .8 : 1.25, at_x(x_in(event)));
  else if (event.deltaX) move(event.deltaX / canvas.clientWidth);
  else return;
  event.preventDefault();
}, {passive: false});
canvas.addEventListener('keydown', event => {
  const keys = {ArrowLeft: () => move(-.2), ArrowRight: () => move(.2), Home: whole};
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  keys[event.key]();
  event.preventDefault();
});
byId('zoom-in').onclick = () => zoom(.5);
byId('zoom-out').onclick = () => zoom(2);
byId('earlier').onclick = () => move(-.5);
byId('later').onclick = () => move(.5);
byId('whole').onclick = whole;
redraws.push(draw_time);
