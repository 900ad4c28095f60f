// Keys that work wherever the focus is, but for a text that is being typed; and the first drawing.

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === 'INPUT') return;
  const keys = {
    '/': () => { search.focus(); search.select(); }, '+': () => zoom(.5), '=': () => zoom(.5), '-': () => zoom(2),
    ',': () => move(-.5), '.': () => move(.5), '0': whole,
    n: () => { if (hits) step_hit(1); }, N: () => { if (hits) step_hit(-1); },
  };
  if (event.defaultPrevented || !keys[event.key]) return;
  keys[event.key]();
  event.preventDefault();
});
window.addEventListener('resize', () => redraw());
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => redraw());
list();
