// Charts as inline SVG; colours come from the style sheet, so that both themes work.

import { count, el, svg, words } from './dom.js'

/** Horizontal bars. `items` are { label, value, note?, href?, kind? }. */
export function bars(items) {
  const largest = Math.max(1, ...items.map((item) => item.value))
  return el('ul', { class: 'bars' }, items.map((item) => el('li', { class: item.kind ?? null },
    item.href ? el('a', { href: item.href, class: 'label' }, item.label) : el('span', { class: 'label' }, item.label),
    svg('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      svg('rect', { class: 'track', width: 100, height: 10 }),
      svg('rect', { class: 'bar', width: Math.max(item.value ? 0.6 : 0, (100 * item.value) / largest), height: 10 })),
    el('span', { class: 'figure' }, count(item.value), item.note ? el('small', {}, ` ${item.note}`) : null))))
}

/** A histogram: `edges` has one entry more than `counts`. */
export function histogram(edges, counts, unit) {
  const width = 300
  const height = 110
  const largest = Math.max(1, ...counts)
  const step = width / counts.length
  const short = (value) => (value >= 1e6 ? `${value / 1e6}M` : value >= 1024 ? `${value / 1024}k` : value)
  return svg('svg', { class: 'histogram', viewBox: `0 0 ${width} ${height + 16}`, role: 'img', 'aria-label': `Histogram in ${unit}` },
    counts.map((value, index) => {
      const tall = (height * value) / largest
      return svg('rect', { class: 'bar', x: index * step + 0.75, y: height - tall, width: step - 1.5, height: tall },
        svg('title', {}, `${count(edges[index])} ${index === counts.length - 1 ? 'and more' : `to ${count(edges[index + 1])}`} ${unit}: ${count(value)} rows`))
    }),
    svg('line', { class: 'axis', x1: 0, x2: width, y1: height, y2: height }),
    edges.slice(0, -1).map((edge, index) => (index % 3 === 0
      ? svg('text', { x: Math.min(Math.max(index * step, 4), width - 4), y: height + 12, 'text-anchor': index === 0 ? 'start' : 'middle' }, short(edge))
      : null)))
}

/** What went in, what was lost at each stage and why, what came out. */
export function flow(stages) {
  const first = Math.max(1, ...stages.map((stage) => stage.rows))
  return el('ol', { class: 'flow' }, stages.map((stage) => el('li', {},
    el('div', { class: 'stage' },
      el('span', { class: 'label' }, words(stage.name)),
      svg('svg', { viewBox: '0 0 100 14', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
        svg('rect', { class: 'track', width: 100, height: 14, rx: 1 }),
        svg('rect', { class: 'bar', width: (100 * stage.rows) / first, height: 14, rx: 1 }),
        svg('rect', { class: 'loss', x: (100 * stage.rows) / first, width: (100 * (stage.lost ?? 0)) / first, height: 14, rx: 1 })),
      el('span', { class: 'figure' }, count(stage.rows), stage.lost ? el('small', {}, ` − ${count(stage.lost)}`) : null)),
    stage.losses?.length ? el('p', { class: 'losses' }, stage.losses.map(([reason, rows]) => el('span', {}, `${words(reason)} `, el('b', {}, count(rows))))) : null)))
}

/** A square matrix of counts, shaded by size. */
export function matrix(names, cells) {
  const largest = Math.max(1, ...cells.flat())
  return el('div', { class: 'scroll' }, el('table', { class: 'matrix' },
    el('thead', {}, el('tr', {}, el('th', {}), names.map((name) => el('th', { scope: 'col' }, el('span', {}, words(name)))))),
    el('tbody', {}, cells.map((row, index) => el('tr', {},
      el('th', { scope: 'row' }, words(names[index])),
      row.map((value) => el('td', { class: value ? `shade-${Math.min(5, Math.ceil((5 * value) / largest))}` : 'zero' }, value ? count(value) : '·')))))))
}

/** A table. `columns` are { name, number? }; cells may be nodes. */
export function table(columns, rows) {
  return el('div', { class: 'scroll' }, el('table', {},
    el('thead', {}, el('tr', {}, columns.map((column) => el('th', { scope: 'col', class: column.number ? 'number' : null }, column.name)))),
    el('tbody', {}, rows.map((row) => el('tr', {}, row.map((cell, index) => el('td', { class: columns[index].number ? 'number' : null }, cell)))))))
}
