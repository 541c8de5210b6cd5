// One row as a person reads it: the prompt, what the model learns, and where the text comes from.

import { characters, count, el, link, marked, words } from './dom.js'
import { TEMPLATES } from './prompts.js'

const LEVELS = { 'stem+answer': 'bad', stem: 'warn', options: 'warn', none: 'calm' }
const SPEAKERS = ['User', 'Assistant'] // as meadow/schema.py joins turns
const LABELS = { instruction: 'Instruction', input: 'Input', output: 'Response' }

/** A small label; `kind` colours it. */
export function chip(text, kind = '', title = '') {
  return el('span', { class: `chip ${kind}`, title: title || null }, text)
}

function promptView(row, template, terms) {
  const parts = TEMPLATES[template](row)
  return el('pre', { class: 'prompt', tabindex: '0', 'aria-label': `Prompt in the ${template} template` },
    parts.map((part) => el('span', { class: `part ${part.kind}` }, part.kind === 'frame' ? part.text : marked(part.text, terms))))
}

/** The turns before the last message of a conversation; none where `meta` tells of none, or of other ones. */
export function turnsOf(row) {
  if (!row.meta?.includes('"turns":')) return []
  try {
    const text = Array.from(row.input) // lengths count characters, as Python does
    let start = 0
    return JSON.parse(row.meta).turns.map((length, number) => {
      const begin = start + SPEAKERS[number % 2].length + 2
      start = begin + length + 2
      return text.slice(begin, begin + length).join('')
    })
  } catch {
    return []
  }
}

function fieldsView(row, terms) {
  const turns = turnsOf(row)
  const fields = turns.length
    ? [...turns.map((text, number) => ['input', SPEAKERS[number % 2], text]), ['instruction', 'User', row.instruction],
       ['output', 'Assistant: the response', row.output]]
    : Object.entries(LABELS).map(([name, label]) => [name, label, row[name]])
  return el('div', { class: 'fields' }, fields.map(([name, label, text]) =>
    el('section', { class: `field ${name}` },
      el('h3', {}, label, el('small', {}, ` ${count(characters(text))} characters`)),
      text ? el('p', { class: 'value' }, marked(text, terms)) : el('p', { class: 'value none' }, 'empty'))))
}

/** The row's text in a template, exactly as training sees it. */
export function promptText(row, template) {
  return (TEMPLATES[template] ?? TEMPLATES.medalpaca)(row).map((part) => part.text).join('')
}

function authorsView(authors) {
  if (!authors?.length) return el('span', { class: 'none' }, 'none named')
  return el('ul', { class: 'plain' }, authors.map((author) =>
    el('li', {}, author.url ? link(author.url, author.name) : author.name, el('small', {}, ` ${words(author.role ?? '')}`))))
}

function metaView(text) {
  let meta = null
  try {
    meta = JSON.parse(text)
  } catch {
    return el('span', { class: 'value' }, text)
  }
  const entries = Object.entries(meta ?? {})
  if (!entries.length) return el('span', { class: 'none' }, 'nothing further')
  return el('dl', { class: 'meta' }, entries.map(([name, value]) => [
    el('dt', {}, words(name)),
    el('dd', {}, typeof value === 'string' ? link(value) : JSON.stringify(value)),
  ]))
}

function provenance(row, licenses) {
  const license = licenses.get(row.license)
  const entry = (name, ...value) => [el('dt', {}, name), el('dd', {}, ...value)]
  return el('section', { class: 'provenance' },
    el('h3', {}, 'Provenance'),
    el('dl', {},
      entry('Record', el('code', { class: 'id' }, row.id)),
      entry('Source', row.source, row.subset ? ` · ${row.subset}` : ''),
      entry('Upstream id', row.source_id ?? el('span', { class: 'none' }, 'upstream has none')),
      entry('Original', row.url ? link(row.url) : el('span', { class: 'none' }, 'no address')),
      entry('Licence', license?.url ? link(license.url, license.name) : row.license),
      entry('Authors', authorsView(row.authors)),
      entry('Rewritten by', row.rephrased_by ?? el('span', { class: 'none' }, 'nobody: text of the source')),
      entry('Further', metaView(row.meta))))
}

function contaminationView(findings) {
  if (!findings?.length) return null
  return el('section', { class: 'findings' },
    el('h3', {}, 'Overlap with exams'),
    el('table', {},
      el('thead', {}, el('tr', {}, ['Exam', 'Item', 'Level', 'Score'].map((name) => el('th', { class: name === 'Score' ? 'number' : null }, name)))),
      el('tbody', {}, findings.map((finding) => el('tr', {},
        el('td', {}, finding.exam), el('td', {}, finding.item_id),
        el('td', {}, chip(finding.level, LEVELS[finding.level] ?? 'calm')),
        el('td', { class: 'number' }, Number(finding.score).toFixed(2)))))))
}

/**
 * Word-level difference of two texts by the longest common subsequence.
 * Returns [kind, text] pairs with kind same, gone or new; long texts are not compared.
 */
export function difference(before, after) {
  const a = before.split(/(\s+)/)
  const b = after.split(/(\s+)/)
  if (a.length * b.length > 4e6) return null
  const width = b.length + 1
  const table = new Uint16Array((a.length + 1) * width)
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i * width + j] = a[i] === b[j]
        ? table[(i + 1) * width + j + 1] + 1
        : Math.max(table[(i + 1) * width + j], table[i * width + j + 1])
    }
  }
  const parts = []
  const push = (kind, text) => (parts.at(-1)?.[0] === kind ? (parts.at(-1)[1] += text) : parts.push([kind, text]))
  let i = 0
  let j = 0
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) push('same', a[i++], j++)
    else if (j < b.length && (i === a.length || table[i * width + j + 1] > table[(i + 1) * width + j])) push('new', b[j++])
    else push('gone', a[i++])
  }
  return parts
}

function originalOf(pair, name) {
  return pair[`original_${name}`] ?? pair[`raw_${name}`] ?? pair[name] ?? ''
}

/** The row before and after a model rewrote it, side by side. */
export function rewriteView(pair, row) {
  const columns = Object.entries(LABELS).map(([name, label]) => {
    const before = originalOf(pair, name)
    if (before === row[name]) {
      return el('div', { class: 'pair' }, el('h4', {}, label), el('p', { class: 'value none' }, 'unchanged'))
    }
    const parts = difference(before, row[name])
    const side = (kind, tag) => el('p', { class: 'value' }, parts === null
      ? (kind === 'gone' ? before : row[name])
      : parts.filter(([k]) => k === 'same' || k === kind).map(([k, text]) => (k === 'same' || !text.trim() ? text : el(tag, {}, text))))
    return el('div', { class: 'pair' }, el('h4', {}, label),
      el('div', { class: 'sides' },
        el('div', {}, el('small', {}, 'original'), side('gone', 'del')),
        el('div', {}, el('small', {}, `rewritten by ${row.rephrased_by ?? 'a model'}`), side('new', 'ins'))))
  })
  return el('section', { class: 'rewrite' }, el('h3', {}, 'Original beside rewritten'), columns)
}

/** The chips that say what kind of row it is. */
export function rowChips(row, findings) {
  const worst = ['stem+answer', 'stem', 'options'].find((level) => findings?.some((f) => f.level === level))
  return [
    chip(row.source),
    chip(words(row.task), 'task'),
    chip(row.license),
    row.subset ? chip(row.subset) : null,
    row.rephrased_by ? chip('rewritten', 'warn', `by ${row.rephrased_by}`) : null,
    worst ? chip(`exam: ${worst}`, LEVELS[worst], 'overlaps with an exam item') : null,
  ]
}

/** The whole row. `actions` are buttons for the header. */
export function recordView({ row, number, total, template, terms, findings, licenses, pair, actions }) {
  return el('article', { class: 'record' },
    el('header', {},
      el('h2', {}, `Row ${count(number)}`, el('small', {}, ` of ${count(total)}`)),
      el('div', { class: 'chips' }, rowChips(row, findings)),
      el('div', { class: 'actions' }, actions)),
    template === 'fields' ? fieldsView(row, terms) : promptView(row, template, terms),
    pair ? rewriteView(pair, row) : null,
    contaminationView(findings),
    provenance(row, licenses))
}
